package rollout

import (
	"context"
	"time"

	"github.com/hashicorp/go-hclog"

	"serin/canary/evidence"
)

// Fleet is this balancer's part in the rollouts of all balancers: it follows the
// shared states, publishes what this balancer has seen and applied, vetoes a
// canary that is worse, and, while it leads, takes the steps. Set the fields,
// then call Run once; the methods may be called from any goroutine, also before.
type Fleet struct {
	Store  Store  // required
	Self   Self   // required
	Prefix string // of the states; "lb/state" when empty
	Log    string // of the audit rings; "lb/log" when empty

	// States is told the states, by service, whenever they change, with this
	// balancer's own veto in them. It is called from Run's goroutine and must
	// not block.
	States func(map[string]State)
	// Happened is told every event that this balancer caused. It must not block.
	Happened func(Event, *Plan)

	Logger  hclog.Logger // nil is silent
	Metrics *Metrics     // nil counts nothing
}

// Self is who a balancer is.
type Self struct {
	ID         string `json:"id"` // unique among all balancers, also those of the past
	Node       string `json:"node,omitempty"`
	Datacenter string `json:"datacenter,omitempty"`
	Addr       string `json:"addr,omitempty"` // of the admin listener
	Version    string `json:"version,omitempty"`
}

// Applied is the document that is in force in this balancer's table.
type Applied struct {
	Index    uint64  `json:"index"`
	Hash     string  `json:"hash"`
	Ratio    float64 `json:"ratio"`              // effective
	Because  string  `json:"because,omitempty"`  // why it is not what is wanted
	Rejected uint64  `json:"rejected,omitempty"` // index of a newer text that was refused
	Invalid  string  `json:"invalid,omitempty"`  // why
}

// Node is what a balancer publishes about one service, with its session.
type Node struct {
	Self
	Applied
	Evidence evidence.Tally `json:"evidence"`
	At       time.Time      `json:"at"`
}

// Status is what is known of one rollout.
type Status struct {
	Service string           `json:"service"`
	State   State            `json:"state"`
	Leader  string           `json:"leader,omitempty"` // balancer that takes the steps; "" when none does
	Leads   bool             `json:"leads"`            // this one does
	Held    string           `json:"held,omitempty"`   // why no step is taken
	Local   evidence.Finding `json:"local"`            // what this balancer has seen by itself
	Nodes   []NodeStatus     `json:"nodes"`
}

// NodeStatus is one balancer as the others see it.
type NodeStatus struct {
	Node
	Behind bool `json:"behind"` // it has not applied the newest document
}

// Run takes part until ctx ends, then gives up the session and returns nil.
func (f *Fleet) Run(ctx context.Context) error { <-ctx.Done(); return nil }

// First is closed once the shared states were read, or cannot be.
func (f *Fleet) First() <-chan struct{} { c := make(chan struct{}); close(c); return c }

// SetPlans gives the fleet the plans in force, by service; documents that are no
// rollout have none.
func (f *Fleet) SetPlans(plans map[string]*Plan) {}

// SetApplied gives it what is in force in this balancer's table, by service.
func (f *Fleet) SetApplied(applied map[string]Applied) {}

// Recorder returns where the requests of a rollout are counted, nil where
// nothing is judged. It costs a few nanoseconds.
func (f *Fleet) Recorder(service string) *evidence.Recorder { return nil }

// Status returns what is known of a service's rollout; false when nothing is.
func (f *Fleet) Status(service string) (Status, bool) { return Status{}, false }

// History reads the audit ring of a service, the newest event first.
func (f *Fleet) History(ctx context.Context, service string) ([]Event, error) { return nil, nil }

// Events returns what happened in this process after the event number seq, at
// most a thousand, waiting for one until ctx ends.
func (f *Fleet) Events(ctx context.Context, seq uint64) []Event { return nil }

// Balancers returns the balancers that publish, in order of their IDs, with
// what they have applied of a service ("*" for the common document).
func (f *Fleet) Balancers(service string) []NodeStatus { return nil }

// Metrics of a Fleet.
type Metrics struct{}
