package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"serin/canary/rollout"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// request is what a server was sent, and when.
type request struct {
	after  time.Duration
	host   string
	path   string
	header http.Header
	body   string
}

// world is a network within a test's bubble: hosts that answer, over pipes.
type world struct {
	start time.Time
	mu    sync.Mutex
	got   []request
	hosts map[string]http.HandlerFunc
	conns map[string]chan net.Conn
	log   bytes.Buffer
	n     *Notifier
	reg   *prometheus.Registry
	stop  func()
}

type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if c, ok := <-p; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}
func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

func newWorld(t *testing.T, hosts map[string]http.HandlerFunc) *world {
	w := &world{start: time.Now(), hosts: hosts, conns: map[string]chan net.Conn{}, reg: prometheus.NewRegistry()}
	var servers []*http.Server
	for host, handler := range hosts {
		conns := make(chan net.Conn)
		w.conns[host] = conns
		server := &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			w.mu.Lock()
			w.got = append(w.got, request{time.Since(w.start), r.Host, r.URL.RequestURI(), r.Header, string(body)})
			w.mu.Unlock()
			handler(rw, r)
		})}
		servers = append(servers, server)
		go server.Serve(pipes(conns))
	}
	w.n = &Notifier{
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
				host, _, _ := net.SplitHostPort(addr)
				conns, ok := w.conns[host]
				if !ok {
					return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
				}
				a, b := net.Pipe()
				select {
				case conns <- b:
					return a, nil
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			},
		},
		Log:     hclog.New(&hclog.LoggerOptions{Output: &w.log, DisableTime: true, Level: hclog.Trace}),
		Metrics: NewMetrics(w.reg),
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.n.Run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		for _, c := range w.conns {
			close(c)
		}
		for _, s := range servers {
			s.Close()
		}
		synctest.Wait()
	})
	t.Cleanup(w.stop)
	return w
}

// times is when a host was sent something.
func (w *world) times(host string) (out []time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.got {
		if r.host == host {
			out = append(out, r.after)
		}
	}
	return out
}

func (w *world) results(t *testing.T) string {
	families, err := w.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, f := range families {
		for _, m := range f.GetMetric() {
			fmt.Fprintf(&b, "%s %v ", m.GetLabel()[0].GetValue(), m.GetCounter().GetValue())
		}
	}
	return b.String()
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

func hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// pass lets time pass, and everything happen that then does.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func planFor(to ...rollout.Notify) *rollout.Plan { return &rollout.Plan{Service: "web", Notify: to} }

var promoted = rollout.Event{
	Time: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC), Service: "web", ID: "v2", Kind: rollout.EventPromote,
	Phase: rollout.Promoted, From: 0.5, To: 1, Because: "it was the last", Index: 7, Hash: "h", By: "lb-1",
}

func TestAnEventIsPosted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, map[string]http.HandlerFunc{"hooks": status(204)})
		w.n.Notify(promoted, planFor(rollout.Notify{URL: "http://hooks/a?b=c", Headers: map[string]string{"X-Team": "shop"}}))
		synctest.Wait()
		if len(w.got) != 1 {
			t.Fatalf("got %+v", w.got)
		}
		r := w.got[0]
		var e rollout.Event
		if err := json.Unmarshal([]byte(r.body), &e); err != nil || e != promoted {
			t.Errorf("%v %s", err, r.body)
		}
		if r.path != "/a?b=c" || r.header.Get("Content-Type") != "application/json" || r.header.Get("X-Team") != "shop" || len(r.header.Get("Idempotency-Key")) != 32 {
			t.Errorf("%+v", r)
		}
		if got := w.results(t); got != "dropped 0 failed 0 sent 1 " || w.log.Len() > 0 {
			t.Errorf("%s\n%s", got, &w.log)
		}
		w.stop()
	})
}

func TestOnChoosesKinds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, map[string]http.HandlerFunc{"all": status(200), "some": status(200)})
		plan := planFor(
			rollout.Notify{URL: "http://all/"},
			rollout.Notify{URL: "http://some/", On: []string{rollout.EventRollback, rollout.EventPause}},
		)
		for _, kind := range rollout.Kinds() {
			e := promoted
			e.Kind = kind
			w.n.Notify(e, plan)
			synctest.Wait()
		}
		if all, some := len(w.times("all")), len(w.times("some")); all != 8 || some != 2 {
			t.Errorf("all %d, some %d", all, some)
		}
		w.n.Notify(promoted, nil)
		(*Notifier)(nil).Notify(promoted, plan)
		w.stop()
	})
}

// Three tries, a second and five seconds apart, each with the same key.
func TestAServerThatFailsIsTriedThreeTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, map[string]http.HandlerFunc{"broken": status(500)})
		w.n.Notify(promoted, planFor(rollout.Notify{URL: "http://broken/token"}))
		pass(time.Minute)
		if got := w.times("broken"); !slices.Equal(got, []time.Duration{0, time.Second, 6 * time.Second}) {
			t.Errorf("tried at %v", got)
		}
		for _, r := range w.got {
			if r.header.Get("Idempotency-Key") != w.got[0].header.Get("Idempotency-Key") || r.body != w.got[0].body {
				t.Errorf("another key or body: %+v", r)
			}
		}
		want := "[WARN]  webhook was not told: address=http://broken event=promote tries=3 error=\"it answers 500\"\n"
		if got := w.results(t); got != "dropped 0 failed 1 sent 0 " || w.log.String() != want {
			t.Errorf("%s\n%s", got, &w.log)
		}
		w.stop()
	})
}

func TestWhatOtherTriesCannotHelpIsTriedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := func(rw http.ResponseWriter, r *http.Request) {
			http.Redirect(rw, r, "http://elsewhere/", http.StatusTemporaryRedirect)
		}
		w := newWorld(t, map[string]http.HandlerFunc{"moved": to, "elsewhere": status(200), "gone": status(410), "busy": status(429)})
		w.n.Notify(promoted, planFor(rollout.Notify{URL: "http://moved/"}, rollout.Notify{URL: "http://gone/"}, rollout.Notify{URL: "http://busy/"}))
		pass(time.Minute)
		if a, b, c, d := len(w.times("moved")), len(w.times("elsewhere")), len(w.times("gone")), len(w.times("busy")); a != 1 || b != 0 || c != 1 || d != 3 {
			t.Errorf("moved %d, elsewhere %d, gone %d, busy %d", a, b, c, d)
		}
		if !strings.Contains(w.log.String(), "it answers with a redirect, 307, which is not followed") {
			t.Errorf("%s", &w.log)
		}
		w.stop()
	})
}

// A server that never answers costs its own events, and nobody else's.
func TestAServerThatHangsDelaysNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, map[string]http.HandlerFunc{"hangs": hang, "well": status(200)})
		plan := planFor(rollout.Notify{URL: "http://hangs/"}, rollout.Notify{URL: "http://well/"})
		const events = Waiting + 50
		for i := range events {
			before := time.Now()
			e := promoted
			e.Step = i
			w.n.Notify(e, plan)
			if d := time.Since(before); d > 0 {
				t.Fatalf("Notify took %v", d)
			}
			synctest.Wait()
		}
		if got := w.times("well"); len(got) != events || got[events-1] != 0 {
			t.Errorf("well was told %d events, the last after %v", len(got), got[len(got)-1])
		}
		if got := w.results(t); got != fmt.Sprintf("dropped %d failed 0 sent %d ", events-Waiting-1, events) {
			t.Errorf("%s", got)
		}
		pass(21 * time.Second) // 3 × 5 s of patience, 1 s and 5 s between
		if got := w.times("hangs"); !slices.Equal(got[:3], []time.Duration{0, 6 * time.Second, 16 * time.Second}) {
			t.Errorf("tried at %v", got)
		}
		if !strings.Contains(w.log.String(), `tries=3 error="no answer within 5s"`) {
			t.Errorf("%s", &w.log)
		}
		w.stop()
		if got := w.results(t); got != fmt.Sprintf("dropped %d failed 1 sent %d ", events-1, events) {
			t.Errorf("after the end: %s", got)
		}
	})
}

// Events of one address arrive in their order, whatever it answers.
func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		w := newWorld(t, map[string]http.HandlerFunc{"flaky": func(rw http.ResponseWriter, _ *http.Request) {
			if n++; n%2 == 1 {
				rw.WriteHeader(503)
			}
		}})
		for i := range 5 {
			e := promoted
			e.Step = i
			w.n.Notify(e, planFor(rollout.Notify{URL: "http://flaky/"}))
		}
		pass(time.Minute)
		var steps []int
		for _, r := range w.got {
			var e rollout.Event
			if json.Unmarshal([]byte(r.body), &e) == nil {
				steps = append(steps, e.Step)
			}
		}
		if !slices.Equal(steps, []int{0, 0, 1, 1, 2, 2, 3, 3, 4, 4}) {
			t.Errorf("%v", steps)
		}
		w.stop()
	})
}

func TestTooManyAddressesAndBeforeRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, map[string]http.HandlerFunc{"hangs": hang})
		var to []rollout.Notify
		for i := range Addresses + 3 {
			to = append(to, rollout.Notify{URL: fmt.Sprintf("http://hangs/%d", i)})
		}
		w.n.Notify(promoted, planFor(to...))
		synctest.Wait()
		if got := w.results(t); got != "dropped 3 failed 0 sent 0 " {
			t.Errorf("%s", got)
		}
		w.stop()

		n := &Notifier{Metrics: NewMetrics(prometheus.NewRegistry())}
		for range 10 * incoming { // nobody runs: what fits waits, the rest is dropped
			n.Notify(promoted, planFor(rollout.Notify{URL: "http://hooks/"}))
		}
		if len(n.queue) != incoming {
			t.Errorf("%d wait", len(n.queue))
		}
	})
}

// An answer without end is not read to its end.
func TestLongAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wrote := 0
		w := newWorld(t, map[string]http.HandlerFunc{"talks": func(rw http.ResponseWriter, _ *http.Request) {
			for {
				n, err := rw.Write(make([]byte, 4096))
				if wrote += n; err != nil {
					return
				}
			}
		}})
		w.n.Notify(promoted, planFor(rollout.Notify{URL: "http://talks/"}))
		pass(time.Second)
		if got := w.results(t); got != "dropped 0 failed 0 sent 1 " || wrote > 64<<10 {
			t.Errorf("%s, %d bytes", got, wrote)
		}
		w.stop()
	})
}

// Addresses and header values come from the environment and from files, each
// time anew, and are in nothing that is logged.
func TestReferences(t *testing.T) {
	dir := t.TempDir()
	token := filepath.Join(dir, "token")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(token, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("Bearer s3cret-1\n")
	t.Setenv("SHOP_HOOK", "http://broken/s3cret-path?s3cret-query")
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, map[string]http.HandlerFunc{"broken": status(500)})
		w.n.Notify(promoted, planFor(rollout.Notify{URL: "env:SHOP_HOOK", Headers: map[string]string{"Authorization": "file:" + token}}))
		synctest.Wait()
		write("Bearer s3cret-2")
		pass(time.Minute)
		if len(w.got) != 3 || w.got[0].path != "/s3cret-path?s3cret-query" || w.got[0].header.Get("Authorization") != "Bearer s3cret-1" || w.got[1].header.Get("Authorization") != "Bearer s3cret-2" {
			t.Fatalf("%+v", w.got)
		}
		write("one\nX-Injected: s3cret") // more than a line is no header
		w.n.Notify(promoted, planFor(
			rollout.Notify{URL: "http://broken/s3cret", Headers: map[string]string{"Authorization": "file:" + token}},
			rollout.Notify{URL: "http://user:s3cret@nowhere/s3cret"},
			rollout.Notify{URL: "file:" + token},
			rollout.Notify{URL: "http://s3cret\x7f/"},
		))
		pass(time.Minute)
		if len(w.got) != 3 {
			t.Errorf("%+v", w.got[3:])
		}
		log := w.log.String()
		if strings.Contains(log, "s3cret") || strings.Count(log, "\n") != 5 || !strings.Contains(log, "the name of its host cannot be resolved") ||
			!strings.Contains(log, "header Authorization: the value is more than one line") || !strings.Contains(log, "address=env:SHOP_HOOK") {
			t.Errorf("%s", log)
		}
		if got := w.results(t); strings.Contains(got, "s3cret") || got != "dropped 0 failed 5 sent 0 " {
			t.Errorf("%s", got)
		}
		w.stop()
	})
}

func TestResolve(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"good": " value\n", "empty": "\n", "own": "t0ken", "large": strings.Repeat("x", maxSecret+1)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(dir, "own"), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(dir, "own"), filepath.Join(dir, "hard")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("A_HOOK", "https://hooks/x")
	t.Setenv("CONSUL_HTTP_TOKEN", "t0ken")
	t.Setenv("LB_CONSUL_TOKEN", "t0ken")
	t.Setenv("MINE", "t0ken")
	n := &Notifier{Private: []string{"env:MINE", "file:" + dir + "/own"}}
	f := func(text, want, wantErr string) {
		t.Helper()
		text, wantErr = strings.ReplaceAll(text, "DIR", dir), strings.ReplaceAll(wantErr, "DIR", dir)
		got, err := n.resolve(text)
		if err == nil {
			err = errors.New("")
		}
		if got != want || err.Error() != wantErr {
			t.Errorf("resolve(%q) = %q, %q; want %q, %q", text, got, err, want, wantErr)
		}
	}
	f("plain", "plain", "")
	f("env:A_HOOK", "https://hooks/x", "")
	f("env:NOT_THERE", "", "env:NOT_THERE: the balancer has no such variable, or it is empty")
	f("env:CONSUL_HTTP_TOKEN", "", "env:CONSUL_HTTP_TOKEN is the balancer's own: use another variable")
	f("env:LB_CONSUL_TOKEN", "", "env:LB_CONSUL_TOKEN is the balancer's own: use another variable")
	f("env:MINE", "", "env:MINE is the balancer's own: use another variable")
	f("file:DIR/good", "value", "")
	f("file:good", "", "file:good: the path does not begin with /")
	f("file:DIR/none", "", "file:DIR/none: the file cannot be read: no such file or directory")
	f("file:DIR/empty", "", "file:DIR/empty: the file is empty")
	f("file:DIR/large", "", "file:DIR/large: the file has more than 16384 bytes")
	f("file:DIR", "", "file:DIR is not a regular file")
	f("file:DIR/own", "", "file:DIR/own is the balancer's own: use another file")
	f("file:DIR/link", "", "file:DIR/link is the balancer's own: use another file")
	f("file:DIR/hard", "", "file:DIR/hard is the balancer's own: use another file")
	f("file:DIR/../"+filepath.Base(dir)+"/own", "", "file:DIR/../"+filepath.Base(dir)+"/own is the balancer's own: use another file")
	f("file:/proc/self/environ", "", "file:/proc/self/environ is the balancer's own: use another file")
}

// Where clouds tell machines their secrets nothing is sent, whatever name leads
// there and however it is written.
func TestUnusableAddresses(t *testing.T) {
	f := func(address string, refused bool) {
		t.Helper()
		if err := usable("tcp", address, nil); (err != nil) != refused {
			t.Errorf("%s: %v", address, err)
		}
	}
	for _, address := range []string{"169.254.169.254:80", "[::ffff:169.254.169.254]:80", "[fe80::1%lo]:80", "0.0.0.0:80", "[::]:80", "224.0.0.1:80"} {
		f(address, true)
	}
	f("127.0.0.1:80", false)
	f("10.0.0.1:443", false)

	n := &Notifier{}
	why, _ := n.send(t.Context(), &http.Client{Transport: n.transport()}, job{to: rollout.Notify{URL: "http://169.254.169.254/latest/meta-data/"}})
	if why != errUnusable.Error() {
		t.Errorf("said %q", why)
	}
}
