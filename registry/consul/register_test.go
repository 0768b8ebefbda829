package consul

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/consul/api"

	"serin/internal/agent"
)

func TestPrepare(t *testing.T) {
	good := Registration{Name: "web", Address: "10.0.0.1", Port: 80}
	for _, tt := range []struct {
		name   string
		change func(*Registration)
		check  *api.AgentServiceCheck
		err    string
	}{
		{"no check", func(*Registration) {}, nil, ""},
		{"HTTP", func(r *Registration) {
			r.Check = Check{HTTP: "http://10.0.0.1/health", Timeout: time.Second, DeregisterAfter: time.Minute}
		}, &api.AgentServiceCheck{HTTP: "http://10.0.0.1/health", Interval: "10s", Timeout: "1s", DeregisterCriticalServiceAfter: "1m0s"}, ""},
		{"HTTPS", func(r *Registration) {
			r.Check = Check{HTTP: "https://10.0.0.1/health", Interval: 2 * time.Second, TLSSkipVerify: true}
		}, &api.AgentServiceCheck{HTTP: "https://10.0.0.1/health", Interval: "2s", TLSSkipVerify: true}, ""},
		{"TCP", func(r *Registration) { r.Check.TCP = "10.0.0.1:80" }, &api.AgentServiceCheck{TCP: "10.0.0.1:80", Interval: "10s"}, ""},
		{"TTL", func(r *Registration) { r.Check.TTL = 15 * time.Second }, &api.AgentServiceCheck{TTL: "15s"}, ""},
		{"two checks", func(r *Registration) { r.Check = Check{TTL: 1, TCP: "x:1"} }, nil, "only one of HTTP, TCP and TTL"},
		{"no name", func(r *Registration) { r.Name = "" }, nil, "needs a name"},
		{"no port", func(r *Registration) { r.Port = 0 }, nil, "port 0: must be 1 to 65535"},
		{"high port", func(r *Registration) { r.Port = 65536 }, nil, "port 65536"},
		{"all mistakes at once", func(r *Registration) { r.Name, r.Port = "", -1 }, nil, "port -1"},
	} {
		r := good
		tt.change(&r)
		k, err := prepare(r)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: %v, want %q", tt.name, err, tt.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		} else if d := cmp.Diff(tt.check, k.reg.Check); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, d)
		}
	}
	r := good
	r.Address, r.ID = "", "mine"
	k, err := prepare(r)
	if err != nil || k.reg.Address == "" || !strings.HasPrefix(k.reg.ID, "mine-") {
		t.Errorf("%+v, %v", k, err)
	}
	if again, _ := prepare(r); again.reg.ID == k.reg.ID {
		t.Error("the ID is not unique")
	}
}

func TestRegisterFails(t *testing.T) {
	f := newFake()
	f.misbehave(answers(403, nil, "Permission denied"))
	c := f.client(t)
	if _, err := c.Register(t.Context(), Registration{Name: "web", Address: "10.0.0.1", Port: 80}); !errors.Is(err, ErrDenied) {
		t.Errorf("%v", err)
	}
	if ids, _ := c.Registered(); len(ids) != 0 {
		t.Errorf("kept %v", ids)
	}
}

func TestRegisterRetrying(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		sent := map[string]bool{} // IDs that were ever registered
		left := ""                // what was deregistered last
		c, err := NewWithConfig(&api.Config{Address: "fake:8500", HttpClient: &http.Client{Transport: handler(func(w http.ResponseWriter, r *http.Request) {
			if id, ok := strings.CutPrefix(r.URL.Path, "/v1/agent/service/deregister/"); ok {
				left = id
				return
			}
			var body struct{ ID string }
			if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
				t.Error(err)
			}
			sent[body.ID] = true
			if tries++; tries < 10 {
				w.WriteHeader(500)
			}
		})}})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		id, err := c.RegisterRetrying(t.Context(), Registration{Name: "web", Address: "10.0.0.1", Port: 80})
		if took := time.Since(start); err != nil || tries != 10 || took > 30*time.Second {
			t.Errorf("%d tries in %v: %v", tries, took, err)
		}
		if ids, _ := c.Registered(); ids[id] != "web" || len(ids) != 1 {
			t.Errorf("registered %v", ids)
		}
		if len(sent) != 1 {
			t.Errorf("the tries were for %d IDs, want one: a lost answer must not leave a second instance", len(sent))
		}
		if _, err := c.RegisterRetrying(t.Context(), Registration{Name: "web"}); err == nil || tries != 10 {
			t.Errorf("no port: %v after %d tries, want an error without asking Consul", err, tries)
		}
		tries = -1000
		clear(sent)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := c.RegisterRetrying(ctx, Registration{Name: "web", Address: "10.0.0.1", Port: 80}); !errors.Is(err, context.DeadlineExceeded) || tries > -980 {
			t.Errorf("%d tries, %v", tries+1000, err)
		}
		if !sent[left] {
			t.Errorf("given up, but %q was deregistered, want one of %v: the last try may have arrived", left, sent)
		}
	})
}

func TestCredentials(t *testing.T) {
	t.Setenv("CONSUL_HTTP_TOKEN", "secret")
	t.Setenv("CONSUL_HTTP_AUTH", "user:password")
	var got http.Header
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.Header }))
	defer srv.Close()
	t.Setenv("CONSUL_HTTP_ADDR", srv.URL)
	for _, tt := range []struct {
		name  string
		open  func() (*Client, error)
		token string
	}{
		{"from the environment", New, "secret"},
		{"given", func() (*Client, error) { return NewWithOptions(Options{Addr: srv.URL, Token: "mine"}) }, "mine"},
		{"of another agent", func() (*Client, error) { return NewAnonymous(strings.TrimPrefix(srv.URL, "http://")) }, ""},
	} {
		c, err := tt.open()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.Get(t.Context(), "k")
		if got.Get("X-Consul-Token") != tt.token || tt.token == "" && got.Get("Authorization") != "" {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

// A Client holds 64 connections at most, whatever is asked of it: the agent
// answers 429 to everything from an address that holds 200.
func TestConnectionsAreBounded(t *testing.T) {
	var open, most atomic.Int32
	full, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n := open.Add(1)
		defer open.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		if n >= 64 {
			once.Do(func() { close(full) })
		}
		<-release
		w.WriteHeader(http.StatusNotFound)
	}))
	defer srv.Close()
	c, err := NewAt(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() { c.Get(t.Context(), "k") })
	}
	<-full
	<-time.After(100 * time.Millisecond) // for those that must not come
	close(release)
	wg.Wait()
	if n := most.Load(); n != 64 {
		t.Errorf("%d requests were open at once, want 64", n)
	}
}

// TTL checks are refreshed three times in each TTL, also short ones, and an
// agent that does not answer is asked once a second.
func TestRunPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked, passed, put atomic.Int32
		var known atomic.Bool
		c, err := NewWithConfig(&api.Config{Address: "fake:8500", HttpClient: &http.Client{Transport: handler(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.URL.Path == "/v1/agent/services":
				asked.Add(1)
				if known.Load() {
					id, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Query().Get("filter"), `ID == "`), `"`)
					w.Write([]byte(`{"` + id + `":{"ID":"` + id + `"}}`))
				} else {
					w.Write([]byte(`{}`))
				}
			case strings.HasPrefix(r.URL.Path, "/v1/agent/check/update/service:"):
				passed.Add(1)
			case r.URL.Path == "/v1/agent/service/register":
				put.Add(1)
				known.Store(true)
			}
		})}})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() { c.Run(t.Context()); close(done) }()
		t.Cleanup(func() { <-done })
		id, err := c.Register(t.Context(), Registration{Name: "web", Address: "10.0.0.1", Port: 80, Check: Check{TTL: 1500 * time.Millisecond}})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if passed.Load() != 1 {
			t.Error("the TTL check does not pass at once")
		}
		time.Sleep(time.Minute)
		if n := passed.Load(); n < 110 || n > 130 {
			t.Errorf("%d refreshes of 500 ms in a minute", n)
		}
		if n := put.Load(); n != 1 {
			t.Errorf("registered %d times", n)
		}
		known.Store(false)
		time.Sleep(time.Second)
		synctest.Wait()
		if _, lost := c.Registered(); put.Load() != 2 || time.Since(lost) > time.Second {
			t.Errorf("registered %d times, lost at %v", put.Load(), lost)
		}
		if err := c.Deregister(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		known.Store(false)
		asked.Store(0)
		time.Sleep(time.Minute)
		if asked.Load() != 0 || put.Load() != 2 {
			t.Errorf("asked %d times, registered %d times for nothing", asked.Load(), put.Load())
		}
	})
}

// handler stands in for the network.
type handler http.HandlerFunc

func (h handler) RoundTrip(r *http.Request) (*http.Response, error) {
	f := newFake()
	f.trouble = func(w http.ResponseWriter, r *http.Request) bool { h(w, r); return true }
	return f.RoundTrip(r)
}

func TestTokenFileIsReadAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	write := func(s string, at time.Time) {
		if err := os.WriteFile(path, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now()
	write("old\n", now)
	var got string
	c, err := NewWithConfig(&api.Config{Address: "fake:8500", TokenFile: path, HttpClient: &http.Client{Transport: handler(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header.Get("X-Consul-Token")
		w.WriteHeader(404)
	})}})
	if err != nil {
		t.Fatal(err)
	}
	for i, step := range []struct{ file, want string }{{"old", "old"}, {"new\n", "new"}, {"", "new"}, {"newer", "newer"}} {
		write(step.file, now.Add(time.Duration(i)*time.Minute))
		c.wire.token.checked = time.Time{}
		c.Get(t.Context(), "k")
		if got != step.want {
			t.Errorf("file %q: token %q, want %q", step.file, got, step.want)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	c.wire.token.checked = time.Time{}
	if c.Get(t.Context(), "k"); got != "newer" {
		t.Errorf("without the file: token %q", got)
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	asked := make(chan string, 10)
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Header.Get("X-Consul-Token")
		fmt.Fprint(w, "[]")
	}))
	defer other.Close()
	for _, status := range []int{301, 302, 307, 308} {
		agent := httptest.NewServer(http.RedirectHandler(other.URL, status))
		defer agent.Close()
		path := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(path, []byte("secret"), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := NewWithConfig(&api.Config{Address: agent.URL, TokenFile: path})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := c.Get(t.Context(), "k"); class(err) != ErrDecode {
			t.Errorf("%d: read: %v", status, err)
		}
		c.Close()
	}
	if len(asked) > 0 {
		t.Errorf("another server was asked, with the token %q", <-asked)
	}
}

func TestRegisterWithRealAgent(t *testing.T) {
	t.Parallel()
	a := startAgent(t, agent.Config{})
	c := a.client("")
	running(t, func(ctx context.Context) { c.Run(ctx) })
	ctx := t.Context()

	id, err := c.Register(ctx, Registration{Name: "web", ID: "web-1", Port: 3000, Check: Check{TTL: 10 * time.Second}})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(id, "web-1-") || len(id) != len("web-1-")+36 {
		t.Errorf("id %q: want web-1- and a UUID", id)
	}
	passing := func() bool {
		got, _, err := a.api("").Health().Service("web", "", true, nil)
		return err == nil && len(got) == 1 && got[0].Service.ID == id && got[0].Service.Address != ""
	}
	eventually(t, 2*time.Second, "the TTL check passes", passing)
	if _, lost := c.Registered(); !lost.IsZero() {
		t.Error("nothing was lost yet")
	}

	a.Restart(true)
	took := eventually(t, 2*time.Second, "registered again after the agent lost its state", passing)
	t.Logf("registered again %v after the agent was ready", took)
	if _, lost := c.Registered(); lost.IsZero() {
		t.Error("the loss was not noted")
	}

	for range 2 { // the second time the agent does not know the ID
		if err := c.Deregister(ctx, id); err != nil {
			t.Fatal(err)
		}
	}
	if got, _, err := a.api("").Health().Service("web", "", false, nil); err != nil || len(got) != 0 {
		t.Errorf("after Deregister: %v, %v", got, err)
	}
}
