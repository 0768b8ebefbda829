package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"serin/admin"
	"serin/canary"
	"serin/canary/rollout"
	"serin/internal/devconsul"
)

// TestWhatIsAskedBefore is who is asked before what is written, and what the
// answer means.
func TestWhatIsAskedBefore(t *testing.T) {
	f := func(command string, terminal bool, typed string, wantCode int, wantTalk string) {
		t.Helper()
		agent := httptest.NewServer(devconsul.New())
		defer agent.Close()
		environ := []string{"CONSUL_HTTP_ADDR=" + agent.URL, "LB_ADDR=127.0.0.1:1"}
		if code, _, talk := session(environ, "canary", "set", "web", "10%", "--wait", "0s"); code != 0 {
			t.Fatal(talk)
		}
		var talk bytes.Buffer
		a := &app{environ: environ, in: strings.NewReader(typed), out: new(bytes.Buffer), err: &talk, asks: terminal}
		code := a.main(t.Context(), append(strings.Fields("canary "+command), "--wait", "0s"))
		_, now, _ := session(environ, "canary", "show", "web")
		written := now != `{"ratio": 0.1}`+"\n"
		if code != wantCode || written != (code == 0) || talk.String() != wantTalk {
			t.Errorf("%s, terminal %t, typed %q\n got %d %q, now %s\nwant %d %q", command, terminal, typed, code, talk.String(), now, wantCode, wantTalk)
		}
	}
	const (
		back   = "lb/canary/web: everyone goes back to stable? [Y/n] "
		all    = "lb/canary/web: everyone goes to the canary, for good? [y/N] "
		grows  = "lb/canary/web: the canary's share grows by 51 points at once? [y/N] "
		nobody = ", and nobody can be asked; nothing was written\nhint: add --yes\n"
		no     = "error: nothing was written\n"
	)
	f("abort web", false, "", 0, "") // at once, from any script
	f("abort web", true, "\n", 0, back)
	f("abort web", true, "y\n", 0, back)
	f("abort web", true, "", 0, back)
	f("abort web", true, "n\n", 1, back+no)
	f("abort web --yes", true, "", 0, "")
	f("promote web", false, "y\n", 2, "error: everyone goes to the canary, for good"+nobody)
	f("promote web --yes", false, "", 0, "")
	f("promote web", true, "\n", 1, all+no)
	f("promote web", true, "", 1, all+no)
	f("promote web", true, "yes\n", 0, all)
	f("set web 61%", false, "", 2, "error: the canary's share grows by 51 points at once"+nobody)
	f("set web 61%", true, "Y\n", 0, grows)
	f("set web 60%", true, "", 0, "")
	f("set web 0", true, "", 0, "")
	f("pause web", true, "", 0, "")
}

func TestNullIsNoTerminal(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if terminal(null) {
		t.Error("/dev/null is taken for a terminal: an abort from cron would be asked for")
	}
}

// balancers is an admin API that tells of a rollout and its balancers.
func balancers(status func() *rollout.Status) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/v1/services" {
			fmt.Fprint(w, `[{"name": "web"}]`)
			return
		}
		st := admin.CanaryStatus{ServiceStatus: canary.ServiceStatus{Service: "web", Key: "lb/canary/web", Source: "lb/canary/web", LastGood: 1 << 40, Index: 1 << 40, Effective: 0.1, Wanted: 0.1, Document: json.RawMessage(`{"steps": [{"ratio": 0.1, "for": "1m"}, {"ratio": 0.5, "for": "1m"}]}`)}, InTable: true}
		st.Rollout = status()
		json.NewEncoder(w).Encode(st)
	})
}

func node(id string, index uint64) rollout.NodeStatus {
	return rollout.NodeStatus{Node: rollout.Node{Self: rollout.Self{ID: id, Node: "n-" + id}, Applied: rollout.Applied{Index: index}}}
}

// An abort of a text that is refused is made of the document that the balancer
// has in force, if it is the balancer of that Consul; else of what can be read.
func TestAbortOfARefusedDocument(t *testing.T) {
	f := func(offset uint64, want, wantNote string) {
		t.Helper()
		agent := httptest.NewServer(devconsul.New())
		defer agent.Close()
		client, err := Consul{Addr: agent.URL}.client(nil)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		if err := client.Put(t.Context(), "lb/canary/web", []byte(`{"id": "b", "raito": 1}`)); err != nil {
			t.Fatal(err)
		}
		_, index, err := documentKV{secretKV{client}}.Get(t.Context(), "lb/canary/web")
		if err != nil {
			t.Fatal(err)
		}
		lb := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			const key = "lb/canary/web"
			json.NewEncoder(w).Encode(admin.CanaryStatus{ServiceStatus: canary.ServiceStatus{
				Service: "web", Key: key, Source: key, Index: index + offset, Document: json.RawMessage(`{"id":"a","canary":"v2"}`),
			}})
		}))
		defer lb.Close()
		defer http.DefaultClient.CloseIdleConnections()
		environ := []string{"CONSUL_HTTP_ADDR=" + agent.URL, "LB_ADDR=" + lb.Listener.Addr().String()}
		code, _, talk := session(environ, "canary", "abort", "web", "--wait", "0s")
		_, now, _ := session(environ, "canary", "show", "web")
		if code != 0 || now != want+"\n" || !strings.HasPrefix(talk, "note: the text at lb/canary/web is refused (") || !strings.Contains(talk, wantNote) {
			t.Errorf("got %d %s, %s, want %s, %s", code, now, talk, want, wantNote)
		}
	}
	f(0, `{"id":"a","canary":"v2","control": "abort"}`, "an abort of the document in force takes its place")
	f(1, `{"control": "abort", "id": "b"}`, "of it is kept: id") // another Consul's
}

// A write waits for every balancer, and names those that do not follow.
func TestAWriteWaitsForEveryBalancer(t *testing.T) {
	f := func(name string, nodes func(ask int) []rollout.NodeStatus, wantCode int, want string) {
		t.Helper()
		agent := httptest.NewServer(devconsul.New())
		defer agent.Close()
		asked := 0
		lb := httptest.NewServer(balancers(func() *rollout.Status { asked++; return &rollout.Status{Nodes: nodes(asked)} }))
		defer lb.Close()
		defer http.DefaultClient.CloseIdleConnections()
		code, out, talk := session([]string{"CONSUL_HTTP_ADDR=" + agent.URL, "LB_ADDR=" + lb.Listener.Addr().String()}, "canary", "set", "web", "10%", "--wait", "300ms")
		got := out[strings.Index(out, "written as"):] + talk
		for _, v := range volatile {
			got = v.re.ReplaceAllString(got, v.word)
		}
		if code != wantCode || got != want {
			t.Errorf("%s\n got %d %s\nwant %d %s", name, code, got, wantCode, want)
		}
	}
	f("both have it", func(int) []rollout.NodeStatus { return []rollout.NodeStatus{node("a", 1<<40), node("b", 1<<40)} }, 0,
		"written as index N\napplied by 2/2 balancers after N ms: canary 10 %\n")
	f("one is late", func(ask int) []rollout.NodeStatus {
		return []rollout.NodeStatus{node("a", 1<<40), node("b", uint64(ask/3)<<40)}
	}, 0, "written as index N\napplied by 2/2 balancers after N ms: canary 10 %\n")
	f("one never has it", func(int) []rollout.NodeStatus { return []rollout.NodeStatus{node("a", 1<<40), node("b", 3)} }, exitTimeout,
		"written as index N\nerror: not every balancer applied index N within 300ms: b (n-b) is at index N\nhint: lb canary status web\n")
	f("one refuses it", func(int) []rollout.NodeStatus {
		n := node("b", 3)
		n.Rejected, n.Invalid = 1<<40, `unknown field "raito"`
		return []rollout.NodeStatus{node("a", 1<<40), n}
	}, exitUsage, "written as index N\nerror: balancer b (n-b) refuses it: unknown field \"raito\"\nhint: it goes on with index N\n")
}

// What is set in a rollout that came to an end moves nothing, and people are told.
func TestASetAfterTheEnd(t *testing.T) {
	f := func(phase rollout.Phase, id, args, want string) {
		t.Helper()
		agent := httptest.NewServer(devconsul.New())
		defer agent.Close()
		lb := httptest.NewServer(balancers(func() *rollout.Status {
			return &rollout.Status{State: rollout.State{Phase: phase, ID: id}, Nodes: []rollout.NodeStatus{node("a", 1<<40)}}
		}))
		defer lb.Close()
		defer http.DefaultClient.CloseIdleConnections()
		environ := []string{"CONSUL_HTTP_ADDR=" + agent.URL, "LB_ADDR=" + lb.Listener.Addr().String()}
		if code, _, talk := session(environ, "canary", "set", "web", "5%", "--wait", "0s"); code != 0 {
			t.Fatal(talk)
		}
		code, _, talk := session(environ, append([]string{"canary"}, strings.Fields(args)...)...)
		if code != 0 || talk != want {
			t.Errorf("%s, %s: got %d %q, want %q", phase, args, code, talk, want)
		}
	}
	const promoted = "note: this rollout was promoted, and everyone stays on the canary: lb canary retry web begins it anew, lb canary abort web takes everyone back\n"
	f(rollout.Promoted, "", "set web 10%", promoted)
	f(rollout.RolledBack, "", "pause web", "note: this rollout was rolled back, and nobody goes to the canary: lb canary retry web begins it anew\n")
	f(rollout.Promoted, "another", "set web 10%", "")
	f(rollout.Promoted, "", "promote web --yes", "")
	f(rollout.RolledBack, "", "abort web", "")
	f(rollout.Running, "", "set web 10%", "")
}

// A document whose config_server is taken out is waited for: that the one in force
// is still read from there is no answer.
func TestAnAbortWithAConfigServerIsWaitedFor(t *testing.T) {
	agent := httptest.NewServer(devconsul.New())
	defer agent.Close()
	asked := 0
	lb := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/v1/services" {
			fmt.Fprint(w, `[{"name": "web"}]`)
			return
		}
		st := canary.ServiceStatus{Service: "web", Key: "lb/canary/web", Source: "file:/a", LastGood: 7, Index: 7, Document: json.RawMessage(`{"ratio":0.5}`)}
		if asked++; asked > 3 {
			st.Source, st.LastGood = st.Key, 1<<40
		}
		json.NewEncoder(w).Encode(admin.CanaryStatus{ServiceStatus: st, InTable: true})
	}))
	defer lb.Close()
	defer http.DefaultClient.CloseIdleConnections()
	environ := []string{"CONSUL_HTTP_ADDR=" + agent.URL, "LB_ADDR=" + lb.Listener.Addr().String()}
	client, err := Consul{Addr: agent.URL}.client(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.Put(t.Context(), "lb/canary/web", []byte(`{"config_server": "file:/a"}`)); err != nil {
		t.Fatal(err)
	}
	code, out, talk := session(environ, "canary", "abort", "web")
	_, now, _ := session(environ, "canary", "show", "web")
	if code != 0 || now != `{"ratio":0.5, "control": "abort"}`+"\n" || !strings.Contains(out, "applied by the balancer at") || strings.Contains(talk, "is read from") {
		t.Errorf("got %d, %s, %s%s", code, now, out, talk)
	}
}

// Where no balancer answers, what they publish in Consul counts.
func TestAWriteWaitsByConsulAlone(t *testing.T) {
	agent := httptest.NewServer(devconsul.New())
	defer agent.Close()
	environ := []string{"CONSUL_HTTP_ADDR=" + agent.URL, "LB_ADDR=127.0.0.1:1"}
	client, err := Consul{Addr: agent.URL}.client(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	publish := func(key string, index uint64) {
		t.Helper()
		text, _ := json.Marshal(rollout.Node{Self: rollout.Self{ID: "x"}, Applied: rollout.Applied{Index: index}})
		if err := client.Put(t.Context(), "lb/state/nodes/"+key, text); err != nil {
			t.Fatal(err)
		}
	}
	f := func(wantCode int, want string, args ...string) {
		t.Helper()
		code, out, talk := session(environ, append([]string{"canary", "set", "--wait", "100ms"}, args...)...)
		if code != wantCode || !strings.Contains(out+talk, want) {
			t.Errorf("%q\n got %d %s%s\nwant %d %s", args, code, out, talk, wantCode, want)
		}
	}
	f(0, "note: no balancer answers at 127.0.0.1:1", "web", "10%")
	publish("leader", 0)
	publish("a/web", 1<<40)
	publish("a/*", 1<<40)
	f(0, "applied by 1/1 balancers after ", "web", "20%")
	publish("b", 0) // it is there, and has published nothing of web yet
	f(exitTimeout, "error: not every balancer applied index ", "web", "30%")
	f(exitTimeout, ": b is at index 0", "web", "40%")
	publish("b/web", 1<<40)
	f(0, "applied by 2/2 balancers after ", "web", "50%")
	f(exitTimeout, ": b is at index 0", "--all", "5%")
	publish("b/*", 1<<40)
	f(0, "applied by 2/2 balancers after ", "--all", "6%")
}

func TestUntil(t *testing.T) {
	// f waits for a phase while the rollout goes through some.
	f := func(until string, phases []rollout.Phase, wantCode int, want string) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			at := 0
			var out, talk bytes.Buffer
			a := &app{out: &out, err: &talk}
			w, err := a.waitFor(until, []string{"web"}, time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			w.ask = func(context.Context) (admin.CanaryStatus, error) {
				phase := phases[min(at, len(phases)-1)]
				at++
				if phase == "" {
					return admin.CanaryStatus{}, fail(exitUnreachable, fmt.Errorf("cannot reach the balancer"), "")
				}
				return admin.CanaryStatus{Rollout: &rollout.Status{State: rollout.State{Phase: phase, Because: "so"}}}, nil
			}
			code := report(&talk, w.run(t.Context()))
			if got := out.String() + talk.String(); code != wantCode || got != want {
				t.Errorf("--until %s, %q\n got %d %s\nwant %d %s", until, phases, code, got, wantCode, want)
			}
		})
	}
	const running, rolled = "web running: so, canary 0 %\n", "web rolled_back: so, canary 0 %\n"
	f("promoted", []rollout.Phase{"running", "running", "promoted"}, 0, running+"web promoted: so, canary 0 %\n")
	f("promoted", []rollout.Phase{"running", "rolled_back"}, exitRolledBack, running+rolled+"error: web was rolled back: so\nhint: lb canary history web tells more; lb canary retry begins anew\n")
	f("rolled_back", []rollout.Phase{"running", "rolled_back"}, 0, running+rolled)
	f("paused,rolled_back", []rollout.Phase{"rolled_back"}, 0, rolled)
	f("paused", []rollout.Phase{"promoted"}, 1, "web promoted: so, canary 0 %\nerror: web was promoted: it comes to no other phase by itself\n")
	f("promoted", []rollout.Phase{"running", "", "", "promoted"}, 0, running+"web promoted: so, canary 0 %\nnote: cannot reach the balancer\n")
	f("promoted", []rollout.Phase{"running"}, exitTimeout, running+"error: web did not get there within 1m0s\nhint: lb canary status web\n")
	f("promoted", []rollout.Phase{"paused"}, exitTimeout, "web paused: so, canary 0 %\nerror: web did not get there within 1m0s\nhint: lb canary status web\n")
}

// TestStatusOfARollout is what people read of one.
func TestStatusOfARollout(t *testing.T) {
	behind := node("b", 3)
	behind.Behind = true
	status := rollout.Status{
		State: rollout.State{
			ID: "web-2.4", Phase: rollout.Running, Step: 1, Since: time.Date(2026, 11, 22, 15, 4, 5, 0, time.UTC), Because: "the gate is passed",
		},
		Leader: "a", Held: "b is away", Nodes: []rollout.NodeStatus{node("a", 7), behind},
	}
	status.State.Finding.Verdict, status.State.Finding.Because = "undecided", "2 failures of 100 requests"
	var out bytes.Buffer
	printRollout(&out, admin.CanaryStatus{ServiceStatus: canary.ServiceStatus{Document: json.RawMessage(`{"ratio": 0.1}`)}, Rollout: &status})
	if got := out.String(); strings.Contains(got, "rollout") || !strings.Contains(got, "applied by 1/2 balancers") {
		t.Errorf("a document that is no rollout any more is shown as one:\n%s", got)
	}
	out.Reset()
	status.Waits = "40s more in step 2 of 2 (50%)"
	printRollout(&out, admin.CanaryStatus{ServiceStatus: canary.ServiceStatus{Document: json.RawMessage(`{"steps": [{"ratio": 0.1, "for": "1m"}, {"ratio": 0.5, "for": "1m"}]}`)}, Rollout: &status})
	want := `  rollout web-2.4 running, step 2 of 2, since 2026-11-22T15:04:05Z: the gate is passed
  ! no step is taken: b is away
  waits for: 40s more in step 2 of 2 (50%)
  evidence: undecided: 2 failures of 100 requests
  led by a
  applied by 1/2 balancers
  ! b (n-b) is behind: index 3, 0 %
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

// Everything that writes shows with -n what it would write, as a difference and
// as a command of Consul's, and writes nothing.
func TestLookingOnlyWritesNothing(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "one.json")
	if err := os.WriteFile(file, []byte(`{"ratio": 0.3}`), 0o600); err != nil {
		t.Fatal(err)
	}
	const doc = `{"ratio": 0.1, "id": "a"}`
	f := func(command, want string) {
		t.Helper()
		agent := httptest.NewServer(devconsul.New())
		defer agent.Close()
		environ := []string{"CONSUL_HTTP_ADDR=" + agent.URL, "LB_ADDR=127.0.0.1:1", "EDITOR=sed -i s/0.1/0.3/"}
		client, err := Consul{Addr: agent.URL}.client(nil)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		if err := client.Put(t.Context(), "lb/canary/web", []byte(doc)); err != nil {
			t.Fatal(err)
		}
		was, _, err := client.Get(t.Context(), "lb/canary/web")
		if err != nil {
			t.Fatal(err)
		}
		code, out, talk := session(environ, append(strings.Fields("canary "+command), "-n")...)
		is, _, err := client.Get(t.Context(), "lb/canary/web")
		if err != nil || code != 0 || string(is.Value) != doc || is.Index != was.Index {
			t.Errorf("%s -n: code %d, %v, now %s at %d, was at %d\n%s", command, code, err, is.Value, is.Index, was.Index, talk)
		}
		same := fmt.Sprintf("same as: consul kv put -cas -modify-index=%d lb/canary/web '", was.Index)
		if command == "delete web" {
			same = fmt.Sprintf("same as: consul kv delete -cas -modify-index=%d lb/canary/web\n", was.Index)
		}
		if !strings.HasPrefix(out, "lb/canary/web\n- ") || !strings.Contains(out, want) || !strings.Contains(out, same) || strings.Contains(out, "written") {
			t.Errorf("%s -n shows\n%s\nwant %q and %q", command, out, want, same)
		}
	}
	f("set web 30%", `"ratio": 0.3`)
	f("apply web -f "+file, `"ratio": 0.3`)
	f("edit web", `"ratio": 0.3`)
	f("ramp web --over 2h", `"over":"2h"`)
	f("pause web", `"control": "pause"`)
	f("resume web", `"control": "run"`)
	f("promote web", `"control": "promote"`)
	f("abort web", `"control": "abort"`)
	f("retry web", `"id": "a-retry-1"`)
	f("delete web", `- {"ratio": 0.1, "id": "a"}`)
}
