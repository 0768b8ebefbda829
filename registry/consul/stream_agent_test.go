package consul

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"serin/internal/agent"
)

// tlsClient is a Client of an agent over HTTPS.
func (a *realAgent) tlsClient() *Client {
	a.t.Helper()
	c, err := NewWithOptions(Options{Addr: a.URL(), CAFile: a.CAFile()})
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(c.Close)
	return c
}

// fill registers n services of two passing instances, as in one transaction for
// some of them each.
func fill(t *testing.T, c *api.Client, n int) {
	t.Helper()
	var ops api.TxnOps
	flush := func() {
		if len(ops) == 0 {
			return
		}
		if ok, resp, _, err := c.Txn().Txn(ops, nil); err != nil || !ok {
			t.Fatalf("fill the catalog: %v %+v", err, resp)
		}
		ops = nil
	}
	for i := range 4 {
		ops = append(ops, &api.TxnOp{Node: &api.NodeTxnOp{Verb: api.NodeSet, Node: api.Node{Node: fmt.Sprint("node-", i), Address: "127.0.0.1"}}})
	}
	flush()
	for i := range n {
		for k := range 2 {
			name, node := fmt.Sprintf("many-%03d", i), fmt.Sprint("node-", (2*i+k)%4)
			id := fmt.Sprintf("%s-%d", name, k)
			ops = append(ops,
				&api.TxnOp{Service: &api.ServiceTxnOp{Verb: api.ServiceSet, Node: node, Service: api.AgentService{ID: id, Service: name, Port: 1000 + k, Tags: []string{"v1", "urlprefix-/" + name}}}},
				&api.TxnOp{Check: &api.CheckTxnOp{Verb: api.CheckSet, Check: api.HealthCheck{Node: node, CheckID: "service:" + id, Name: "ttl", ServiceID: id, Status: api.HealthPassing, Output: "well"}}},
			)
		}
		if len(ops) >= 60 {
			flush()
		}
	}
	flush()
}

// register writes one instance to the catalog, as an agent on another node does.
func register(t *testing.T, c *api.Client, name, id, node string, port int, status string) {
	t.Helper()
	_, err := c.Catalog().Register(&api.CatalogRegistration{
		Node: node, Address: "127.0.0.1", SkipNodeUpdate: true,
		Service: &api.AgentService{ID: id, Service: name, Port: port, Tags: []string{"v1", "urlprefix-/" + name}},
		Check:   &api.AgentCheck{Node: node, CheckID: "service:" + id, Name: "ttl", ServiceID: id, Status: status, Output: "well"},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
}

func deregister(t *testing.T, c *api.Client, id, node string) {
	t.Helper()
	if _, err := c.Catalog().Deregister(&api.CatalogDeregistration{Node: node, ServiceID: id}, nil); err != nil {
		t.Fatal(err)
	}
}

// More services than connections: over HTTPS each has a stream, over plain HTTP
// the bells ring; every kind of change is told.
func TestManyServicesWithRealAgent(t *testing.T) {
	const n = 250
	for _, mode := range []Mode{Streams, Bell} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			a := startAgent(t, agent.Config{TLS: mode == Streams})
			raw := a.api("")
			c := a.client("")
			if mode == Streams {
				c = a.tlsClient()
			}
			fill(t, raw, n)
			registerOurselves(t, c)
			w := watch(t, c, WatchConfig{Sweep: 2 * time.Second})
			s := w.Status()
			if s.Mode != mode || s.Services < n || w.snap.Load().Len() < n {
				t.Fatalf("status %+v", s)
			}
			if mode == Streams && (s.Streams != s.Services || s.Connections != 2) {
				t.Errorf("%d streams on %d connections for %d services", s.Streams, s.Connections, s.Services)
			}
			step := func(service, want string, change func()) {
				t.Helper()
				change()
				took := eventually(t, 3*time.Second, want, func() bool { return w.ready(service) == want })
				t.Logf("%s is %q after %v", service, want, took.Round(time.Millisecond))
			}
			step("many-007", "many-007-0,many-007-1", func() {})
			step("new", "new-1", func() { register(t, raw, "new", "new-1", "node-1", 7, api.HealthPassing) })
			step("new", "new-1,new-2", func() { register(t, raw, "new", "new-2", "node-2", 8, api.HealthPassing) })
			step("new", "new-1", func() { register(t, raw, "new", "new-2", "node-2", 8, api.HealthCritical) })
			step("new", "new-1,new-2", func() { register(t, raw, "new", "new-2", "node-2", 8, api.HealthPassing) })
			step("new", "new-2", func() { deregister(t, raw, "new-1", "node-1") })
			step("new", "gone", func() { deregister(t, raw, "new-2", "node-2") })
			// A node goes with all it has; one service loses its last instance by that.
			step("alone", "alone-1", func() { register(t, raw, "alone", "alone-1", "node-3", 9, api.HealthPassing) })
			step("many-001", "many-001-0", func() {
				if _, err := raw.Catalog().Deregister(&api.CatalogDeregistration{Node: "node-3"}, nil); err != nil {
					t.Fatal(err)
				}
			})
			eventually(t, 3*time.Second, "all have lost the node", func() bool {
				for svc := range w.snap.Load().All() {
					for _, in := range svc.Instances {
						if in.Node == "node-3" {
							return false
						}
					}
				}
				return true
			})
			if s := w.Status(); s.Stale || s.Denied || len(s.Holds) > 0 {
				t.Errorf("status %+v", s)
			}
		})
	}
}

// An agent that is restarted, and one whose connections end, are followed again
// by every stream.
func TestStreamsSurviveRestart(t *testing.T) {
	t.Parallel()
	a := startAgent(t, agent.Config{TLS: true, Persistent: true})
	raw, c := a.api(""), a.tlsClient()
	fill(t, raw, 100)
	registerOurselves(t, c)
	w := watch(t, c, WatchConfig{})
	before := w.snap.Load()
	for _, end := range []func(){a.Stop, a.Kill} {
		end()
		a.Restart(false)
		register(t, raw, "many-050", "many-050-2", "node-0", 9, api.HealthPassing)
		took := eventually(t, 4*time.Second, "the change after the restart", func() bool { return w.ready("many-050") == "many-050-0,many-050-1,many-050-2" })
		t.Logf("told after %v", took.Round(time.Millisecond))
		deregister(t, raw, "many-050-2", "node-0")
		eventually(t, 4*time.Second, "and the next one", func() bool { return w.ready("many-050") == "many-050-0,many-050-1" })
		eventually(t, 10*time.Second, "all streams are open", func() bool { s := w.Status(); return s.Streams == s.Services && !s.Stale })
	}
	if after := w.snap.Load(); after.Service("many-007") != before.Service("many-007") {
		t.Error("many-007 did not change, but its pointer did")
	}
}

// After many changes in quick succession everything is as the last ones left it.
func TestStormWithRealAgent(t *testing.T) {
	const pool, changes = 60, 250
	for _, mode := range []Mode{Streams, Bell} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			a := startAgent(t, agent.Config{TLS: mode == Streams})
			raw := a.api("")
			c := a.client("")
			if mode == Streams {
				c = a.tlsClient()
			}
			fill(t, raw, pool)
			registerOurselves(t, c)
			w := watch(t, c, WatchConfig{})
			want := map[string]string{}
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			random := rand.New(rand.NewPCG(1, 2))
			for range changes {
				i := random.IntN(pool)
				many, fresh := fmt.Sprintf("many-%03d", i), fmt.Sprintf("fresh-%03d", i)
				switch random.IntN(5) {
				case 0:
					register(t, raw, many, many+"-2", "node-0", 9, api.HealthPassing)
					want[many] = many + "-0," + many + "-1," + many + "-2"
				case 1:
					register(t, raw, many, many+"-2", "node-0", 9, api.HealthCritical)
					want[many] = many + "-0," + many + "-1"
				case 2:
					deregister(t, raw, many+"-2", "node-0")
					want[many] = many + "-0," + many + "-1"
				case 3:
					register(t, raw, fresh, fresh+"-0", "node-1", 9, api.HealthPassing)
					want[fresh] = fresh + "-0"
				case 4:
					deregister(t, raw, fresh+"-0", "node-1")
					want[fresh] = "gone"
				}
				<-tick.C
			}
			wrong := ""
			right := func() bool {
				for service, ready := range want {
					if got := w.ready(service); got != ready {
						wrong = fmt.Sprintf("%s is %q, want %q; %+v", service, got, ready, w.Status())
						return false
					}
				}
				return true
			}
			t.Cleanup(func() {
				if t.Failed() {
					t.Log(wrong)
				}
			})
			took := eventually(t, 5*time.Second, "all is right", right)
			t.Logf("all is right after %v", took.Round(time.Millisecond))
		})
	}
}

// An instance that goes right after it came is given up at once: Consul tells a
// stream of it before a read that is to confirm it shows it.
func TestInstanceThatComesAndGoes(t *testing.T) {
	t.Parallel()
	a := startAgent(t, agent.Config{TLS: true})
	raw, c := a.api(""), a.tlsClient()
	fill(t, raw, 20)
	registerOurselves(t, c)
	w := watch(t, c, WatchConfig{})
	for i := range 200 {
		name := fmt.Sprintf("many-%03d", i%20)
		two := name + "-0," + name + "-1"
		register(t, raw, name, name+"-2", "node-0", 9, api.HealthPassing)
		eventually(t, 3*time.Second, "it came", func() bool { return w.ready(name) == two+","+name+"-2" })
		deregister(t, raw, name+"-2", "node-0")
		eventually(t, 3*time.Second, "it went", func() bool { return w.ready(name) == two })
	}
}
