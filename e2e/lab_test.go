package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"serin/internal/agent"
)

// Paths of the binaries under test, built once by TestMain.
var lbBin, demoBin string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "serin-e2e")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	build := exec.Command("go", "build", "-o", dir+string(filepath.Separator), "serin/cmd/lb", "serin/cmd/demo-service")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "building the binaries under test:", err)
		return 1
	}
	lbBin, demoBin = filepath.Join(dir, "lb"), filepath.Join(dir, "demo-service")
	return m.Run()
}

// process is one program under test. It dies with the test, and its output is
// shown when the test fails.
type process struct {
	name string
	cmd  *exec.Cmd
	out  *agent.Buffer
	done chan struct{}
	err  error // of Wait, once done is closed
}

func start(t testing.TB, name string, env []string, bin string, args ...string) *process {
	t.Helper()
	p := &process{name: name, cmd: exec.Command(bin, args...), out: &agent.Buffer{}, done: make(chan struct{})}
	p.cmd.Env = append(slices.DeleteFunc(os.Environ(), func(kv string) bool {
		return strings.HasPrefix(kv, "CONSUL_") || strings.HasPrefix(kv, "LB_") || strings.HasPrefix(kv, "STATE_DIRECTORY")
	}), env...)
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.signal(syscall.SIGKILL)
		<-p.done
		if t.Failed() {
			out := p.out.String()
			t.Logf("---- output of %s (last 4 KiB)\n%s", name, out[max(0, len(out)-4096):])
		}
	})
	return p
}

func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// signal sends s to this process if it still runs.
func (p *process) signal(s syscall.Signal) {
	if p.running() {
		_ = p.cmd.Process.Signal(s)
	}
}

// stop sends SIGTERM and waits for the exit code.
func (p *process) stop(t testing.TB, within time.Duration) int {
	t.Helper()
	p.signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(within):
		t.Fatalf("%s still runs %s after SIGTERM", p.name, within)
	}
	return p.cmd.ProcessState.ExitCode()
}

// eventually calls f until it returns nil, and fails the test with its last
// error when that takes longer than within. It returns how long it took.
func eventually(t testing.TB, within time.Duration, what string, f func() error) time.Duration {
	t.Helper()
	began := time.Now()
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		err := f()
		took := time.Since(began)
		if err == nil {
			return took
		}
		if took > within {
			t.Fatalf("%s: not within %s: %v", what, within, err)
		}
		<-time.After(pause)
	}
}

// lab is a Consul, real or not, at an address, and what runs beside it.
type lab struct {
	t      *testing.T
	consul string // host:port
	token  string
}

// balancer is a running lb.
type balancer struct {
	*process
	traffic, admin string // host:port
}

// lb starts a balancer with short ways and the given extra options, and waits
// until it is ready.
func (l *lab) lb(opts ...string) *balancer {
	l.t.Helper()
	b := l.lbStarted(opts...)
	eventually(l.t, 15*time.Second, "lb ready", func() error { return status("http://"+b.admin+"/ready", 200) })
	return b
}

func (l *lab) lbStarted(opts ...string) *balancer {
	l.t.Helper()
	b := &balancer{traffic: fmt.Sprintf("127.0.0.1:%d", agent.FreePort(l.t)), admin: fmt.Sprintf("127.0.0.1:%d", agent.FreePort(l.t))}
	args := append([]string{
		"run", "-proxy.addr", b.traffic, "-ui.addr", b.admin, "-registry.consul.addr", l.consul,
		"-log.level", "debug", "-log.format", "text",
	}, opts...)
	var env []string
	if l.token != "" && !slices.Contains(opts, "-registry.consul.token") {
		env = append(env, "LB_REGISTRY_CONSUL_TOKEN="+l.token)
	}
	b.process = start(l.t, "lb", env, lbBin, args...)
	return b
}

// cli runs a client command of lb and returns what it printed and its exit code.
func (l *lab) cli(args ...string) (out string, code int) {
	cmd := exec.Command(lbBin, args...)
	cmd.Env = append(os.Environ(), "CONSUL_HTTP_ADDR="+l.consul, "CONSUL_HTTP_TOKEN="+l.token, "NO_COLOR=1")
	b, _ := cmd.CombinedOutput()
	return string(b), cmd.ProcessState.ExitCode()
}

// instance is a running demo-service.
type instance struct {
	*process
	addr string // host:port it listens on
}

// demo starts a demo service and waits until it answers; it registers itself.
// Tags come as one comma-separated list, as the program takes them.
func (l *lab) demo(name, version, tags string, opts ...string) *instance {
	l.t.Helper()
	i := &instance{addr: fmt.Sprintf("127.0.0.1:%d", agent.FreePort(l.t))}
	args := append([]string{
		"-consul", l.consul, "-http", i.addr, "-addr", "127.0.0.1", "-name", name, "-version", version, "-tags", tags,
		"-check.interval", "200ms", "-check.timeout", "1s", "-drain", "2s",
	}, opts...)
	var env []string
	if l.token != "" {
		env = append(env, "CONSUL_HTTP_TOKEN="+l.token)
	}
	i.process = start(l.t, name+" "+version, env, demoBin, args...)
	eventually(l.t, 10*time.Second, "demo service answers", func() error { return status("http://"+i.addr+"/health", 200) })
	return i
}

var client = &http.Client{
	Timeout:       5 * time.Second,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	Transport:     &http.Transport{MaxIdleConnsPerHost: 4, IdleConnTimeout: 2 * time.Second},
}

// status returns nil when url answers with want.
func status(url string, want int) error {
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if resp.StatusCode != want {
		return fmt.Errorf("%s: %s, want %d: %s", url, resp.Status, want, bytes.TrimSpace(body))
	}
	return nil
}

// getJSON reads url into v.
func getJSON(url string, v any) error {
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != 200 {
		return fmt.Errorf("%s: %s: %s", url, resp.Status, body)
	}
	return json.Unmarshal(body, v)
}

// call sends a request to Consul and returns the body; anything but 2xx is an error.
func (l *lab) call(method, path, body string) (string, error) {
	req, err := http.NewRequest(method, "http://"+l.consul+path, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	if l.token != "" {
		req.Header.Set("X-Consul-Token", l.token)
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode/100 != 2 {
		err = fmt.Errorf("consul %s %s: %s: %s", method, path, resp.Status, b)
	}
	return string(b), err
}

func (l *lab) must(method, path, body string) string {
	l.t.Helper()
	out, err := l.call(method, path, body)
	if err != nil {
		l.t.Fatal(err)
	}
	return out
}

func (l *lab) kvPut(key, value string) { l.t.Helper(); l.must("PUT", "/v1/kv/"+key, value) }
func (l *lab) kvDelete(key string)     { l.t.Helper(); l.must("DELETE", "/v1/kv/"+key, "") }

// id waits for the service that is registered at addr and returns its ID.
func (l *lab) id(addr string) (id string) {
	l.t.Helper()
	eventually(l.t, 5*time.Second, "a service is registered at "+addr, func() error {
		var services map[string]struct{ Port int }
		body, err := l.call("GET", "/v1/agent/services", "")
		if err != nil {
			return err
		}
		if err := json.Unmarshal([]byte(body), &services); err != nil {
			return err
		}
		for id = range services {
			if strings.HasSuffix(addr, fmt.Sprintf(":%d", services[id].Port)) {
				return nil
			}
		}
		return fmt.Errorf("none of %d services", len(services))
	})
	return id
}

// quantiles prints and returns p50, p99 and max of the durations.
func quantiles(t testing.TB, what string, ds []time.Duration) (p50, p99 time.Duration) {
	t.Helper()
	slices.Sort(ds)
	at := func(q float64) time.Duration { return ds[min(len(ds)-1, int(q*float64(len(ds))))] }
	p50, p99 = at(0.5), at(0.99)
	t.Logf("FIGURE %-46s p50 %-10s p99 %-10s max %-10s n %d", what, p50.Round(100*time.Microsecond), p99.Round(100*time.Microsecond), ds[len(ds)-1].Round(100*time.Microsecond), len(ds))
	return p50, p99
}

// readAll is io.ReadAll of what a test may hold in memory; an error ends it early.
func readAll(r io.Reader) string {
	b, _ := io.ReadAll(io.LimitReader(r, 16<<20))
	return string(b)
}
