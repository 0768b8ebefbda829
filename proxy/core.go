package proxy

import (
	"cmp"
	"math"
	"net/netip"
	"time"

	"serin/route"
)

// Core is what every protocol engine shares: the table, the live state of the
// instances, the rules of retrying, and the place where outcomes are told.
// Fill the fields, then hand it to the engines; it is safe for concurrent use
// and must not be changed after that.
type Core struct {
	// Table returns the current table; a request calls it once.
	Table     func() *route.Table
	Upstreams *Upstreams
	Budget    *Budget
	// Auth has the schemes that auth= names; with nil nobody passes such routes.
	Auth *Authenticator
	// Quotas are the limits of routes in use; the zero value is ready.
	Quotas   Quotas
	Settings Settings
	Timeouts Timeouts
	Limits   Limits
	Headers  Headers
	// Trusted are the peers whose forwarding headers are believed.
	Trusted []netip.Prefix
	// NoRoute returns the HTML page for requests that no route serves; where it
	// is nil, or returns nothing, they get a line of text. It is called for each
	// of them and must not block.
	NoRoute func() []byte
	// Drain counts what is open, for the stop sequence; nil counts nothing.
	Drain *Drain
	// LogHeaders are the request headers whose first values Outcome.Logged gets;
	// see AccessLog.Headers.
	LogHeaders []string
	// Observe is told every request's Outcome once. It must not block, nor
	// keep the Outcome. May be nil.
	Observe func(*Outcome)
	// Mirrored is told once what became of each shadow request; see Mirror of
	// route.Split. It must not block. May be nil.
	Mirrored func(service string, r MirrorResult)
	// Now and Rand are time.Now and rand.Uint64, or a test's.
	Now  func() time.Time
	Rand func() uint64
}

// Timeouts of the data plane; each zero value means the default in the comment
// (docs/OPERATIONS.md has the table), a negative one no limit.
type Timeouts struct {
	Dial           time.Duration // proxy.dialtimeout: one connection attempt; 1 s
	TLSHandshake   time.Duration // proxy.tlshandshaketimeout: added for https instances; 2 s
	ResponseHeader time.Duration // proxy.responseheadertimeout: from the request sent to the response's head; 30 s. A retriable request gets half of it per try
	ReadHeader     time.Duration // proxy.readheadertimeout: the client's request head; 10 s
	BodyIdle       time.Duration // proxy.bodyidletimeout: between two reads or writes of a body; 60 s
	StreamIdle     time.Duration // proxy.streamidletimeout: WebSocket and event streams; 1 h
	ClientIdle     time.Duration // proxy.keepalivetimeout: an idle client connection; 75 s
	UpstreamIdle   time.Duration // proxy.idleconntimeout: an idle connection to an instance; 4 s until its own limit is learned
}

// Limits of the data plane; zero means the default in the comment.
type Limits struct {
	RequestLine    int   // bytes; 8 KiB (414)
	HeaderLine     int   // bytes; 16 KiB (431)
	HeaderTotal    int   // bytes; 64 KiB (431)
	HeaderCount    int   // 100 (431)
	ResponseHead   int64 // bytes; 256 KiB (502)
	MaxStreams     int   // HTTP/2 streams per client connection; 100
	IdlePerTarget  int   // proxy.maxconn: idle connections kept per instance; 64
	InFlightTarget int   // proxy.maxinflight.instance: requests in flight per instance; 1024
	InFlightTotal  int   // proxy.maxinflight.service: per service; 10,000
	ReplayBody     int   // proxy.retrybody: bytes of a request body kept for a retry; 64 KiB
	Informational  int   // 1xx responses forwarded per request; 10
}

// Headers names what is added to requests and responses besides the standard
// forwarding headers.
type Headers struct {
	ClientIP  string // proxy.header.clientip
	RequestID string // proxy.header.requestid
	TLS       string // proxy.header.tls
	TLSValue  string // proxy.header.tls.value
	Debug     bool   // proxy.header.debug: X-LB-Service, -Arm, -Why, -Instance on responses
	// Trusted is proxy.trusted.header: in which trusted peers tell the client's
	// address; "" is X-Forwarded-For. With another one their X-Forwarded-For and
	// Forwarded are not believed. Instances get it with the believed address.
	Trusted string
}

// WithDefaults returns t with every zero replaced by its default, and every
// negative value by zero: that is how net/http writes "no limit".
func (t Timeouts) WithDefaults() Timeouts {
	d := func(v *time.Duration, def time.Duration) { *v = max(cmp.Or(*v, def), 0) }
	d(&t.Dial, time.Second)
	d(&t.TLSHandshake, 2*time.Second)
	d(&t.ResponseHeader, 30*time.Second)
	d(&t.ReadHeader, 10*time.Second)
	d(&t.BodyIdle, time.Minute)
	d(&t.StreamIdle, time.Hour)
	d(&t.ClientIdle, 75*time.Second)
	d(&t.UpstreamIdle, 4*time.Second)
	return t
}

// WithDefaults returns l with every zero replaced by its default.
func (l Limits) WithDefaults() Limits {
	return Limits{
		RequestLine:    cmp.Or(l.RequestLine, 8<<10),
		HeaderLine:     cmp.Or(l.HeaderLine, 16<<10),
		HeaderTotal:    cmp.Or(l.HeaderTotal, 64<<10),
		HeaderCount:    cmp.Or(l.HeaderCount, 100),
		ResponseHead:   cmp.Or(l.ResponseHead, 256<<10),
		MaxStreams:     cmp.Or(l.MaxStreams, 100),
		IdlePerTarget:  cmp.Or(l.IdlePerTarget, 64),
		InFlightTarget: unlimited(cmp.Or(l.InFlightTarget, 1024)),
		InFlightTotal:  unlimited(cmp.Or(l.InFlightTotal, 10_000)),
		ReplayBody:     cmp.Or(l.ReplayBody, 64<<10),
		Informational:  cmp.Or(l.Informational, 10),
	}
}

// unlimited makes a negative limit one that nothing reaches.
func unlimited(n int) int {
	if n < 0 {
		return math.MaxInt
	}
	return n
}

// Decide loads the table once and decides; see [Decide]. It also counts the
// request for the retry budget of its service. The caller must Leave the
// decision when the request has ended.
func (c *Core) Decide(r Request) Decision {
	now := c.Now()
	d := Decide(c.Table(), c.Settings, c.Upstreams, (*gate)(c), r, Draw{Part: c.Rand(), Arm: c.Rand(), Instance: c.Rand(), Mirror: c.Rand(), Now: now})
	switch {
	case d.Target != nil:
		c.Budget.Request(d.Part.Service, now)
	case d.Answer.Reason == ReasonNoRoute && c.NoRoute != nil:
		d.Answer.HTML = c.NoRoute()
	}
	return d
}

// gate is a Core as the Gate of its decisions.
type gate Core

func (g *gate) Authorise(scheme string, r Request) Authorisation { return g.Auth.Authorise(scheme, r) }

func (g *gate) Enter(rt *route.Route, t *route.Target, now time.Time) (*Quota, Reason, time.Duration) {
	return g.Quotas.Enter(rt, t, now)
}

// Done tells the Outcome of a request, exactly once, through Observe.
func (c *Core) Done(o *Outcome) {
	if c.Observe != nil {
		c.Observe(o)
	}
}
