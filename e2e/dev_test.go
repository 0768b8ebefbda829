package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"serin/internal/agent"
)

// `make dev` serves within a minute of the build's end, and the commands of the
// README's first canary do what they say.
func TestReadmeQuickStart(t *testing.T) {
	traffic, admin := fmt.Sprintf("127.0.0.1:%d", agent.FreePort(t)), fmt.Sprintf("127.0.0.1:%d", agent.FreePort(t))
	build := exec.Command("make", "-C", "..", "build") // its own time is not what is promised
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("make build: %v\n%s", err, out)
	}
	began := time.Now()
	p := startGroup(t, "make", "-C", "..", "--no-print-directory", "dev", "ARGS=-proxy.addr "+traffic+" -ui.addr "+admin)
	first := eventually(t, time.Minute, "first proxied request", func() error { return status("http://"+traffic+"/", 200) })
	t.Logf("FIGURE make dev → first 200: %s (started %s ago)", first.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
	var consul string
	eventually(t, 10*time.Second, "make dev says where Consul is", func() error {
		m := regexp.MustCompile(`Consul +http://([0-9.:]+)/`).FindStringSubmatch(p.out.String())
		if m == nil {
			return fmt.Errorf("not in its output:\n%s", p.out)
		}
		consul = m[1]
		return nil
	})
	for _, want := range []string{"http://" + traffic + "/", "http://" + admin + "/", "consul kv put", "curl -X PUT", "lb canary status", "export LB_ADDR=" + admin + " CONSUL_HTTP_ADDR="} {
		if !strings.Contains(p.out.String(), want) {
			t.Errorf("make dev does not print %q", want)
		}
	}

	b := &balancer{process: p, traffic: traffic, admin: admin}
	here := strings.NewReplacer("127.0.0.1:9999", traffic, "127.0.0.1:8500", consul, "bin/lb ", "../bin/lb ")
	shares := []struct {
		command string // part of the README's line
		share   func() error
		out     string // in what it prints
	}{
		{command: "curl -s http://127.0.0.1:9999/ ", out: `"version": "v1"`},
		{command: `-d '{"ratio":0.1}'`, share: func() error { return applied(b, "web", 0.1) }},
		{command: "sort | uniq -c", out: `"version": "v1"`},
		{command: `-d '{"ratio":0.5,"sticky":true}'`, share: func() error { return applied(b, "web", 0.5) }},
		{command: "canary status web", out: "web  canary 50 %"},
		{command: "canary set web 100%", share: func() error { return applied(b, "web", 1) }, out: "consul kv put"},
		{command: "curl -X DELETE", share: func() error { return status("http://"+admin+"/api/v1/canary/web", 404) }},
	}
	commands := readmeCommands(t, "## A first canary")
	if len(commands) != len(shares) {
		t.Fatalf("the README has %d commands, this test knows %d: %q", len(commands), len(shares), commands)
	}
	for i, want := range shares {
		if !strings.Contains(commands[i], want.command) {
			t.Fatalf("command %d of the README is %q, want one with %q", i+1, commands[i], want.command)
		}
		cmd := exec.Command("sh", "-c", here.Replace(commands[i]))
		cmd.Env = append(os.Environ(), "CONSUL_HTTP_ADDR="+consul, "LB_ADDR="+admin, "NO_COLOR=1")
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), want.out) {
			t.Errorf("%s: %v, want output with %q:\n%s", commands[i], err, want.out, out)
		}
		if want.share != nil {
			eventually(t, 2*time.Second, commands[i], want.share)
		}
	}
	eventually(t, time.Second, "the table follows", func() error {
		if _, body, err := b.ask("", "/"); err != nil || !strings.Contains(body, `"version": "v1"`) {
			return fmt.Errorf("%v %s", err, body)
		}
		return nil
	})
	for range 50 {
		if _, body, err := b.ask("", "/"); err != nil || !strings.Contains(body, `"version": "v1"`) {
			t.Fatalf("without a document everyone is on v1, but: %v %s", err, body)
		}
	}

	// What it prints of a rollout: a good version is promoted, a bad one is not.
	_, printed, _ := strings.Cut(p.out.String(), "  # a rollout")
	good, bad, ok := strings.Cut(printed, "  # the same with a v2 that fails")
	bad, _, ok2 := strings.Cut(bad, "  # a route")
	if !ok || !ok2 {
		t.Fatalf("make dev does not print a rollout:\n%s", p.out)
	}
	for _, c := range []struct{ commands, want string }{{good, "\nweb promoted, "}, {bad, "\nweb rolled_back, "}} {
		_, commands, _ := strings.Cut(strings.ReplaceAll(c.commands, "bin/lb ", "../bin/lb "), "\n") // without the comment
		cmd := exec.Command("sh", "-c", "export LB_ADDR="+admin+" CONSUL_HTTP_ADDR="+consul+"\n"+commands)
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), c.want) {
			t.Errorf("%s%v, want output with %q:\n%s", commands, err, c.want, out)
		}
	}
}

// readmeCommands returns the lines after "$ " of the first console block below
// the heading.
func readmeCommands(t *testing.T, heading string) (commands []string) {
	t.Helper()
	raw, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(raw), heading)
	_, rest, ok2 := strings.Cut(rest, "```console\n")
	block, _, ok3 := strings.Cut(rest, "```")
	if !ok || !ok2 || !ok3 {
		t.Fatalf("README.md has no console block below %q", heading)
	}
	for line := range strings.Lines(block) {
		if c, ok := strings.CutPrefix(line, "$ "); ok {
			commands = append(commands, strings.TrimSpace(c)+" ")
		}
	}
	return commands
}

// startGroup starts a command in a process group of its own and ends the whole
// group with the test.
func startGroup(t *testing.T, bin string, args ...string) *process {
	t.Helper()
	p := &process{name: bin, cmd: exec.Command(bin, args...), out: &agent.Buffer{}, done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGTERM)
		select {
		case <-p.done:
		case <-time.After(15 * time.Second):
			t.Errorf("%s still runs 15 s after SIGTERM", bin)
			_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
			<-p.done
		}
		if t.Failed() {
			t.Logf("---- output of %s\n%s", bin, p.out)
		}
	})
	return p
}
