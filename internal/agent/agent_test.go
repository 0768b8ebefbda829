package agent

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func put(t *testing.T, a *Agent, path, body string) {
	t.Helper()
	if got, err := do(a, http.MethodPut, path, body); err != nil {
		t.Fatalf("PUT %s: %v: %s", path, err, got)
	}
}

func do(a *Agent, method, path, body string) (string, error) {
	req, err := http.NewRequest(method, "http://"+a.Addr()+path, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("X-Consul-Token", a.Token)
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}

// has reports what a key holds, "" when there is none.
func has(t *testing.T, a *Agent, key string) string {
	t.Helper()
	got, err := do(a, http.MethodGet, "/v1/kv/"+key+"?raw", "")
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestStartIsFast(t *testing.T) {
	start := time.Now()
	a := Start(t, Config{})
	took := time.Since(start)
	t.Logf("up in %v", took)
	if limit := 10 * time.Second; took > limit { // about 1 s on an idle machine
		t.Errorf("started in %v, want less than %v", took, limit)
	}
	put(t, a, "/v1/kv/a", "1")
	a.Restart(false)
	if got := has(t, a, "a"); got != "" {
		t.Errorf("after a restart in development mode key a holds %q, want nothing", got)
	}
}

func TestPersistentStateAndACL(t *testing.T) {
	t.Parallel()
	a := Start(t, Config{Persistent: true, ACL: true})
	put(t, a, "/v1/kv/a", "1")
	addr := a.Addr()
	a.Restart(false)
	if got := has(t, a, "a"); got != "1" {
		t.Errorf("after a restart key a holds %q, want 1", got)
	}
	if a.Addr() != addr {
		t.Errorf("restarted at %s, want %s", a.Addr(), addr)
	}
	token := a.Token
	a.Token = ""
	if got, err := do(a, http.MethodGet, "/v1/kv/a", ""); err != nil || !strings.Contains(got, "Permission denied") {
		t.Errorf("without a token: %q, %v; want permission denied", got, err)
	}
	a.Token = token
	a.Restart(true)
	if got := has(t, a, "a"); got != "" {
		t.Errorf("after a wipe key a holds %q, want nothing", got)
	}
}

func TestPause(t *testing.T) {
	t.Parallel()
	a := Start(t, Config{})
	a.Pause()
	client := http.Client{Timeout: 100 * time.Millisecond, Transport: &http.Transport{DisableKeepAlives: true}}
	if resp, err := client.Get("http://" + a.Addr() + "/v1/status/leader"); err == nil {
		resp.Body.Close()
		t.Error("a paused agent answered")
	}
	a.Resume()
	a.WaitLeader()
	a.Stop()
	if a.cmd != nil {
		t.Error("still running after Stop")
	}
}

func TestClusterWithClient(t *testing.T) {
	t.Parallel()
	servers := Cluster(t, 3, Config{})
	client := Start(t, Config{Client: true, Join: servers})
	put(t, client, "/v1/kv/a", "1")
	servers[0].Kill()
	for _, s := range servers[1:] {
		s.WaitLeader()
	}
	servers[0].Restart(false)
	if got := has(t, servers[0], "a"); got != "1" {
		t.Errorf("key a holds %q on the server that came back, want 1", got)
	}
}

// TestDiesWithItsTest starts this test program as a child that starts an agent
// and is killed.
func TestDiesWithItsTest(t *testing.T) {
	if os.Getenv("AGENT_TEST_CHILD") != "" {
		a := Start(t, Config{})
		os.Stdout.WriteString("addr " + a.Addr() + "\n")
		select {}
	}
	t.Parallel()
	Binary(t)
	cmd := exec.Command(os.Args[0], "-test.run=^TestDiesWithItsTest$")
	cmd.Env = append(os.Environ(), "AGENT_TEST_CHILD=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 256)
	n, err := out.Read(line)
	addr, ok := strings.CutPrefix(strings.TrimSpace(string(line[:n])), "addr ")
	if err != nil || !ok {
		t.Fatalf("the child said %q, %v", line[:n], err)
	}
	cmd.Process.Signal(syscall.SIGKILL)
	cmd.Wait()
	deadline := time.After(5 * time.Second)
	for {
		client := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
		resp, err := client.Get("http://" + addr + "/v1/status/leader")
		if err != nil {
			return
		}
		resp.Body.Close()
		select {
		case <-deadline:
			t.Fatalf("the agent at %s outlived its test", addr)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
