package consul

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"serin/registry"

	"github.com/hashicorp/consul/api"

	"serin/internal/agent"
)

// watching runs a Watcher and keeps its last Snapshot.
type watching struct {
	*Watcher
	snap atomic.Pointer[registry.Snapshot]
}

func watch(t *testing.T, c *Client, cfg WatchConfig) *watching {
	t.Helper()
	w := &watching{Watcher: NewWatcher(c, cfg, nil)}
	running(t, func(ctx context.Context) { w.Run(ctx, func(s *registry.Snapshot) { w.snap.Store(s) }) })
	select {
	case <-w.First():
	case <-time.After(30 * time.Second):
		t.Fatalf("no first picture: %+v", w.Status())
	}
	return w
}

// ready returns the IDs of a service's ready instances.
func (w *watching) ready(service string) string {
	svc := w.snap.Load().Service(service)
	if svc == nil {
		return "gone"
	}
	var out []string
	for _, in := range svc.Instances {
		if in.Ready {
			out = append(out, in.ID)
		}
	}
	return strings.Join(out, ",")
}

func (w *watching) hold(service string) string {
	if svc := w.snap.Load().Service(service); svc != nil {
		return svc.Hold
	}
	return ""
}

// instance registers a passing instance of web, whose TTL check lasts.
func instance(t *testing.T, c *api.Client, name, id string, port int) {
	t.Helper()
	err := c.Agent().ServiceRegister(&api.AgentServiceRegistration{
		ID: id, Name: name, Address: "127.0.0.1", Port: port, Tags: []string{"urlprefix-/" + name},
		Check: &api.AgentServiceCheck{TTL: "10m", Status: api.HealthPassing},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// registerOurselves registers the watcher's own service, which proves what it reads.
func registerOurselves(t *testing.T, c *Client) {
	t.Helper()
	running(t, func(ctx context.Context) { c.Run(ctx) })
	if _, err := c.Register(t.Context(), Registration{Name: "lb", Address: "127.0.0.1", Port: 1, Check: Check{TTL: 10 * time.Minute}}); err != nil {
		t.Fatal(err)
	}
}

func TestWatchWithRealAgent(t *testing.T) {
	for _, mode := range []Mode{Streams, Bell} {
		for _, self := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s,registered=%v", mode, self), func(t *testing.T) {
				t.Parallel()
				a := startAgent(t, agent.Config{})
				c, raw := a.client(""), a.api("")
				if self {
					registerOurselves(t, c)
				}
				cfg := WatchConfig{}
				if mode == Bell {
					cfg.MaxStreams = 1
					instance(t, raw, "other", "other-1", 1)
				}
				instance(t, raw, "web", "web-1", 1)
				w := watch(t, c, cfg)
				if got := w.Status().Mode; got != mode {
					t.Fatalf("mode %s", got)
				}
				step := func(want string, change func() error) {
					t.Helper()
					if err := change(); err != nil {
						t.Fatal(err)
					}
					took := eventually(t, 3*time.Second, want, func() bool { return w.ready("web") == want })
					t.Logf("%-12s after %v", want, took.Round(time.Millisecond))
				}
				agent := raw.Agent()
				step("web-1", func() error { return nil })
				step("web-1,web-2", func() error { instance(t, raw, "web", "web-2", 2); return nil })
				step("web-2", func() error { return agent.UpdateTTL("service:web-1", "", api.HealthCritical) })
				step("web-1,web-2", func() error { return agent.UpdateTTL("service:web-1", "", api.HealthPassing) })
				step("web-1", func() error { return agent.EnableServiceMaintenance("web-2", "test") })
				step("web-1,web-2", func() error { return agent.DisableServiceMaintenance("web-2") })
				step("", func() error { return agent.EnableNodeMaintenance("test") })
				step("web-1,web-2", func() error { return agent.DisableNodeMaintenance() })
				step("web-1,web-2,web-3", func() error { instance(t, raw, "web", "web-3", 3); return nil })
				step("web-1,web-2", func() error { return agent.ServiceDeregister("web-3") })
				step("web-2", func() error { return agent.ServiceDeregister("web-1") })
				step("gone", func() error { return agent.ServiceDeregister("web-2") })
				step("web-4", func() error { instance(t, raw, "web", "web-4", 4); return nil })
				before := w.snap.Load().Service("web")
				w.Follow([]string{"plain"})
				if err := agent.ServiceRegister(&api.AgentServiceRegistration{Name: "plain", Port: 7}); err != nil {
					t.Fatal(err)
				}
				eventually(t, 3*time.Second, "the untagged service is followed", func() bool { return w.ready("plain") == "" })
				if w.snap.Load().Service("web") != before {
					t.Error("web did not change, but its pointer did")
				}
				w.Follow(nil)
				eventually(t, 3*time.Second, "the untagged service is left alone", func() bool { return w.ready("plain") == "gone" })
			})
		}
	}
}

func TestReborn(t *testing.T) {
	for _, mode := range []Mode{Streams, Bell} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			a := startAgent(t, agent.Config{})
			c, raw := a.client(""), a.api("")
			registerOurselves(t, c)
			for i := range 50 { // so that the index of the reborn agent is lower
				if _, err := raw.KV().Put(&api.KVPair{Key: fmt.Sprint("k", i)}, nil); err != nil {
					t.Fatal(err)
				}
			}
			cfg := WatchConfig{ConfirmHold: time.Minute}
			if mode == Bell {
				cfg.MaxStreams = 1
			}
			for _, name := range []string{"web", "moved", "left"} {
				instance(t, raw, name, name+"-1", 1)
			}
			w := watch(t, c, cfg)
			keys := followKV(t, c, "lb/canary")
			put(t, c, "lb/canary/web", "{}")
			eventually(t, 2*time.Second, "the key is seen", func() bool { return keys.is("lb/canary/web", nil) })

			a.Restart(true)
			instance(t, raw, "moved", "moved-2", 2)
			instance(t, raw, "new", "new-1", 3)
			took := eventually(t, 2*time.Second, "the new service and the moved instance", func() bool {
				return w.ready("new") == "new-1" && w.ready("moved") == "moved-2"
			})
			t.Logf("new service after %v", took)
			eventually(t, 5*time.Second, "the others are held for lost state", func() bool {
				return strings.Contains(w.hold("web"), "lost its state at") && strings.Contains(w.hold("left"), "lost its state at")
			})
			if got := w.ready("web") + w.ready("left"); got != "web-1left-1" {
				t.Errorf("held services are %s", got)
			}
			if !w.Status().Stale || len(w.Status().Holds) != 2 {
				t.Errorf("status %+v", w.Status())
			}
			eventually(t, 5*time.Second, "the key is lost, not deleted", func() bool { return keys.is("lb/canary/web", ErrStateLost) })

			instance(t, raw, "web", "web-9", 9)
			eventually(t, 2*time.Second, "web has come back", func() bool { return w.ready("web") == "web-9" && w.hold("web") == "" })
			put(t, c, "lb/canary/web", "{}")
			eventually(t, 2*time.Second, "the key has come back", func() bool { return keys.is("lb/canary/web", nil) })
			if err := raw.Agent().ServiceDeregister("new-1"); err != nil {
				t.Fatal(err)
			}
			eventually(t, 3*time.Second, "what is known at first hand since is obeyed", func() bool { return w.ready("new") == "gone" })
		})
	}
}

// policy makes what the token may do be exactly rules.
func policy(t *testing.T, root *api.Client, rules string) {
	t.Helper()
	acl := root.ACL()
	p, _, err := acl.PolicyReadByName("lb", nil)
	if err == nil && p != nil {
		p.Rules = rules
		_, _, err = acl.PolicyUpdate(p, nil)
	} else {
		_, _, err = acl.PolicyCreate(&api.ACLPolicy{Name: "lb", Rules: rules}, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
}

const (
	fullRules   = `service_prefix "" { policy = "read" } node_prefix "" { policy = "read" } service "lb" { policy = "write" } key_prefix "lb/" { policy = "write" }`
	narrowRules = `node_prefix "" { policy = "read" } service "lb" { policy = "write" }`
)

func TestPermissionLost(t *testing.T) {
	for _, anonymous := range []bool{false, true} {
		for _, mode := range []Mode{Streams, Bell} {
			t.Run(fmt.Sprintf("%s,anonymous=%v", mode, anonymous), func(t *testing.T) {
				t.Parallel()
				a := startAgent(t, agent.Config{ACL: true})
				root := a.api(a.Token)
				policy(t, root, fullRules)
				link := []*api.ACLLink{{Name: "lb"}}
				secret, accessor := "", ""
				if anonymous {
					if _, _, err := root.ACL().TokenUpdate(&api.ACLToken{AccessorID: "00000000-0000-0000-0000-000000000002", Policies: link}, nil); err != nil {
						t.Fatal(err)
					}
				} else {
					tok, _, err := root.ACL().TokenCreate(&api.ACLToken{Policies: link}, nil)
					if err != nil {
						t.Fatal(err)
					}
					secret, accessor = tok.SecretID, tok.AccessorID
				}
				c := a.client(secret)
				registerOurselves(t, c)
				cfg := WatchConfig{Wait: 300 * time.Millisecond}
				if mode == Bell {
					cfg.MaxStreams = 1
				}
				instance(t, root, "web", "web-1", 1)
				instance(t, root, "api", "api-1", 1)
				put(t, c, "lb/canary", "{}")
				put(t, c, "lb/canary/web", "{}")
				w := watch(t, c, cfg)
				keys := followKV(t, c, "lb/canary")
				both := func() bool { return w.ready("web") == "web-1" && w.ready("api") == "api-1" }
				eventually(t, 2*time.Second, "both services", both)
				eventually(t, 2*time.Second, "both keys", func() bool { return keys.is("lb/canary lb/canary/web", nil) })

				policy(t, root, narrowRules)
				eventually(t, 5*time.Second, "both are held", func() bool { return w.hold("web") != "" && w.hold("api") != "" && both() })
				eventually(t, 10*time.Second, "the keys are lost", func() bool { return keys.is("lb/canary lb/canary/web", ErrDenied) })
				if s := w.Status(); !s.Stale || len(s.Holds) != 2 {
					t.Errorf("status %+v", s)
				}
				t.Logf("web is held: %s", w.hold("web"))

				policy(t, root, fullRules)
				eventually(t, 5*time.Second, "nothing is held", func() bool { return w.hold("web") == "" && w.hold("api") == "" && both() })
				eventually(t, 5*time.Second, "the keys are back", func() bool { return keys.is("lb/canary lb/canary/web", nil) })
				if err := root.Agent().ServiceDeregister("api-1"); err != nil {
					t.Fatal(err)
				}
				took := eventually(t, 3*time.Second, "the last instance goes", func() bool { return w.ready("api") == "gone" })
				t.Logf("last instance gone after %v", took)
				if err := c.Delete(t.Context(), "lb/canary/web"); err != nil {
					t.Fatal(err)
				}
				eventually(t, time.Second, "the key is deleted", func() bool { return keys.is("lb/canary", nil) })
				if anonymous {
					return
				}
				if _, err := root.ACL().TokenDelete(accessor, nil); err != nil {
					t.Fatal(err)
				}
				eventually(t, 5*time.Second, "everything is denied", func() bool { return w.Status().Denied && w.Status().Stale && keys.is("lb/canary", ErrDenied) })
				if w.ready("web") != "web-1" {
					t.Errorf("web is %q", w.ready("web"))
				}
			})
		}
	}
}

// Consul lets a service have any name. One that looks like a path is read like
// any other, and one that Consul refuses to be asked about is left out; neither
// holds up the first picture, or makes the catalog look stale for everyone.
func TestOddNames(t *testing.T) {
	a := startAgent(t, agent.Config{})
	c := a.client("")
	names := []string{"web", "../agent/self", "..", "a//b", "q?x=%2F", "new\nline"}
	for i, name := range names {
		instance(t, a.api(""), name, fmt.Sprint("id-", i), 1000+i)
	}
	w := watch(t, c, WatchConfig{TagPrefix: "urlprefix-"})
	for i, name := range names {
		want := fmt.Sprint("id-", i)
		if name == "new\nline" {
			want = "gone"
		}
		if got := w.ready(name); got != want {
			t.Errorf("service %q: got %s, want %s", name, got, want)
		}
	}
	if st := w.Status(); st.Stale || st.LastError != "" {
		t.Errorf("status %+v", st)
	}
}
