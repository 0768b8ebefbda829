package proxy

import (
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
	Settings  Settings
	Timeouts  Timeouts
	Limits    Limits
	Headers   Headers
	// Trusted are the peers whose forwarding headers are believed.
	Trusted []netip.Prefix
	// Observe is told every request's Outcome once. It must not block.
	Observe func(*Outcome)
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
	IdlePerTarget  int   // proxy.maxidle: idle connections kept per instance; 64
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
}

// Decide loads the table once and decides; see [Decide].
func (c *Core) Decide(r Request) Decision {
	d := Draw{Part: c.Rand(), Arm: c.Rand(), Instance: c.Rand(), Now: c.Now()}
	return Decide(c.Table(), c.Settings, c.Upstreams, r, d)
}

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
