package admin

import (
	"net/http"
	"strings"

	"serin/route"
)

// Route is one [host]/path as the API shows it.
type Route struct {
	Host  string `json:"host"` // "" is any
	Path  string `json:"path"`
	Parts []Part `json:"parts"`
}

// Part is one service's part of a route.
type Part struct {
	Service string   `json:"service"`
	Share   float64  `json:"share"` // of the route's traffic
	Canary  *Split   `json:"canary,omitempty"`
	Targets []Target `json:"targets"` // those that are neither ready nor critical are missing
}

// Split is how a canary document divides a part.
type Split struct {
	Ratio   float64 `json:"ratio"`             // in force, after the guards
	Wanted  float64 `json:"wanted"`            // as the document asks
	Because string  `json:"because,omitempty"` // why they differ
	Index   uint64  `json:"index"`             // of the document
	Hash    string  `json:"hash,omitempty"`
}

// Target is one instance as a route sees it.
type Target struct {
	ID    string  `json:"id"`
	Node  string  `json:"node"`
	Addr  string  `json:"addr"`
	Arm   string  `json:"arm"`
	Ready bool    `json:"ready"`
	Share float64 `json:"share"` // of the route's traffic, as the table has it: what is ejected or busy gets less
	Tag   string  `json:"tag"`
}

func (s *Server) routes(w http.ResponseWriter, r *http.Request) {
	service := r.URL.Query().Get("service")
	out := []Route{}
	for rt := range s.tableRoutes() {
		view := Route{Host: rt.Host, Path: rt.Path, Parts: []Part{}}
		for _, p := range rt.Parts {
			if service == "" || p.Service == service {
				view.Parts = append(view.Parts, viewPart(p))
			}
		}
		if len(view.Parts) > 0 {
			out = append(out, view)
		}
	}
	answer(w, out)
}

// tableRoutes yields the routes of the table in use.
func (s *Server) tableRoutes() func(yield func(*route.Route) bool) {
	t := s.table()
	if t == nil {
		return func(func(*route.Route) bool) {}
	}
	return t.Routes()
}

func viewPart(p *route.Part) Part {
	out := Part{Service: p.Service, Share: p.Share, Canary: viewSplit(p.Split, p.Effect()), Targets: []Target{}}
	arms := p.Shares()
	for name := range p.Arms {
		arm := &p.Arms[name]
		for i, t := range arm.Ready {
			out.Targets = append(out.Targets, viewTarget(t, route.ArmName(name), true, p.Share*arms[name]*arm.Share(i)))
		}
		for _, t := range arm.Critical {
			out.Targets = append(out.Targets, viewTarget(t, route.ArmName(name), false, 0))
		}
	}
	return out
}

func viewTarget(t *route.Target, arm route.ArmName, ready bool, share float64) Target {
	return Target{ID: t.ID, Node: t.Node, Addr: t.Addr, Arm: arm.String(), Ready: ready, Share: share, Tag: t.Tag}
}

// viewSplit leaves out everything secret, such as the key of the sticky hash.
func viewSplit(s *route.Split, e route.Effect) *Split {
	if s == nil || !s.Explicit {
		return nil
	}
	return &Split{e.Ratio, s.Wanted, both(s.Because, e.Because), s.Index, s.DocHash}
}

// options returns what the target's tag says after its host and path.
func options(tag string) []string {
	_, rest, _ := strings.Cut(tag, " ")
	return strings.Fields(rest)
}
