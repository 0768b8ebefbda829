package proxy

import (
	"slices"

	"serin/route"
)

// MirrorResult is what became of one shadow request, or why it was not sent.
type MirrorResult uint8

const (
	MirrorOK        MirrorResult = iota // the instance answered, whole, below 500
	MirrorError                         // it answered 5xx, or not whole, or there was no connection to it
	MirrorTimeout                       // its time was over
	MirrorSaturated                     // not sent: as many were under way as may be
	MirrorBody                          // not sent: the request's body was too long, or never came whole
)

var mirrorResults = [...]string{"ok", "error", "timeout", "saturated", "body"}

// String returns the label used in metrics.
func (r MirrorResult) String() string { return mirrorResults[r] }

// ShadowHeader is what shadow requests have, with the value 1. Clients cannot
// send it; from a trusted peer it is passed on.
const ShadowHeader = "X-Lb-Shadow"

// safeMethods are those that are mirrored where the split names none.
var safeMethods = [...]string{"GET", "HEAD", "OPTIONS"}

// mirror sets d.Mirror, if the request is to be copied: one that goes to the
// stable arm, and whose copy a canary would have let in as well. The choice
// among the canaries is a draw, so that it takes no turn from what is served.
func (d *Decision) mirror(live Live, method string, draw uint64) {
	m := d.Split.Mirror
	if m == nil || d.Arm != route.Stable || d.critical || !(fraction(draw) < m.Ratio) || !mirrors(m, method) {
		return
	}
	t := d.Part.Arms[route.Canary].Pick(route.Pick{Balance: route.RandomBalance, Draw: route.Mix(draw), Live: live})
	if t != nil && t.Addr != d.Target.Addr && admitsAlike(d.Target.Options, t.Options) {
		d.Mirror = t
	}
}

// mirrors reports whether requests of a method are copied.
func mirrors(m *route.Mirror, method string) bool {
	if len(m.Methods) == 0 {
		return slices.Contains(safeMethods[:], method)
	}
	return slices.Contains(m.Methods, method)
}
