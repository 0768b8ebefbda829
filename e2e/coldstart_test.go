package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"serin/internal/agent"
)

// A start without Consul serves from the state on disk: at once, every share 0
// but where its document says hold.
func TestStartFromDiskWithoutConsul(t *testing.T) {
	a := agent.Start(t, agent.Config{Persistent: true})
	l := &lab{t: t, consul: a.Addr()}
	l.web(1, 1)
	l.demo("api", "v1", "urlprefix-api.test/")
	l.demo("api", "v2", "urlprefix-api.test/,canary")
	l.demo("done", "v1", "urlprefix-done.test/")
	l.demo("done", "v2", "urlprefix-done.test/,canary")
	l.kvPut("lb/canary/web", `{"ratio":1}`)
	l.kvPut("lb/canary/api", `{"ratio":1,"on_stale":"hold"}`)
	l.kvPut("lb/canary/done", `{"steps":[{"ratio":0.5,"for":"100ms"}]}`) // promoted after it
	path := filepath.Join(t.TempDir(), "state", "snapshot.json")
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	first := l.lb("-registry.snapshot.path", path)
	l.warm(first, 6)
	for _, s := range []string{"web", "api", "done"} {
		eventually(t, 5*time.Second, "the document of "+s+" is applied", func() error { return applied(first, s, 1) })
	}
	eventually(t, 10*time.Second, "the state is on disk", func() error {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, want := range []string{`"api"`, `"web"`, `urlprefix-api.test/`, `"phase":"promoted"`} {
			if !strings.Contains(string(b), want) {
				return fmt.Errorf("it lacks %s", want)
			}
		}
		return nil
	})
	first.signal(syscall.SIGKILL)
	<-first.done
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the state has mode %v, %v, want 0600: it holds the secret", info.Mode(), err)
	}
	a.Kill()

	second := l.lbStarted("-registry.snapshot.path", path)
	took := eventually(t, time.Second, "first 200 from the state on disk", func() error { return status("http://"+second.traffic+"/", 200) })
	t.Logf("FIGURE start without Consul, with state on disk → first 200: %s", took.Round(time.Millisecond))
	version := func(host, want string) {
		t.Helper()
		for range 30 {
			if code, body, err := second.ask(host, "/"); err != nil || code != 200 || !strings.Contains(body, `"version": "`+want+`"`) {
				t.Fatalf("%s: %d %v, want version %s: %s", host, code, err, want, body)
			}
		}
	}
	version("", "v1")          // ratio 1, but its source is not there
	version("api.test", "v2")  // held
	version("done.test", "v2") // promoted
	if err := status("http://"+second.admin+"/ready", 200); err != nil {
		t.Errorf("with state on disk it is ready: %v", err)
	}
	if err := status("http://"+second.admin+"/ready?consul", 429); err != nil {
		t.Errorf("that it is stale is a warning: %v", err)
	}
	a.Restart(false)
	eventually(t, 5*time.Second, "Consul is back", func() error { return applied(second, "web", 1) })
	version("", "v2")
}

// A start without Consul and without state answers 503 with Retry-After and
// keeps trying.
func TestStartWithNothing(t *testing.T) {
	a := agent.Start(t, agent.Config{Persistent: true})
	l := &lab{t: t, consul: a.Addr()}
	l.web(1, 0)
	id := l.id(l.demo("other", "v1", "urlprefix-other.test/").addr)
	eventually(t, 10*time.Second, "registered", func() error { return passing(l, "other", id) })
	a.Kill()
	b := l.lbStarted()
	eventually(t, 5*time.Second, "the listeners are open", func() error { return status("http://"+b.admin+"/health", 200) })
	for range 20 {
		resp, err := client.Get("http://" + b.traffic + "/")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
			t.Fatalf("without any state: %s, Retry-After %q, want 503 with one", resp.Status, resp.Header.Get("Retry-After"))
		}
		<-time.After(50 * time.Millisecond)
	}
	if err := status("http://"+b.admin+"/ready", 503); err != nil {
		t.Errorf("it is not ready: %v", err)
	}
	a.Restart(false)
	took := eventually(t, 10*time.Second, "ready once Consul is there", func() error { return status("http://"+b.admin+"/ready", 200) })
	t.Logf("FIGURE Consul is there → ready: %s", took.Round(time.Millisecond))
	// Ready means the first full picture: no 404 for what is known.
	for range 50 {
		if code, _, err := b.ask("other.test", "/"); err != nil || code == 404 {
			t.Fatalf("ready, but a known service answers %d %v", code, err)
		}
	}
}

// A Consul without any routed service is a picture too: nothing is there, 404.
func TestNothingIsRouted(t *testing.T) {
	l := &lab{t: t, consul: agent.Start(t, agent.Config{}).Addr()}
	b := l.lb()
	eventually(t, 2*time.Second, "no route is 404", func() error { return status("http://"+b.traffic+"/", 404) })
	l.stub("web", "web", "urlprefix-/", "passing")
	eventually(t, 2*time.Second, "the first service is routed", func() error { return status("http://"+b.traffic+"/", 200) })
}
