package proxy

import (
	"net/netip"
	"time"

	"serin/route"
)

// Request is what a decision needs to know of a request; each engine has its
// own small type for it, so that HTTP/1.1, HTTP/2 and later protocols share
// one truth.
type Request interface {
	Method() string
	Host() string                      // authority without userinfo, as sent
	Path() string                      // raw path, undecoded
	RawQuery() string                  // without "?", undecoded
	Header(name string) (string, bool) // first value
	Cookie(name string) (string, bool)
	Client() netip.Addr // the believed client address
	TLS() bool
}

// Draw is all the randomness of one request, so that a decision is a pure
// function: three independent uniform numbers, and the hour that a minted id
// is derived from.
type Draw struct {
	Part, Arm, Instance uint64
	Now                 time.Time
}

// Live is what a decision needs to know of the instances' state; Upstreams is
// the one that lives.
type Live interface {
	// Load returns the requests in flight at addr.
	Load(addr string) int
	// Usable reports whether addr may get a request now: it is not ejected,
	// has room, and (draw against its slow-start ramp) is warm enough.
	Usable(addr string, draw uint64) bool
	// Room reports whether the service may have another request in flight.
	Room(service string) bool
	// Turn returns the next number of the named sequence, starting at 0: the
	// state of round robin, which outlives tables.
	Turn(sequence string) uint64
}

// Settings of the operator that decisions need; see docs/OPERATIONS.md.
type Settings struct {
	Balance       route.Balance // proxy.strategy, where a document names none
	PanicPercent  int           // proxy.panic.threshold: below this share of usable instances ejections are ignored; 0 disables
	PanicCritical bool          // proxy.panic.critical
	NoRouteStatus int           // proxy.noroutestatus
	Attempts      int           // proxy.retries + 1
}

// Answer is a response that Serin gives itself.
type Answer struct {
	Status     int
	Location   string
	RetryAfter int // seconds; 0 is none
	Body       string
	Class      Class
}

// Decision is what to do with a request: either Answer is set, or Target.
type Decision struct {
	Answer *Answer
	Route  *route.Route
	Part   *route.Part
	Arm    route.ArmName // as first chosen
	Why    Why
	Target *route.Target
	Panic  bool // ejections (or Consul's critical) were ignored

	Key       uint64 // sticky position
	HasKey    bool
	SetCookie string // the Set-Cookie value to add to the response, "" for none
	Strip     string // name of the balancer's own cookie, to be removed from what is forwarded; "" for none

	tried []string
}

// Decide is the list of steps of a request and the only place that knows their
// order. It is pure.
func Decide(t *route.Table, s Settings, live Live, r Request, d Draw) Decision {
	rt := t.Match(r.Host(), r.Path(), r.TLS())
	if rt == nil {
		return Decision{Answer: &Answer{Status: s.NoRouteStatus, Class: NoTarget}}
	}
	p := rt.Parts[0]
	for a := range p.Arms {
		if ready := p.Arms[a].Ready; len(ready) > 0 {
			return Decision{Route: rt, Part: p, Target: ready[d.Instance%uint64(len(ready))]}
		}
	}
	return Decision{Answer: &Answer{Status: 503, RetryAfter: 1, Class: NoTarget}}
}
