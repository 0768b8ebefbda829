package route

import "serin/registry"

// Inputs is everything that a table is built from. All of it is immutable; a
// nil or zero part says nothing.
type Inputs struct {
	Snapshot  *registry.Snapshot
	Splits    Splits
	Overrides *Overrides
	Ownership *Ownership
}
