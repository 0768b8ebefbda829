package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/hashicorp/go-hclog"

	"serin/admin"
	"serin/canary/rollout"
	"serin/internal/devconsul"
)

// session runs one command line in process.
func session(environ []string, args ...string) (code int, out, talk string) {
	var stdout, stderr bytes.Buffer
	a := &app{environ: environ, in: strings.NewReader(""), out: &stdout, err: &stderr}
	code = a.main(context.Background(), args)
	return code, stdout.String(), stderr.String()
}

func TestTwoDashes(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		if got := strings.Join(twoDashes(strings.Fields(in)), " "); got != want {
			t.Errorf("twoDashes(%s)\n got %s\nwant %s", in, got, want)
		}
	}
	f("-proxy.addr :80 --ui.addr=:1", "--proxy.addr :80 --ui.addr=:1")
	f("-proxy.addr=:80 -h -n -", "--proxy.addr=:80 -h -n -")
	f("canary set web -5%", "canary set web -5%")
	f("a -- -proxy.addr", "a -- -proxy.addr")
}

// meddler is Consul where somebody else writes a document between our reading
// and our writing it.
func meddler() http.Handler {
	agent := devconsul.New()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut && r.URL.Query().Has("cas") {
			other := httptest.NewRequest(http.MethodPut, r.URL.Path, strings.NewReader(`{"ratio": 0.9}`))
			agent.ServeHTTP(httptest.NewRecorder(), other)
		}
		agent.ServeHTTP(w, r)
	})
}

func TestALostRaceWritesNothing(t *testing.T) {
	agent := httptest.NewServer(meddler())
	defer agent.Close()
	environ := []string{"CONSUL_HTTP_ADDR=" + agent.URL, "LB_ADDR=127.0.0.1:1"}
	code, _, talk := session(environ, "canary", "set", "web", "10%")
	if code != exitConflict || !strings.Contains(talk, "error: lb/canary/web was changed by someone else meanwhile and nothing was written: it is at index") {
		t.Errorf("code %d, %s", code, talk)
	}
	if _, out, _ := session(environ, "canary", "show", "web"); out != `{"ratio": 0.9}`+"\n" {
		t.Errorf("the other's document is gone: %s", out)
	}
}

func TestSetWaitsForTheBalancer(t *testing.T) {
	agent := httptest.NewServer(devconsul.New())
	defer agent.Close()
	deaf := httptest.NewServer((&admin.Server{}).Handler())
	defer deaf.Close()
	defer http.DefaultClient.CloseIdleConnections()
	code, _, talk := session([]string{"CONSUL_HTTP_ADDR=" + agent.URL, "LB_ADDR=" + deaf.Listener.Addr().String()}, "canary", "set", "web", "10%", "--wait", "10ms")
	if code != exitTimeout || !strings.Contains(talk, "did not apply index") {
		t.Errorf("code %d, %s", code, talk)
	}
}

func TestWatchShowsUntilItsContextEnds(t *testing.T) {
	server := httptest.NewServer((&admin.Server{}).Handler())
	defer server.Close()
	defer http.DefaultClient.CloseIdleConnections()
	ctx, cancel := context.WithCancel(t.Context())
	var talk bytes.Buffer
	a := &app{environ: []string{"LB_ADDR=" + server.Listener.Addr().String()}, out: io.Discard, err: writeFunc(func(p []byte) (int, error) {
		cancel() // it has shown something
		return talk.Write(p)
	})}
	if code := a.main(ctx, []string{"canary", "status", "--watch"}); code != 0 || !strings.HasPrefix(talk.String(), "no canary documents") {
		t.Errorf("code %d, %s", code, talk.String())
	}
}

// Otherwise the end of whoever reads the log on standard output ends the balancer.
func TestRunOutlivesTheReaderOfItsOutput(t *testing.T) {
	err := untilSignal(t.Context(), hclog.NewNullLogger(), func(context.Context) error {
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		defer w.Close()
		r.Close()
		if _, err = w.Write([]byte("line\n")); !errors.Is(err, syscall.EPIPE) || !signal.Ignored(syscall.SIGPIPE) {
			t.Errorf("write: %v, SIGPIPE ignored: %t", err, signal.Ignored(syscall.SIGPIPE))
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

type writeFunc func([]byte) (int, error)

func (f writeFunc) Write(p []byte) (int, error) { return f(p) }

func TestSignals(t *testing.T) {
	kill := func() {
		if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
			t.Error(err)
		}
	}
	drained := errors.New("drained")
	err := untilSignal(t.Context(), hclog.NewNullLogger(), func(ctx context.Context) error {
		kill()
		<-ctx.Done()
		return drained
	})
	if !errors.Is(err, drained) {
		t.Errorf("the first signal ends the context and waits\n got %v\nwant %v", err, drained)
	}
	release := make(chan struct{})
	ended := make(chan struct{})
	err = untilSignal(t.Context(), hclog.NewNullLogger(), func(ctx context.Context) error {
		defer close(ended)
		kill()
		<-ctx.Done()
		kill()
		<-release
		return drained
	})
	if e, ok := errors.AsType[*exitError](err); !ok || e.code != exitInterrupted {
		t.Errorf("the second signal does not wait\n got %v\nwant exit code %d", err, exitInterrupted)
	}
	close(release)
	<-ended
}

func TestReport(t *testing.T) {
	f := func(err error, wantCode int, want string) {
		t.Helper()
		var b bytes.Buffer
		if code := report(&b, err); code != wantCode || b.String() != want {
			t.Errorf("report(%v)\n got %d %q\nwant %d %q", err, code, b.String(), wantCode, want)
		}
	}
	one, two := errors.New("one"), errors.New("two")
	f(nil, 0, "")
	f(one, 1, "error: one\n")
	f(fail(5, one, "do two"), 5, "error: one\nhint: do two\n")
	f(fmt.Errorf("serve: %w", fail(4, one, "")), 4, "error: serve: one\n")
	f(fail(2, together([]error{one, nil, together([]error{two})}), "look"), 2, "error: one\nerror: two\nhint: look\n")
	f(errors.Join(one, two), 1, "error: one\ntwo\n")
	f(together(nil), 0, "")
	f(errDrainExceeded, 4, "error: requests were still in flight at the end of proxy.shutdownwait and were cut\n")
}

func TestExitCodesAreListedOnce(t *testing.T) {
	if !slices.IsSortedFunc(exitCodes, func(a, b struct {
		code    int
		meaning string
	},
	) int {
		return a.code - b.code
	}) {
		t.Error("exit codes are not in order")
	}
}

func TestDialable(t *testing.T) {
	f := func(addr, want string) {
		t.Helper()
		if got := dialable(addr); got != want {
			t.Errorf("dialable(%q)\n got %q\nwant %q", addr, got, want)
		}
	}
	f(":9998", "127.0.0.1:9998")
	f("0.0.0.0:9998", "127.0.0.1:9998")
	f("[::]:9998", "127.0.0.1:9998")
	f("lb.internal:9998", "lb.internal:9998")
	f("10.0.0.1:1", "10.0.0.1:1")
}

func TestLogger(t *testing.T) {
	f := func(l Log, want string) {
		t.Helper()
		var b bytes.Buffer
		log := (&app{err: &b}).logger(l)
		log.Info("hello", "n", 1)
		log.Warn("careful")
		if got := b.String(); !strings.Contains(got, want) || strings.Contains(got, "\x1b") || l.Level == "warn" && strings.Contains(got, "hello") {
			t.Errorf("%+v\n got %s\nwant %s", l, got, want)
		}
	}
	f(Log{Level: "info", Format: "auto"}, "lb: hello: n=1")
	f(Log{Level: "warn", Format: "text"}, "careful")
	f(Log{Level: "info", Format: "json"}, `"@message":"hello"`)
}

// TestWatchFollows: what changes in the balancer is shown by the next look.
func TestWatchFollows(t *testing.T) {
	phase := rollout.Running
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/v1/routes" {
			io.WriteString(w, "[]")
			return
		}
		st := admin.CanaryStatus{Rollout: &rollout.Status{State: rollout.State{ID: "v2", Phase: phase}}}
		phase = rollout.RolledBack
		json.NewEncoder(w).Encode(st)
	}))
	defer server.Close()
	defer http.DefaultClient.CloseIdleConnections()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out bytes.Buffer
	a := &app{environ: []string{"LB_ADDR=" + server.Listener.Addr().String()}, err: io.Discard, out: writeFunc(func(p []byte) (int, error) {
		if out.Write(p); strings.Contains(out.String(), "rollout v2 rolled_back") {
			cancel()
		}
		return len(p), nil
	})}
	code := a.main(ctx, []string{"canary", "status", "web", "--watch"})
	if first, _, ok := strings.Cut(out.String(), "rollout v2 rolled_back"); code != 0 || !ok || !strings.Contains(first, "rollout v2 running") {
		t.Errorf("code %d\n%s", code, out.String())
	}
}
