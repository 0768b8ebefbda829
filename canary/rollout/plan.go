package rollout

import (
	"time"

	"serin/canary/evidence"
)

// Plan is the part of a canary document that moves its share. It is made from a
// checked document and immutable.
type Plan struct {
	Service string // "*" is the document of all services without one of their own
	ID      string // identity of the rollout: another one is another rollout
	Key     string // of the document
	Index   uint64 // of the document
	Hash    string // of the document

	// At most one of Ramp and Steps is set; where neither is, Ratio holds.
	Ratio float64
	Ramp  *Ramp
	Steps []Step

	Control  Control
	Analysis *Analysis // nil: nothing is judged
	Notify   []Notify
}

// Control is the operator's hand.
type Control string

const (
	Run     Control = "run"
	Pause   Control = "pause"
	Promote Control = "promote"
	Abort   Control = "abort"
)

// Ramp is a share that grows or falls with time, in a straight line, in steps of
// a second: from Start to End, or over a time from the first application on.
type Ramp struct {
	From, To   float64
	Start, End time.Time     // both zero where Over is set
	Over       time.Duration // > 0, or 0 where Start and End are set
}

// Step is one step of a plan: a share, or a mirror, to stay at for a time, or a
// pause.
type Step struct {
	Ratio  *float64      // nil: as the step before; the first: 0
	Mirror *float64      // share of stable's requests that are mirrored; nil: as the document's mirror
	For    time.Duration // least time in the step; 0 with a gate: until that is passed
	Pause  bool          // wait for the operator, or for PauseFor
	// PauseFor ends a pause by itself; 0 does not.
	PauseFor time.Duration
}

// Analysis says how a rollout is judged, and what follows.
type Analysis struct {
	evidence.Config
	Warmup         time.Duration // of an instance: its requests do not count; the document's default is 30 s
	Failures       Failures      // what is a failure
	OnFail         string        // "rollback" or "pause"
	OnInconclusive string        // "wait", "pause" or "promote": after MaxWait without a verdict
	MaxWait        time.Duration // of a gate, beyond the step's For
}

// Failures says which outcomes of a request are failures of its instance.
type Failures struct {
	Status5xx, Connect, Timeout, Reset, Truncated, GRPC bool
}

// Notify is an address that is told of events.
type Notify struct {
	URL     string            // http(s)://…, or env:NAME or file:PATH that hold it
	On      []string          // kinds of Event; nil is all
	Headers map[string]string // values may be env:NAME or file:PATH
}
