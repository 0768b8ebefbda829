package admin

import (
	"fmt"
	"net/http"
	"slices"
	"time"

	"serin/proxy"
	"serin/registry"
	"serin/route"
)

// RegistryStatus says how well Consul is followed.
type RegistryStatus struct {
	Addr        string    `json:"addr"`
	Source      string    `json:"source"`                 // "consul", "disk" (the state of an earlier run) or "none"
	LastContact time.Time `json:"last_contact,omitzero"`  // last good answer
	Error       string    `json:"error,omitempty"`        // why the last one was not good
	Stale       bool      `json:"stale,omitempty"`        // what is known may be out of date
	Registered  []string  `json:"registered_as,omitzero"` // our own service IDs
	// Following says how changes are noticed; nil where that is not known.
	Following *Following `json:"following,omitempty"`
}

// Following says how changes in Consul are noticed.
type Following struct {
	Mode           string  `json:"mode"`                  // "streams", an open query for each service, or "bell", lists that change when any does
	Services       int     `json:"services"`              // followed
	Streams        int     `json:"streams"`               // open queries on services
	Connections    int     `json:"connections,omitempty"` // that carry them over HTTP/2
	ReadsPerSecond float64 `json:"reads_per_second"`      // good answers, lately
	OldestAnswer   float64 `json:"oldest_answer_seconds"` // age of the last answer about the service heard of least lately
	Corrections    uint64  `json:"sweep_corrections"`     // changes that neither a bell nor a stream told, and the sweep or another look found
}

// String says it in one line.
func (f *Following) String() string {
	return fmt.Sprintf("services followed: %d, by %s; streams open: %d; reads a second: %.1f; oldest answer: %.0f s; sweep corrections: %d",
		f.Services, f.Mode, f.Streams, f.ReadsPerSecond, f.OldestAnswer, f.Corrections)
}

// Status is the whole in one view.
type Status struct {
	StateJSON
	Version   Version        `json:"version"`
	Started   time.Time      `json:"started"`
	Registry  RegistryStatus `json:"registry"`
	Services  int            `json:"services"`
	Instances int            `json:"instances"`
	Routes    int            `json:"routes"`
	Problems  int            `json:"problems"`
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	out := Status{StateJSON: s.state().json(), Version: s.Version, Started: s.Started, Registry: s.registry()}
	if t := s.table(); t != nil {
		out.Services, out.Instances, out.Problems = t.Snapshot().Len(), t.Snapshot().Instances(), len(t.Problems())
		for range t.Routes() {
			out.Routes++
		}
	}
	answer(w, out)
}

func (s *Server) registry() RegistryStatus {
	if s.Registry == nil {
		return RegistryStatus{Source: "none"}
	}
	return s.Registry()
}

// Service is one service in short.
type Service struct {
	Name      string `json:"name"`
	Instances int    `json:"instances"`
	Ready     int    `json:"ready"`
	Routes    int    `json:"routes"`
	Problems  int    `json:"problems"`
	Canary    *Split `json:"canary,omitempty"`
	Hold      string `json:"hold,omitempty"` // why an older state is kept
}

func (s *Server) services(w http.ResponseWriter, _ *http.Request) {
	out := []*Service{}
	if t := s.table(); t != nil {
		views := viewServices(t)
		for svc := range t.Snapshot().All() {
			out = append(out, views[svc.Name])
		}
	}
	answer(w, out)
}

// viewServices walks the table once.
func viewServices(t *route.Table) map[string]*Service {
	out := map[string]*Service{}
	for svc := range t.Snapshot().All() {
		v := &Service{Name: svc.Name, Instances: len(svc.Instances), Hold: svc.Hold}
		for i := range svc.Instances {
			if svc.Instances[i].Ready {
				v.Ready++
			}
		}
		out[svc.Name] = v
	}
	for rt := range t.Routes() {
		for _, p := range rt.Parts {
			if v := out[p.Service]; v != nil {
				v.Routes++
				if v.Canary == nil && p.Split.Explicit {
					v.Canary = viewSplit(p.Split, t.Effect(p.Service))
				}
			}
		}
	}
	for _, p := range t.Problems() {
		if v := out[p.Service]; v != nil {
			v.Problems++
		}
	}
	return out
}

// ServiceDetail is all that is known of one service.
type ServiceDetail struct {
	*Service
	ReadAt    time.Time             `json:"read_at"` // when Consul last confirmed it
	Members   []registry.Instance   `json:"members"`
	Upstreams []proxy.UpstreamState `json:"upstreams"` // live state by address
	Refused   []route.Problem       `json:"refused,omitempty"`
}

func (s *Server) service(w http.ResponseWriter, r *http.Request) {
	t, name := s.table(), r.PathValue("name")
	var svc *registry.Service
	if t != nil {
		svc = t.Snapshot().Service(name)
	}
	if svc == nil {
		fail(w, http.StatusNotFound, "no service "+name+" with a route is known",
			"GET /api/v1/services lists those that are; a service needs a tag such as "+s.tagPrefix()+"/")
		return
	}
	out := ServiceDetail{Service: viewServices(t)[name], ReadAt: svc.ReadAt, Members: svc.Instances, Upstreams: []proxy.UpstreamState{}}
	for _, u := range s.live() {
		if slices.ContainsFunc(svc.Instances, func(i registry.Instance) bool { return i.Addr == u.Addr }) {
			out.Upstreams = append(out.Upstreams, u)
		}
	}
	for _, p := range t.Problems() {
		if p.Service == name {
			out.Refused = append(out.Refused, p)
		}
	}
	answer(w, out)
}

func (s *Server) live() []proxy.UpstreamState {
	if s.Upstreams == nil {
		return nil
	}
	return s.Upstreams()
}

func (s *Server) upstreams(w http.ResponseWriter, _ *http.Request) {
	answer(w, append([]proxy.UpstreamState{}, s.live()...))
}

func (s *Server) problems(w http.ResponseWriter, _ *http.Request) {
	out := []route.Problem{}
	if t := s.table(); t != nil {
		out = append(out, t.Problems()...)
	}
	answer(w, out)
}

func (s *Server) config(w http.ResponseWriter, _ *http.Request) {
	answer(w, append([]Setting{}, s.Config...))
}

func (s *Server) version(w http.ResponseWriter, _ *http.Request) { answer(w, s.Version) }
