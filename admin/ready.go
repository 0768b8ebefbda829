package admin

import (
	"net/http"
	"strings"
)

// State says whether this balancer may get traffic.
type State struct {
	// NotReady are the reasons why not; empty is ready. A balancer that lost
	// Consul but has a table stays ready.
	NotReady []string
	// Warnings are what a person should look at although traffic flows: an
	// invalid canary document, stale data. Consul shows them as a warning.
	Warnings []string
}

func (s *Server) state() State {
	if s.Ready == nil {
		return State{NotReady: []string{"starting"}}
	}
	return s.Ready()
}

// word is the state in one word, and its status for probes that know only good
// and bad.
func (st State) word() (string, int) {
	switch {
	case len(st.NotReady) > 0:
		return "not ready", http.StatusServiceUnavailable
	case len(st.Warnings) > 0:
		return "warning", http.StatusOK
	}
	return "ready", http.StatusOK
}

// StateJSON is State as /ready answers it to those that accept JSON.
type StateJSON struct {
	State    string   `json:"state"` // ready, warning or not ready
	NotReady []string `json:"not_ready,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
	// Following is only in the answer of /ready; /api/v1/status has it in registry.
	Following *Following `json:"following,omitempty"`
}

func (st State) json() StateJSON {
	word, _ := st.word()
	return StateJSON{State: word, NotReady: st.NotReady, Warnings: st.Warnings}
}

func (s *Server) health(w http.ResponseWriter, _ *http.Request) { plain(w, http.StatusOK, "OK") }

// ready answers probes. Consul's HTTP check takes 429 for a warning, which
// keeps the service in DNS and shows the text:
// https://developer.hashicorp.com/consul/docs/services/usage/checks#http-checks
func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	st := s.state()
	word, status := st.word()
	if word == "warning" && r.URL.Query().Has("consul") {
		status = http.StatusTooManyRequests
	}
	if strings.Contains(r.Header.Get("Accept"), "application/json") {
		w.Header().Set("Content-Type", "application/json")
		out := st.json()
		out.Following = s.registry().Following
		write(w, status, out)
		return
	}
	lines := []string{word}
	lines = append(lines, st.NotReady...)
	lines = append(lines, st.Warnings...)
	plain(w, status, strings.Join(lines, "\n"))
}
