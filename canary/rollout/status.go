package rollout

import (
	"fmt"
	"time"

	"serin/canary/evidence"
)

// Status is what is known of one rollout.
type Status struct {
	Service string           `json:"service"`
	State   State            `json:"state"`
	Leader  string           `json:"leader,omitempty"` // balancer that takes the steps; "" when none does
	Leads   bool             `json:"leads"`            // this one does
	Held    string           `json:"held,omitempty"`   // why no step is taken
	Waits   string           `json:"waits,omitempty"`  // what it waits for, where nothing holds it
	Local   evidence.Finding `json:"local"`            // what this balancer has seen by itself
	Pooled  evidence.Finding `json:"pooled"`           // what all have, as far as they have published it
	Nodes   []NodeStatus     `json:"nodes"`
}

// NodeStatus is one balancer as the others see it.
type NodeStatus struct {
	Node
	Behind bool `json:"behind"` // it has neither applied nor refused the newest document
}

// view is what the methods of a Fleet show: what was known at the end of a turn.
// It is never written again.
type view struct {
	self    Self
	world   *world
	lost    error
	plans   map[string]*Plan
	applied map[string]Applied
	states  map[string]State // as told
	vetoes  map[string]bool
	local   map[string]evidence.Finding
	pooled  map[string]evidence.Finding
	own     map[string]Node
	leads   bool
}

// show makes the view anew when something changed, and every second.
func (r *run) show(now time.Time) {
	if leads := r.leads(now); !r.dirty && now.Sub(r.seen) < time.Second && leads == r.led {
		return
	}
	r.dirty, r.seen, r.led = false, now, r.leads(now)
	v := view{
		self: r.f.Self, world: r.world, lost: r.lost, plans: r.plans, applied: r.applied, states: r.told, leads: r.led,
		vetoes: map[string]bool{}, local: map[string]evidence.Finding{}, pooled: map[string]evidence.Finding{}, own: map[string]Node{},
	}
	for service := range r.vetoes {
		v.vetoes[service] = true
	}
	for service, w := range r.watching {
		v.local[service] = finite(w.finding)
	}
	for service, p := range r.plans {
		if p.Analysis != nil {
			v.pooled[service] = finite(r.pool(p, r.state(service).State))
		}
	}
	for service := range r.applied {
		v.own[service] = r.own(service, now)
	}
	r.f.mu.Lock()
	r.f.view = v
	r.f.mu.Unlock()
	r.f.Metrics.show(v)
}

func (f *Fleet) look() view {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.view
}

// Status returns what is known of a service's rollout; false when nothing is.
func (f *Fleet) Status(service string) (Status, bool) {
	v := f.look()
	state, known := v.states[service]
	if v.plans[service] == nil && (!known || state.Phase == Idle) {
		return Status{}, false
	}
	s := Status{
		Service: service, State: state, Leads: v.leads,
		Local: v.local[service], Pooled: v.pooled[service], Nodes: v.balancers(service),
	}
	if v.world != nil && v.world.lock.session != "" {
		s.Leader = v.world.lock.ID
	}
	if v.leads {
		s.Leader = v.self.ID
	}
	if s.Held = v.held(service, s); s.Held == "" {
		s.Waits = Waits(v.plans[service], state, s.Pooled, time.Now())
	}
	return s, true
}

// held is why no step of a rollout is taken, "" when they are.
func (v view) held(service string, s Status) string {
	p := v.plans[service]
	switch {
	case p == nil:
		return ""
	case v.vetoes[service]:
		return "this balancer has stopped it, and the others do not know yet"
	case v.lost != nil:
		return fmt.Sprintf("the shared states cannot be read: %v", v.lost)
	case v.world == nil:
		return "the shared states were not read yet"
	case Held(p, s.State) != "":
		return Held(p, s.State)
	case s.Leader == "" && v.world.lock.session != "":
		return "somebody who is no balancer holds the leader's lock: end the session " + v.world.lock.session
	case s.Leader != "" && !v.leads && !v.world.publishes(s.Leader):
		return fmt.Sprintf("%q, who holds the leader's lock, is no balancer that publishes anything: where that lasts, end the session %s", s.Leader, v.world.lock.session)
	case s.Leader == "":
		return "no balancer leads"
	}
	return ""
}

// publishes tells whether there is such a balancer.
func (w *world) publishes(id string) bool {
	_, ok := w.nodes[""][id]
	return ok
}

// Balancers returns the balancers that publish, in order of their IDs, with
// what they have applied of a service ("*" for the common document).
func (f *Fleet) Balancers(service string) []NodeStatus { return f.look().balancers(service) }

func (v view) balancers(service string) []NodeStatus {
	nodes := map[string]Node{v.self.ID: {Self: v.self}}
	if v.self.ID == "" { // Run has not begun
		return nil
	}
	if v.world != nil {
		for _, of := range []string{"", service} {
			for id, n := range v.world.nodes[of] {
				nodes[id] = n
			}
		}
	}
	if n, ok := v.own[service]; ok {
		nodes[v.self.ID] = n
	}
	newest := uint64(0)
	for _, n := range nodes {
		newest = max(newest, n.heard())
	}
	out := make([]NodeStatus, 0, len(nodes))
	for _, id := range services(nodes) {
		out = append(out, NodeStatus{nodes[id], nodes[id].heard() < newest})
	}
	return out
}

// heard is the index of the newest document that a balancer has read.
func (n Node) heard() uint64 { return max(n.Index, n.Rejected) }
