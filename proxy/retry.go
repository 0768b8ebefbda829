package proxy

import (
	"slices"

	"serin/route"
)

// Attempt is what an engine knows of a failed attempt when it asks for another,
// which it does only before any byte of the response's final head reached the
// client.
type Attempt struct {
	Class Class
	// Sent reports whether any byte of the request was written to the
	// instance: if not, any method may be tried elsewhere.
	Sent bool
	// Idempotent is the request's method (RFC 9110, 9.2.2), or its having an
	// Idempotency-Key; Replayable is whether its whole body is at hand.
	Idempotent, Replayable bool
}

// Idempotent reports whether a request of this method may be sent twice
// (RFC 9110, 9.2.2).
func Idempotent(method string) bool {
	switch method {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE":
		return true
	}
	return false
}

// mayRetry is the rule of retrying, but for the budget: whether a request of
// which tried instances failed, the last of them as a says, may go to another,
// and whether that costs. What was never sent may always be sent elsewhere, and
// costs nothing: no instance works twice for it. What was sent may have been
// acted upon, so it must be idempotent. An answer, be it 503, is an answer.
func mayRetry(a Attempt, tried, attempts int) (may, costs bool) {
	switch {
	case tried >= attempts:
		return false, false
	case a.Class == ConnectError, a.Class == Reset && !a.Sent, a.Class == Timeout && !a.Sent:
		return true, false
	case a.Class == Reset, a.Class == Timeout:
		return a.Idempotent && a.Replayable, true
	}
	return false, false
}

// Retry reports whether the request may be tried on another instance after a,
// and if so sets d.Target to it. It spends the service's retry budget. The
// first retry stays in the arm if it can, the last one leaves it if it can;
// d.Arm, which the failure is charged to, never changes. An instance whose
// route lets in others, or sends them elsewhere, is never retried on.
//
// An engine that found its pooled connection closed before it wrote anything
// may send the request once more to the same instance on a fresh connection
// without asking: that is no attempt.
func (c *Core) Retry(d *Decision, a Attempt) bool {
	d.failed++
	d.tried = append(d.tried, d.Target.Addr)
	may, costs := mayRetry(a, d.failed, d.Attempts)
	if !may {
		return false
	}
	from, t := d.serving, d.elsewhere(c, d.failed+1 == d.Attempts)
	if t == nil || costs && !c.Budget.Spend(d.Part.Service, c.Now()) {
		d.serving = from
		return false
	}
	d.Target = t
	return true
}

// admitsAlike reports whether a request that one target's options let pass may
// go to a target with the other's without being asked again.
func admitsAlike(a, b *route.Options) bool {
	if a == b {
		return true
	}
	return a.Auth == b.Auth && b.Redirect == nil && (a.Access == nil) == (b.Access == nil) &&
		(a.Access == nil || a.Access.Deny == b.Access.Deny && slices.Equal(a.Access.Networks, b.Access.Networks))
}

// unlikeTries is how many instances are passed over because they do not admit
// alike, so that a search among thousands ends.
const unlikeTries = 16

// elsewhere finds an instance that was not tried. An arm that gets no traffic
// (a canary at ratio 0) gets no retry either, unless it was serving already.
func (d *Decision) elsewhere(c *Core, last bool) *route.Target {
	own, other := d.serving, route.Stable
	if own == route.Stable {
		other = route.Canary
	}
	arms := [...]route.ArmName{own, other, route.Backup}
	if last {
		arms[0], arms[1] = other, own
	}
	for _, live := range [...]Live{c.Upstreams, panicking{c.Upstreams}} {
		for _, arm := range arms {
			if arm == route.Canary && arm != own && d.Split.Ratio <= 0 {
				continue
			}
			for range unlikeTries {
				t := d.from(arm, c.Settings, live, c.Rand())
				if t == nil {
					break
				}
				if admitsAlike(d.Target.Options, t.Options) {
					return t
				}
				d.tried = append(d.tried, t.Addr)
			}
		}
	}
	return nil
}
