package proxy

import (
	"net/netip"
	"strings"
	"sync"
	"time"

	"serin/route"
)

// Gate is what a decision asks about a request for which the table has an
// instance and whose route has the option for it: auth=, ratelimit=, maxconn=.
// Core has the one that lives. A nil Gate limits nothing, and refuses what
// needs credentials.
type Gate interface {
	// Authorise judges the credentials of r by a scheme of proxy.auth. It may
	// take as long as a slow hash takes.
	Authorise(scheme string, r Request) Authorisation
	// Enter takes a request into the limits of a route, to be left when the
	// request has ended; see Decision.Leave. In is nil where the request is
	// refused, and after how long one has to wait then, where that is known.
	Enter(rt *route.Route, t *route.Target, now time.Time) (in *Quota, because Reason, after time.Duration)
}

// Authorisation is what became of a request's credentials. The zero value is a
// refusal.
type Authorisation struct {
	OK    bool
	Busy  bool   // they could not be checked now
	Realm string // of the scheme, for the client to ask its user
}

// chains are the buffers of access rules.
var chains = sync.Pool{New: func() any { return new([8]netip.Addr) }}

// permits asks an access rule about all addresses that r came over.
func permits(a *route.Access, r Request) bool {
	if a == nil {
		return true
	}
	buf := chains.Get().(*[8]netip.Addr)
	defer chains.Put(buf)
	return a.Permits(r.Chain(buf[:0]))
}

// admit asks whether the request may go to the instance that was picked, and
// answers it where not. The order is Fabio's: who comes from where, who it is,
// whether it is sent elsewhere; then whether it was here before, and at last
// what it takes away from others.
func (d *Decision) admit(s Settings, gate Gate, r Request, now time.Time) {
	t := d.Target
	o := t.Options
	if !permits(o.Access, r) {
		d.answer(Answer{Status: 403, Body: "access denied", Class: Answered, Reason: ReasonAccess})
		return
	}
	if o.Auth != "" {
		if refusal, ok := authorise(gate, o.Auth, r); !ok {
			d.answer(refusal)
			return
		}
	}
	if o.Redirect != nil {
		d.answer(redirect(o, r))
		return
	}
	if s.Self != "" {
		if hops, ok := r.Header(hopsHeader); ok && cameBack(hops, s.Self) {
			d.answer(Answer{Status: 508, Body: "this request has come back to the balancer that sent it", Class: Answered, Reason: ReasonLoop})
			return
		}
	}
	if gate == nil || o.RateLimit == nil && o.MaxConn <= 0 {
		return
	}
	in, because, after := gate.Enter(d.Route, t, now)
	if d.in = in; in == nil {
		d.answer(limited(because, after))
	}
}

func authorise(gate Gate, scheme string, r Request) (refusal Answer, ok bool) {
	var a Authorisation
	if gate != nil {
		a = gate.Authorise(scheme, r)
	}
	switch {
	case a.OK:
		return Answer{}, true
	case a.Busy:
		return Answer{Status: 503, RetryAfter: retryAfter, Body: "too many passwords are being checked", Class: Answered, Reason: ReasonAuthBusy}, false
	}
	return Answer{Status: 401, Challenge: challenge(a.Realm), Body: "authorization failed", Class: Answered, Reason: ReasonAuth}, false
}

// challenge is what a client is asked for its password with (RFC 7617, 2).
func challenge(realm string) string {
	return `Basic realm="` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(realm) + `", charset="UTF-8"`
}

// limited is the answer to a request that a limit of its route refuses.
func limited(because Reason, after time.Duration) Answer {
	if because == ReasonMaxConn {
		return Answer{Status: 503, RetryAfter: retryAfter, Body: "the route has as many requests in flight as it may", Class: Answered, Reason: because}
	}
	return Answer{Status: 429, RetryAfter: seconds(after), Body: "too many requests for this route", Class: Answered, Reason: because}
}

// seconds rounds up to whole seconds, at least 1.
func seconds(d time.Duration) int {
	return int(max((d+time.Second-1)/time.Second, 1))
}

// Leave frees what the request took of its route's limits. It is called once
// the request has ended, whatever became of it; again it does nothing.
func (d *Decision) Leave() {
	if d.in != nil {
		d.in.leave()
		d.in = nil
	}
}
