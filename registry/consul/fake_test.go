package consul

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"serin/registry"

	"github.com/hashicorp/consul/api"
)

// fakeConsul is a Consul that can be told to misbehave. It answers blocking
// queries on the catalog, service health, check lists and KV. It needs no
// network, so that its time can be synctest's.
type fakeConsul struct {
	mu       sync.Mutex // guards what follows
	index    uint64
	services map[string][]*api.ServiceEntry
	kv       map[string]*api.KVPair
	changed  chan struct{}
	// trouble answers instead, where it wants to, and then returns true.
	trouble func(w http.ResponseWriter, r *http.Request) bool
	hits    map[string]int // by path
	open    int
	most    int // requests open at once
}

func newFake() *fakeConsul {
	return &fakeConsul{
		index: 10, changed: make(chan struct{}), hits: map[string]int{},
		services: map[string][]*api.ServiceEntry{}, kv: map[string]*api.KVPair{},
	}
}

// set replaces the instances of a service by passing ones with these IDs; "a!" is
// critical. None removes it.
func (f *fakeConsul) set(name string, ids ...string) {
	f.change(func() {
		entries := []*api.ServiceEntry{}
		for i, id := range ids {
			status := api.HealthPassing
			if strings.HasSuffix(id, "!") {
				status = api.HealthCritical
			}
			id = strings.TrimSuffix(id, "!")
			entries = append(entries, &api.ServiceEntry{
				Node:    &api.Node{ID: "node-id", Node: "n1", Address: "10.0.0.1", Datacenter: "dc1"},
				Service: &api.AgentService{ID: id, Service: name, Port: 1000 + i, Tags: []string{"urlprefix-/" + name}},
				Checks: api.HealthChecks{{
					Node: "n1", CheckID: "service:" + id, ServiceID: id, ServiceName: name, Status: status,
					Output: "checked", CreateIndex: 1, ModifyIndex: f.index,
				}},
			})
		}
		f.services[name] = entries
		if len(ids) == 0 {
			delete(f.services, name)
		}
	})
}

func (f *fakeConsul) put(key, value string) {
	f.change(func() { f.kv[key] = &api.KVPair{Key: key, Value: []byte(value), ModifyIndex: f.index} })
}

func (f *fakeConsul) change(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.index++
	do()
	close(f.changed)
	f.changed = make(chan struct{})
}

// misbehave makes trouble from now on, also for queries that wait; nil ends it.
func (f *fakeConsul) misbehave(trouble func(http.ResponseWriter, *http.Request) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.trouble = trouble
	close(f.changed)
	f.changed = make(chan struct{})
}

// reborn forgets everything.
func (f *fakeConsul) reborn() {
	f.change(func() { f.index, f.services, f.kv = 3, map[string][]*api.ServiceEntry{}, map[string]*api.KVPair{} })
}

func (f *fakeConsul) hitsOf(path string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.hits[path]
}

func (f *fakeConsul) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.hits[r.URL.Path]++
	f.open++
	f.most = max(f.most, f.open)
	defer func() { f.mu.Lock(); f.open--; f.mu.Unlock() }()
	if index, _ := strconv.ParseUint(r.FormValue("index"), 10, 64); index > 0 {
		wait, _ := time.ParseDuration(r.FormValue("wait"))
		over := time.After(wait + wait/16)
		for f.trouble == nil && f.index <= index {
			changed := f.changed
			f.mu.Unlock()
			select {
			case <-changed:
				f.mu.Lock()
				continue
			case <-over:
			case <-r.Context().Done():
			}
			f.mu.Lock()
			break
		}
	}
	trouble := f.trouble
	f.mu.Unlock()
	if trouble != nil && trouble(w, r) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	w.Header().Set("X-Consul-Index", fmt.Sprint(f.index))
	w.Header().Set("X-Consul-KnownLeader", "true")
	w.Header().Set("X-Consul-LastContact", "0")
	kind, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v1/"), "/")
	switch {
	case r.URL.Path == "/v1/catalog/services":
		out := map[string][]string{"consul": {}}
		for name, entries := range f.services {
			out[name] = []string{}
			for _, e := range entries {
				out[name] = append(out[name], e.Service.Tags...)
			}
			slices.Sort(out[name])
			out[name] = slices.Compact(out[name])
		}
		json.NewEncoder(w).Encode(out)
	case strings.HasPrefix(name, "service/"):
		out := f.services[strings.TrimPrefix(name, "service/")]
		if out == nil {
			out = []*api.ServiceEntry{}
		}
		json.NewEncoder(w).Encode(out)
	case strings.HasPrefix(name, "state/"):
		out := api.HealthChecks{}
		for _, entries := range f.services {
			for _, e := range entries {
				for _, c := range e.Checks {
					if s := strings.TrimPrefix(name, "state/"); s == "any" || s == c.Status {
						out = append(out, c)
					}
				}
			}
		}
		json.NewEncoder(w).Encode(out)
	case kind == "kv":
		out := api.KVPairs{}
		for key, kv := range f.kv {
			if key == name || r.URL.Query().Has("recurse") && strings.HasPrefix(key, name) {
				out = append(out, kv)
			}
		}
		if len(out) == 0 {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		json.NewEncoder(w).Encode(out)
	default:
		http.Error(w, "not in this fake", http.StatusNotImplemented)
	}
}

// RoundTrip lets the fake stand in for the network.
func (f *fakeConsul) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	if w.Code == 444 { // hang up
		return nil, io.EOF
	}
	return w.Result(), nil
}

func (f *fakeConsul) client(t testing.TB) *Client {
	t.Helper()
	c, err := NewWithConfig(&api.Config{Address: "fake:8500", HttpClient: &http.Client{Transport: f}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// pretend makes c believe that it registered service lb with ID lb-1.
func pretend(c *Client) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kept["lb-1"] = &kept{reg: &api.AgentServiceRegistration{ID: "lb-1", Name: "lb"}}
}

// lose makes c believe that it had to register again.
func lose(c *Client) {
	c.mu.Lock()
	c.lost = time.Now()
	c.mu.Unlock()
	c.woken.fire()
}

// names returns what is in a Snapshot: service:instances, with * when held.
func names(s *registry.Snapshot) string {
	var out []string
	for svc := range s.All() {
		var ids []string
		for _, in := range svc.Instances {
			ids = append(ids, in.ID)
		}
		slices.Sort(ids)
		word := svc.Name + ":" + strings.Join(ids, ",")
		if svc.Hold != "" {
			word += "*"
		}
		out = append(out, word)
	}
	return strings.Join(out, " ")
}

// pemOf returns the certificate of a test server.
func pemOf(s *httptest.Server) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
}
