package rollout

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"time"

	"serin/canary/evidence"
)

// Shared is what balancers keep in a State for each other, beside the steps. It
// is never written again.
type Shared struct {
	// Balancers is how many that see requests published the service at once, at most.
	Balancers int `json:"balancers"`
	// Left is what balancers had seen that have left, by the analysis that
	// Judged identifies, and Gone are their lives.
	Judged string         `json:"judged,omitempty"`
	Left   evidence.Tally `json:"left,omitzero"`
	Gone   []string       `json:"gone,omitempty"`
}

const (
	maxGone = 256              // lives in Shared.Gone; what more have seen is forgotten when they leave
	grace   = 30 * time.Second // a balancer that is away this long has left
)

// departed is what a balancer had published that publishes no more.
type departed struct {
	Node
	at time.Time
}

// most is how many balancers that see requests published a service at once, at most, in one rollout.
type most struct {
	id string
	n  int
}

// judgedBy identifies an analysis: evidence of another one is not comparable.
func judgedBy(a *Analysis) string {
	if a == nil {
		return ""
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%+v %v %+v", a.Config, a.Warmup, a.Failures))
	return hex.EncodeToString(sum[:8])
}

// life names one life of a balancer's evidence: it begins another when the others
// have taken it for gone and keep what it had seen.
func life(n Node) string {
	sum := sha256.Sum256([]byte(n.ID + "/" + strconv.Itoa(n.Life)))
	return hex.EncodeToString(sum[:6])
}

// depart notes who publishes no more, and who does again.
func (r *run) depart(was, is *world, now time.Time) {
	if was != nil {
		for service, nodes := range was.nodes {
			for id, n := range nodes {
				if _, still := is.nodes[service][id]; still || id == r.f.Self.ID || n.Judged == "" {
					continue
				}
				if r.left[service] == nil {
					r.left[service] = map[string]departed{}
				}
				r.left[service][id] = departed{n, now}
			}
		}
	}
	for service, left := range r.left {
		for id, d := range left {
			if _, back := is.nodes[service][id]; back || now.Sub(d.at) > time.Hour {
				delete(left, id)
			}
		}
		if len(left) == 0 {
			delete(r.left, service)
		}
	}
}

// balancers is how many judge a rollout: the largest number seen in it, at least 1.
func (r *run) balancers(p *Plan, s State) int {
	m := r.most[p.Service]
	if m.id != p.ID {
		m = most{id: p.ID}
	}
	if r.world != nil {
		n := 0
		for id, node := range r.world.nodes[p.Service] {
			if id != r.f.Self.ID && !node.Blind {
				n++
			}
		}
		if !r.f.Self.Blind {
			n++
		}
		m.n = max(m.n, n)
	}
	if s.ID == p.ID && s.Fleet != nil {
		m.n = max(m.n, min(s.Fleet.Balancers, 1<<16))
	}
	m.n = max(m.n, 1)
	r.most[p.Service] = m
	return m.n
}

// concerns tells whether what a balancer published is evidence about the plan.
func (n Node) concerns(p *Plan, judged string) bool {
	return n.Rollout == p.ID && n.Judged == judged && judged != ""
}

// pool judges what all balancers have seen together, those that have left too.
func (r *run) pool(p *Plan, s State) evidence.Finding {
	if p.Analysis == nil {
		return evidence.Finding{}
	}
	w := r.watching[p.Service]
	judged := w.judgedFor(p)
	shared := s.shared(p)
	var tallies []evidence.Tally
	add := func(n Node) {
		if !n.concerns(p, judged) || slices.Contains(shared.Gone, life(n)) {
			return
		}
		if n.Moves != s.Moves {
			n.Evidence.Step = 0
		}
		tallies = append(tallies, n.Evidence)
	}
	if w != nil {
		add(r.own(p.Service, time.Time{}))
	}
	if r.world != nil {
		for _, id := range services(r.world.nodes[p.Service]) {
			if id != r.f.Self.ID {
				add(r.world.nodes[p.Service][id])
			}
		}
	}
	for _, id := range services(r.left[p.Service]) {
		n := r.left[p.Service][id].Node
		n.Evidence.Step = 0
		add(n)
	}
	if shared.Judged == judged {
		t := shared.Left
		t.Step = 0
		tallies = append(tallies, t)
	}
	return p.Analysis.Pool(tallies...)
}

// shared returns what the state has of the plan's rollout.
func (s State) shared(p *Plan) Shared {
	if s.Fleet == nil || s.ID != p.ID {
		return Shared{}
	}
	return *s.Fleet
}

// bank returns what the state shall share from now on: the evidence of those who
// have left is added, that of another analysis is dropped. It is s.Fleet itself
// when nothing is new.
func (r *run) bank(p *Plan, s State, now time.Time) *Shared {
	was := s.shared(p)
	is := was
	judged := judgedBy(p.Analysis)
	if is.Judged != judged && is.Judged != "" {
		is.Judged, is.Left, is.Gone = "", evidence.Tally{}, nil
	}
	is.Balancers = max(is.Balancers, r.balancers(p, s))
	for _, id := range services(r.left[p.Service]) {
		d := r.left[p.Service][id]
		switch {
		case slices.Contains(is.Gone, life(d.Node)):
			delete(r.left[p.Service], id)
		case now.Sub(d.at) < grace || !d.concerns(p, judged) || len(is.Gone) >= maxGone:
		default:
			tallies := []evidence.Tally{d.Evidence}
			if is.Judged != "" {
				tallies = append(tallies, is.Left)
			}
			is.Judged, is.Left = judged, p.Analysis.Sum(tallies...)
			is.Left.Step = 0
			is.Gone = append(slices.Clone(is.Gone), life(d.Node))
		}
	}
	if s.Fleet != nil && s.ID == p.ID && is.Balancers == was.Balancers && is.Judged == was.Judged && len(is.Gone) == len(was.Gone) {
		return s.Fleet
	}
	return &is
}
