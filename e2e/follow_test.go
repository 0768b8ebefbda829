package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"serin/internal/agent"
)

// stub is an instance inside the test process: its health is a TTL check, so
// that the test decides the moment of every change.
type stub struct {
	l        *lab
	id, addr string
	srv      *httptest.Server
}

// stub registers a new instance with a check in the given status.
func (l *lab) stub(service, id, tags, status string) *stub {
	l.t.Helper()
	s := &stub{l: l, id: id}
	s.srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, id) }))
	l.t.Cleanup(s.srv.Close)
	s.addr = s.srv.Listener.Addr().String()
	s.register(service, tags, status)
	return s
}

func (s *stub) register(service, tags, status string) {
	s.l.t.Helper()
	host, port, _ := strings.Cut(s.addr, ":")
	quoted := `"` + strings.Join(strings.Split(tags, ","), `","`) + `"`
	s.l.must("PUT", "/v1/agent/service/register", fmt.Sprintf(
		`{"ID":%q,"Name":%q,"Address":%q,"Port":%s,"Tags":[%s],"Check":{"TTL":"1h","Status":%q}}`, s.id, service, host, port, quoted, status))
}

func (s *stub) check(status string) {
	s.l.t.Helper()
	s.l.must("PUT", "/v1/agent/check/"+map[string]string{"passing": "pass", "warning": "warn", "critical": "fail"}[status]+"/service:"+s.id, "")
}

func (s *stub) maintenance(on bool) {
	s.l.t.Helper()
	s.l.must("PUT", fmt.Sprintf("/v1/agent/service/maintenance/%s?enable=%t&reason=test", s.id, on), "")
}

func (s *stub) deregister() {
	s.l.t.Helper()
	s.l.must("PUT", "/v1/agent/service/deregister/"+s.id, "")
}

// ask sends one request for host through the balancer and returns the status
// and the body.
func (b *balancer) ask(host, path string) (int, string, error) {
	req, err := http.NewRequest("GET", "http://"+b.traffic+path, nil)
	if err != nil {
		return 0, "", err
	}
	req.Host = host
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

// lastSeen asks for host until nobody has answered as id for quiet, and returns
// the moment of its last answer, or the moment it began.
func (b *balancer) lastSeen(t *testing.T, host, id string, quiet time.Duration) time.Time {
	t.Helper()
	last := time.Now()
	for limit := last.Add(10 * time.Second); time.Since(last) < quiet; {
		if time.Now().After(limit) {
			t.Fatalf("%s still answers for %s after 10 s", id, host)
		}
		_, body, err := b.ask(host, "/")
		if err != nil {
			t.Fatal(err)
		}
		if body == id {
			last = time.Now()
		}
	}
	return last
}

// Every change in Consul reaches the traffic, and soon.
func TestCatalogChangesReachTraffic(t *testing.T) {
	n := size(t)
	l := &lab{t: t, consul: agent.Start(t, agent.Config{}).Addr()}
	for i := range 10 {
		l.stub(fmt.Sprintf("other-%d", i), fmt.Sprintf("other-%d", i), fmt.Sprintf("urlprefix-other%d.test/", i), "passing")
	}
	stay := l.stub("web", "stay", "urlprefix-web.test/", "passing")
	b := l.lb()
	eventually(t, 5*time.Second, "web is routed", func() error { return want(b, "web.test", 200, stay.id) })

	const quiet = 250 * time.Millisecond
	var first, more, critical, maintenance, deregistered, last []time.Duration
	for i := range n.FollowRounds {
		host, id := fmt.Sprintf("new%d.test", i), fmt.Sprintf("new-%d", i)
		s := l.stub(id, id, "urlprefix-"+host+"/", "passing")
		first = append(first, eventually(t, 5*time.Second, "new service routed", func() error { return want(b, host, 200, id) }))

		began := time.Now()
		s.deregister()
		eventually(t, 5*time.Second, "last instance gone", func() error { return want(b, host, -1, "") })
		last = append(last, time.Since(began))

		id = fmt.Sprintf("web-%d", i)
		s = l.stub("web", id, "urlprefix-web.test/", "passing")
		more = append(more, eventually(t, 5*time.Second, "one more instance", func() error { return inTable(b, s.addr) }))
		eventually(t, 15*time.Second, "it answers (slow start: seldom at first)", func() error { return want(b, "web.test", 200, id) })

		began = time.Now()
		s.check("critical")
		critical = append(critical, b.lastSeen(t, "web.test", id, quiet).Sub(began))
		s.check("passing")
		eventually(t, 15*time.Second, "passing again", func() error { return want(b, "web.test", 200, id) })

		began = time.Now()
		s.maintenance(true)
		maintenance = append(maintenance, b.lastSeen(t, "web.test", id, quiet).Sub(began))
		s.maintenance(false)
		eventually(t, 15*time.Second, "back from maintenance", func() error { return want(b, "web.test", 200, id) })

		began = time.Now()
		s.deregister()
		deregistered = append(deregistered, b.lastSeen(t, "web.test", id, quiet).Sub(began))
	}
	quantiles(t, "new service registered → first 200", first)
	quantiles(t, "one more instance registered → in the table", more)
	// An instance that is to get nothing gets nothing within a second.
	for what, ds := range map[string][]time.Duration{"critical": critical, "maintenance": maintenance, "deregistered": deregistered} {
		if _, p99 := quantiles(t, what+" → last seen", ds); p99 > time.Second {
			t.Errorf("%s: requests still came after %s, promised is a second", what, p99)
		}
	}
	// The promise: a service's last instance is given up within 3 s.
	if _, p99 := quantiles(t, "last instance deregistered → gone", last); p99 > 3*time.Second {
		t.Errorf("a service's last instance was given up after %s, promised are 3 s", p99)
	}
	if code, _, err := b.ask("web.test", "/"); err != nil || code != 200 {
		t.Errorf("the service that stayed answers %d, %v", code, err)
	}
}

// inTable returns nil when traffic may go to addr.
func inTable(b *balancer, addr string) error {
	var routes []struct{ Dst string }
	if err := getJSON("http://"+b.admin+"/api/routes", &routes); err != nil {
		return err
	}
	for _, r := range routes {
		if strings.Contains(r.Dst, addr) {
			return nil
		}
	}
	return fmt.Errorf("%s is not among the %d targets", addr, len(routes))
}

// want returns nil when host answers with this status and body; status -1
// stands for "no instance": 503 for a service that is known, else 404.
func want(b *balancer, host string, code int, body string) error {
	got, gotBody, err := b.ask(host, "/")
	switch {
	case err != nil:
		return err
	case code == -1 && (got == 503 || got == 404):
		return nil
	case got != code || gotBody != body:
		return fmt.Errorf("%s answers %d %q, want %d %q", host, got, gotBody, code, body)
	}
	return nil
}
