package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"serin/admin"
	"serin/canary"
	"serin/internal/devconsul"
	"serin/registry"
	"serin/registry/consul"
	"serin/route"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestMain(m *testing.M) {
	testscript.Main(leakChecked{m}, map[string]func(){"lb": main})
}

// leakChecked is what goleak.VerifyTestMain would do if testscript did not need
// TestMain for itself.
type leakChecked struct{ m *testing.M }

func (l leakChecked) Run() int {
	code := l.m.Run()
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// TestScripts runs the sessions of testdata/script, each with a Consul of its
// own and a balancer's admin listener that follows its documents.
// `go test ./cmd/lb -update` rewrites what they expect.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: *update,
		Setup: func(env *testscript.Env) error {
			agent := httptest.NewServer(devconsul.New())
			env.Defer(agent.Close)
			client, err := Consul{Addr: agent.URL}.client(nil)
			if err != nil {
				return err
			}
			env.Defer(client.Close)
			server := httptest.NewServer((&admin.Server{
				Table:   demoTable(documents{client}),
				Canary:  documents{client},
				Ready:   func() admin.State { return admin.State{Warnings: []string{"just a test"}} },
				Version: admin.Version{Version: "1.2.3", Go: "go1.26", Platform: "linux/amd64"},
			}).Handler())
			env.Defer(server.Close)
			env.Setenv("CONSUL_HTTP_ADDR", agent.Listener.Addr().String())
			env.Setenv("LB_ADDR", server.Listener.Addr().String())
			env.Setenv("GORACE", "atexit_sleep_ms=0") // else every lb lingers for a second under -race
			env.Setenv("NOBODY", "127.0.0.1:1")       // nobody listens there
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "put": put, "plain": plain, "service": service},
	})
}

// exits runs a command and checks its exit code: exits 2 lb …
func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	code := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		e, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Check(err)
		}
		code = e.ExitCode()
	}
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
}

// put writes a key as `consul kv put` does: put KEY VALUE
func put(ts *testscript.TestScript, _ bool, args []string) {
	c, err := Consul{Addr: ts.Getenv("CONSUL_HTTP_ADDR")}.client(nil)
	ts.Check(err)
	defer c.Close()
	ts.Check(c.Put(context.Background(), args[0], []byte(args[1])))
}

// service registers an instance that is well, at 10.0.0.1: service ID NAME PORT
func service(ts *testscript.TestScript, _ bool, args []string) {
	body := fmt.Sprintf(`{"ID": %q, "Name": %q, "Address": "10.0.0.1", "Port": %s, "Check": {"TTL": "1h", "Status": "passing"}}`, args[0], args[1], args[2])
	req, err := http.NewRequest(http.MethodPut, "http://"+ts.Getenv("CONSUL_HTTP_ADDR")+"/v1/agent/service/register", strings.NewReader(body))
	ts.Check(err)
	if res, text := send(req); res == nil || res.StatusCode != http.StatusOK {
		ts.Fatalf("%s", text)
	}
}

// plain copies a file and puts words in place of what changes from run to run:
// plain FROM TO
func plain(ts *testscript.TestScript, _ bool, args []string) {
	text := ts.ReadFile(args[0])
	for _, r := range volatile {
		text = r.re.ReplaceAllString(text, r.word)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(text), 0o644))
}

// demoTable is a balancer's table with the documents of the moment, or a quarter
// for web where there is none.
func demoTable(docs documents) func() *route.Table {
	instance := func(id, addr string, ready bool, tags ...string) registry.Instance {
		return registry.Instance{Service: "web", ID: id, Node: "n1", Addr: addr, Weight: 1, Ready: ready, Tags: append(tags, "urlprefix-shop.test/")}
	}
	catalog := registry.New(&registry.Service{Name: "web", Instances: []registry.Instance{
		instance("web-1", "10.0.0.1:80", true),
		instance("web-2", "10.0.0.2:80", false),
		instance("web-3", "10.0.0.3:80", true, "canary"),
	}})
	return func() *route.Table {
		splits := map[string]*route.Split{"web": {Service: "web", Explicit: true, Ratio: 0.25, MinHealthy: 1}}
		for _, service := range []string{"web", "shop", "wbe", ""} {
			if st, ok := docs.of(service); ok {
				doc, _ := canary.Parse(st.Key, st.Document)
				if doc == nil {
					doc = &canary.Document{}
				}
				splits[service] = canary.Compile(doc, canary.Applied{Service: service, Index: st.LastGood, Hash: st.Hash, Ratio: st.Effective})
			}
		}
		common := splits[""]
		delete(splits, "")
		var b route.Builder
		return b.Build(route.Inputs{Snapshot: catalog, Splits: route.Splits{ByService: splits, Default: common}})
	}
}

// documents is a balancer's view of the documents, read when it is asked.
type documents struct{ client *consul.Client }

func (d documents) Status() (out canary.Status) {
	out.Services = []canary.ServiceStatus{}
	for _, service := range []string{"", "web"} {
		if st, ok := d.of(service); ok {
			out.Services = append(out.Services, st)
		}
	}
	return out
}

func (d documents) ServiceStatus(service string) (st canary.ServiceStatus, ok bool) {
	if st, ok = d.of(service); !ok {
		st, ok = d.of("")
		st.Service = service
	}
	return st, ok
}

func (d documents) Resolve(service string, _ canary.Asker) ([]byte, string, bool) {
	st, ok := d.ServiceStatus(service)
	return st.Document, canary.Hash(st.Document), ok && st.Document != nil
}

// of is what one document says; that for all services is that of "".
func (d documents) of(service string) (st canary.ServiceStatus, ok bool) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	key := canary.KeyOf("lb/canary", service)
	pair, ok, err := d.client.Get(ctx, key)
	if err != nil || !ok {
		return st, false
	}
	st = canary.ServiceStatus{Service: service, State: canary.StateOK, Source: key, Key: key, Index: pair.Index, LastGood: pair.Index}
	doc, err := canary.Parse(key, pair.Value)
	if e, bad := errors.AsType[*canary.Error](err); bad {
		st.State, st.Error, st.LastGood, st.Rejected = canary.StateInvalid, e, 1, string(pair.Value)
		return st, true
	}
	st.Document = json.RawMessage(pair.Value)
	if doc.Ratio != nil {
		st.Wanted, st.Effective = *doc.Ratio, *doc.Ratio
	}
	if doc.UpdateRate != nil {
		later := time.Date(2026, 11, 22, 15, 4, 5, 0, time.Local)
		st.Waits, st.LastGood = &later, 1
	}
	return st, true
}
