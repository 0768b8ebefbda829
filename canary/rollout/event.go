package rollout

import (
	"time"

	"serin/canary/evidence"
)

// Kinds of Event.
const (
	EventStart    = "start"    // a rollout began
	EventStep     = "step"     // it went to another step
	EventPause    = "pause"    // by a step, by hand, or by on_fail and on_inconclusive
	EventResume   = "resume"   //
	EventPromote  = "promote"  // everyone goes to the canary
	EventRollback = "rollback" // nobody does
	EventDocument = "document" // another document is in force, and its ratio
	EventInvalid  = "invalid"  // a document was refused
)

// Kinds lists the kinds of Event, for those who choose among them.
func Kinds() []string {
	return []string{
		EventStart, EventStep, EventPause, EventResume,
		EventPromote, EventRollback, EventDocument, EventInvalid,
	}
}

// Event is a change of a rollout: an entry of the audit ring, a line in the log,
// a count in the metrics, and what webhooks are told.
type Event struct {
	Seq      uint64            `json:"seq,omitempty"` // in this process, from 1; 0 in the audit ring
	Time     time.Time         `json:"time"`
	Service  string            `json:"service"`
	ID       string            `json:"id,omitempty"` // of the rollout
	Kind     string            `json:"kind"`
	Phase    Phase             `json:"phase"`
	Step     int               `json:"step"`
	From     float64           `json:"from"` // ratio before
	To       float64           `json:"to"`   // and after
	Because  string            `json:"because"`
	Index    uint64            `json:"index"` // of the document
	Hash     string            `json:"hash"`
	Evidence *evidence.Finding `json:"evidence,omitempty"`
	By       string            `json:"by"` // balancer
}
