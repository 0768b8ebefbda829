package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"serin/admin"
	"serin/canary"
	"serin/internal/devconsul"
	"serin/proxy"
	"serin/registry"
	"serin/registry/consul"
)

func TestRemaining(t *testing.T) {
	// f counts what remains of instances, each "service/ID[ tag][ -]", where - is
	// one that is not ready, when the first is drained.
	f := func(document string, instances string, want int) {
		t.Helper()
		doc, err := canary.Parse("k", []byte(document))
		if err != nil {
			t.Fatal(err)
		}
		var members []consul.Member
		for line := range strings.SplitSeq(instances, ";") {
			words := strings.Fields(line)
			service, id, _ := strings.Cut(words[0], "/")
			m := consul.Member{Instance: registry.Instance{Service: service, ID: id, Node: "n", Ready: true}}
			for _, w := range words[1:] {
				if w == "-" {
					m.Ready = false
				} else {
					m.Tags = append(m.Tags, w)
				}
			}
			members = append(members, m)
		}
		if got := remaining("web", doc, members, members[0]); got != want {
			t.Errorf("%s of %s: %d remain, want %d", document, instances, got, want)
		}
	}
	f(`{}`, "web/1", 0)
	f(`{}`, "web/1; web/2", 1)
	f(`{}`, "web/1; web/2 -", 0)
	f(`{}`, "web/1 -; web/2", 1)
	f(`{}`, "web/1; web/2 canary", 0) // nobody means to send everyone there
	f(`{"ratio": 0.9}`, "web/1; web/2 canary", 0)
	f(`{"ratio": 1}`, "web/1; web/2 canary", 1) // everyone is there
	f(`{"ratio": 1, "control": "abort"}`, "web/1; web/2 canary", 0)
	f(`{"ratio": 0.1, "control": "promote"}`, "web/1; web/2 canary", 1)
	f(`{"ratio": 0.1}`, "web/2 canary; web/1; web/3 canary", 2)
	f(`{"backup": "spare"}`, "web/1; web/2 spare", 1)
	f(`{"backup": {"service": "sorry"}}`, "web/1; sorry/1", 1)
	f(`{"backup": {"service": "sorry"}}`, "web/1; sorry/1 -", 0)
	f(`{"backup": {"service": "sorry", "tag": "a"}}`, "web/1; sorry/1 b", 0)
	f(`{}`, "web/1; sorry/1", 0)
	f(`{"stable": "v1"}`, "web/1 v1; web/2 v2; web/3 v1", 1) // v2 gets nothing
	f(`{"stable": "v1"}`, "web/1 v1; web/2 v1", 1)
}

func TestAgentAt(t *testing.T) {
	f := func(addr, want string) {
		t.Helper()
		if got := agentAt(addr, "10.0.0.7"); got != want {
			t.Errorf("agentAt(%s) = %s, want %s", addr, got, want)
		}
	}
	f("127.0.0.1:8500", "http://10.0.0.7:8500")
	f("http://127.0.0.1:85", "http://10.0.0.7:85")
	f("https://consul:8501", "https://10.0.0.7:8501")
	f("unix:///run/consul.sock", "http://10.0.0.7:8500")
}

// TestDrainWaitsForRequestsInFlight is what the balancer that is asked may say.
func TestDrainWaitsForRequestsInFlight(t *testing.T) {
	f := func(name string, wantCode int, want string, answers ...string) {
		t.Helper()
		agent := httptest.NewServer(devconsul.New())
		defer agent.Close()
		register(t, agent.URL, "web-1", 80)
		register(t, agent.URL, "web-2", 81)
		asked := 0
		lb := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, answers[min(asked, len(answers)-1)])
			asked++
		}))
		defer lb.Close()
		defer http.DefaultClient.CloseIdleConnections()
		code, out, talk := session([]string{"CONSUL_HTTP_ADDR=" + agent.URL, "LB_ADDR=" + lb.Listener.Addr().String()}, "drain", "web-1", "--wait", "300ms")
		if code != wantCode || !strings.Contains(out+talk, want) {
			t.Errorf("%s\n got %d %s%s\nwant %d %s", name, code, out, talk, wantCode, want)
		}
	}
	const (
		sends = `{"members": [{"id": "web-1", "node": "devconsul", "ready": true}], "upstreams": []}`
		busy  = `{"members": [], "upstreams": [{"addr": "10.0.0.1:80", "in_flight": 2}, {"addr": "10.0.0.1:81", "in_flight": 5}]}`
		idle  = `{"members": [], "upstreams": [{"addr": "10.0.0.1:80"}, {"addr": "10.0.0.1:81", "in_flight": 5}]}`
	)
	f("idle", 0, "has no request in flight to it after", idle)
	f("busy at first", 0, "has no request in flight to it after", busy, busy, idle)
	f("busy", exitTimeout, "still has 2 requests in flight to web-1 after 300ms; it stays drained", busy)

	node := "" // as the stand-in calls it
	agent := httptest.NewServer(devconsul.New())
	defer agent.Close()
	register(t, agent.URL, "web-1", 80)
	client, err := Consul{Addr: agent.URL}.client(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	members, err := client.Members(t.Context(), "web", registry.Policy{})
	if err != nil || len(members) != 1 {
		t.Fatal(members, err)
	}
	node = members[0].Node
	if n, does := usesOf(admin.ServiceDetail{Members: []registry.Instance{{ID: "web-1", Node: node, Ready: true}}, Upstreams: []proxy.UpstreamState{{Addr: "10.0.0.1:80", InFlight: 1}}}, members[0]); n != 1 || !does {
		t.Errorf("%d in flight, sends %t", n, does)
	}
	f("still sends", exitTimeout, "still has 0 requests in flight", strings.ReplaceAll(sends, "devconsul", node))
}

// register makes an instance of web at a Consul.
func register(t *testing.T, consul, id string, port int) {
	t.Helper()
	body := fmt.Sprintf(`{"ID": %q, "Name": "web", "Address": "10.0.0.1", "Port": %d, "Check": {"TTL": "1h", "Status": "passing"}}`, id, port)
	if status, text := fetch(t, "PUT", consul+"/v1/agent/service/register", body); status != 200 {
		t.Fatal(text)
	}
}

// An instance is restored when its time is up, and stays drained when the
// command is interrupted before.
func TestDrainForATime(t *testing.T) {
	agent := httptest.NewServer(devconsul.New())
	defer agent.Close()
	register(t, agent.URL, "web-1", 80)
	register(t, agent.URL, "web-2", 81)
	environ := []string{"CONSUL_HTTP_ADDR=" + agent.URL, "LB_ADDR=127.0.0.1:1"}
	ready := func() int {
		_, out, _ := session(environ, "instances", "web")
		return strings.Count(out, "  ready\n")
	}
	code, out, _ := session(environ, "drain", "web-1", "--for", "10ms")
	if code != 0 || !strings.Contains(out, "web-1 is out of maintenance\n") || ready() != 2 {
		t.Errorf("code %d, %d ready: %s", code, ready(), out)
	}
	done := make(chan int)
	go func() {
		code, _, talk := session(environ, "drain", "web-1", "--for", "1h")
		if !strings.Contains(talk, "error: web-1 stays drained\nhint: lb restore web/10.0.0.1:80 puts it back\n") {
			t.Errorf("talk: %s", talk)
		}
		done <- code
	}()
	eventually(t, "it is drained", func() bool { return ready() == 1 })
	// The signal is waited for some moments after the drain; until then the test's
	// own handler keeps it from ending the test.
	guard := make(chan os.Signal, 1)
	notify(guard)
	defer ignore(guard)
	for {
		_ = syscall.Kill(os.Getpid(), syscall.SIGTERM)
		select {
		case code := <-done:
			if code != exitInterrupted || ready() != 1 {
				t.Errorf("code %d, %d ready", code, ready())
			}
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func notify(c chan os.Signal) { signal.Notify(c, syscall.SIGTERM) }
func ignore(c chan os.Signal) { signal.Stop(c) }
