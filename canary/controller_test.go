package canary

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"

	"serin/canary/evidence"
	"serin/canary/rollout"
	"serin/route"
)

var update = flag.Bool("update", false, "rewrite the expectations in testdata")

// fakeSource is a key-value store that a script writes.
type fakeSource struct {
	base   string
	docs   map[string]Raw
	err    error
	lost   map[string]error // documents that alone are lost
	index  uint64
	events chan Event
}

func newFakeSource(base string) *fakeSource {
	return &fakeSource{base: base, docs: map[string]Raw{}, lost: map[string]error{}, events: make(chan Event)}
}

func (f *fakeSource) Run(ctx context.Context, emit func(Event)) error {
	for {
		select {
		case ev := <-f.events:
			emit(ev)
		case <-ctx.Done():
			return nil
		}
	}
}

// do carries out "doc SERVICE JSON", "delete SERVICE", "lost REASON", "back",
// "hide SERVICE REASON", "show SERVICE" or "again" and tells the controller, if it listens.
func (f *fakeSource) do(verb, rest string) {
	service, value, _ := strings.Cut(rest, " ")
	if service == "*" {
		service = ""
	}
	switch verb {
	case "doc":
		f.index++
		f.docs[service] = Raw{Key: strings.TrimSuffix(f.base+"/"+service, "/"), Value: []byte(value), Index: f.index}
	case "delete":
		f.index++
		delete(f.docs, service)
	case "lost":
		f.err = errors.New(rest)
	case "back":
		f.err = nil
	case "hide":
		f.lost[service] = errors.New(value)
	case "show":
		delete(f.lost, service)
	}
	select {
	case f.events <- Event{Docs: maps.Clone(f.docs), Err: f.err, Lost: maps.Clone(f.lost), At: time.Now()}:
	case <-time.After(time.Millisecond): // nobody reads this source now
	}
	synctest.Wait()
}

func render(s ServiceStatus, start time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "wanted=%v effective=%v state=%s from=%s@%d", s.Wanted, s.Effective, s.State, s.Source, s.LastGood)
	if s.Index != s.LastGood {
		fmt.Fprintf(&b, " newest=%d", s.Index)
	}
	if s.Waits != nil {
		fmt.Fprintf(&b, " waits=%v", s.Waits.Sub(start).Round(time.Second))
	}
	if s.Environment != "" {
		fmt.Fprintf(&b, " in=%s", s.Environment)
	}
	if s.Rollout != nil {
		fmt.Fprintf(&b, " rollout=%s/%d", s.Rollout.Phase, s.Rollout.Step)
	}
	for _, v := range s.Variants {
		fmt.Fprintf(&b, " clients=%s:%.3g@%v", v.Environment, v.Share, v.Effective)
		if v.Because != "" {
			fmt.Fprintf(&b, "(%s)", v.Because)
		}
	}
	if s.SourceError != "" {
		fmt.Fprintf(&b, " lost=%q", s.SourceError)
	}
	if s.Because != "" {
		fmt.Fprintf(&b, " because=%q", s.Because)
	}
	if s.Error != nil {
		fmt.Fprintf(&b, " error=%q", s.Error)
	}
	return b.String()
}

func ratioOf(s route.Splits, service string) float64 {
	if split := s.ByService[service]; split != nil {
		return split.Ratio
	}
	if s.Default != nil {
		return s.Default.Ratio
	}
	return 0
}

// TestScripts plays testdata/*.script: what operators, sources and time do, and
// what is in force then. Lines:
//
//	restored SERVICE JSON            (before the first "at": the state on disk)
//	at TIME doc SERVICE JSON         at TIME remote ADDRESS doc JSON
//	at TIME delete SERVICE           at TIME remote ADDRESS delete
//	at TIME lost REASON              at TIME remote ADDRESS lost REASON
//	at TIME back                     at TIME remote ADDRESS back
//	at TIME expect SERVICE STATUS    at TIME problems SENTENCES
//	at TIME lead SERVICE             (a leader takes the next step of its rollout)
//	at TIME state SERVICE JSON       (these fields of its state are written)
//	at TIME self NODE DATACENTER TAG…
//	at TIME address host:NAME ADDRESS…   (or service:NAME)
//
// SERVICE "*" is the document for all services.
func TestScripts(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.script")
	if len(files) < 5 {
		t.Fatalf("only %d scripts", len(files))
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { play(t, file) })
		})
	}
}

func play(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	source := newFakeSource("lb/canary")
	remotes := map[string]*fakeSource{}
	remote := func(address string) *fakeSource {
		if remotes[address] == nil {
			remotes[address] = newFakeSource(address)
		}
		return remotes[address]
	}
	var published atomic.Pointer[route.Splits]
	published.Store(&route.Splits{})
	c := &Controller{
		Source:   source,
		Open:     func(address string, _ time.Duration) (Source, error) { return remote(address), nil },
		Publish:  func(s route.Splits, _ []string) { published.Store(&s) },
		Restored: map[string]Raw{},
	}
	var plans atomic.Pointer[map[string]*rollout.Plan]
	c.Plans = func(p map[string]*rollout.Plan) { plans.Store(&p) }
	c.SetStates(nil)
	states := map[string]rollout.State{}
	addresses := Addresses{Hosts: map[string][]netip.Addr{}, Services: map[string][]netip.Addr{}}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	start := time.Now()
	started := false
	done := make(chan error, 1)
	var out []string
	for n, line := range strings.Split(string(text), "\n") {
		out = append(out, line)
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] == "#" {
			continue
		}
		if fields[0] == "restored" {
			service, value, _ := strings.Cut(strings.TrimPrefix(line, "restored "), " ")
			c.Restored[service] = Raw{Key: "lb/canary/" + service, Value: []byte(value), Index: 7}
			continue
		}
		if !started {
			started = true
			go func() { done <- c.Run(ctx) }()
			synctest.Wait()
		}
		at, err := time.ParseDuration(fields[1])
		if err != nil {
			t.Fatalf("%s:%d: %v", file, n+1, err)
		}
		// Half a millisecond late, so that a timer of that very second has fired.
		time.Sleep(time.Until(start.Add(at + time.Millisecond/2)))
		synctest.Wait()
		rest := strings.TrimSpace(strings.SplitN(line, fields[1], 2)[1])
		verb, rest, _ := strings.Cut(rest, " ")
		rest = strings.TrimSpace(rest)
		head := line[:strings.Index(line, verb)]
		switch verb {
		case "remote":
			address, rest, _ := strings.Cut(rest, " ")
			verb, rest, _ := strings.Cut(rest, " ")
			if verb == "doc" || verb == "delete" {
				rest = "* " + rest
			}
			remote(address).do(verb, rest)
		case "expect":
			service, want, _ := strings.Cut(rest, " ")
			name := strings.Replace(service, "*", "", 1)
			got := "none"
			if s, ok := c.ServiceStatus(name); ok {
				got = render(s, start)
				if s.Effective != ratioOf(*published.Load(), name) {
					t.Errorf("%s:%d: status says %v, published is %v", file, n+1, s.Effective, ratioOf(*published.Load(), name))
				}
			}
			out[n] = head + "expect " + service + " " + got
			if strings.TrimSpace(want) != got && !*update {
				t.Errorf("%s:%d: %s\n got %s\nwant %s", file, n+1, service, got, want)
			}
		case "state":
			service, text, _ := strings.Cut(rest, " ")
			state := states[service]
			if err := json.Unmarshal([]byte(text), &state); err != nil {
				t.Fatalf("%s:%d: %v", file, n+1, err)
			}
			states = maps.Clone(states)
			states[service] = state
			c.SetStates(states)
			synctest.Wait()
		case "lead":
			states = maps.Clone(states)
			states[rest], _ = rollout.Next((*plans.Load())[rest], states[rest], evidence.Finding{}, time.Now())
			c.SetStates(states)
			synctest.Wait()
		case "self":
			words := strings.Fields(rest)
			c.SetSelf(Self{Node: words[0], Datacenter: words[1], Tags: words[2:]})
			synctest.Wait()
		case "address":
			words := strings.Fields(rest)
			kind, name, _ := strings.Cut(words[0], ":")
			all := Addresses{Hosts: maps.Clone(addresses.Hosts), Services: maps.Clone(addresses.Services)}
			to := map[string]map[string][]netip.Addr{"host": all.Hosts, "service": all.Services}[kind]
			to[name] = nil
			for _, text := range words[1:] {
				to[name] = append(to[name], netip.MustParseAddr(text))
			}
			addresses = all
			c.SetAddresses(all)
			synctest.Wait()
		case "problems":
			got := strings.Join(c.Problems(), " | ")
			out[n] = strings.TrimRight(head+"problems "+got, " ")
			if rest != got && !*update {
				t.Errorf("%s:%d: problems\n got %s\nwant %s", file, n+1, got, rest)
			}
		default:
			source.do(verb, rest)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	if *update {
		if err := os.WriteFile(file, []byte(strings.Join(out, "\n")), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// metricsText prints what a registry holds, a line per series.
func metricsText(t *testing.T, r *prometheus.Registry) string {
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, f := range families {
		for _, m := range f.GetMetric() {
			b.WriteString(f.GetName())
			for _, l := range m.GetLabel() {
				fmt.Fprintf(&b, " %s=%s", l.GetName(), l.GetValue())
			}
			fmt.Fprintf(&b, " %v\n", m.GetGauge().GetValue()+m.GetCounter().GetValue())
		}
	}
	return b.String()
}

func TestControllerLogsMetricsAndFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := newFakeSource("lb/canary")
		registry := prometheus.NewRegistry()
		var log bytes.Buffer
		var splits route.Splits
		var followed []string
		publications := 0
		c := &Controller{
			Source:  source,
			Publish: func(s route.Splits, f []string) { splits, followed, publications = s, f, publications+1 },
			Log:     hclog.New(&hclog.LoggerOptions{Output: &log, DisableTime: true}),
			Metrics: NewMetrics(registry),
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }()
		c.SetSecret([2]uint64{1, 2})

		source.do("again", "")
		if publications != 1 || splits.Default != nil || len(splits.ByService) != 0 {
			t.Errorf("an empty set must be published once: %d %v", publications, splits)
		}
		source.do("doc", `web {"ratio": 0.5, "canary": {"service": "web-v2"}, "stable": {"service": "a"}}`)
		source.do("doc", `api {"ratio": 0.1, "canary": {"service": "web-v2"}}`)
		web := splits.ByService["web"]
		if !slices.Equal(followed, []string{"a", "web-v2"}) || web.Secret != [2]uint64{1, 2} || !web.Explicit {
			t.Errorf("followed %v, split %+v", followed, web)
		}
		before := publications
		source.do("again", "")
		if publications != before {
			t.Errorf("published without a change")
		}
		source.do("doc", `api {"ratio": 7}`)
		source.do("again", "")
		if splits.ByService["web"] != web {
			t.Errorf("the split of web must stay the same one when api changes")
		}
		if n := strings.Count(log.String(), "canary document refused"); n != 1 {
			t.Errorf("refusal logged %d times:\n%s", n, &log)
		}
		want := `lb_canary_assertions_total 0
lb_canary_config_errors_total 1
lb_canary_config_valid service=api 0
lb_canary_config_valid service=web 1
lb_canary_share kind=wanted service=api 0.1
lb_canary_share kind=wanted service=web 0.5
lb_canary_source_age_seconds 0
`
		if got := metricsText(t, registry); got != want {
			t.Errorf("metrics\n got %s\nwant %s", got, want)
		}
		source.do("delete", "api")
		source.do("delete", "web")
		if got := metricsText(t, registry); strings.Contains(got, "service=") || len(splits.ByService) != 0 {
			t.Errorf("deleted documents left %v and\n%s", splits, got)
		}
		source.do("lost", "500")
		time.Sleep(10 * time.Second)
		if got := metricsText(t, registry); !strings.Contains(got, "lb_canary_source_age_seconds 10.0") && !strings.Contains(got, "lb_canary_source_age_seconds 10\n") {
			t.Errorf("age of the source:\n%s", got)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestControllerSaysWhenTheSourceEnds(t *testing.T) {
	c := &Controller{
		Source:  SourceFunc(func(context.Context, func(Event)) error { return nil }),
		Publish: func(route.Splits, []string) {},
	}
	if err := c.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "source ended") {
		t.Errorf("got %v", err)
	}
}

// Status must be safe to call at any time; the race detector judges.
func TestStatusBeforeAndDuringRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := newFakeSource("lb/canary")
		c := &Controller{Source: source, Publish: func(route.Splits, []string) {}}
		if s := c.Status(); s.Answered || len(c.Problems()) != 0 || len(c.Documents()) != 0 {
			t.Errorf("before Run: %+v", s)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }()
		var reader sync.WaitGroup
		reader.Go(func() {
			for ctx.Err() == nil {
				c.Status()
				c.ServiceStatus("web")
				c.Documents()
				c.Problems()
				time.Sleep(time.Millisecond)
			}
		})
		for i := range 100 {
			source.do("doc", fmt.Sprintf(`web {"ratio": 0.%d}`, i+1))
		}
		if doc := c.Documents()["web"]; string(doc.Value) != `{"ratio": 0.100}` || doc.Index != 100 {
			t.Errorf("Documents: %s", doc.Value)
		}
		cancel()
		<-done
		reader.Wait()
	})
}
