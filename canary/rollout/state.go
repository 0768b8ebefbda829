package rollout

import (
	"time"

	"serin/canary/evidence"
)

// Phase is how far a rollout is.
type Phase string

const (
	Idle       Phase = "idle" // no plan, or nothing has begun
	Running    Phase = "running"
	Paused     Phase = "paused"
	Promoted   Phase = "promoted"
	RolledBack Phase = "rolled_back"
)

// State is what all balancers share of one rollout, in lb/state/<service>. The
// zero State is a rollout that has not begun. It is a value: Next returns another.
type State struct {
	V     int       `json:"v"`  // version of this form, 1
	ID    string    `json:"id"` // of the rollout: Plan.ID
	Phase Phase     `json:"phase"`
	Step  int       `json:"step"`           // of Plan.Steps, from 0
	Ratio float64   `json:"ratio"`          // of the step, or held while paused
	Since time.Time `json:"since,omitzero"` // when the step, or the phase, began
	Began time.Time `json:"began,omitzero"` // first application: where a ramp counts from

	Because string           `json:"because,omitempty"` // of the phase, in one sentence
	Finding evidence.Finding `json:"evidence"`

	// The document that this state was made for.
	Index uint64 `json:"index"`
	Hash  string `json:"hash"`
	// Invalid is why a newer text of the document is refused, "" when it is not.
	Invalid string `json:"invalid,omitempty"`

	By string    `json:"by"` // balancer that wrote it
	At time.Time `json:"at"` // when
}

// Position is what a rollout asks for at one moment.
type Position struct {
	Ratio   float64
	Mirror  *float64 // of the step; nil: the document's
	Phase   Phase
	Step    int
	Because string    // why Ratio is not what the document's plan says, "" when it is
	Again   time.Time // when to ask again although nothing changed; zero: never
}

// At returns what the rollout asks for at now. A State of another rollout (ID),
// and the zero State, are one that has not begun: a ratio and a ramp between
// two times then hold as the document says, steps and a ramp over a time wait
// at 0. It is pure.
func At(p *Plan, s State, now time.Time) Position { return Position{Ratio: p.Ratio, Phase: Idle} }

// Next returns the state that follows s at now, given what was found, and what
// happened on the way; s itself, and no events, when nothing is to be done. It is pure.
func Next(p *Plan, s State, f evidence.Finding, now time.Time) (State, []Event) { return s, nil }
