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
// for others to forget them too. One goroutine calls it.
func (u *Upstreams) Swap(t *route.Table) (forgotten []string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.swaps++
	now, first := u.now(), !u.seen
	u.byAddr.edit(func(byAddr *draft[*instance]) {
		u.services.edit(func(services *draft[*service]) {
			for r := range t.Routes() {
				for _, p := range r.Parts {
					services.orMake(p.Service, func() *service { return &service{name: p.Service} }).swap = u.swaps
					u.list(p, byAddr)
				}
			}
			for addr, in := range byAddr.m {
				if !u.follow(in, first, now) {
					byAddr.drop(addr)
					forgotten = append(forgotten, addr)
				}
			}
			for name, s := range services.m {
				if s.swap != u.swaps {
					services.drop(name)
				}
			}
			u.turns.edit(func(turns *draft[*atomic.Uint64]) {
				if len(turns.m) > 4*len(services.m)+100 { // of services that left: begin anew
					*turns = draft[*atomic.Uint64]{own: true}
				}
			})
		})
	})
	slices.Sort(forgotten)
	return forgotten
}

// list marks the instances of a part as those of the table in use.
func (u *Upstreams) list(p *route.Part, byAddr *draft[*instance]) {
	get := func(t *route.Target) *instance {
		in := byAddr.orMake(t.Addr, func() *instance { return &instance{addr: t.Addr} })
		if in.swap != u.swaps {
			in.swap, in.was, in.ready, in.arms = u.swaps, in.ready, false, in.arms[:0]
		}
		return in
	}
	for name := range p.Arms {
		for _, t := range p.Arms[name].Ready {
			in := get(t)
			in.ready, u.seen = true, true
			in.arms = append(in.arms, arm{p, route.ArmName(name)})
		}
		for _, t := range p.Arms[name].Critical {
			get(t)
		}
	}
}

// follow takes note of whether the instance is ready in the table in use, and
// reports whether it must be kept.
func (u *Upstreams) follow(in *instance, first bool, now time.Duration) (keep bool) {
	listed := in.swap == u.swaps
	if !listed {
		in.was, in.ready, in.arms = in.ready, false, nil
	}
	in.mu.Lock()
	defer in.mu.Unlock()
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
	if keep = recent || listed; keep {
		for _, cl := range in.allClaims() {
			cl.plain.service.swap = u.swaps
		}
	}
	return keep
}
