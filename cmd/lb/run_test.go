package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"serin/internal/agent"
	"serin/internal/devconsul"
	"serin/proxy"
	"serin/route"
)

// These tests hold the wiring: a whole balancer in this process, on ports of its
// own, that follows a stand-in for Consul. What its parts do with what they are
// given is tested beside them; here it must reach them.

// site is a Consul with instances.
type site struct {
	t      *testing.T
	consul *devconsul.Server
	addr   string // of Consul, host:port
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, consul: devconsul.New()}
	server := httptest.NewServer(s.consul)
	s.addr = server.Listener.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan struct{})
	go func() { defer close(ran); s.consul.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ran; server.Close() })
	return s
}

// ask sends one request to Consul's API.
func (s *site) ask(method, path, body string) string {
	s.t.Helper()
	status, text := fetch(s.t, method, "http://"+s.addr+path, body)
	if status != http.StatusOK {
		s.t.Fatalf("%s %s: %d %s", method, path, status, text)
	}
	return text
}

// instance serves h and registers it under id as an instance of web, at "/" and
// with a check that passes unless more, further fields in JSON, says otherwise.
func (s *site) instance(id string, h http.HandlerFunc, more string) *httptest.Server {
	s.t.Helper()
	server := httptest.NewServer(h)
	s.t.Cleanup(server.Close)
	s.register(id, server, more)
	return server
}

func (s *site) register(id string, server *httptest.Server, more string) {
	s.t.Helper()
	def := map[string]any{
		"ID": id, "Name": "web", "Tags": []string{"urlprefix-/"},
		"Address": "127.0.0.1", "Port": server.Listener.Addr().(*net.TCPAddr).Port,
		"Check": map[string]string{"TTL": "1h", "Status": "passing"},
	}
	if more != "" {
		if err := json.Unmarshal([]byte(more), &def); err != nil {
			s.t.Fatal(err)
		}
	}
	body, err := json.Marshal(def)
	if err != nil {
		s.t.Fatal(err)
	}
	s.ask("PUT", "/v1/agent/service/register", string(body))
}

// hang makes Consul take requests and say nothing, until it heals or the test ends.
func (s *site) hang() (heal func()) {
	heal = s.consul.Break(devconsul.Fault{Kind: devconsul.Hang})
	s.t.Cleanup(heal) // or what hangs would outlive the test
	return heal
}

// balancers is how many balancers Consul lists, well or not.
func (s *site) balancers() int {
	return strings.Count(s.ask("GET", "/v1/catalog/service/lb", ""), `"ServiceID"`)
}

// running is a balancer between start and its end.
type running struct {
	*balancer
	t    *testing.T
	out  *agent.Buffer // its standard output
	stop context.CancelFunc
	done chan struct{}
	err  error // of serve, once done is closed
}

// start runs a balancer with options over those that suit a test, and stops it
// with the test.
func (s *site) start(options map[string]string) *running {
	s.t.Helper()
	return s.startWith(options, func(*balancer) {})
}

// startWith is start with a last change before anything runs.
func (s *site) startWith(options map[string]string, change func(*balancer)) *running {
	s.t.Helper()
	flags := map[string]string{
		"proxy.addr": "127.0.0.1:0", "ui.addr": "127.0.0.1:0", "registry.consul.addr": s.addr,
		"proxy.deregistergraceperiod": "0s", "proxy.shutdownwait": "5s",
	}
	maps.Copy(flags, options)
	cfg, err := load(given{flags: flags})
	if err != nil {
		s.t.Fatal(err)
	}
	r := &running{t: s.t, out: new(agent.Buffer), done: make(chan struct{})}
	said := new(agent.Buffer)
	if r.balancer, err = assemble(cfg, r.out, hclog.New(&hclog.LoggerOptions{Output: said, Level: hclog.Debug})); err != nil {
		s.t.Fatal(err)
	}
	change(r.balancer)
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	go func() { defer close(r.done); r.err = r.serve(ctx) }()
	s.t.Cleanup(func() {
		cancel()
		<-r.done
		if s.t.Failed() {
			s.t.Logf("the balancer said:\n%s", said)
		}
	})
	return r
}

// ended waits for the end and returns the error of serve.
func (r *running) ended(limit time.Duration) error {
	r.t.Helper()
	select {
	case <-r.done:
	case <-time.After(limit):
		r.t.Fatalf("not stopped within %s", limit)
	}
	return r.err
}

func (r *running) url(path string) string { return "http://" + r.traffic[0].Addr().String() + path }

// probe asks the admin listener; its status is 0 where nobody listens.
func (r *running) probe(path string) (int, string) {
	r.t.Helper()
	return fetch(r.t, "GET", "http://"+r.looking.Addr().String()+path, "")
}

func (r *running) becomesReady() *running {
	r.t.Helper()
	eventually(r.t, "ready", func() bool { status, _ := r.probe("/ready"); return status == http.StatusOK })
	return r
}

// fetch sends one request on a connection of its own; the status is 0 and the
// text the error where there is no answer.
func fetch(t *testing.T, method, url, body string) (status int, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	res, text := send(req)
	if res == nil {
		return 0, text
	}
	return res.StatusCode, text
}

// send is fetch for any request. It does not ask for the connection to be closed.
func send(req *http.Request) (*http.Response, string) {
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	res, err := tr.RoundTrip(req)
	if err != nil {
		return nil, err.Error()
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err.Error()
	}
	return res, string(body)
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	began := time.Now()
	for !ok() {
		if time.Since(began) > 10*time.Second {
			t.Fatalf("%s: not within 10 s", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// TestOptionsReachWhatTheyAreFor asks one balancer that has the options and one
// that has not.
func TestOptionsReachWhatTheyAreFor(t *testing.T) {
	// seen shows in its response what the request had.
	seen := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Seen-Forwarded-For", r.Header.Get("X-Forwarded-For"))
		w.Header().Set("Seen-Id", r.Header.Get("X-Id"))
	}
	slow := func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-time.After(300 * time.Millisecond):
		}
	}
	for _, tt := range []struct {
		options       string
		h             http.HandlerFunc
		instance      string // how it is registered
		shown         string // header of the response
		without, with string // status, and the header shown
	}{
		{"registry.consul.service.status=passing,warning", seen, `{"Check":{"TTL":"1h","Status":"warning"}}`, "", "503", "200"},
		{"registry.consul.checksRequired=all", seen, `{"Check":null,"Checks":[{"CheckID":"a","TTL":"1h","Status":"passing"},{"CheckID":"b","TTL":"1h","Status":"critical"}]}`, "", "200", "503"},
		{"registry.consul.tagprefix=ours-", seen, `{"Tags":["ours-/"]}`, "", "404", "200"},
		{"proxy.trusted=127.0.0.1", seen, "", "Seen-Forwarded-For", "200 127.0.0.1", "200 203.0.113.7, 127.0.0.1"},
		{"proxy.trusted=127.0.0.1 proxy.trusted.header=Client-IP", seen, "", "Seen-Forwarded-For", "200 127.0.0.1", "200 203.0.113.8, 127.0.0.1"},
		{"proxy.noroutestatus=418", seen, `{"Tags":["urlprefix-/elsewhere"]}`, "", "404", "418"},
		{"proxy.panic.critical=true", seen, `{"Check":{"TTL":"1h","Status":"critical"}}`, "", "503", "200"},
		{"proxy.tlsskipverify=true", seen, `{"Tags":["urlprefix-/ proto=https tlsskipverify=true"]}`, "", "502", "200"},
		{"proxy.header.clientip=X-Id", seen, "", "Seen-Id", "200", "200 127.0.0.1"},
		{"proxy.responseheadertimeout=50ms proxy.retries=0", slow, "", "", "200", "504"},
		{"proxy.header.debug=true", seen, "", "X-Lb-Instance", "200", "200 web-1"},
	} {
		t.Run(tt.options, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.instance("other-1", seen, `{"Name":"other","Tags":["urlprefix-/other"]}`)
			if strings.Contains(tt.instance, "https") {
				server := httptest.NewTLSServer(tt.h)
				server.Config.ErrorLog = log.New(io.Discard, "", 0)
				t.Cleanup(server.Close)
				s.register("web-1", server, tt.instance)
			} else {
				s.instance("web-1", tt.h, tt.instance)
			}
			set := map[string]string{}
			for o := range strings.FieldsSeq(tt.options) {
				key, value, _ := strings.Cut(o, "=")
				set[key] = value
			}
			answer := func(r *running) string {
				req, _ := http.NewRequestWithContext(t.Context(), "GET", r.url("/"), nil)
				req.Header.Set("X-Forwarded-For", "203.0.113.7")
				req.Header.Set("Client-Ip", "203.0.113.8")
				res, text := send(req)
				if res == nil {
					return text
				}
				return strings.TrimSpace(strconv.Itoa(res.StatusCode) + " " + res.Header.Get(tt.shown))
			}
			if got := answer(s.start(nil).becomesReady()); got != tt.without {
				t.Errorf("without the option: %s, want %s", got, tt.without)
			}
			if got := answer(s.start(set).becomesReady()); got != tt.with {
				t.Errorf("with the option: %s, want %s", got, tt.with)
			}
		})
	}
}

func TestDocumentSteersTraffic(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	says := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, text) }
	}
	s.instance("web-1", says("stable"), "")
	s.instance("web-2", says("canary"), `{"Tags":["urlprefix-/","canary"]}`)
	s.ask("PUT", "/v1/kv/elsewhere", `{"ratio":1}`)
	usual := s.start(nil).becomesReady()
	r := s.start(map[string]string{"canary.prefix": "elsewhere"}).becomesReady()
	if _, text := fetch(t, "GET", usual.url("/"), ""); text != "stable" {
		t.Errorf("without a document: %s", text)
	}
	if _, text := fetch(t, "GET", r.url("/"), ""); text != "canary" {
		t.Errorf("the first request with ratio 1: %s", text)
	}
	s.ask("PUT", "/v1/kv/elsewhere", `{"ratio":0}`)
	eventually(t, "ratio 0", func() bool { _, text := fetch(t, "GET", r.url("/"), ""); return text == "stable" })
}

func TestSettings(t *testing.T) {
	cfg, err := load(given{flags: map[string]string{
		"proxy.strategy": "random", "proxy.panic.threshold": "20", "proxy.panic.critical": "true", "proxy.noroutestatus": "421", "proxy.retries": "4",
	}})
	want := proxy.Settings{Balance: route.RandomBalance, PanicPercent: 20, PanicCritical: true, NoRouteStatus: 421, Attempts: 5}
	if got := cfg.Proxy.settings(); err != nil || got != want {
		t.Errorf("settings are %+v, %v\nwant %+v", got, err, want)
	}
}

// held is an instance whose requests to /hold hang; it tells when one came and
// when it was given up.
type held struct{ came, cut chan struct{} }

func newHeld() held { return held{make(chan struct{}, 10), make(chan struct{}, 10)} }

func (h held) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/hold" {
		h.came <- struct{}{}
		<-r.Context().Done()
		h.cut <- struct{}{}
	}
}

// hold has a request in flight until the balancer ends it, and returns what
// gives its answer then.
func (r *running) hold(h held) (answer func() (int, string)) {
	r.t.Helper()
	var status int
	var text string
	var g sync.WaitGroup
	g.Go(func() { status, text = fetch(r.t, "POST", r.url("/hold"), "") })
	<-h.came
	return func() (int, string) { g.Wait(); return status, text }
}

func TestInFlightIsLimited(t *testing.T) {
	t.Parallel()
	s, h := newSite(t), newHeld()
	s.instance("web-1", h.ServeHTTP, "")
	r := s.start(map[string]string{"proxy.maxinflight.service": "1", "proxy.shutdownwait": "0s"}).becomesReady()
	if status, text := fetch(t, "GET", r.url("/"), ""); status != 200 {
		t.Fatalf("the first request: %d %s", status, text)
	}
	answer := r.hold(h)
	if status, text := fetch(t, "GET", r.url("/"), ""); status != 503 {
		t.Errorf("beside a request in flight: %d %s, want 503", status, text)
	}
	r.stop()
	answer()
}

func TestAccessLogFileIsOpenedAnew(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.instance("web-1", func(http.ResponseWriter, *http.Request) {}, "")
	path := filepath.Join(t.TempDir(), "access.log")
	r := s.start(map[string]string{"log.access.target": path}).becomesReady()
	has := func(path, text string) func() bool {
		return func() bool { b, _ := os.ReadFile(path); return strings.Contains(string(b), text) }
	}
	fetch(t, "GET", r.url("/first"), "")
	eventually(t, "a line of the request", has(path, `"path":"/first"`))

	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	// Whoever asks for a signal keeps it from ending the process.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	defer signal.Stop(signals)
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the file opened anew", func() bool {
		if err := self.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		_, err := os.Stat(path)
		return err == nil
	})
	fetch(t, "GET", r.url("/second"), "")
	eventually(t, "a line of the request in the new file", has(path, `"path":"/second"`))
	if has(path+".1", "/second")() || has(path, "/first")() {
		t.Error("a line is in the wrong file")
	}
}

func TestAccessLogOnStandardOutput(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.instance("web-1", func(http.ResponseWriter, *http.Request) {}, "")
	r := s.start(map[string]string{"log.access.target": "stdout", "log.access.format": "common"}).becomesReady()
	fetch(t, "GET", r.url("/some"), "")
	eventually(t, "a line of the request", func() bool { return strings.Contains(r.out.String(), `"GET /some HTTP/1.1" 200`) })
}

func TestInstanceThatLeftIsForgotten(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var open atomic.Int64
	leaving := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "leaving") }))
	leaving.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed:
			open.Add(-1)
		}
	}
	leaving.Start()
	t.Cleanup(leaving.Close)
	s.register("web-1", leaving, "")
	s.instance("web-2", func(http.ResponseWriter, *http.Request) {}, "")
	var ahead atomic.Int64 // of the clock of what is kept of instances
	r := s.startWith(map[string]string{"proxy.idleconntimeout": "1h"}, func(b *balancer) {
		b.core.Upstreams = proxy.NewUpstreams(proxy.UpstreamsConfig{Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }})
	}).becomesReady()
	eventually(t, "an answer of the instance", func() bool { _, text := fetch(t, "GET", r.url("/"), ""); return text == "leaving" })
	if open.Load() == 0 {
		t.Fatal("no connection to the instance is kept")
	}
	counted := func() bool { _, text := r.probe("/metrics"); return strings.Contains(text, `service="web"`) }
	if !counted() {
		t.Fatal("the service is not in the metrics")
	}
	listed := func(id string) func() bool {
		return func() bool { _, text := r.probe("/api/v1/routes"); return strings.Contains(text, id) }
	}
	if !listed("web-1")() || !listed("web-2")() {
		t.Fatal("an instance is not in the table")
	}
	s.ask("PUT", "/v1/agent/service/deregister/web-1", "")
	eventually(t, "the instance has left the table", func() bool { return !listed("web-1")() })
	ahead.Store(int64(time.Minute)) // it is remembered for 30 s, and dropped with a later table
	s.ask("PUT", "/v1/agent/service/deregister/web-2", "")
	eventually(t, "the connections to the instance that left are closed", func() bool { return open.Load() == 0 })
	eventually(t, "the service that left is gone from the metrics", func() bool { return !counted() })
}

func TestReadyWithTheFirstPicture(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.instance("web-1", func(http.ResponseWriter, *http.Request) {}, "")
	heal := s.hang()
	r := s.start(nil)
	eventually(t, "an answer", func() bool { status, _ := r.probe("/health"); return status == 200 })
	if status, text := r.probe("/ready"); status != 503 || !strings.Contains(text, "the catalog is not known yet") {
		t.Errorf("/ready before the first picture: %d %s", status, text)
	}
	if status, text := fetch(t, "GET", r.url("/"), ""); status != 503 {
		t.Errorf("traffic before the first picture: %d %s, want 503", status, text)
	}
	heal()
	r.becomesReady()
	if status, text := fetch(t, "GET", r.url("/"), ""); status != 200 {
		t.Errorf("traffic after the first picture: %d %s", status, text)
	}
	eventually(t, "Consul finds the balancer well", func() bool {
		return strings.Contains(s.ask("GET", "/v1/health/service/lb?passing", ""), `"ServiceID"`)
	})
}

func TestStop(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.instance("web-1", func(http.ResponseWriter, *http.Request) {}, "")
	r := s.start(map[string]string{"proxy.deregistergraceperiod": "2s"}).becomesReady()
	eventually(t, "registered", func() bool { return s.balancers() == 1 })
	stays := s.start(nil).becomesReady() // what one balancer does is its own affair
	eventually(t, "the second is registered", func() bool { return s.balancers() == 2 })

	began := time.Now()
	r.stop()
	eventually(t, "draining", func() bool {
		status, text := r.probe("/ready")
		return status == 503 && strings.Contains(text, "draining")
	})
	eventually(t, "one balancer has left Consul", func() bool { return s.balancers() == 1 })
	if took := time.Since(began); took > time.Second {
		t.Errorf("known to drain and gone from Consul after %s, want at once", took)
	}
	for time.Since(began) < time.Second { // half of the lame duck
		req, _ := http.NewRequestWithContext(t.Context(), "GET", r.url("/"), nil)
		switch res, text := send(req); {
		case res == nil || res.StatusCode != 200:
			t.Fatalf("a new connection in the lame duck: %v %s, want it served", res, text)
		case !res.Close:
			t.Fatal("a response in the lame duck does not say Connection: close")
		}
		<-time.After(50 * time.Millisecond)
	}

	if err := r.ended(10 * time.Second); err != nil {
		t.Errorf("stopped with %v", err)
	}
	if conn, err := net.Dial("tcp", r.traffic[0].Addr().String()); err == nil {
		conn.Close()
		t.Error("a connection is accepted after the end")
	}
	if status, text := fetch(t, "GET", stays.url("/"), ""); status != 200 {
		t.Errorf("the other balancer: %d %s", status, text)
	}
}

func TestStopCutsWhatHangs(t *testing.T) {
	for wait, limit := range map[string]time.Duration{"0s": time.Second, "100ms": 10 * time.Second} {
		t.Run(wait, func(t *testing.T) {
			t.Parallel()
			s, h := newSite(t), newHeld()
			s.instance("web-1", h.ServeHTTP, "")
			r := s.start(map[string]string{"proxy.shutdownwait": wait}).becomesReady()
			answer := r.hold(h)
			r.stop()
			select {
			case <-h.cut:
			case <-time.After(limit):
				t.Errorf("not cut within %s", limit)
			}
			err := r.ended(10 * time.Second)
			if code := report(io.Discard, err); !errors.Is(err, errDrainExceeded) || code != 4 {
				t.Errorf("ended with %v, exit code %d, want errDrainExceeded and 4", err, code)
			}
			if status, text := answer(); status == 200 {
				t.Errorf("the request that was cut: %d %s", status, text)
			}
		})
	}
}

// TestStopWaitsForWhatEnds is the other half of TestStopCutsWhatHangs.
func TestStopWaitsForWhatEnds(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	came, release := make(chan struct{}), make(chan struct{})
	s.instance("web-1", func(http.ResponseWriter, *http.Request) { close(came); <-release }, "")
	r := s.start(nil).becomesReady()
	answered := make(chan int, 1)
	go func() { status, _ := fetch(t, "POST", r.url("/"), ""); answered <- status }()
	<-came
	r.stop()
	eventually(t, "the listener is closed", func() bool {
		conn, err := net.Dial("tcp", r.traffic[0].Addr().String())
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	close(release)
	if got := <-answered; got != 200 {
		t.Errorf("the request in flight got %d, want 200", got)
	}
	if err := r.ended(10 * time.Second); err != nil {
		t.Errorf("stopped with %v", err)
	}
}

func TestStopDoesNotWaitForConsul(t *testing.T) {
	// Two seconds to take the registration back and one to end the session; a
	// request to register that is on its way has a second more, and Consul is told
	// a second long that it was in vain.
	const limit = 3 * time.Second
	for _, registered := range []bool{true, false} {
		t.Run(fmt.Sprintf("registered=%t", registered), func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			if !registered {
				s.hang()
			}
			r := s.start(nil)
			eventually(t, "started", func() bool {
				names, _ := r.client.Registered()
				status, _ := r.probe("/health")
				return status == 200 && (len(names) == 1) == registered
			})
			s.hang()
			r.stop()
			if err := r.ended(limit + 2*time.Second); err != nil { // a slow machine
				t.Errorf("stopped with %v", err)
			}
		})
	}
}

func TestStartWithoutConsulFromTheStateOnDisk(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.instance("web-1", func(http.ResponseWriter, *http.Request) {}, "")
	kept := map[string]string{"registry.snapshot.path": filepath.Join(t.TempDir(), "snapshot.json")}
	first := s.start(kept).becomesReady()
	first.stop()
	if err := first.ended(10 * time.Second); err != nil {
		t.Fatal(err)
	}
	s.hang()
	kept["registry.consul.register.enabled"] = "false" // which would hold up the stop
	r := s.start(kept).becomesReady()
	eventually(t, "traffic", func() bool { status, _ := fetch(t, "GET", r.url("/"), ""); return status == 200 })
}

// TestStartWithAnInvalidDocument: a balancer whose first document is invalid is
// ready, and sends nobody to the canary.
func TestStartWithAnInvalidDocument(t *testing.T) {
	s := newSite(t)
	s.instance("web-1", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "stable") }, "")
	s.instance("web-2", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "canary") }, `{"Tags": ["urlprefix-/", "canary"]}`)
	s.ask("PUT", "/v1/kv/lb/canary/web", `{"ratio": 10}`)
	r := s.start(nil).becomesReady()
	for range 20 {
		if status, text := fetch(t, "GET", r.url("/"), ""); status != 200 || text != "stable" {
			t.Fatalf("%d %s", status, text)
		}
	}
	if _, text := r.probe("/api/v1/canary/web/status"); !strings.Contains(text, `ratio must be 0..1`) {
		t.Errorf("status %s", text)
	}
	s.ask("PUT", "/v1/kv/lb/canary/web", `{"ratio": 1}`)
	eventually(t, "a valid document counts", func() bool { _, text := fetch(t, "GET", r.url("/"), ""); return text == "canary" })
}
