package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"serin/internal/agent"
	"serin/internal/devconsul"
)

// asProgram makes the test binary behave as the program, to be sent signals.
const asProgram = "DEMO_SERVICE_TEST_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	goleak.VerifyTestMain(m)
}

// running is a demo-service in this process.
type running struct {
	t    *testing.T
	stop context.CancelFunc
	code chan int
	logs agent.Buffer
}

func start(t *testing.T, args ...string) *running {
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{t: t, stop: cancel, code: make(chan int, 1)}
	var wg sync.WaitGroup
	wg.Go(func() { r.code <- run(ctx, args, io.Discard, &r.logs) })
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		if t.Failed() {
			t.Logf("%v said:\n%s", args, r.logs.String())
		}
	})
	return r
}

// eventually fails the test unless ok turns true within ten seconds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited 10 s in vain: %s", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

var listening = regexp.MustCompile(`listen=(\S+)`)

// addr returns where the service listens.
func (r *running) addr() string {
	r.t.Helper()
	var found []string
	eventually(r.t, "the service listens", func() bool {
		found = listening.FindStringSubmatch(r.logs.String())
		return found != nil
	})
	return found[1]
}

// exit waits for the exit code.
func (r *running) exit() int {
	r.t.Helper()
	select {
	case c := <-r.code:
		return c
	case <-time.After(15 * time.Second):
		r.t.Fatal("still running after 15 s")
		return -1
	}
}

// fake runs a devconsul until the test is over.
func fake(t *testing.T) (s *devconsul.Server, addr string) {
	s = devconsul.New()
	srv := httptest.NewServer(s)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { s.Run(ctx) })
	t.Cleanup(func() { cancel(); srv.Close(); wg.Wait() })
	return s, srv.Listener.Addr().String()
}

var client = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

func get(t *testing.T, url string, v any) (*http.Response, error) {
	t.Helper()
	resp, err := client.Get(url)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if v != nil {
		if err := json.NewDecoder(resp.Body).Decode(v); err != nil {
			t.Fatalf("%s: %v", url, err)
		}
	}
	return resp, nil
}

type instance struct {
	Service struct {
		ID, Service, Address string
		Port                 int
		Tags                 []string
		Meta                 map[string]string
	}
	Checks []struct{ CheckID, Status, Type, Interval, Timeout string }
}

func passing(t *testing.T, consul, service string) (all []instance) {
	t.Helper()
	if _, err := get(t, "http://"+consul+"/v1/health/service/"+service+"?passing", &all); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestLife(t *testing.T) {
	_, fakeAddr := fake(t)
	t.Run("devconsul", func(t *testing.T) { t.Parallel(); life(t, fakeAddr) })
	t.Run("consul", func(t *testing.T) { t.Parallel(); life(t, agent.Start(t, agent.Config{}).Addr()) })
}

// life follows two instances from registration to the end.
func life(t *testing.T, consul string) {
	one := start(t, "-consul", consul, "-http", "127.0.0.1:0", "-name", "web", "-version", "v1", "-drain", "400ms",
		"-tags", "urlprefix-/ strip=/x, canary", "-meta", "team=blue,zone=a", "-check.interval", "1s", "-check.timeout", "500ms")
	two := start(t, "-discovery", consul, "-http", "127.0.0.1:0", "-version", "v2", "-drain", "10ms", "-check.interval", "1s")
	eventually(t, "both instances pass", func() bool { return len(passing(t, consul, "web")) == 2 })
	all := passing(t, consul, "web")
	if all[0].Service.Meta["version"] == "v2" {
		slices.Reverse(all)
	}
	s := all[0].Service
	host, port, _ := net.SplitHostPort(one.addr())
	if s.Address != host || port != json.Number(mustJSON(t, s.Port)).String() {
		t.Errorf("registered at %s:%d, listens on %s", s.Address, s.Port, one.addr())
	}
	if want := []string{"urlprefix-/ strip=/x", "canary"}; !slices.Equal(s.Tags, want) {
		t.Errorf("tags %q, want %q", s.Tags, want)
	}
	if got, want := mustJSON(t, s.Meta), `{"team":"blue","version":"v1","zone":"a"}`; got != want {
		t.Errorf("meta %s, want %s", got, want)
	}
	if !regexp.MustCompile(`^web-[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$`).MatchString(s.ID) {
		t.Errorf("ID %q: want web- and a UUID", s.ID)
	}
	own := all[0].Checks[len(all[0].Checks)-1]
	if own.Type != "http" || own.Interval != "1s" || own.Timeout != "500ms" {
		t.Errorf("check %+v, want http each 1s, timeout 500ms", own)
	}
	var who struct{ Service, Version, Instance string }
	if _, err := get(t, "http://"+one.addr()+"/", &who); err != nil || who.Service != "web" || who.Version != "v1" || who.Instance != s.ID {
		t.Errorf("answers %+v, %v; want web v1 %s", who, err, s.ID)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, "http://"+one.addr()+"/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()

	one.stop()
	eventually(t, "deregistered", func() bool { return len(passing(t, consul, "web")) == 1 })
	resp, err := get(t, "http://"+one.addr()+"/", nil)
	if err != nil {
		t.Fatalf("not served while draining: %v", err)
	}
	if resp.StatusCode != 200 {
		t.Errorf("while draining: %s, want 200", resp.Status)
	}
	eventually(t, "health fails and connections are closed while draining", func() bool {
		resp, err := get(t, "http://"+one.addr()+"/health", nil)
		return err == nil && resp.StatusCode == 503 && resp.Close
	})
	if _, _, err := ws.Read(ctx); websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("WebSocket closed with %v, want 1001", err)
	}
	if code := one.exit(); code != 0 {
		t.Errorf("exit %d, want 0", code)
	}
	if _, err := net.Dial("tcp", one.addr()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("still listening: %v", err)
	}
	two.stop()
	if code := two.exit(); code != 0 {
		t.Errorf("exit %d, want 0", code)
	}
	if left := passing(t, consul, "web"); len(left) != 0 {
		t.Errorf("left behind: %+v", left)
	}
}

func mustJSON(t *testing.T, v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestServesWithoutConsulAndRegistersLater(t *testing.T) {
	t.Parallel()
	s, consul := fake(t)
	heal := s.Break(devconsul.Fault{Kind: devconsul.Error500})
	r := start(t, "-consul", consul, "-http", "127.0.0.1:0", "-drain", "0s")
	eventually(t, "the log says that it is not registered", func() bool {
		return strings.Contains(r.logs.String(), "not registered yet")
	})
	if resp, err := get(t, "http://"+r.addr()+"/health", nil); err != nil || resp.StatusCode != 200 {
		t.Errorf("not served without Consul: %v", err)
	}
	heal()
	eventually(t, "registered", func() bool { return len(passing(t, consul, "web")) == 1 })
	id := passing(t, consul, "web")[0].Service.ID
	s.Wipe()
	eventually(t, "registered again after the agent lost it", func() bool {
		all := passing(t, consul, "web")
		return len(all) == 1 && all[0].Service.ID == id
	})
	s.Break(devconsul.Fault{Kind: devconsul.Error500})
	r.stop()
	if code := r.exit(); code != 0 || !strings.Contains(r.logs.String(), "not deregistered") {
		t.Errorf("stopped without Consul: exit %d, want 0 and a warning", code)
	}
}

func TestStopsWithoutEverHavingRegistered(t *testing.T) {
	t.Parallel()
	r := start(t, "-consul", "127.0.0.1:1", "-http", "127.0.0.1:0", "-drain", "0s")
	r.addr()
	r.stop()
	if code := r.exit(); code != 0 {
		t.Errorf("exit %d, want 0", code)
	}
}

func TestSignals(t *testing.T) {
	t.Parallel()
	_, consul := fake(t)
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		cmd := exec.Command(os.Args[0], "-consul", consul, "-http", "127.0.0.1:0", "-drain", "10ms")
		cmd.Env = append(os.Environ(), asProgram+"=1")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "registered", func() bool { return len(passing(t, consul, "web")) == 1 })
		cmd.Process.Signal(sig)
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %v, want exit 0", sig, err)
		}
		if left := passing(t, consul, "web"); len(left) != 0 {
			t.Errorf("%v: left behind %+v", sig, left)
		}
	}
}

func TestPortTaken(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	var stderr bytes.Buffer
	if code := run(t.Context(), []string{"-http", ln.Addr().String()}, io.Discard, &stderr); code != exitFailed || !strings.Contains(stderr.String(), "address already in use") {
		t.Errorf("exit %d, %s; want %d and the reason", code, stderr.String(), exitFailed)
	}
}

func TestHelpAndUsage(t *testing.T) {
	for _, arg := range []string{"-h", "--help"} {
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), []string{arg}, &stdout, &stderr); code != 0 || stderr.Len() > 0 {
			t.Errorf("%s: exit %d, stderr %q; want 0 and nothing", arg, code, stderr.String())
		}
		flags(&config{}).VisitAll(func(f *flag.Flag) {
			if !strings.Contains(stdout.String(), "  -"+f.Name+" ") {
				t.Errorf("%s does not mention -%s", arg, f.Name)
			}
		})
		for _, path := range []string{"/health", "/fail", "/slow", "/stream", "/ws", "/seen"} {
			if !strings.Contains(stdout.String(), "  "+path) {
				t.Errorf("%s does not mention %s", arg, path)
			}
		}
	}
	for _, f := range []struct{ args, want string }{
		{"-nosuch", "flag provided but not defined: -nosuch"},
		{"extra", `unexpected argument "extra": all options are flags`},
		{"-http 3000", `-http "3000": want host:port or :port`},
		{"-meta a", `"a": want key=value`},
		{"-meta =a", `"=a": want key=value`},
		{"-drain -1s", "-drain zero or more"},
		{"-check.interval 0s", "-check.interval and -check.timeout must be positive"},
		{"-name=", "-name is empty"},
	} {
		var stderr bytes.Buffer
		code := run(t.Context(), strings.Fields(f.args), io.Discard, &stderr)
		if code != exitUsage || !strings.Contains(stderr.String(), f.want) {
			t.Errorf("%s: exit %d, %q; want %d, %q", f.args, code, stderr.String(), exitUsage, f.want)
		}
	}
}

func TestParse(t *testing.T) {
	for _, f := range []struct {
		args []string
		want string // tags, meta, the address to register
	}{
		{nil, `["urlprefix-/"] {"version":"v1"}`},
		{[]string{"-tags", ""}, `null {"version":"v1"}`},
		{[]string{"-tags", "a b, c ,,d"}, `["a b","c","d"] {"version":"v1"}`},
		{[]string{"-tags", "a", "--tags", "b"}, `["a","b"] {"version":"v1"}`},
		{[]string{"-tags", `urlprefix-/ allow=ip:10.0.0.0/8\,ip:::1,b`}, `["urlprefix-/ allow=ip:10.0.0.0/8,ip:::1","b"] {"version":"v1"}`},
		{[]string{"-version", "2.4.0", "-meta", "a=b=c, d ="}, `["urlprefix-/"] {"a":"b=c","d":"","version":"2.4.0"}`},
		{[]string{"-meta", "version=x"}, `["urlprefix-/"] {"version":"x"}`},
	} {
		cfg, err := parse(f.args)
		if err != nil {
			t.Errorf("%q: %v", f.args, err)
			continue
		}
		if got := mustJSON(t, cfg.tags) + " " + mustJSON(t, cfg.meta); got != f.want {
			t.Errorf("%q\n got %s\nwant %s", f.args, got, f.want)
		}
	}
}

func TestAddress(t *testing.T) {
	for _, f := range []struct{ listen, addr, want string }{
		{":3000", "10.1.2.3", "10.1.2.3"},
		{"127.0.0.1:3000", "", "127.0.0.1"},
		{"[::1]:3000", "", "::1"},
		{"web.internal:3000", "", "web.internal"},
		{"0.0.0.0:3000", "", "usable"},
		{":3000", "", "usable"},
	} {
		got, err := config{listen: f.listen, addr: f.addr}.address()
		if ip := net.ParseIP(got); f.want == "usable" && ip != nil && !ip.IsUnspecified() {
			got = "usable"
		}
		if err != nil || got != f.want {
			t.Errorf("-http %s -addr %q: %q, %v; want %q", f.listen, f.addr, got, err, f.want)
		}
	}
}

func FuzzSplitTags(f *testing.F) {
	for _, s := range []string{"", ",", `a\,b`, `\`, `a\\,b`, " a , b c ,"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		tags := splitTags(s)
		var again []string
		for _, tag := range tags {
			if tag == "" || tag != strings.TrimSpace(tag) {
				t.Fatalf("%q: tag %q", s, tag)
			}
			again = append(again, strings.ReplaceAll(tag, ",", `\,`))
		}
		if got := splitTags(strings.Join(again, ",")); !slices.Equal(got, tags) && !strings.Contains(s, `\`) {
			t.Fatalf("%q: %q, written and read again %q", s, tags, got)
		}
	})
}
