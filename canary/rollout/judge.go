package rollout

import (
	"slices"
	"time"

	"serin/canary/evidence"
)

// watching is what this balancer sees of one rollout.
type watching struct {
	rec    *evidence.Recorder
	plan   *Plan  // that judged was made of
	id     string // of the rollout
	judged string
	life   int
	moves  uint64

	against uint64 // what spoke against the canary when it was judged last
	at      time.Time
	n       int
	finding evidence.Finding
}

// judgedFor is judgedBy of the plan's analysis, which is made once for each plan.
func (w *watching) judgedFor(p *Plan) string {
	if w != nil && w.plan == p {
		return w.judged
	}
	return judgedBy(p.Analysis)
}

// record gives every plan with an analysis its Recorder, and takes away those of
// plans that are gone.
func (r *run) record() {
	if r.f.Self.Blind {
		return
	}
	changed := false
	for service := range r.watching {
		if p := r.plans[service]; p == nil || p.Analysis == nil {
			delete(r.watching, service)
			changed = true
		}
	}
	for service, p := range r.plans {
		if p.Analysis == nil {
			continue
		}
		s := r.state(service).State
		w := r.watching[service]
		judged := w.judgedFor(p)
		switch {
		case w == nil || w.id != p.ID || w.judged != judged:
			w = &watching{rec: evidence.NewRecorder(p.Analysis.Config), id: p.ID, judged: judged}
			if s.ID == p.ID {
				w.moves = s.Moves
			}
		case slices.Contains(s.shared(p).Gone, life(Node{Self: r.f.Self, Life: w.life})):
			// The others keep what we had seen: what comes now is another's.
			w = &watching{rec: evidence.NewRecorder(p.Analysis.Config), id: p.ID, judged: judged, life: w.life + 1, moves: w.moves}
		default:
			w.plan = p
			if s.ID == p.ID && s.Moves != w.moves {
				w.rec.Step()
				w.moves = s.Moves
			}
			continue
		}
		r.watching[service], changed = w, true
	}
	if !changed && r.f.recorders.Load() != nil {
		return
	}
	all := make(map[string]*evidence.Recorder, len(r.watching))
	for service, w := range r.watching {
		all[service] = w.rec
	}
	r.f.recorders.Store(&all)
	r.dirty = true
}

// judge looks at what this balancer has seen by itself: at once after a failure,
// and every second.
func (r *run) judge(now time.Time) {
	for service, w := range r.watching {
		p := r.plans[service]
		h := r.state(service)
		n := r.balancers(p, h.State)
		against := w.rec.Against()
		if against == w.against && n == w.n && now.Sub(w.at) < time.Second {
			continue
		}
		w.against, w.at, w.n = against, now, n
		w.finding = p.Analysis.Alone(w.rec.Tally(), n)
		if w.finding.Verdict == evidence.Worse {
			r.object(p, h, w.finding, now)
		}
	}
}
