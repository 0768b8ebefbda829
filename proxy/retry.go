package proxy

import (
	"cmp"

	"serin/route"
)

// Attempt is what an engine knows of a failed attempt when it asks for another.
type Attempt struct {
	Class Class
	// Sent reports whether any byte of the request was written to the
	// instance: if not, any method may be tried elsewhere.
	Sent bool
	// Idempotent is the request's method (RFC 9110, 9.2.2), or its having an
	// Idempotency-Key; Replayable is whether its whole body is at hand.
	Idempotent, Replayable bool
	// Began is set once any byte of the response's final head reached the client.
	Began bool
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
	case a.Began || tried >= attempts:
		return false, false
	case a.Class == ConnectError, a.Class == Reset && !a.Sent, a.Class == Timeout && !a.Sent:
		return true, false
	case a.Class == Reset, a.Class == Timeout, a.Class == Truncated:
		return a.Idempotent && a.Replayable, true
	}
	return false, false
}

// Retry reports whether the request may be tried on another instance after a,
// and if so sets d.Target to it. It spends the service's retry budget. The
// first retry stays in the arm if it can, the last one leaves it if it can;
// d.Arm, which the failure is charged to, never changes.
//
// An engine that found its pooled connection closed before it wrote anything
// may send the request once more to the same instance on a fresh connection
// without asking: that is no attempt.
func (c *Core) Retry(d *Decision, a Attempt) bool {
	attempts := cmp.Or(c.Settings.Attempts, 3)
	d.tried = append(d.tried, d.Target.Addr)
	may, costs := mayRetry(a, len(d.tried), attempts)
	if !may {
		return false
	}
	from, t := d.serving, d.elsewhere(c, len(d.tried)+1 == attempts)
	if t == nil || costs && !c.Budget.Spend(d.Part.Service, c.Now()) {
		d.serving = from
		return false
	}
	d.Target = t
	return true
}

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
			if arm == route.Canary && arm != own && d.Part.Split.Ratio <= 0 {
				continue
			}
			if t := d.from(arm, c.Settings, live, c.Rand()); t != nil {
				return t
			}
		}
	}
	return nil
}
