package rollout

import (
	"context"
	"strings"
	"time"

	"serin/canary/evidence"
)

// look is when the leader looked at a rollout last, and at what.
type look struct {
	at    time.Time
	plan  *Plan
	state State
	again time.Time
}

// lead takes the steps of all rollouts: on every change, when time asks for it,
// and every second.
func (r *run) lead(now time.Time) {
	if !r.leads(now) || r.world == nil {
		return
	}
	for service, p := range r.plans {
		if r.writing[service] || r.vetoes[service] != nil {
			continue
		}
		h := r.state(service)
		l := r.looked[service]
		if l.plan == p && l.state == h.State && now.Sub(l.at) < time.Second && (l.again.IsZero() || now.Before(l.again)) {
			continue
		}
		r.looked[service] = look{now, p, h.State, At(p, h.State, now).Again}
		r.step(p, h, now)
	}
	for service := range r.looked {
		if r.plans[service] == nil {
			delete(r.looked, service)
		}
	}
	r.refuse(now)
	r.clean(now)
	r.revive(now)
	r.logDocuments(now)
}

// revive writes the states again that are gone with Consul's own state.
func (r *run) revive(now time.Time) {
	if !now.Before(r.doubt) || now.Sub(r.asked) < storeLimit {
		return
	}
	r.asked = now
	for service, h := range r.world.states {
		if r.writing[service] || h.Damaged != "" {
			continue
		}
		if _, ok := r.absent[service]; ok {
			r.write(service, h, h.State, func(bool, State) {
				r.log.Info("the state of a rollout was written again", "service", service, "id", h.ID)
			})
			continue
		}
		key := StateKeys + "/" + service
		r.writing[service] = true
		r.apart(func(ctx context.Context) func() {
			p, err := call(ctx, func(ctx context.Context) (Pair, error) { return r.f.Store.Get(ctx, key) })
			return func() {
				delete(r.writing, service)
				if err == nil && p.Index == 0 && r.world.states[service].index == h.index {
					r.absent[service] = absent{h.index, time.Now()}
				}
			}
		})
	}
}

// step writes the state that follows, if one does.
func (r *run) step(p *Plan, h held, now time.Time) {
	if h.Damaged != "" {
		return
	}
	next := h.State
	if Held(p, next) == "" {
		next = led(p, next, now)
	}
	next, events := Next(p, next, r.verdict(p, h.State), now)
	next.Fleet = r.bank(p, h.State, now)
	if a, ok := r.applied[p.Service]; ok && next.Phase != "" {
		next.Invalid = shorten(a.Invalid, 512)
	}
	if next == h.State || next.Phase == "" || Held(p, h.State) != "" {
		return
	}
	next.At = now.UTC().Round(0)
	r.write(p.Service, h, next, func(written bool, is State) {
		delete(r.looked, p.Service)
		if written {
			r.happen(p.Service, events)
		}
	})
}

// refuse notes in the states what is refused of documents that are no rollout: of
// rollouts the steps note it. Where there is no state it makes an idle one.
func (r *run) refuse(now time.Time) {
	for service, a := range r.applied {
		h := r.state(service)
		why := shorten(a.Invalid, 512)
		if r.plans[service] != nil || h.Invalid == why || h.Damaged != "" || r.writing[service] || service == "" || strings.Contains(service, "/") {
			continue
		}
		next := h.State
		if next.Phase == "" || next.Phase == Idle {
			next = State{V: Version, Phase: Idle, Index: a.Index, Hash: a.Hash}
		}
		next.Invalid, next.At = why, now.UTC().Round(0)
		r.write(service, h, next, func(bool, State) {})
	}
}

// verdict is what the leader decides by: all evidence, and its own where that
// alone is enough.
func (r *run) verdict(p *Plan, s State) evidence.Finding {
	f := r.pool(p, s)
	if w := r.watching[p.Service]; w != nil && f.Verdict != evidence.Worse && w.finding.Verdict == evidence.Worse {
		return w.finding
	}
	return f
}

const (
	// orphaned is how long a document must be gone whose state is removed: where
	// this process has seen it, and where it has not.
	orphaned = time.Second
	unknown  = time.Minute
)

// clean removes states of documents that were deleted. A document that this
// process has never seen may merely be unknown yet, so its key is asked.
func (r *run) clean(now time.Time) {
	if r.applied == nil || r.lost != nil {
		clear(r.orphans)
		return
	}
	for service, h := range r.world.states {
		_, applied := r.applied[service]
		if applied || r.plans[service] != nil || r.writing[service] || h.Damaged != "" {
			delete(r.orphans, service)
			continue
		}
		since, ok := r.orphans[service]
		if !ok {
			r.orphans[service] = now
			continue
		}
		wait := orphaned
		if !r.known[service] {
			wait = unknown
		}
		if now.Sub(since) < wait {
			continue
		}
		r.orphans[service] = now
		r.remove(service, h, r.known[service])
	}
	for service := range r.orphans {
		if _, ok := r.world.states[service]; !ok {
			delete(r.orphans, service)
		}
	}
}

// remove deletes the state of a document that is gone: certainly, or if its own
// key says so.
func (r *run) remove(service string, h held, certain bool) {
	certain = certain || h.Phase == Idle // it holds nothing but what was refused
	if !certain && h.Key == "" {
		return
	}
	r.writing[service] = true
	r.apart(func(ctx context.Context) func() {
		var err error
		if !certain {
			var p Pair
			p, err = call(ctx, func(ctx context.Context) (Pair, error) { return r.f.Store.Get(ctx, h.Key) })
			certain = err == nil && p.Index == 0
		}
		if certain {
			_, err = call(ctx, func(ctx context.Context) (struct{}, error) {
				return struct{}{}, r.f.Store.Delete(ctx, StateKeys+"/"+service)
			})
		}
		return func() {
			delete(r.writing, service)
			r.say("removing the state of "+service, err)
			if certain && err == nil {
				delete(r.learned, service)
				r.log.Info("the state of a document that is gone was removed", "service", service, "id", h.ID, "phase", string(h.Phase))
			}
		}
	})
}
