package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"serin/internal/agent"
	"serin/internal/devconsul"
	"serin/route"
)

// What other proxies are told of a service: what the table makes of its document
// where it has a route here, what the document comes to where others alone route
// it, and nothing without a valid document.
func TestShareOf(t *testing.T) {
	f := func(what string, split *route.Split, e route.Effect, want float64, wantOK bool) {
		t.Helper()
		if got, ok := shareOf(split, e); got != want || ok != wantOK {
			t.Errorf("%s: %v, %v, want %v, %v", what, got, ok, want, wantOK)
		}
	}
	doc := &route.Split{Ratio: 0.2, DocHash: "x"}
	f("no document", nil, route.Effect{}, 0, false)
	f("no document, a route", nil, route.Effect{Routed: true}, 0, false)
	f("no valid document", &route.Split{}, route.Effect{}, 0, false)
	f("no route", doc, route.Effect{Because: "catalog: the service has no route"}, 0.2, true)
	f("no route, stale", &route.Split{Ratio: 0, Because: "stale: …", DocHash: "x"}, route.Effect{}, 0, true)
	f("a route", doc, route.Effect{Routed: true, Ratio: 0.2}, 0.2, true)
	f("a route, no canary is ready", doc, route.Effect{Routed: true, Ratio: 0, Because: "health: no canary instance is ready"}, 0, true)
	f("a route, no stable is ready", doc, route.Effect{Routed: true, Ratio: 1, Because: "health: no stable instance is ready"}, 1, true)
}

func TestDaemonConns(t *testing.T) {
	for _, c := range []struct {
		files     uint64
		listeners int
		want      int
	}{{0, 1, 1024}, {1 << 20, 1, 1024}, {1024, 1, 128}, {1024, 4, 32}, {64, 8, 16}} {
		if got := daemonConns(c.files, c.listeners); got != c.want {
			t.Errorf("daemonConns(%d, %d) = %d, want %d", c.files, c.listeners, got, c.want)
		}
	}
}

// The defaults of lb daemon pass, and differ from those of lb run in what its
// help says.
func TestDefaultDaemon(t *testing.T) {
	cfg, err := load(given{defaults: DefaultDaemon, environ: []string{"LB_PROXY_ADDR=:80", "LB_LOG_ACCESS_TARGET=/var/log/lb", "LB_PROXY_DEREGISTERGRACEPERIOD=10s"}})
	if err != nil {
		t.Fatal(err)
	}
	if cfg, err = cfg.withoutTraffic([]string{"web", "service=api;addr=127.0.0.1:0"}); err != nil {
		t.Fatal(err)
	}
	base, differ := Default(), []string{}
	for _, o := range options {
		if got := o.text(&cfg); got != o.text(&base) {
			differ = append(differ, o.key+" = "+got)
		}
	}
	want := `proxy.addr = 
proxy.deregistergraceperiod = 0s
ui.addr = 127.0.0.1:9996
registry.consul.register.enabled = false
registry.consul.register.name = lb-daemon
canary.staleafter = 8s
daemon.listen = web,service=api;addr=127.0.0.1:0
metrics.target = prometheus,statsd
metrics.statsd.addr = 127.0.0.1:8125`
	if got := strings.Join(differ, "\n"); got != want {
		t.Errorf("it differs in\n%s\nwant\n%s", got, want)
	}
	for _, bad := range [][]string{nil, {"web", "api"}, {"service="}} {
		if _, err := DefaultDaemon().withoutTraffic(bad); err == nil {
			t.Errorf("lb daemon %q: no error", bad)
		}
	}
}

// startDaemon is start for lb daemon, with the listener.
func (s *site) startDaemon(listener string, options map[string]string) *running {
	s.t.Helper()
	flags := map[string]string{"ui.addr": "127.0.0.1:0", "registry.consul.addr": s.addr, "metrics.target": "prometheus"}
	maps.Copy(flags, options)
	cfg, err := load(given{flags: flags, defaults: DefaultDaemon})
	if err != nil {
		s.t.Fatal(err)
	}
	if cfg, err = cfg.withoutTraffic([]string{listener}); err != nil {
		s.t.Fatal(err)
	}
	r := &running{t: s.t, out: new(agent.Buffer), done: make(chan struct{})}
	said := new(agent.Buffer)
	if r.balancer, err = assemble(cfg, r.out, hclog.New(&hclog.LoggerOptions{Output: said, Level: hclog.Debug})); err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	go func() { defer close(r.done); r.err = r.serve(ctx) }()
	s.t.Cleanup(func() {
		cancel()
		<-r.done
		if s.t.Failed() {
			s.t.Logf("the daemon said:\n%s", said)
		}
	})
	return r
}

// tells asks the first listener of r for an assignment, and returns the answer
// with | for the ends of lines.
func (r *running) tells(assignment string) string {
	r.t.Helper()
	a := r.asking[0].Addr()
	c, err := net.Dial(a.Network(), a.String())
	if err != nil {
		r.t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, assignment+"\n"); err != nil {
		r.t.Fatal(err)
	}
	b, err := io.ReadAll(c)
	if err != nil {
		r.t.Fatal(err)
	}
	return strings.ReplaceAll(string(b), "\n", "|")
}

func (r *running) eventuallyTells(what, assignment, want string) {
	r.t.Helper()
	got := ""
	defer func() {
		if got != want {
			r.t.Logf("the last answer was %s, want %s", got, want)
		}
	}()
	eventually(r.t, what, func() bool { got = r.tells(assignment); return got == want })
}

// A service that other proxies alone route follows its document; where Consul
// is lost its share is 0 after canary.staleafter, and back when Consul is. The
// daemon serves no traffic and is not registered.
func TestDaemonAlone(t *testing.T) {
	s := newSite(t)
	path := filepath.Join(t.TempDir(), "web.sock")
	r := s.startDaemon("service=web;addr="+path, map[string]string{"canary.staleafter": "300ms"}).becomesReady()
	if got := r.tells("0.2"); got != "0.2|master||" {
		t.Errorf("without a document: %s", got)
	}
	s.ask("PUT", "/v1/kv/lb/canary/web", `{"ratio": 0.5}`)
	r.eventuallyTells("the document counts", "0.2", "0.2|canary||")
	if got := r.tells("0.50"); got != "0.5|master||" {
		t.Errorf("at the share: %s", got)
	}
	s.ask("PUT", "/v1/kv/lb/canary/web", `{"raito": 1}`)
	eventually(t, "the document is refused", func() bool {
		_, text := r.probe("/api/v1/canary/web/status")
		return strings.Contains(text, `"invalid"`)
	})
	if got := r.tells("0.2"); got != "0.2|canary||" {
		t.Errorf("a refused document changed something: %s", got)
	}
	heal := s.consul.Break(devconsul.Fault{Kind: devconsul.Error500})
	t.Cleanup(heal)
	r.eventuallyTells("stale", "0.2", "0.2|master||")
	heal()
	r.eventuallyTells("Consul is back", "0.2", "0.2|canary||")
	s.ask("DELETE", "/v1/kv/lb/canary/web", "")
	r.eventuallyTells("the document is deleted", "0.2", "0.2|master||")

	if len(r.traffic) > 0 {
		t.Errorf("it listens for traffic: %v", r.traffic[0].Addr())
	}
	if n := s.balancers(); n > 0 {
		t.Errorf("%d balancers are registered", n)
	}
	if !r.fleet.Self.Blind {
		t.Error("it counts among those that judge")
	}
	if _, text := r.probe("/metrics"); !strings.Contains(text, `lb_daemon_answers_total{arm="canary",asked="held",service="web"}`) {
		t.Error("/metrics lacks the answers")
	}
	began := time.Now()
	r.stop()
	if err := r.ended(10 * time.Second); err != nil || time.Since(began) > 5*time.Second {
		t.Errorf("the end: %v after %s", err, time.Since(began))
	}
	if _, err := os.Lstat(path); err == nil {
		t.Error("the socket is still there")
	}
}

// Without Consul, from the start, everybody goes to master, and it is counted
// that nobody knew better.
func TestDaemonWithoutConsul(t *testing.T) {
	s := newSite(t)
	s.ask("PUT", "/v1/kv/lb/canary/web", `{"ratio": 1}`)
	heal := s.consul.Break(devconsul.Fault{Kind: devconsul.Error500})
	t.Cleanup(heal)
	r := s.startDaemon("service=web;addr=127.0.0.1:0", nil)
	if got := r.tells("0.2"); got != "0.2|master||" {
		t.Errorf("without Consul: %s", got)
	}
	if _, text := r.probe("/metrics"); !strings.Contains(text, `lb_daemon_unknown_total{service="web"} 1`) {
		t.Error("/metrics does not say that the share is unknown")
	}
	heal()
	r.eventuallyTells("Consul is there", "0.2", "0.2|canary||")
}

// In a balancer that routes the service itself the guards count: no share
// without a ready canary, all of it without a ready stable.
func TestDaemonInBalancer(t *testing.T) {
	s := newSite(t)
	s.instance("web-1", func(http.ResponseWriter, *http.Request) {}, "")
	s.ask("PUT", "/v1/kv/lb/canary", `{"ratio": 0.5}`)
	r := s.start(map[string]string{"daemon.listen": "service=web;addr=tcp://127.0.0.1:0"}).becomesReady()
	r.eventuallyTells("no canary yet", "0.2", "0.2|master||")
	s.instance("web-2", func(http.ResponseWriter, *http.Request) {}, `{"Tags": ["urlprefix-/", "canary"]}`)
	r.eventuallyTells("a canary", "0.2", "0.2|canary||")
	r.eventuallyTells("above the share", "0.7", "0.7|master||")
	s.ask("PUT", "/v1/agent/service/deregister/web-1", "")
	r.eventuallyTells("no stable", "0.7", "0.7|canary||")
	if status, _ := fetch(t, "GET", r.url("/"), ""); status != 200 {
		t.Errorf("the balancer answers %d", status)
	}
	if r.fleet.Self.Blind {
		t.Error("it does not count among those that judge")
	}
}

// statsd gets what was answered.
func TestDaemonStatsd(t *testing.T) {
	statsd, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer statsd.Close()
	s := newSite(t)
	s.ask("PUT", "/v1/kv/lb/canary/web", `{"ratio": 1}`)
	r := s.startDaemon("service=web;addr=127.0.0.1:0", map[string]string{
		"metrics.target": "prometheus,statsd", "metrics.statsd.addr": statsd.LocalAddr().String(), "metrics.prefix": "d", "metrics.interval": "50ms",
	}).becomesReady()
	r.eventuallyTells("the document counts", "0.2", "0.2|canary||")
	for range 6 {
		r.tells("0.3")
	}
	// Counters come as what was added since the last packet.
	sum, buf := 0, make([]byte, 64<<10)
	_ = statsd.SetReadDeadline(time.Now().Add(10 * time.Second))
	for sum < 7 {
		n, _, err := statsd.ReadFrom(buf)
		if err != nil {
			t.Fatalf("after %d answers: %v", sum, err)
		}
		for line := range bytes.Lines(buf[:n]) {
			name, value, _ := strings.Cut(strings.TrimSpace(string(line)), ":")
			number, isCounter := strings.CutSuffix(value, "|c")
			if isCounter && strings.HasPrefix(name, "d.lb_daemon_answers_total") && strings.Contains(name, "canary") {
				v, err := strconv.Atoi(number)
				if err != nil {
					t.Fatalf("%s: %v", line, err)
				}
				sum += v
			}
		}
	}
	if sum != 7 {
		t.Errorf("statsd was told of %d answers, want 7", sum)
	}
}

// What cannot be listened at ends the start, with the reason.
func TestDaemonCannotListen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := load(given{defaults: DefaultDaemon, flags: map[string]string{"ui.addr": "127.0.0.1:0", "daemon.listen": "service=web;addr=" + path}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = assemble(cfg, io.Discard, hclog.NewNullLogger())
	if want := "daemon.listen: " + path + " is there and is no socket"; err == nil || !strings.HasPrefix(fmt.Sprint(err), want) {
		t.Errorf("got %v, want %s", err, want)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the file is gone: %v", err)
	}
}
