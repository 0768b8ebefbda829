package rollout

import (
	"time"

	"serin/canary/evidence"
)

// veto is a rollout that this balancer has stopped for itself, until all have.
type veto struct {
	plan    *Plan
	finding evidence.Finding
	state   State
	events  []Event
	since   time.Time
	next    time.Time // when to write it, again
	said    bool      // its events were told
}

// sayAlone is how long the events of a veto wait to be written: another balancer
// may have found the same, and then it is that one's.
const sayAlone = time.Second

// stopped tells whether a state says no less than a veto.
func stopped(s State) bool {
	return s.Phase == RolledBack || s.Phase == Promoted || s.Phase == Paused && s.PausedBy == ByEvidence
}

// stop returns the state after a finding that the canary is worse, and what
// happened; false when that changes nothing.
func stop(p *Plan, s State, f evidence.Finding, now time.Time) (State, []Event, bool) {
	var all []Event
	is := s
	for range 4 { // begin, take in the document, stop
		next, events := Next(p, is, f, now)
		if next == is {
			break
		}
		is, all = next, append(all, events...)
		if stopped(is) {
			break
		}
	}
	was := s
	if was.ID != p.ID {
		was = State{}
	}
	return is, all, is.ID == p.ID && stopped(is) && is.Phase != Promoted && !stopped(was)
}

// object stops a rollout for this balancer at once.
func (r *run) object(p *Plan, h held, f evidence.Finding, now time.Time) {
	if v := r.vetoes[p.Service]; v != nil && v.plan.ID == p.ID {
		return
	}
	s := h.State
	s.Damaged = "" // what is damaged is not overwritten, but it protects nobody either
	next, events, ok := stop(p, s, f, now)
	if !ok {
		return
	}
	next.By = r.f.Self.ID
	r.vetoes[p.Service] = &veto{plan: p, finding: f, state: next, events: events, since: now}
	r.f.Metrics.vetoed()
	r.log.Warn("the canary is worse: this balancer stops it", "service", p.Service, "id", p.ID, "phase", string(next.Phase), "e", f.E, "threshold", f.Threshold, "because", f.Because)
	if sent := r.presence[p.Service]; sent != nil {
		sent.slow, r.again = time.Time{}, true // the others judge by what was seen
	}
	r.dirty = true
}

// writeVetoes writes them until all balancers know, or they are void.
func (r *run) writeVetoes(now time.Time) {
	for service, v := range r.vetoes {
		p, h := r.plans[service], r.state(service)
		switch {
		case p == nil || p.ID != v.plan.ID:
			delete(r.vetoes, service)
			r.dirty = true
			continue
		case h.ID == v.plan.ID && h.Damaged == "" && stopped(h.State):
			delete(r.vetoes, service)
			r.dirty = true
			continue
		}
		if !v.said && now.Sub(v.since) >= sayAlone {
			r.happen(service, v.events)
			v.said = true
		}
		if r.writing[service] || now.Before(v.next) || h.Damaged != "" || r.world == nil {
			continue
		}
		next, events, ok := stop(p, h.State, v.finding, now)
		if !ok { // made for a newer document than ours
			continue
		}
		v.next = now.Add(retryAfter)
		next.Fleet = r.bank(p, h.State, now)
		r.write(service, h, next, func(written bool, _ State) {
			v.next = time.Time{}
			if !written {
				v.next = time.Now().Add(busyTick)
				return
			}
			if !v.said {
				v.said = true
				r.happen(service, events)
			}
		})
	}
}
