package rollout

import (
	"encoding/json"
	"fmt"
	"math"
	"time"

	"serin/canary/evidence"
)

// Version is the version of the form of a State that this program writes.
const Version = 1

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
// zero State is a rollout that has not begun. It is a value: Next returns another,
// and two can be compared with ==.
type State struct {
	V     int       `json:"v"`  // version of this form: Version
	ID    string    `json:"id"` // of the rollout: Plan.ID
	Phase Phase     `json:"phase"`
	Step  int       `json:"step"`           // of Plan.Steps, from 0
	Ratio float64   `json:"ratio"`          // of the step, or held while paused
	Since time.Time `json:"since,omitzero"` // when the step, or the phase, began
	Began time.Time `json:"began,omitzero"` // first application
	// Entered is when the step began, later by what was paused since.
	Entered time.Time `json:"entered,omitzero"`
	// Led is when a leader noted last that somebody leads, while time counts.
	Led time.Time `json:"led,omitzero"`
	// Moves counts the steps entered so far, and changes of a plain ratio:
	// another number means that the evidence of a step begins anew.
	Moves uint64 `json:"moves"`
	// Line is the ramp as it runs, moved by what was paused; zero without one.
	Line Line `json:"line,omitzero"`

	// PausedBy is what ends a pause: a step (its time, or the operator), control
	// (another word than pause), or, where the evidence or a gate paused it, the
	// operator alone. The operator's word is control "run" in another document
	// than the one that was in force when it paused.
	PausedBy    string `json:"paused_by,omitempty"`
	PausedIndex uint64 `json:"paused_index,omitempty"` // of the document then
	PausedHash  string `json:"paused_hash,omitempty"`
	// Overruled is the E at which the operator resumed what the evidence had
	// paused: it pauses again when what came since is as strong by itself.
	Overruled float64 `json:"overruled,omitempty"`

	Because string           `json:"because,omitempty"` // of the phase, in one sentence
	Finding evidence.Finding `json:"evidence"`          // at the last change

	// The document that this state was made for, and what of its plan.
	Key   string `json:"key,omitempty"`
	Index uint64 `json:"index"`
	Hash  string `json:"hash"`
	Plan  string `json:"plan,omitempty"`
	// Invalid is why a newer text of the document is refused, "" when it is not.
	Invalid string `json:"invalid,omitempty"`

	// Fleet is what the balancers keep here for each other; nil: nothing.
	Fleet *Shared `json:"fleet,omitempty"`

	By string    `json:"by"` // balancer that wrote it, which Next leaves to the caller
	At time.Time `json:"at"` // when

	// Damaged is why the text of the state cannot be used, "" when it can. Such
	// a state is held: neither changed nor overwritten.
	Damaged string `json:"-"`
}

// What paused a rollout: State.PausedBy.
const (
	ByStep     = "step"
	ByControl  = "control"
	ByEvidence = "evidence" // on_fail
	ByGate     = "gate"     // on_inconclusive
)

// parseState reads the text of a state. One that cannot be used, because it is
// damaged or of a newer version, is last, what was known before, with
// State.Damaged saying why. It never fails.
func parseState(text []byte, last State) State {
	var s State
	err := json.Unmarshal(text, &s)
	why := ""
	switch {
	case s.V > Version: // also when its members have other types by then
		why = fmt.Sprintf("the state is of version %d and this balancer knows %d: update the balancer", s.V, Version)
	case err != nil:
		why = "the state cannot be read: " + err.Error()
	default:
		why = s.damage()
	}
	if why != "" {
		last.Damaged = why
		return last
	}
	return s
}

// damage is why nothing may be built on the state, "" when it is sound.
func (s State) damage() string {
	switch {
	case s.Damaged != "":
		return s.Damaged
	case s.V < 0 || s.V > Version:
		return fmt.Sprintf("the state is of version %d and this balancer knows %d", s.V, Version)
	case !(s.Ratio >= 0 && s.Ratio <= 1):
		return fmt.Sprintf("the state's ratio %v is not within 0..1", s.Ratio)
	case s.Step < 0:
		return fmt.Sprintf("the state's step %d is below 0", s.Step)
	case !(s.Line.From >= 0 && s.Line.From <= 1 && s.Line.To >= 0 && s.Line.To <= 1):
		return fmt.Sprintf("the state's line from %v to %v is not within 0..1", s.Line.From, s.Line.To)
	}
	switch s.Phase {
	case "", Idle, Running, Paused, Promoted, RolledBack:
		return ""
	}
	return fmt.Sprintf("the state's phase %q is none", s.Phase)
}

// Held is why the state is left as it is, "" when Next may change it: its text
// is damaged or newer than this program, or it was made for a newer document
// than the plan.
func Held(p *Plan, s State) string {
	switch why := s.damage(); {
	case p == nil:
		return ""
	case why != "":
		return why + "; delete lb/state/" + p.Service + " to begin anew"
	case s.Key == p.Key && p.Index != 0 && p.Index < s.Index:
		return fmt.Sprintf("the state was made for the document of index %d, and this balancer has %d yet", s.Index, p.Index)
	}
	return ""
}

// begun tells whether s is of the plan's rollout.
func (s State) begun(p *Plan) bool {
	return s.ID == p.ID && s.Phase != "" && s.Phase != Idle
}

// share is the share at now by the state alone.
func (s State) share(now time.Time) float64 {
	switch {
	case s.Phase == RolledBack:
		return 0
	case s.Phase == Promoted:
		return 1
	case s.Phase == Running && s.Line != Line{}:
		return s.Line.at(now)
	}
	return share(s.Ratio)
}

// finite is f with numbers that JSON can hold.
func finite(f evidence.Finding) evidence.Finding {
	for _, v := range []*float64{&f.E, &f.Threshold, &f.Bound} {
		switch {
		case math.IsNaN(*v):
			*v = 0
		case math.IsInf(*v, 0):
			*v = math.Copysign(math.MaxFloat64, *v)
		}
	}
	return f
}
