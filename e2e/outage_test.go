package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"serin/e2e/load"
	"serin/internal/agent"
)

// outage is two services with a canary each: web's share ends when its source
// is lost for 3 s, api's is held.
type outage struct {
	*lab
	b        *balancer
	web, api *flow
}

func startOutage(l *lab, opts ...string) *outage {
	l.t.Helper()
	o := &outage{lab: l}
	l.web(1, 1)
	l.demo("api", "v1", "urlprefix-api.test/")
	l.demo("api", "v2", "urlprefix-api.test/,canary")
	l.kvPut("lb/canary/web", `{"ratio":0.5,"stale_after":"6s"}`)
	l.kvPut("lb/canary/api", `{"ratio":0.5,"stale_after":"6s","on_stale":"hold"}`)
	o.b = l.lb(opts...)
	l.warm(o.b, 4)
	for _, s := range []string{"web", "api"} {
		eventually(l.t, 5*time.Second, "the document of "+s+" is applied", func() error { return applied(o.b, s, 0.5) })
	}
	o.web = l.flow(load.Config{Addrs: []string{o.b.traffic}, Rate: 200, Clients: 16, Kinds: []load.Kind{load.GET, load.POST}})
	o.api = l.flow(load.Config{Addrs: []string{o.b.traffic}, Rate: 200, Clients: 16, Host: "api.test"})
	o.shares("before", 0.5, 0.5)
	return o
}

// shares checks the canary's share of both services over a second of traffic.
func (o *outage) shares(when string, web, api float64) {
	o.t.Helper()
	o.web.measure(o.t, "web "+when, web, 200)
	o.api.measure(o.t, "api "+when, api, 200)
}

// recovered checks that a service registered now is routed within 2 s.
func (o *outage) recovered(when string) {
	o.t.Helper()
	host := fmt.Sprintf("new-%d.test", time.Now().UnixNano())
	began := time.Now()
	o.stub(host, host, "urlprefix-"+host+"/", "passing")
	eventually(o.t, 2*time.Second, "a new service is routed after "+when, func() error { return want(o.b, host, 200, host) })
	o.t.Logf("FIGURE %s: a new service is routed after %s", when, time.Since(began).Round(time.Millisecond))
}

func (o *outage) end() {
	o.t.Helper()
	failed(o.t, "web", o.web.end())
	failed(o.t, "api", o.api.end())
}

// Consul is away and comes back with its state.
func TestConsulRestarts(t *testing.T) {
	a := agent.Start(t, agent.Config{Persistent: true})
	o := startOutage(&lab{t: t, consul: a.Addr()})
	a.Kill()
	o.shares("just after Consul was killed", 0.5, 0.5)
	<-time.After(max(4*time.Second, size(t).OutageTime))
	o.shares("after stale_after", 0, 0.5)
	a.Restart(false)
	o.recovered("the restart")
	for _, s := range []string{"web", "api"} {
		eventually(t, 3*time.Second, "the share of "+s+" is back", func() error { return applied(o.b, s, 0.5) })
	}
	o.shares("after the restart", 0.5, 0.5)
	o.end()
}

// index is Consul's index of the catalog.
func (l *lab) index() (n uint64) {
	l.t.Helper()
	eventually(l.t, 5*time.Second, "the catalog's index", func() error {
		resp, err := client.Get("http://" + l.consul + "/v1/catalog/services")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		n, err = strconv.ParseUint(resp.Header.Get("X-Consul-Index"), 10, 64)
		return err
	})
	return n
}

// Consul comes back empty, with a lower index than before.
func TestConsulLosesItsState(t *testing.T) {
	a := agent.Start(t, agent.Config{})
	l := &lab{t: t, consul: a.Addr()}
	for i := range 300 {
		l.kvPut(fmt.Sprintf("filler/%d", i), "x") // the index goes up, so that it must go back
	}
	o := startOutage(l)
	before := l.index()
	a.Restart(true)
	if after := l.index(); after >= before {
		t.Fatalf("the index was to go back, but went from %d to %d", before, after)
	}
	o.recovered("the loss of all state")
	// The documents are gone with the state, which is a loss, not a deletion.
	o.shares("just after the loss of all state", 0.5, 0.5)
	eventually(t, 10*time.Second, "web's share ends", func() error { return applied(o.b, "web", 0) })
	o.shares("after stale_after", 0, 0.5)
	// The operator writes one again.
	l.kvPut("lb/canary/web", `{"ratio":0.5}`)
	eventually(t, 3*time.Second, "a new document is applied", func() error { return applied(o.b, "web", 0.5) })
	// The instances have registered again (they do so themselves).
	eventually(t, 20*time.Second, "both versions of web serve again", func() error {
		o.web.mark()
		<-time.After(200 * time.Millisecond)
		if n, _ := o.web.seen("v2"); n == 0 {
			return fmt.Errorf("v2 does not answer yet")
		}
		return nil
	})
	o.end()
}

// The balancer's token loses permissions while requests run, and gets them back.
func TestPermissionsRevoked(t *testing.T) {
	a := agent.Start(t, agent.Config{ACL: true})
	l := &lab{t: t, consul: a.Addr(), token: a.Token}
	// Exactly what docs/OPERATIONS.md says that the balancer needs, in parts.
	lines := manualPolicy(t)
	part := func(prefixes ...string) (rules string) {
		for _, line := range lines {
			if slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(line, p) }) {
				rules += line + "\n"
			}
		}
		return rules
	}
	kv, services, rest := part("key"), part("service_prefix"), part("node", "service ", "session", "agent")
	if strings.Count(kv+services+rest, "\n") != len(lines) {
		t.Fatalf("docs/OPERATIONS.md has rules this test does not know: %q", lines)
	}
	set := aclToken(l)
	token := set(kv + services + rest)

	o := startOutage(l, "-registry.consul.token", token)
	// It is enough for rollouts.
	l.kvPut("lb/canary/guarded", `{"ratio":0.1,"analysis":true}`)
	for _, key := range []string{"lb/state/guarded", "lb/log/guarded"} {
		eventually(t, 10*time.Second, "the balancer writes "+key, func() error { _, err := l.call("GET", "/v1/kv/"+key, ""); return err })
	}
	set(services + rest)
	o.shares("just after kv was revoked", 0.5, 0.5)
	eventually(t, 25*time.Second, "web's share ends", func() error { return applied(o.b, "web", 0) })
	o.shares("after stale_after without kv", 0, 0.5)
	set(kv + services + rest)
	eventually(t, 5*time.Second, "web's share is back", func() error { return applied(o.b, "web", 0.5) })
	o.recovered("kv was granted again")

	set(kv + rest)
	<-time.After(35 * time.Second) // an open blocking query notices at its end, after 30 s
	o.shares("without service:read", 0.5, 0.5)
	set(kv + services + rest)
	o.recovered("service:read was granted again")

	set(part("service "))
	eventually(t, 25*time.Second, "web's share ends", func() error { return applied(o.b, "web", 0) })
	o.shares("without anything but its own service", 0, 0.5)
	set(kv + services + rest)
	o.recovered("everything was granted again")
	o.end()
}

// manualPolicy is the ACL policy of docs/OPERATIONS.md, a rule a line.
func manualPolicy(t *testing.T) []string {
	t.Helper()
	page, err := os.ReadFile("../docs/OPERATIONS.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(page), "```hcl\nservice_prefix")
	block, _, ok2 := strings.Cut(rest, "```")
	if !ok || !ok2 {
		t.Fatal("docs/OPERATIONS.md has no hcl block that begins with service_prefix")
	}
	return strings.Split(strings.TrimSpace("service_prefix"+block), "\n")
}

// aclToken returns a function that gives the balancer's token these rules, and
// returns the token.
func aclToken(l *lab) func(rules string) string {
	var policy struct{ ID string }
	var token struct{ SecretID string }
	return func(rules string) string {
		l.t.Helper()
		body, err := json.Marshal(map[string]string{"Name": "lb", "Rules": rules})
		if err != nil {
			l.t.Fatal(err)
		}
		if policy.ID != "" {
			l.must("PUT", "/v1/acl/policy/"+policy.ID, string(body))
			return token.SecretID
		}
		if err := json.Unmarshal([]byte(l.must("PUT", "/v1/acl/policy", string(body))), &policy); err != nil {
			l.t.Fatal(err)
		}
		out := l.must("PUT", "/v1/acl/token", fmt.Sprintf(`{"Policies":[{"ID":%q}]}`, policy.ID))
		if err := json.Unmarshal([]byte(out), &token); err != nil {
			l.t.Fatal(err)
		}
		return token.SecretID
	}
}
