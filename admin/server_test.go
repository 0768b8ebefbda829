package admin

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"serin/canary"
	"serin/canary/rollout"
	"serin/proxy"
	"serin/registry"
	"serin/route"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var moment = time.Date(2026, 11, 22, 15, 4, 5, 0, time.UTC)

const secret = "s3cr3t-t0k3n"

// secretHash is the key of sticky assignment, which nobody outside may learn.
var secretHash = [2]uint64{0xfeedfacecafebeef, 0xdecade0fc0ffee11}

type documents struct{}

func (documents) Status() canary.Status {
	web, _ := documents{}.ServiceStatus("web")
	return canary.Status{Answered: true, Services: []canary.ServiceStatus{web}}
}

func (documents) ServiceStatus(service string) (canary.ServiceStatus, bool) {
	return canary.ServiceStatus{
		Service: service, State: canary.StateInvalid, Source: "lb/canary/web", Key: "lb/canary/web",
		Wanted: 0.25, Effective: 0.25, Document: json.RawMessage(`{"ratio": 0.25}`), Hash: "0123456789abcdef", LastGood: 4718,
		Index: 4722, Rejected: `{"raito": 0.5}`,
		Error: &canary.Error{Key: "lb/canary/web", Line: 1, Column: 2, Msg: `unknown field "raito"`, Hint: `did you mean "ratio"?`},
	}, service == "web"
}

func (documents) Resolve(service string, a canary.Asker) ([]byte, string, bool) {
	text := `{"ratio": 0.25}`
	if a.Self != nil {
		text = fmt.Sprintf(`{"ratio": 0.25, "comment": "%s %s %s"}`, a.Self.Node, a.Self.Datacenter, a.Self.Tags)
	} else if a.Client == netip.MustParseAddr("10.1.2.3") {
		text = `{"ratio": 1}`
	}
	return []byte(text), canary.Hash([]byte(text)), service == "web"
}

// fleet knows one rollout, that of web, and one balancer.
type fleet struct{}

func (fleet) node() rollout.NodeStatus {
	return rollout.NodeStatus{Node: rollout.Node{
		Self: rollout.Self{ID: "lb-1", Node: "n1"}, Applied: rollout.Applied{Index: 4718, Hash: "0123456789abcdef", Ratio: 0.25}, At: moment,
	}}
}

func (f fleet) Status(service string) (rollout.Status, bool) {
	return rollout.Status{
		Service: service, State: rollout.State{V: 1, Phase: rollout.Running, Step: 1, Ratio: 0.25, Since: moment}, Leader: "lb-1", Leads: true,
		Nodes: []rollout.NodeStatus{f.node()},
	}, service == "web"
}

func (f fleet) Balancers(string) []rollout.NodeStatus { return []rollout.NodeStatus{f.node()} }

func (fleet) History(_ context.Context, service string) ([]rollout.Event, error) {
	return []rollout.Event{{Time: moment, Service: service, Kind: rollout.EventStep, Phase: rollout.Running, Step: 1, From: 0.01, To: 0.25, Because: "the gate is passed", By: "lb-1"}}, nil
}

func (fleet) Events(ctx context.Context, seq uint64) []rollout.Event {
	if seq >= 7 {
		<-ctx.Done()
		return nil
	}
	return []rollout.Event{{Seq: 7, Time: moment, Service: "web", Kind: rollout.EventPause, Phase: rollout.Paused, Because: "by hand", By: "lb-1"}}
}

// full returns a Server that knows a bit of everything.
func full(t *testing.T) *Server {
	t.Helper()
	instance := func(id, addr string, ready bool, tags ...string) registry.Instance {
		i := registry.Instance{Service: "web", ID: id, Node: "n1", Datacenter: "dc1", Addr: addr, Tags: tags, Weight: 1, Ready: ready}
		if ready {
			i.Health = registry.Passing
		} else {
			i.Reason = `check "http" is critical`
		}
		return i
	}
	snapshot := registry.New(&registry.Service{Name: "web", ReadAt: moment, Instances: []registry.Instance{
		instance("web-1", "10.0.0.1:80", true, "urlprefix-shop.test/ strip=/x", "blue"),
		instance("web-2", "10.0.0.2:80", true, "urlprefix-shop.test/ strip=/x", "urlprefix-/bad weight=no"),
		instance("web-3", "10.0.0.3:80", true, "urlprefix-shop.test/ proto=https", "canary"),
		instance("web-4", "10.0.0.4:80", false, "urlprefix-shop.test/ strip=/x"),
	}})
	var b route.Builder
	table := b.Build(route.Inputs{Snapshot: snapshot, Splits: route.Splits{ByService: map[string]*route.Split{"web": {
		Service: "web", Explicit: true, Ratio: 0.25, Wanted: 0.25, MinHealthy: 1, Secret: secretHash, Index: 4718, DocHash: "0123456789abcdef",
	}}}})

	metrics := prometheus.NewRegistry()
	up := prometheus.NewGauge(prometheus.GaugeOpts{Name: "lb_up", Help: "Always 1."})
	up.Set(1)
	metrics.MustRegister(up)
	return &Server{
		Table: func() *route.Table { return table },
		Upstreams: func() []proxy.UpstreamState {
			return []proxy.UpstreamState{
				{Addr: "10.0.0.1:80", Services: []string{"web"}, InFlight: 3, State: "ok", Answers: 40},
				{Addr: "10.0.0.9:80", Services: []string{"other"}, State: "ejected", Until: 7.5, Because: "timeout", Ejections: 1, Failures: 5},
			}
		},
		Canary:    documents{},
		Overrides: commands(),
		Registry: func() RegistryStatus {
			return RegistryStatus{Addr: "127.0.0.1:8500", Source: "consul", LastContact: moment, Registered: []string{"lb-1"}}
		},
		Ready:   func() State { return State{Warnings: []string{"lb/canary/web is invalid"}} },
		Config:  []Setting{{"proxy.addr", ":9999", "default"}, {"registry.consul.token", "[redacted]", "env CONSUL_HTTP_TOKEN"}},
		Version: Version{Version: "1.2.3", Commit: "0123456789abcdef", Go: "go1.26", Platform: "linux/amd64"},
		Metrics: metrics,
		Started: moment,
	}
}

// guarded is full with a document whose guards and selectors change its effect.
func guarded(t *testing.T) *Server {
	s := full(t)
	table := new(route.Builder).Build(route.Inputs{Snapshot: s.Table().Snapshot(), Splits: route.Splits{ByService: map[string]*route.Split{"web": {
		Service: "web", Explicit: true, Ratio: 0.25, Wanted: 0.25, MinHealthy: 2, Backup: route.Selector{Tag: "spare"},
		Index: 4718, DocHash: "0123456789abcdef",
	}}}})

	s.Table = func() *route.Table { return table }
	return s
}

func get(h http.Handler, target string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, "http://127.0.0.1"+target, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// sample is a path that matches an endpoint's pattern.
var sample = strings.NewReplacer("{$}", "", "{name}", "web", "{service}", "web", "{action}", "pause", "{key...}", "lb/routes/10-web", "{sub...}", "10-web")

func TestGolden(t *testing.T) {
	full, empty := full(t).Handler(), (&Server{}).Handler()
	var got strings.Builder
	show := func(h http.Handler, who, target string, header ...string) {
		w := get(h, target, header...)
		fmt.Fprintf(&got, "-- %s: GET %s %s--\n%d %s\n%s\n", who, target, strings.Join(append(header, ""), " "), w.Code, w.Header().Get("Content-Type"), strings.TrimSpace(w.Body.String()))
	}
	for _, e := range (&Server{}).endpoints() {
		switch e.path {
		case "/debug/pprof/", "/metrics", "/api/v1/schema/canary.json": // not ours, not stable; has a golden file of its own
			continue
		}
		show(full, "full", sample.Replace(e.path))
		if e.path != "/{$}" {
			show(empty, "empty", sample.Replace(e.path))
		}
	}
	show(full, "full", "/ready", "Accept", "application/json")
	show(full, "full", "/ready?consul")
	show(full, "full", "/api/v1/routes?service=none")
	show(full, "full", "/api/v1/services/none")
	show(full, "full", "/api/v1/canary/none")
	show(guarded(t).Handler(), "guarded", "/api/v1/canary")
	show(guarded(t).Handler(), "guarded", "/api/v1/canary/web/status")
	show(full, "full", "/api/v1/canary/none/status")
	show(full, "full", "/api/v1/canary/none/history")
	show(full, "full", "/api/v1/canary/none/explain")
	show(full, "full", "/api/v1/events?after=7")
	show(guarded(t).Handler(), "guarded", "/api/v1/services")
	show(full, "full", "/api/routes?raw")
	show(full, "full", "/api/routes?pretty")
	show(empty, "empty", "/api/routes?raw")
	show(full, "full", "/api/v2/routes")
	show(full, "full", "/debug/pprof/cmdline")
	file := filepath.Join("testdata", "answers.txt")
	if *update {
		if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("answers differ from %s (go test -run Golden -update rewrites it); got\n%s", file, got.String())
	}
}

// TestEveryEndpointAnswersItsMethodsOnly holds that nothing is written by a way
// that no row of the endpoints names.
func TestEveryEndpointAnswersItsMethodsOnly(t *testing.T) {
	h := full(t).Handler()
	for _, e := range full(t).endpoints() {
		path := sample.Replace(e.path)
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", "BREW"} {
			r := httptest.NewRequest("GET", "http://127.0.0.1"+path, nil)
			r.Method = method
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			answers := slices.Contains(e.allowed(), method)
			if reads := method == "GET" || method == "HEAD"; answers && reads && w.Code != http.StatusOK ||
				answers == (w.Code == http.StatusMethodNotAllowed) || !answers && w.Header().Get("Allow") != strings.Join(e.allowed(), ", ") {
				t.Errorf("%s %s = %d, Allow %q", method, path, w.Code, w.Header().Get("Allow"))
			}
			for _, name := range []string{"Content-Security-Policy", "X-Content-Type-Options", "Referrer-Policy", "Cross-Origin-Resource-Policy", "Cache-Control"} {
				if w.Header().Get(name) == "" {
					t.Errorf("%s %s has no %s", method, path, name)
				}
			}
			if !answers {
				var p Problem
				if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || p.Status != w.Code || p.Hint == "" || w.Header().Get("Content-Type") != "application/problem+json" {
					t.Errorf("%s %s answers no problem document but %s", method, path, w.Body)
				}
			}
		}
	}
}

func TestHostMustBeThisMachine(t *testing.T) {
	f := func(host string, remote bool, want int) {
		t.Helper()
		s := &Server{Remote: remote}
		r := httptest.NewRequest("GET", "/health", nil)
		r.Host = host
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("Host %q, remote %v\n got %d\nwant %d", host, remote, w.Code, want)
		}
	}
	for _, host := range []string{"127.0.0.1:9998", "127.0.0.1", "localhost:9998", "LOCALHOST", "localhost.", "lb.localhost:1", "[::1]:9998", "[::1]", "10.1.2.3:80", ""} {
		f(host, false, 200)
	}
	for _, host := range []string{"evil.test:9998", "evil.test", "127.0.0.1.evil.test", "localhost.evil.test", "notlocalhost", "127.0.0.1:80:80", "a b"} {
		f(host, false, 403)
		f(host, true, 200)
	}
}

func TestReady(t *testing.T) {
	f := func(st State, target string, wantStatus int, wantBody string) {
		t.Helper()
		w := get((&Server{Ready: func() State { return st }}).Handler(), target)
		if w.Code != wantStatus || w.Body.String() != wantBody {
			t.Errorf("%s of %+v\n got %d %q\nwant %d %q", target, st, w.Code, w.Body, wantStatus, wantBody)
		}
	}
	warn, draining := State{Warnings: []string{"stale"}}, State{NotReady: []string{"draining"}, Warnings: []string{"stale"}}
	f(State{}, "/ready", 200, "ready\n")
	f(State{}, "/ready?consul", 200, "ready\n")
	f(warn, "/ready", 200, "warning\nstale\n")
	f(warn, "/ready?consul", 429, "warning\nstale\n")
	f(draining, "/ready", 503, "not ready\ndraining\nstale\n")
	f(draining, "/ready?consul", 503, "not ready\ndraining\nstale\n")
	f(draining, "/health", 200, "OK\n")
}

// TestNoSecrets reads everything there is and looks for what must not be there.
func TestNoSecrets(t *testing.T) {
	args := os.Args
	defer func() { os.Args = args }()
	os.Args = append(slices.Clone(args), "-registry.consul.token="+secret)
	forbidden := []string{secret}
	for _, half := range secretHash {
		forbidden = append(forbidden, fmt.Sprint(half), fmt.Sprintf("%x", half), fmt.Sprintf("%g", float64(half)))
	}
	h := full(t).Handler()
	targets := []string{"/debug/pprof/cmdline", "/debug/pprof/goroutine?debug=2", "/debug/pprof/heap?debug=1", "/api/routes?raw", "/ready?consul"}
	for _, e := range full(t).endpoints() {
		targets = append(targets, sample.Replace(e.path))
	}
	for _, target := range targets {
		w := get(h, target)
		for _, s := range forbidden {
			if strings.Contains(strings.ToLower(w.Body.String()), strings.ToLower(s)) {
				t.Errorf("GET %s shows the secret %s", target, s)
			}
		}
	}
}

func TestMetrics(t *testing.T) {
	h := full(t).Handler()
	if body := get(h, "/metrics").Body.String(); !strings.Contains(body, "lb_up 1\n") {
		t.Errorf("/metrics lacks lb_up: %s", body)
	}
	w := get(h, "/metrics", "Accept", "application/openmetrics-text; version=1.0.0")
	if !strings.Contains(w.Body.String(), "# EOF") {
		t.Errorf("no OpenMetrics for those that accept it: %s", w.Body)
	}
}

func TestRunServesUntilItsContextEnds(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- full(t).Run(ctx, ln) }()
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	resp, err := client.Get("http://" + ln.Addr().String() + "/health")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if string(body) != "OK\n" {
		t.Errorf("/health = %q", body)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run = %v after its context ended", err)
	}
	if err := (&Server{}).Run(t.Context(), ln); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Run on a closed listener = %v", err)
	}
}
