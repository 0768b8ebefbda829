package consul

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"serin/internal/agent"
	"serin/internal/devconsul"
)

// sessionsAt returns clients of a real agent and of the in-memory stand-in.
func sessionsAt(t *testing.T) map[string]func(t *testing.T) *Client {
	return map[string]func(t *testing.T) *Client{
		"consul": func(t *testing.T) *Client { return startAgent(t, agent.Config{}).client("") },
		"devconsul": func(t *testing.T) *Client {
			s := devconsul.New()
			srv := httptest.NewServer(s)
			ctx, cancel := context.WithCancel(context.Background())
			var wg sync.WaitGroup
			wg.Go(func() { s.Run(ctx) })
			c, err := NewWithConfig(&api.Config{Address: strings.TrimPrefix(srv.URL, "http://")})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close(); cancel(); srv.CloseClientConnections(); srv.Close(); wg.Wait() })
			return c
		},
	}
}

func TestSessions(t *testing.T) {
	t.Parallel()
	for name, client := range sessionsAt(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, ctx := client(t), t.Context()
			one, err := c.NewSession(ctx, "one", 10*time.Second)
			if err != nil || one == "" {
				t.Fatalf("NewSession: %q, %v", one, err)
			}
			two, err := c.NewSession(ctx, "two", 10*time.Second)
			if err != nil || two == one {
				t.Fatalf("NewSession: %q, %v", two, err)
			}
			acquire := func(key, value, session string, want bool) {
				t.Helper()
				if ok, err := c.Acquire(ctx, key, []byte(value), session); ok != want || err != nil {
					t.Fatalf("Acquire of %s by %s: %v, %v; want %v", key, session, ok, err, want)
				}
			}
			acquire("lb/state/nodes/leader", "a", one, true)
			acquire("lb/state/nodes/leader", "b", two, false)
			acquire("lb/state/nodes/leader", "c", one, true)
			p, ok, err := c.Get(ctx, "lb/state/nodes/leader")
			if !ok || err != nil || string(p.Value) != "c" || p.Session != one {
				t.Fatalf("Get: %+v, %v, %v", p, ok, err)
			}
			if all, err := c.List(ctx, "lb/state"); err != nil || len(all) != 1 || all[0].Session != one {
				t.Errorf("List: %+v, %v", all, err)
			}
			// Whoever writes without asking for the lock does not take it away.
			put(t, c, "lb/state/nodes/leader", "by hand")
			if p, _, _ := c.Get(ctx, "lb/state/nodes/leader"); p.Session != one {
				t.Errorf("after a Put the key is held by %q", p.Session)
			}
			if err := c.RenewSession(ctx, one); err != nil {
				t.Errorf("RenewSession: %v", err)
			}

			acquire("lb/state/nodes/x/web", "1", one, true)
			if err := c.EndSession(ctx, one); err != nil {
				t.Fatalf("EndSession: %v", err)
			}
			if all, err := c.List(ctx, "lb/state"); err != nil || len(all) != 0 {
				t.Errorf("keys of an ended session: %+v, %v", all, err)
			}
			if err := c.RenewSession(ctx, one); !errors.Is(err, ErrNoSession) {
				t.Errorf("RenewSession of an ended one: %v", err)
			}
			if ok, err := c.Acquire(ctx, "k", nil, one); ok || !errors.Is(err, ErrNoSession) {
				t.Errorf("Acquire by an ended one: %v, %v", ok, err)
			}
			if err := c.EndSession(ctx, one); err != nil {
				t.Errorf("EndSession again: %v", err)
			}
			took := eventually(t, 3*time.Second, "the other gets the lock", func() bool {
				ok, err := c.Acquire(ctx, "lb/state/nodes/leader", []byte("b"), two)
				if err != nil {
					t.Fatal(err)
				}
				return ok
			})
			t.Logf("the lock was free after %v", took)
			if err := c.EndSession(ctx, two); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAgent(t *testing.T) {
	t.Parallel()
	for name, client := range sessionsAt(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			node, dc, err := client(t).Agent(t.Context())
			if node == "" || dc != "dc1" || err != nil {
				t.Errorf("%q, %q, %v", node, dc, err)
			}
		})
	}
}

func TestSessionErrors(t *testing.T) {
	t.Parallel()
	s := devconsul.New()
	srv := httptest.NewServer(s)
	defer srv.Close()
	c, err := NewWithConfig(&api.Config{Address: strings.TrimPrefix(srv.URL, "http://")})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, tt := range []struct {
		kind devconsul.Kind
		want error
	}{
		{devconsul.Forbidden, ErrDenied},
		{devconsul.Error429, ErrBusy},
		{devconsul.Error500, ErrServer},
		{devconsul.HTML, ErrDecode},
	} {
		heal := s.Break(devconsul.Fault{Kind: tt.kind})
		for what, try := range map[string]func() error{
			"NewSession": func() error { _, err := c.NewSession(t.Context(), "x", 10*time.Second); return err },
			"Renew":      func() error { return c.RenewSession(t.Context(), "x") },
			"Acquire":    func() error { _, err := c.Acquire(t.Context(), "k", nil, "x"); return err },
			"Agent":      func() error { _, _, err := c.Agent(t.Context()); return err },
		} {
			if err := try(); !errors.Is(err, tt.want) || errors.Is(err, ErrNoSession) {
				t.Errorf("%s: %v, want %v", what, err, tt.want)
			}
		}
		heal()
	}
}
