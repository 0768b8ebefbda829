package devconsul

import (
	"io"
	"net/http"
	"strings"
)

// Kind is a way in which an agent fails.
type Kind uint8

const (
	None      Kind = iota
	Error500       // 500 and a sentence of gRPC's
	Error429       // 429, as when http_max_conns_per_client is reached
	Forbidden      // 403 "Permission denied", as without an ACL
	Hang           // takes the request and says nothing; goes on when healed
	Empty          // 200 [] or {} with a good index, as without service:read; 404 with an index for keys
	Truncated      // complete HTTP, half of the JSON
	Cut            // half of the body, then the connection breaks
	HTML           // 200 and a proxy's login page
	NoBlock        // answers blocking queries at once
	IndexZero      // X-Consul-Index: 0
)

// Fault breaks every request whose path begins with Prefix; "" is all of them.
type Fault struct {
	Kind   Kind
	Prefix string // for example "/v1/health/" or "/v1/kv/lb/canary"
}

// Break makes the server fail from now on, and returns the function that heals
// it. Open blocking queries that are concerned are answered with the fault at
// once. Of several faults that fit, the last one rules.
func (s *Server) Break(f Fault) (heal func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := &f
	s.faults = append(s.faults, p)
	s.broadcast()
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for i := range s.faults {
			if s.faults[i] == p {
				s.faults = append(s.faults[:i:i], s.faults[i+1:]...)
				s.broadcast()
				return
			}
		}
	}
}

// Wipe loses all state, as an agent that is reborn without its data: the
// catalog and the keys are empty and the index is low again. Open blocking
// queries end with 500, as Consul's do.
func (s *Server) Wipe() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = newState()
	s.epoch++
	s.broadcast()
}

// ResetIndex keeps the state and makes every index low again, as a cluster
// restored from a snapshot. Open blocking queries end with 500.
func (s *Server) ResetIndex() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.index = firstIndex
	for t := range s.tables {
		s.tables[t] = firstIndex
	}
	for id, old := range s.services {
		svc := *old
		svc.created, svc.modified = firstIndex, firstIndex
		s.services[id] = &svc
	}
	for _, c := range s.checks {
		c.CreateIndex, c.ModifyIndex = firstIndex, firstIndex
	}
	for k, old := range s.keys {
		e := *old
		e.CreateIndex, e.ModifyIndex = firstIndex, firstIndex
		s.keys[k] = &e
	}
	clear(s.graves)
	s.epoch++
	s.broadcast()
}

// faulted looks for a fault that concerns the call and answers with it. It
// reports whether the request is over.
func (c *call) faulted() bool {
	for {
		c.s.mu.Lock()
		c.broke = None
		for _, f := range c.s.faults {
			if strings.HasPrefix(c.r.URL.Path, f.Prefix) {
				c.broke = f.Kind
			}
		}
		changed := c.s.changed
		c.s.mu.Unlock()

		switch c.broke {
		case Hang:
			select {
			case <-changed:
				continue
			case <-c.r.Context().Done():
				return true
			}
		case Error500:
			c.fail(http.StatusInternalServerError, "rpc error making call: rpc error: code = Unavailable desc = No cluster leader")
		case Error429:
			c.fail(http.StatusTooManyRequests, "Your IP is issuing too many concurrent connections, please rate limit your calls\n")
		case Forbidden:
			c.fail(http.StatusForbidden, "Permission denied: anonymous token lacks permission on this resource")
		case HTML:
			c.w.Header().Set("Content-Type", "text/html; charset=utf-8")
			io.WriteString(c.w, "<!doctype html><title>Sign in</title><h1>Please sign in</h1>\n")
		case Empty:
			if c.r.Method != http.MethodGet || !strings.HasPrefix(c.r.URL.Path, "/v1/") {
				return false
			}
			a := answer{index: firstIndex, body: []int{}, missing: strings.HasPrefix(c.r.URL.Path, "/v1/kv/")}
			if p := c.r.URL.Path; p == "/v1/catalog/services" || p == "/v1/agent/services" || p == "/v1/agent/checks" {
				a.body = struct{}{}
			}
			c.s.mu.Lock()
			a.index = c.s.index
			c.s.mu.Unlock()
			c.answer(a, false)
		default:
			return false
		}
		return true
	}
}
