package proxy

import "serin/route"

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

// Retry reports whether the request may be tried on another instance after a,
// and if so sets d.Target to it. It spends the service's retry budget.
//
// An engine that found its pooled connection closed before it wrote anything
// may send the request once more to the same instance on a fresh connection
// without asking.
func (c *Core) Retry(d *Decision, a Attempt) bool {
	var _ *route.Target
	return false
}
