package route

import (
	"iter"

	"serin/registry"
)

type table struct{}

type builder struct{}

// Build compiles the table. It never fails: what is wrong becomes a Problem.
func (b *Builder) Build(s *registry.Snapshot, splits Splits) *Table { panic("BUG: to be written") }

func (t *Table) match(host, path string, tls bool) *Route { return nil }
func (t *Table) routes() iter.Seq[*Route]                 { return nil }
func (t *Table) problemList() []Problem                   { return nil }
func (t *Table) targets() iter.Seq[*Target]               { return nil }
func (t *Table) splitSet() Splits                         { return Splits{} }
func (t *Table) snapshot() *registry.Snapshot             { return nil }
