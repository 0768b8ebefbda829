package consul

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// consulBinary finds a real Consul: CONSUL_BIN, bin/consul of this repository,
// or consul on the PATH.
func consulBinary(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a real Consul: not with -short")
	}
	repo, _ := filepath.Abs("../../bin/consul")
	for _, name := range []string{os.Getenv("CONSUL_BIN"), repo, "consul"} {
		if name == "" {
			continue
		}
		if p, err := exec.LookPath(name); err == nil {
			return p
		}
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("no Consul binary: run `make consul`, or set CONSUL_BIN")
	}
	t.Skip("no Consul binary: run `make consul`, or set CONSUL_BIN")
	return ""
}

// agent is a real Consul agent on free ports of 127.0.0.1.
type agent struct {
	t      *testing.T
	bin    string
	config string
	addr   string
	ports  []int
	cmd    *exec.Cmd
}

// startAgent starts `consul agent -dev` with extra configuration (JSON, or "")
// and waits until it has a leader.
func startAgent(t *testing.T, config string) *agent {
	t.Helper()
	a := &agent{t: t, bin: consulBinary(t), config: filepath.Join(t.TempDir(), "agent.json")}
	if err := os.WriteFile(a.config, []byte(cmp.Or(config, "{}")), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		a.ports = append(a.ports, l.Addr().(*net.TCPAddr).Port)
	}
	a.addr = fmt.Sprintf("127.0.0.1:%d", a.ports[0])
	t.Cleanup(a.kill)
	return a
}

// up starts the agent, anew and empty if it ran before.
func (a *agent) up() {
	a.t.Helper()
	a.cmd = exec.Command(a.bin, "agent", "-dev", "-bind=127.0.0.1", "-client=127.0.0.1", "-log-level=warn",
		"-config-file="+a.config,
		fmt.Sprintf("-http-port=%d", a.ports[0]), fmt.Sprintf("-server-port=%d", a.ports[1]),
		fmt.Sprintf("-serf-lan-port=%d", a.ports[2]), "-serf-wan-port=-1", "-dns-port=-1", "-grpc-port=-1", "-grpc-tls-port=-1")
	if err := a.cmd.Start(); err != nil {
		a.t.Fatal(err)
	}
	c := a.api("root")
	eventually(a.t, 20*time.Second, "the agent has a leader", func() bool {
		leader, err := c.Status().Leader()
		if err != nil || leader == "" {
			return false
		}
		self, _, err := c.Health().Service("consul", "", true, nil)
		return err == nil && len(self) == 1
	})
}

// kill ends the agent as a power cut would.
func (a *agent) kill() {
	if a.cmd == nil {
		return
	}
	a.cmd.Process.Kill()
	a.cmd.Wait()
	a.cmd = nil
}

func (a *agent) api(token string) *api.Client {
	c, err := api.NewClient(&api.Config{Address: a.addr, Token: token})
	if err != nil {
		a.t.Fatal(err)
	}
	return c
}

func (a *agent) client(token string) *Client {
	c, err := NewWithConfig(&api.Config{Address: a.addr, Token: token})
	if err != nil {
		a.t.Fatal(err)
	}
	c.kvWait = 300 * time.Millisecond
	a.t.Cleanup(c.Close)
	return c
}

// eventually waits until ok, and fails the test when it takes longer than limit.
// It returns how long it took.
func eventually(t testing.TB, limit time.Duration, what string, ok func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Since(start) > limit {
			t.Fatalf("not within %v: %s", limit, what)
		}
		<-tick.C
	}
	return time.Since(start)
}

// running runs f until the test ends, and waits for it.
func running(t *testing.T, f func(context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { f(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
}
