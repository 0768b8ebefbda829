package proxy

import (
	"slices"
	"sync/atomic"
	"time"

	"serin/route"
)

// keepGone is how long the state of an instance that left is kept, so that one
// that flaps neither begins anew nor escapes its ejection.
const keepGone = 30 * time.Second

// Swap tells Upstreams which table is in use from now on. Instances that were
// not ready for 30 s begin a slow start, unless this is the first table with
// any; those that left are forgotten 30 s later (at a later Swap) once their
// requests have ended. It returns the addresses that are forgotten, in order,
// for others to forget them too. One goroutine calls it. It costs in proportion
// to what changed since the last table (see [route.Replaced]).
func (u *Upstreams) Swap(t *route.Table) (forgotten []string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	out, in := route.Replaced(u.table, t)
	u.table = t
	now, first := u.now(), !u.seen
	u.byAddr.edit(func(byAddr *draft[*instance]) {
		u.services.edit(func(services *draft[*service]) {
			s := &swap{u: u, byAddr: byAddr, services: services, touched: map[*instance]bool{}}
			for _, r := range in { // before those that go, so that what stays is never away
				s.list(r, 1)
			}
			for _, r := range out {
				s.list(r, -1)
			}
			for x := range u.resting {
				s.touch(x)
			}
			for x := range s.touched {
				if !s.follow(x, first, now) {
					forgotten = append(forgotten, x.addr)
				}
			}
			u.turns.edit(func(turns *draft[*atomic.Uint64]) {
				if u.turns.len() > 4*u.services.len()+100 { // of services that left: begin anew
					turns.clear()
				}
			})
		})
	})
	slices.Sort(forgotten)
	return forgotten
}

// swap is one Swap under way.
type swap struct {
	u        *Upstreams
	byAddr   *draft[*instance]
	services *draft[*service]
	touched  map[*instance]bool
}

func (s *swap) touch(in *instance) {
	if !s.touched[in] {
		s.touched[in] = true
		in.was = in.ready
	}
}

// list takes note that a route has come (by 1) or gone (by -1).
func (s *swap) list(r *route.Route, by int) {
	get := func(t *route.Target) *instance {
		in := s.byAddr.orMake(t.Addr, func() *instance { return &instance{addr: t.Addr} })
		s.touch(in)
		in.listed += by
		return in
	}
	for _, p := range r.Parts {
		s.need(s.services.orMake(p.Service, func() *service { return &service{name: p.Service} }), by)
		for name := range p.Arms {
			for _, t := range p.Arms[name].Ready {
				in, a := get(t), arm{p, route.ArmName(name)}
				if by > 0 {
					s.u.seen = true
					in.arms = append(in.arms, a)
				} else if i := slices.Index(in.arms, a); i >= 0 {
					in.arms = slices.Delete(in.arms, i, i+1)
				}
			}
			for _, t := range p.Arms[name].Critical {
				get(t)
			}
		}
	}
}

// need takes note that one more or one less needs the service.
func (s *swap) need(svc *service, by int) {
	if svc.needed += by; svc.needed == 0 {
		s.services.drop(svc.name)
	}
}

// follow takes note of whether the instance is ready in the table in use, and
// reports whether it is kept.
func (s *swap) follow(in *instance, first bool, now time.Duration) bool {
	u := s.u
	in.ready = len(in.arms) > 0
	in.mu.Lock()
	c := &in.condition
	switch {
	case in.ready && !in.was && c.phase == ejected:
		c.until = min(c.until, now) // Consul's word is newer than ours: probe it
	case in.ready && !in.was && !first && (!in.known || now-in.left >= keepGone):
		c.warm(now)
		u.set(in, warming)
	case !in.ready && in.was:
		in.left = now
	}
	in.known = in.known || in.ready
	recent := in.ready || in.inFlight.Load() > 0 || in.known && now-in.left < keepGone
	if !recent {
		u.set(in, steady) // so that Calm counts it no longer
	}
	in.mu.Unlock()

	switch {
	case in.ready || in.listed > 0 && !recent:
		delete(u.resting, in) // until it is in a table that changes something
	case recent:
		u.resting[in] = true
	default:
		delete(u.resting, in)
		for _, cl := range in.allClaims() {
			s.need(cl.plain.service, -1)
		}
		if x, ok := s.byAddr.get(in.addr); ok && x == in {
			s.byAddr.drop(in.addr)
		}
		return false
	}
	return true
}
