// Package agent starts real Consul agents for tests: on free ports of the
// loopback interface, with a leader when Start returns, and gone when the test
// is over, however it ends.
package agent

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Config says what kind of agent a test wants. The zero value is a single
// server in development mode, which keeps nothing on disk and has no ACLs.
type Config struct {
	// Persistent keeps the state in a directory, so that Restart(false) finds it again.
	Persistent bool
	// ACL denies by default. Agent.Token is a management token.
	ACL bool
	// Client starts an agent that is no server; it needs Join.
	Client bool
	// Join is a cluster that a client agent joins.
	Join []*Agent
	// TLS serves the HTTP API over HTTPS and HTTP/2 besides, see Agent.URL.
	TLS bool
	// HCL is more configuration for the agent, in Consul's language.
	HCL string

	bootstrap int // servers that are expected; set by Cluster
}

// Agent is a running Consul agent. Its methods are for the goroutine of the
// test; they fail the test instead of returning errors.
type Agent struct {
	// Token is the management token of an agent with ACLs, else empty.
	Token string

	t     testing.TB
	cfg   Config
	bin   string
	name  string
	dir   string
	ports ports
	logs  Buffer

	cmd    *exec.Cmd // nil when not running
	exited chan struct{}
}

// ports are kept over restarts.
type ports struct{ http, https, rpc, serf int }

// Binary returns the path of the Consul program: $CONSUL_BIN, else bin/consul
// of the module, else consul on the PATH. Without one it skips the test, or
// fails it where CI=true.
func Binary(t testing.TB) string {
	t.Helper()
	if bin := os.Getenv("CONSUL_BIN"); bin != "" {
		path, err := exec.LookPath(bin)
		if err != nil {
			t.Fatalf("CONSUL_BIN is %q, which cannot be run: %v", bin, err)
		}
		return path
	}
	for dir, err := os.Getwd(); err == nil; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			if path, err := exec.LookPath(filepath.Join(dir, "bin", "consul")); err == nil {
				return path
			}
			break
		}
		if dir == filepath.Dir(dir) {
			break
		}
	}
	path, err := exec.LookPath("consul")
	if err != nil {
		const missing = "no Consul to test with: run `make consul`, or set CONSUL_BIN to the program"
		if os.Getenv("CI") == "true" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	return path
}

// Start starts one agent and waits until it answers and has a leader.
func Start(t testing.TB, cfg Config) *Agent {
	t.Helper()
	if cfg.Client && len(cfg.Join) == 0 {
		t.Fatal("agent: a client agent needs a cluster to join")
	}
	a := newAgent(t, cfg)
	a.start()
	a.WaitLeader()
	return a
}

// Cluster starts n servers that form one cluster, and waits for its leader.
// They keep their state over restarts.
func Cluster(t testing.TB, n int, cfg Config) []*Agent {
	t.Helper()
	cfg.Persistent, cfg.bootstrap = true, n
	var all []*Agent
	for range n {
		a := newAgent(t, cfg)
		if len(all) > 0 {
			a.Token = all[0].Token
		}
		all = append(all, a)
	}
	for _, a := range all {
		a.cfg.Join = slices.DeleteFunc(slices.Clone(all), func(b *Agent) bool { return a == b })
		a.start()
	}
	for _, a := range all {
		a.WaitLeader()
	}
	return all
}

func newAgent(t testing.TB, cfg Config) *Agent {
	t.Helper()
	a := &Agent{t: t, cfg: cfg, bin: Binary(t), dir: t.TempDir()}
	a.ports = ports{http: FreePort(t), https: -1, rpc: FreePort(t), serf: FreePort(t)}
	if cfg.TLS {
		a.ports.https = FreePort(t)
		a.certify()
	}
	a.name = fmt.Sprintf("agent-%d", a.ports.http)
	if cfg.ACL {
		a.Token = fmt.Sprintf("%08x-0000-4000-8000-%012x", rand.Uint32(), rand.Uint64()>>16)
		if len(cfg.Join) > 0 {
			a.Token = cfg.Join[0].Token
		}
	}
	t.Cleanup(func() {
		a.Kill()
		if t.Failed() {
			t.Logf("the log of %s at %s:\n%s", a.name, a.Addr(), a.Logs())
		}
	})
	return a
}

// FreePort returns a port that nobody listens on, outside the range from which
// the system takes ports for outgoing connections: whoever listens there later
// must find it free.
func FreePort(t testing.TB) int {
	t.Helper()
	for range 100 {
		p := 15000 + rand.IntN(15000)
		addr := fmt.Sprintf("127.0.0.1:%d", p)
		tcp, err := net.Listen("tcp4", addr)
		if err != nil {
			continue
		}
		tcp.Close()
		udp, err := net.ListenPacket("udp4", addr) // gossip uses both
		if err != nil {
			continue
		}
		udp.Close()
		return p
	}
	t.Fatal("agent: no free port between 15000 and 30000")
	return 0
}

// config is the agent's configuration.
func (a *Agent) config() string {
	var b strings.Builder
	fmt.Fprintf(&b, `
node_name = %q
bind_addr = "127.0.0.1"
client_addr = "127.0.0.1"
log_level = "warn"
disable_update_check = true
leave_on_terminate = false
skip_leave_on_interrupt = true
performance { raft_multiplier = 1 }
limits { http_max_conns_per_client = 200 }
ports { http = %d, https = %d, server = %d, serf_lan = %d, serf_wan = -1, dns = -1, grpc = -1, grpc_tls = -1 }
`, a.name, a.ports.http, a.ports.https, a.ports.rpc, a.ports.serf)
	if !a.dev() {
		fmt.Fprintf(&b, "data_dir = %q\nserver = %v\n", filepath.Join(a.dir, "data"), !a.cfg.Client)
		if !a.cfg.Client {
			fmt.Fprintf(&b, "bootstrap_expect = %d\n", max(a.cfg.bootstrap, 1))
		}
	}
	if len(a.cfg.Join) > 0 {
		var join []string
		for _, other := range a.cfg.Join {
			join = append(join, fmt.Sprintf(`"127.0.0.1:%d"`, other.ports.serf))
		}
		fmt.Fprintf(&b, "retry_join = [%s]\nretry_interval = \"200ms\"\n", strings.Join(join, ", "))
	}
	if a.cfg.ACL {
		fmt.Fprintf(&b, `acl {
  enabled = true
  default_policy = "deny"
  down_policy = "extend-cache"
  tokens { initial_management = %q, agent = %q }
}
`, a.Token, a.Token)
	}
	if a.cfg.TLS {
		fmt.Fprintf(&b, "tls { https { ca_file = %q, cert_file = %q, key_file = %q, verify_incoming = false } }\n",
			a.CAFile(), filepath.Join(a.dir, certFile), filepath.Join(a.dir, keyFile))
	}
	return b.String() + a.cfg.HCL + "\n"
}

// dev reports whether the agent runs in development mode, which starts fastest.
func (a *Agent) dev() bool { return !a.cfg.Persistent && !a.cfg.Client }

// start starts the process.
func (a *Agent) start() {
	a.t.Helper()
	file := filepath.Join(a.dir, "agent.hcl")
	if err := os.WriteFile(file, []byte(a.config()), 0o600); err != nil {
		a.t.Fatal(err)
	}
	args := []string{"agent", "-config-file", file}
	if a.dev() {
		args = append(args, "-dev")
	}
	cmd := exec.Command(a.bin, args...)
	cmd.Stdout, cmd.Stderr = &a.logs, &a.logs
	cmd.SysProcAttr = dieWithParent()
	started, exited := make(chan error, 1), make(chan struct{})
	// The kernel kills the child when the thread that started it ends, so that
	// thread has to wait for it.
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(exited)
		err := cmd.Start()
		started <- err
		if err == nil {
			cmd.Wait() // how it ended is in the log
		}
	}()
	if err := <-started; err != nil {
		a.t.Fatalf("agent: start %s: %v", a.bin, err)
	}
	a.cmd, a.exited = cmd, exited
}

// Addr returns host:port of the HTTP API. It stays the same over restarts.
func (a *Agent) Addr() string { return fmt.Sprintf("127.0.0.1:%d", a.ports.http) }

// URL returns the address of the HTTP API: with Config.TLS that of HTTPS, whose
// certificate the authority in CAFile has signed.
func (a *Agent) URL() string {
	if a.cfg.TLS {
		return fmt.Sprintf("https://127.0.0.1:%d", a.ports.https)
	}
	return "http://" + a.Addr()
}

// PID returns the process ID of an agent that runs.
func (a *Agent) PID() int { return a.cmd.Process.Pid }

// Name returns the agent's node name.
func (a *Agent) Name() string { return a.name }

// Logs returns what the agent has written so far, over all its lives.
func (a *Agent) Logs() string { return a.logs.String() }

// Kill ends the process at once (SIGKILL), as a crash does. It may be called
// on an agent that is not running.
func (a *Agent) Kill() { a.end(syscall.SIGKILL) }

// Stop ends the process in order (SIGTERM); the agent does not leave its cluster.
func (a *Agent) Stop() { a.end(syscall.SIGTERM) }

// stopTimeout is how long an agent may take to stop.
const stopTimeout = 15 * time.Second

func (a *Agent) end(sig syscall.Signal) {
	a.t.Helper()
	if a.cmd == nil {
		return
	}
	a.signal(sig)
	select {
	case <-a.exited:
	case <-time.After(stopTimeout):
		a.t.Errorf("agent: %s has not stopped %v after %v", a.name, stopTimeout, sig)
		a.signal(syscall.SIGKILL)
		<-a.exited
	}
	a.cmd = nil
}

// Restart ends the process if it runs (SIGKILL) and starts it again on the same
// ports. With wipe, or when it was not persistent, it has lost its state; else
// it finds it again. Restart waits for a leader.
func (a *Agent) Restart(wipe bool) {
	a.t.Helper()
	a.Revive(wipe)
	a.WaitLeader()
}

// Revive is Restart without waiting.
func (a *Agent) Revive(wipe bool) {
	a.t.Helper()
	a.Kill()
	if wipe {
		if err := os.RemoveAll(filepath.Join(a.dir, "data")); err != nil {
			a.t.Fatal(err)
		}
	}
	a.start()
}

// Pause stops the process without ending it (SIGSTOP): connections stay open,
// nothing answers. Resume ends that.
func (a *Agent) Pause() { a.t.Helper(); a.signal(syscall.SIGSTOP) }

// Resume lets a paused agent go on (SIGCONT).
func (a *Agent) Resume() { a.t.Helper(); a.signal(syscall.SIGCONT) }

func (a *Agent) signal(sig syscall.Signal) {
	a.t.Helper()
	if a.cmd == nil {
		a.t.Fatalf("agent: %s is not running", a.name)
	}
	if err := a.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		a.t.Fatalf("agent: %v to %s: %v", sig, a.name, err)
	}
}

// startTimeout is how long an agent may take until it has a leader.
const startTimeout = 30 * time.Second

// WaitLeader waits until the agent knows a leader and its node is in the
// catalog, so that what a test registers next is there to stay.
func (a *Agent) WaitLeader() {
	a.t.Helper()
	deadline := time.After(startTimeout)
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		leader, _ := a.get(&client, "/v1/status/leader")
		node, _ := a.get(&client, "/v1/health/node/"+a.name)
		if len(leader) > len(`""`)+1 && strings.Contains(node, "serfHealth") {
			return
		}
		select {
		case <-a.exited:
			a.t.Fatalf("agent: %s ended while it was starting; its log:\n%s", a.name, a.Logs())
		case <-deadline:
			a.t.Fatalf("agent: %s has no leader after %v (status: %q, node: %.200q)", a.name, startTimeout, leader, node)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (a *Agent) get(client *http.Client, path string) (string, error) {
	req, err := http.NewRequest(http.MethodGet, "http://"+a.Addr()+path, nil)
	if err != nil {
		return "", err
	}
	if a.Token != "" {
		req.Header.Set("X-Consul-Token", a.Token)
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", path, resp.Status, b)
	}
	return string(b), err
}

// Buffer is a buffer that a process writes while a test reads. The zero value is
// empty.
type Buffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (s *Buffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *Buffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
