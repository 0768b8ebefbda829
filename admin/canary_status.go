package admin

import (
	"net/http"

	"serin/canary"
	"serin/canary/rollout"
	"serin/route"
)

// Canaries is what is known of all documents.
type Canaries struct {
	canary.Status
	Services []CanaryStatus `json:"services"`
}

// CanaryStatus is what is in force for one service. Once the table in use has
// it, a tenth of a second after the document at most, Effective and Because
// tell what the table makes of it.
type CanaryStatus struct {
	canary.ServiceStatus
	InTable  bool     `json:"in_table"`
	Warnings []string `json:"warnings,omitempty"` // selectors that no instance answers to
	// Rollout is the shared state, and what each balancer has applied; nil where
	// no balancer publishes anything.
	Rollout *rollout.Status `json:"rollout,omitempty"`
}

func (s *Server) canaries(w http.ResponseWriter, _ *http.Request) {
	out := Canaries{Services: []CanaryStatus{}}
	if s.Canary != nil {
		t := s.table()
		out.Status = s.Canary.Status()
		for _, c := range out.Status.Services {
			v := viewCanary(t, c)
			v.Rollout = s.rollout(c.Service)
			out.Services = append(out.Services, v)
		}
	}
	answer(w, out)
}

func viewCanary(t *route.Table, c canary.ServiceStatus) CanaryStatus {
	sp := t.Splits().For(c.Service)
	if t == nil || sp.DocHash != c.Hash || sp.Ratio != c.Effective || c.LastGood != 0 && sp.Index != c.LastGood {
		return CanaryStatus{ServiceStatus: c}
	}
	e := t.Effect(c.Service)
	c.Effective, c.Because = e.Ratio, canary.JoinReasons(c.Because, e.Because)
	return CanaryStatus{ServiceStatus: c, InTable: true, Warnings: e.Warnings}
}

func (s *Server) canaryStatus(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("service")
	if s.Canary != nil {
		if c, ok := s.Canary.ServiceStatus(canary.Unlabel(name)); ok {
			v := viewCanary(s.table(), c)
			v.Rollout = s.rollout(canary.Unlabel(name))
			answer(w, v)
			return
		}
	}
	s.noDocument(w, name)
}

// rollout is what the fleet knows of the rollout that a service takes part in.
func (s *Server) rollout(service string) *rollout.Status {
	if s.Fleet == nil {
		return nil
	}
	label := s.rolloutOf(service)
	if st, ok := s.Fleet.Status(label); ok {
		return &st
	}
	if nodes := s.Fleet.Balancers(label); len(nodes) > 0 {
		return &rollout.Status{Service: label, State: rollout.State{Phase: rollout.Idle}, Nodes: nodes}
	}
	return nil
}

// rolloutOf names the rollout of a service: "*" where it follows the common
// document.
func (s *Server) rolloutOf(service string) string {
	if canary.Unlabel(service) == "" {
		return canary.Label("")
	}
	if s.Canary != nil {
		own, ok := s.Canary.ServiceStatus(service)
		all, both := s.Canary.ServiceStatus("")
		if ok && both && own.Key == all.Key {
			return canary.Label("")
		}
	}
	return service
}
