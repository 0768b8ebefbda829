package rollout

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"serin/canary/evidence"
)

// Plan is the part of a canary document that moves its share. It is made from a
// checked document and immutable.
type Plan struct {
	Service string // "*" is the document of all services without one of their own
	ID      string // identity of the rollout: another one is another rollout
	Key     string // of the document
	Index   uint64 // of the document; 0 where its source has none that all balancers agree on
	Hash    string // of the document

	// At most one of Ramp and Steps is set; where neither is, Ratio holds.
	Ratio float64
	Ramp  *Ramp
	Steps []Step

	Control  Control   // "" is run, but ends no pause: see [State.PausedBy]
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
// Before the line it is From, after it To.
type Ramp struct {
	From, To   float64
	Start, End time.Time     // both zero where Over is set
	Over       time.Duration // > 0, or 0 where Start and End are set
}

// Step is one step of a plan: a share, or a mirror, to stay at for a time, or a
// pause. A step whose ratio is above 0 and below 1 has a gate where the plan has
// an analysis: it is left after For, when the evidence says pass. At the ratios 0
// and 1 there is nothing to compare, so that For alone counts. A step with
// neither For nor gate is left by the operator (promote, or another document),
// but for a last step of ratio 1, which is left at once: that is the promotion.
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
	OnFail         string        // "rollback" or "pause"; "" is rollback
	OnInconclusive string        // "wait", "pause" or "promote": after MaxWait without a verdict; "" is wait
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

// form is what moves a plan's share.
type form int

const (
	byRatio form = iota
	byRamp
	bySteps
)

func (p *Plan) form() form {
	switch {
	case len(p.Steps) > 0:
		return bySteps
	case p.Ramp != nil:
		return byRamp
	}
	return byRatio
}

// ratioOf is the share of step i: its own, or that of the last step before it
// that has one.
func (p *Plan) ratioOf(i int) float64 {
	for i = min(i, len(p.Steps)-1); i >= 0; i-- {
		if r := p.Steps[i].Ratio; r != nil {
			return share(*r)
		}
	}
	return 0
}

// gated tells whether step i is left only when the evidence says pass.
func (p *Plan) gated(i int) bool {
	r := p.ratioOf(i)
	return p.Analysis != nil && r > 0 && r < 1
}

// endless tells whether step i is left by the operator alone.
func (p *Plan) endless(i int) bool {
	last := i == len(p.Steps)-1
	return p.Steps[i].For <= 0 && !p.gated(i) && (!last || p.ratioOf(i) < 1)
}

// basis identifies what of the plan a state in that step rests on: the ramp, or
// the steps up to that one. An edit that changes none of it moves nothing.
func (p *Plan) basis(step int) string {
	var b strings.Builder
	switch p.form() {
	case byRatio:
		return "ratio"
	case byRamp:
		fmt.Fprintf(&b, "%v %v %d %d %d", p.Ramp.From, p.Ramp.To, p.Ramp.Start.UnixNano(), p.Ramp.End.UnixNano(), p.Ramp.Over)
		return "ramp " + digest(b.String())
	}
	for _, s := range p.Steps[:max(0, min(step+1, len(p.Steps)))] {
		for _, v := range []*float64{s.Ratio, s.Mirror} {
			if v != nil {
				fmt.Fprint(&b, *v)
			}
			b.WriteByte(' ')
		}
		fmt.Fprintln(&b, int64(s.For), s.Pause, int64(s.PauseFor))
	}
	return "steps " + digest(b.String())
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}

// share is r as a share: what is not one is 0, or 1 where it is above.
func share(r float64) float64 {
	if r > 0 { // not NaN
		return min(r, 1)
	}
	return 0
}
