package proxy

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"serin/route"
)

// UpstreamsConfig are the rules that Upstreams follows. The zero value is the
// defaults.
type UpstreamsConfig struct {
	Limits Limits
	// Now and Rand are time.Now and rand.Uint64 where nil.
	Now  func() time.Time
	Rand func() uint64
	// Ejected is told when an instance is ejected, for how long and why, and
	// with 0 when it is taken back. It must not block and must not call
	// Upstreams. May be nil.
	Ejected func(service, addr string, d time.Duration, because Class)
}

// Upstreams is the live state of all instances, keyed by address, outside any
// table so that a table swap keeps it: requests in flight, ejections, slow
// start, and the turns of round robin. It is made by NewUpstreams, needs no
// goroutine, and is safe for concurrent use.
type Upstreams struct {
	cfg    UpstreamsConfig
	limits Limits
	start  time.Time

	byAddr   readMostly[*instance]
	services readMostly[*service]
	turns    readMostly[*atomic.Uint64]
	troubled atomic.Int64 // ejected instances

	mu    sync.Mutex   // guards what follows and every ejection; taken before any other lock here
	table *route.Table // in use
	seen  bool         // a table with a ready target was in use
	// resting are the instances that are not ready in the table in use and that
	// a Swap must look at again.
	resting map[*instance]bool
}

// service is the live state of one service.
type service struct {
	name     string
	inFlight atomic.Int64
	needed   int // parts of the table in use, and instances with claims; guarded by Upstreams.mu
}

// instance is the live state of one address.
type instance struct {
	addr     string
	inFlight atomic.Int64
	phase    atomic.Uint32 // condition.phase, for reading without the lock

	claims atomic.Pointer[[]*claims] // by service: nearly always one

	mu        sync.Mutex // guards condition; nothing is waited for under it
	condition condition

	// What follows is guarded by Upstreams.mu.
	listed int           // how often the table in use has it
	arms   []arm         // of the table in use, in which it is ready
	ready  bool          // in the table in use
	was    bool          // ready in the table before
	known  bool          // was ready once
	left   time.Duration // when it ceased to be ready
}

// claims are the two handles of an instance as one service's, and how the
// attempts ended that they were for.
type claims struct {
	plain, probe Upstream
	ended        [len(classNames)]atomic.Uint64
}

// arm is one arm of one service's part of a route.
type arm struct {
	part *route.Part
	name route.ArmName
}

// Upstream is a claim on one instance.
type Upstream struct {
	u       *Upstreams
	in      *instance
	service *service
	claims  *claims // that it is one of
	probe   bool
}

// NewUpstreams returns the state of no instance.
func NewUpstreams(cfg UpstreamsConfig) *Upstreams {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Uint64
	}
	return &Upstreams{cfg: cfg, limits: cfg.Limits.WithDefaults(), start: cfg.Now(), resting: map[*instance]bool{}}
}

// now is the time since the start, never 0.
func (u *Upstreams) now() time.Duration { return max(u.cfg.Now().Sub(u.start), 0) + 1 }

// Load returns the requests in flight at addr.
func (u *Upstreams) Load(addr string) int {
	if in, ok := u.byAddr.get(addr); ok {
		return int(in.inFlight.Load())
	}
	return 0
}

// Usable reports whether addr may get a request now: it is not ejected (or its
// time has come and no probe is under way), has room, and is warm enough for
// the draw; any instance is for draw 0. The limit on requests in flight is
// exceeded by no more than the requests that are being decided at one moment.
func (u *Upstreams) Usable(addr string, draw uint64) bool {
	in, ok := u.byAddr.get(addr)
	if !ok {
		return true
	}
	if in.inFlight.Load() >= int64(u.limits.InFlightTarget) {
		return false
	}
	if phase(in.phase.Load()) == steady {
		return true
	}
	return u.check(in, func(c *condition, now time.Duration) bool { return c.usable(now, draw) })
}

// Ejected reports whether addr is taken out, and not due for a probe.
func (u *Upstreams) Ejected(addr string) bool {
	in, ok := u.byAddr.get(addr)
	if !ok || phase(in.phase.Load()) != ejected {
		return false
	}
	return !u.check(in, func(c *condition, now time.Duration) bool { return c.usable(now, 0) })
}

// Calm reports that no instance at all is ejected.
func (u *Upstreams) Calm() bool { return u.troubled.Load() == 0 }

func (u *Upstreams) check(in *instance, ask func(*condition, time.Duration) bool) bool {
	now := u.now()
	in.mu.Lock()
	defer in.mu.Unlock()
	if c := &in.condition; c.phase == warming && now-c.since >= rampTime {
		u.set(in, steady)
	}
	return ask(&in.condition, now)
}

// set changes the phase of in, whose lock is held.
func (u *Upstreams) set(in *instance, p phase) {
	old := phase(in.phase.Swap(uint32(p)))
	in.condition.phase = p
	if p == ejected && old != ejected {
		u.troubled.Add(1)
	}
	if p != ejected && old == ejected {
		u.troubled.Add(-1)
	}
}

// Room reports whether the service may have another request in flight.
func (u *Upstreams) Room(service string) bool {
	s, ok := u.services.get(service)
	return !ok || s.inFlight.Load() < int64(u.limits.InFlightTotal)
}

// Turn returns the next number of the named sequence, starting at 0.
func (u *Upstreams) Turn(sequence string) uint64 {
	n, ok := u.turns.get(sequence)
	if !ok {
		n = u.turns.orMake(sequence, func() *atomic.Uint64 { return new(atomic.Uint64) })
	}
	return n.Add(1) - 1
}

// Claim registers a request in flight at t, so that a drain can never miss it;
// the caller must Release it exactly once, when the exchange is over (for a
// WebSocket, when it is closed).
func (u *Upstreams) Claim(t *route.Target) *Upstream {
	in, ok := u.byAddr.get(t.Addr)
	if !ok {
		in = u.byAddr.orMake(t.Addr, func() *instance { return &instance{addr: t.Addr} })
	}
	cl := in.claimsOf(t.Service)
	if cl == nil {
		cl = u.addClaims(in, t.Service)
	}
	up := &cl.plain
	if phase(in.phase.Load()) == ejected && u.check(in, func(c *condition, now time.Duration) bool {
		probe := c.mayProbe(now)
		if probe {
			c.probed = now
		}
		return probe
	}) {
		up = &cl.probe
	}
	in.inFlight.Add(1)
	up.service.inFlight.Add(1)
	return up
}

// Release ends what Claim began and tells what became of the attempt: this is
// what ejects an instance and takes it back.
func (up *Upstream) Release(c Class) {
	u, in := up.u, up.in
	in.inFlight.Add(-1)
	up.service.inFlight.Add(-1)
	up.claims.ended[c].Add(1)
	now := u.now()

	in.mu.Lock()
	fit := in.condition.observe(c, now)
	back := false
	if up.probe {
		fit = in.condition.probeEnded(c, now) || fit
		if back = phase(in.phase.Load()) == ejected && in.condition.phase != ejected; back {
			u.set(in, in.condition.phase)
		}
	}
	in.mu.Unlock()

	if fit {
		u.eject(up, c, now)
	}
	if back && u.cfg.Ejected != nil {
		u.cfg.Ejected(up.service.name, in.addr, 0, c)
	}
}

// eject takes the instance out if enough of its fellows stay; one that is out
// already and whose probe failed takes nothing away.
func (u *Upstreams) eject(up *Upstream, class Class, now time.Duration) {
	in := up.in
	u.mu.Lock()
	in.mu.Lock()
	c := &in.condition
	var d time.Duration
	switch {
	case c.phase == ejected && !up.probe: // another attempt was quicker
	case c.phase == ejected || u.mayEject(in, class):
		d = c.eject(class, now, u.cfg.Rand())
		u.set(in, ejected)
	default:
		c.spare()
	}
	in.mu.Unlock()
	u.mu.Unlock()
	if d > 0 && u.cfg.Ejected != nil {
		u.cfg.Ejected(up.service.name, in.addr, d, class)
	}
}

// mayEject asks every arm that in is part of; u.mu is held.
func (u *Upstreams) mayEject(in *instance, class Class) bool {
	for _, a := range in.arms {
		size, out, others := 0, 0, 0
		for name := range a.part.Arms {
			ready := a.part.Arms[name].Ready
			n := u.countEjected(ready)
			if route.ArmName(name) == a.name {
				size, out = len(ready), n
			} else {
				others += len(ready) - n
			}
		}
		if !mayEject(a.name, size, out, others, class) {
			return false
		}
	}
	return len(in.arms) > 0
}

func (u *Upstreams) countEjected(targets []*route.Target) (n int) {
	for _, t := range targets {
		if in, ok := u.byAddr.get(t.Addr); ok && phase(in.phase.Load()) == ejected {
			n++
		}
	}
	return n
}

func (in *instance) claimsOf(service string) *claims {
	for _, c := range in.allClaims() {
		if c.plain.service.name == service {
			return c
		}
	}
	return nil
}

func (in *instance) allClaims() []*claims {
	if p := in.claims.Load(); p != nil {
		return *p
	}
	return nil
}

func (u *Upstreams) addClaims(in *instance, name string) *claims {
	u.mu.Lock() // so that no Swap forgets the service in between
	defer u.mu.Unlock()
	if c := in.claimsOf(name); c != nil {
		return c
	}
	c := new(claims)
	c.plain = Upstream{u: u, in: in, claims: c, service: u.services.orMake(name, func() *service { return &service{name: name} })}
	c.probe = c.plain
	c.probe.probe = true
	c.plain.service.needed++
	if !in.ready {
		u.resting[in] = true // it left, or is yet to come
	}
	all := append(slices.Clone(in.allClaims()), c)
	in.claims.Store(&all)
	return c
}
