package control

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"serin/registry"
	"serin/route"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// catalog is service web with n instances at /.
func catalog(n int, tags ...string) *registry.Snapshot {
	svc := &registry.Service{Name: "web"}
	for i := range n {
		svc.Instances = append(svc.Instances, registry.Instance{
			Service: "web", ID: fmt.Sprint("web-", i), Node: "n", Addr: fmt.Sprint("10.0.0.1:", 8000+i),
			Tags: append([]string{"urlprefix-/"}, tags...), Weight: 1, Health: registry.Passing, Ready: true,
		})
	}
	svc.Normalize()
	return registry.New(svc)
}

// logText is a log that tests read while it is written.
type logText struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logText) Reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b.Reset()
}

// running starts a Loop inside a bubble and stops it at the end of f.
func running(t *testing.T, l *Loop, f func(t *testing.T)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- l.Run(ctx) }()
		synctest.Wait()
		f(t)
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// builds notes when tables were published, and how many targets they had.
type builds struct {
	mu    sync.Mutex // guards lines
	start time.Time
	lines []string
}

func (b *builds) note(_, table *route.Table, _ route.Changes) {
	n := 0
	for range table.Targets() {
		n++
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines = append(b.lines, fmt.Sprintf("%v:%d", time.Since(b.start), n))
}

func (b *builds) take() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer func() { b.lines = nil }()
	return strings.Join(b.lines, " ")
}

func TestLoopCoalesces(t *testing.T) {
	var b builds
	l := &Loop{Publish: func(old, table *route.Table, c route.Changes) {
		b.note(old, table, c)
		time.Sleep(2 * time.Millisecond) // what a build takes
	}}
	running(t, l, func(t *testing.T) {
		f := func(what, want string) {
			t.Helper()
			synctest.Wait()
			if got := b.take(); got != want {
				t.Errorf("%s\n got %s\nwant %s", what, got, want)
			}
		}
		b.start = time.Now()
		f("nothing set", "")
		l.SetSplits(route.Splits{})
		time.Sleep(200 * time.Millisecond)
		f("no catalog yet", "")
		l.SetSnapshot(catalog(1))
		f("first change at once", "200ms:1")
		for i := range 20 { // 333 changes a second
			l.SetSnapshot(catalog(i + 2))
			time.Sleep(3 * time.Millisecond)
		}
		f("storm: a build, ten times its rest", "222ms:9 244ms:16")
		time.Sleep(time.Second)
		f("and the last state is applied", "266ms:21")
		l.SetSnapshot(catalog(4))
		f("at once again", "1.26s:4")
		l.SetSplits(route.Splits{Default: &route.Split{Ratio: 0.5}})
		f("too soon", "")
		time.Sleep(22 * time.Millisecond)
		f("after the rest", "1.282s:4")
		if r := l.Table().Splits().Default.Ratio; r != 0.5 {
			t.Errorf("ratio %v", r)
		}
	})
}

func TestRest(t *testing.T) {
	for _, c := range []struct{ took, want time.Duration }{
		{0, 5 * time.Millisecond},
		{200 * time.Microsecond, 5 * time.Millisecond},
		{3 * time.Millisecond, 30 * time.Millisecond},
		{time.Second, 250 * time.Millisecond},
	} {
		if got := rest(c.took); got != c.want {
			t.Errorf("rest(%v) = %v, want %v", c.took, got, c.want)
		}
	}
}

func TestLoopTableIsNeverNil(t *testing.T) {
	l := &Loop{}
	if first := l.Table(); first == nil || first != l.Table() || first.Match("a", "/", false) != nil {
		t.Error("before the first build: want one empty table")
	}
}

func TestLoopSurvivesAPanic(t *testing.T) {
	var log logText
	registryM := prometheus.NewRegistry()
	l := &Loop{
		Builder: route.Builder{TagPrefix: "urlprefix-"},
		Log:     hclog.New(&hclog.LoggerOptions{Output: &log}),
		Metrics: NewMetrics(registryM),
	}
	running(t, l, func(t *testing.T) {
		l.SetSnapshot(catalog(1))
		synctest.Wait()
		good := l.Table()
		l.SetSnapshot(registry.New(nil)) // what no source may make
		time.Sleep(time.Second)
		synctest.Wait()
		if l.Table() != good || !strings.Contains(log.String(), "BUG") {
			t.Errorf("the last table must stay, and the log say so:\n%s", &log)
		}
		if v := value(t, registryM, "lb_table_build_panics_total"); v != 1 {
			t.Errorf("%v panics counted", v)
		}
		l.SetSnapshot(catalog(2))
		synctest.Wait()
		if l.Table() == good || l.Builder.TagPrefix != "urlprefix-" {
			t.Error("the next good catalog must be applied")
		}
		if v := value(t, registryM, "lb_table_builds_total"); v != 2 {
			t.Errorf("%v builds counted", v)
		}
	})
}

func TestLoopLogsTransitionsOnce(t *testing.T) {
	var log logText
	l := &Loop{Log: hclog.New(&hclog.LoggerOptions{Output: &log, DisableTime: true})}
	running(t, l, func(t *testing.T) {
		f := func(what, want string, s *registry.Snapshot) {
			t.Helper()
			time.Sleep(time.Second)
			log.Reset()
			l.SetSnapshot(s)
			synctest.Wait()
			var got []string
			for line := range strings.Lines(log.String()) {
				message, _, _ := strings.Cut(line, ":")
				got = append(got, strings.TrimSpace(message))
			}
			if g := strings.Join(got, ", "); g != want {
				t.Errorf("%s\n got %s\nwant %s\n%s", what, g, want, &log)
			}
		}
		f("first", "[INFO]  routing table changed, [INFO]  route added, [INFO]  target added", catalog(1))
		f("nothing", "", catalog(1))
		f("bad tag", "[INFO]  routing table changed, [WARN]  refused", catalog(1, "urlprefix-/x weight=1o"))
		f("still bad", "", catalog(1, "urlprefix-/x weight=1o"))
		f("repaired", "[INFO]  routing table changed, [INFO]  no longer refused", catalog(1))
		f("gone", "[INFO]  routing table changed, [INFO]  route gone, [INFO]  target gone", registry.New())
	})
}

// What is refused of a route command is nowhere but in the log's where.
func TestLoopLogsWhereACommandIs(t *testing.T) {
	var log logText
	l := &Loop{Log: hclog.New(&hclog.LoggerOptions{Output: &log, DisableTime: true})}
	running(t, l, func(t *testing.T) {
		l.SetOverrides(route.ParseOverrides(route.CommandText{Source: "lb/routes/a", Text: "\nroute ad web"}))
		l.SetSnapshot(catalog(1))
		synctest.Wait()
	})
	if want := "refused: where=lb/routes/a:2:7 service=\"\" error="; !strings.Contains(log.String(), want) {
		t.Errorf("no %q in\n%s", want, &log)
	}
}

// value reads a counter or gauge.
func value(t *testing.T, r *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			m := f.GetMetric()[0]
			return m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}
