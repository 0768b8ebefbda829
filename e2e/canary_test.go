package e2e

import (
	"context"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"serin/e2e/load"
	"serin/internal/agent"
)

// web starts the service that most tests use: stable instances v1 and canaries
// v2 at "/".
func (l *lab) web(stable, canary int) (v1, v2 []*instance) {
	l.t.Helper()
	for range stable {
		v1 = append(v1, l.demo("web", "v1", "urlprefix-/"))
	}
	for range canary {
		v2 = append(v2, l.demo("web", "v2", "urlprefix-/,canary"))
	}
	return v1, v2
}

// warm waits until the balancer's table has so many ready instances.
func (l *lab) warm(b *balancer, instances int) {
	l.t.Helper()
	eventually(l.t, 15*time.Second, "every instance is ready", func() error {
		var routes []struct{ Service string }
		if err := getJSON("http://"+b.admin+"/api/routes", &routes); err != nil {
			return err
		}
		if len(routes) < instances {
			return fmt.Errorf("%d targets in the table, want %d", len(routes), instances)
		}
		return nil
	})
}

// flow is a load that runs while the test does something else, and counts the
// versions that answered since the last mark.
type flow struct {
	done chan struct{}
	stop context.CancelFunc
	rep  *load.Report

	mu    sync.Mutex
	count map[string]int
	last  map[string]time.Time
}

func (l *lab) flow(cfg load.Config) *flow {
	ctx, cancel := context.WithCancel(context.Background())
	f := &flow{done: make(chan struct{}), stop: cancel, count: map[string]int{}, last: map[string]time.Time{}}
	then := cfg.Answer
	cfg.Answer = func(i int, a load.Answer) {
		f.mu.Lock()
		f.count[a.Version]++
		f.last[a.Version] = time.Now()
		f.mu.Unlock()
		if then != nil {
			then(i, a)
		}
	}
	go func() {
		defer close(f.done)
		f.rep = load.Run(ctx, cfg)
	}()
	l.t.Cleanup(func() { f.end() })
	return f
}

func (f *flow) mark() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.count)
}

func (f *flow) seen(version string) (n int, last time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.count[version], f.last[version]
}

func (f *flow) total() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.count {
		n += c
	}
	return n
}

func (f *flow) end() *load.Report {
	f.stop()
	<-f.done
	return f.rep
}

// failed reports every failed request of the load as an error of the test.
func failed(t *testing.T, what string, r *load.Report) {
	t.Helper()
	t.Logf("FIGURE %s: %s", what, r)
	if n := r.Failures(); n > 0 || r.OK == 0 {
		t.Errorf("%s: %d of %d requests failed: %v", what, n, r.Sent, r.Failed)
		for _, s := range r.Samples {
			t.Log(s)
		}
	}
}

// settle waits until the share of v2 since the last look fits ratio, which is
// how long a KV write took to have its effect.
func (f *flow) settle(t *testing.T, ratio float64, within time.Duration) time.Duration {
	t.Helper()
	began := time.Now()
	for {
		f.mark()
		<-time.After(50 * time.Millisecond)
		n := f.total()
		v2, _ := f.seen("v2")
		if n > 0 && math.Abs(float64(v2)/float64(n)-ratio) <= 5*math.Sqrt(max(ratio*(1-ratio), 0)/float64(n))+1e-9 {
			return time.Since(began) - 50*time.Millisecond
		}
		if took := time.Since(began); took > within {
			t.Errorf("the ratio %g had no effect within %s: v2 answered %d of %d", ratio, within, v2, n)
			return took
		}
	}
}

// measure counts n answers and checks v2's share against the ratio with the
// bound of 4.5 standard deviations of a binomial.
func (f *flow) measure(t *testing.T, what string, ratio float64, n int) {
	t.Helper()
	f.mark()
	eventually(t, 2*time.Minute, "enough answers", func() error {
		if got := f.total(); got < n {
			return fmt.Errorf("%d of %d", got, n)
		}
		return nil
	})
	got := f.total()
	v2, _ := f.seen("v2")
	share := float64(v2) / float64(got)
	bound := 4.5 * math.Sqrt(ratio*(1-ratio)/float64(got))
	t.Logf("FIGURE %-40s ratio %.2f share %.4f (%d of %d, bound ±%.4f)", what, ratio, share, v2, got, bound)
	if math.Abs(share-ratio) > bound {
		t.Errorf("%s: v2's share is %.4f of %d requests, want %.2f ± %.4f", what, share, got, ratio, bound)
	}
}

// A document in KV moves the share while requests flow: exactly, at once, and
// without losing one.
func TestCanaryIsSteeredFromKV(t *testing.T) {
	n := size(t)
	l := &lab{t: t, consul: agent.Start(t, agent.Config{}).Addr()}
	l.web(2, 1)
	b := l.lb()
	l.warm(b, 3)

	f := l.flow(load.Config{Addrs: []string{b.traffic}, Rate: n.CanaryRate, Kinds: []load.Kind{load.GET, load.GET, load.GET, load.POST}})
	var effects []time.Duration
	for _, ratio := range []float64{0, 0.1, 0.5, 1, 0} {
		l.kvPut("lb/canary/web", fmt.Sprintf(`{"ratio":%g}`, ratio))
		effects = append(effects, f.settle(t, ratio, time.Second))
		f.measure(t, "ratio moves", ratio, n.CanaryCount)
	}
	for _, doc := range []string{
		`{"ratio":0.5,"balance":"round_robin"}`,
		`{"ratio":0.5,"balance":"random","method":"round_robin"}`,
		`{"ratio":0.5,"balance":"least_conn","method":"random"}`,
		`{"ratio":0.5,"sticky":"header:X-Request-Id"}`, // every request is another client
		`{"ratio":0.5}`,
	} {
		l.kvPut("lb/canary/web", doc)
		f.measure(t, doc, 0.5, n.CanaryCount/4)
	}
	l.kvDelete("lb/canary/web")
	effects = append(effects, f.settle(t, 0, time.Second))
	quantiles(t, "KV write → effect seen (by 50 ms windows)", effects)
	failed(t, "canary steered under load", f.end())
}

// While the ratio grows no client goes back: its key decides, not the moment.
func TestStickyClientsNeverGoBack(t *testing.T) {
	n := size(t)
	l := &lab{t: t, consul: agent.Start(t, agent.Config{}).Addr()}
	l.web(1, 1)
	b := l.lb()
	l.warm(b, 2)
	var back, moved atomic.Int64
	var mu sync.Mutex
	canary := make([]bool, n.StickyKeys)
	before := 0
	for _, ratio := range []float64{0.05, 0.1, 0.25, 0.5, 0.9, 1} {
		l.kvPut("lb/canary/web", fmt.Sprintf(`{"ratio":%g,"sticky":"header:X-User"}`, ratio))
		eventually(t, 2*time.Second, "the document is applied", func() error { return applied(b, "web", ratio) })
		r := load.Run(t.Context(), load.Config{
			Addrs: []string{b.traffic}, Rate: 4000, Count: n.StickyKeys,
			Header: func(i int) string { return fmt.Sprintf("X-User: user-%d\r\n", i) },
			Answer: func(i int, a load.Answer) {
				mu.Lock()
				defer mu.Unlock()
				switch now := a.Version == "v2"; {
				case canary[i] && !now:
					back.Add(1)
				case !canary[i] && now:
					canary[i] = true
					moved.Add(1)
				}
			},
		})
		failed(t, fmt.Sprintf("%d clients at ratio %g", n.StickyKeys, ratio), r)
		bound := 4.5*math.Sqrt(ratio*(1-ratio)/float64(n.StickyKeys)) + 1e-9
		if share := float64(moved.Load()) / float64(n.StickyKeys); math.Abs(share-ratio) > bound {
			t.Errorf("at ratio %g the canary has %.4f of the clients, want ± %.4f", ratio, share, bound)
		}
		if now := int(moved.Load()); now < before {
			t.Errorf("fewer clients on the canary than before: %d, %d", now, before)
		}
		before = int(moved.Load())
	}
	if back.Load() > 0 {
		t.Errorf("%d clients went back to stable while the ratio grew", back.Load())
	}
}

// applied returns nil when the balancer works with the given effective ratio.
func applied(b *balancer, service string, ratio float64) error {
	var s struct {
		Effective float64
		InTable   bool `json:"in_table"`
	}
	if err := getJSON("http://"+b.admin+"/api/v1/canary/"+service+"/status", &s); err != nil {
		return err
	}
	if s.Effective != ratio || !s.InTable {
		return fmt.Errorf("effective ratio is %g, in the table %t, want %g", s.Effective, s.InTable, ratio)
	}
	return nil
}

// An arm that dies is left at once: no GET fails, and a POST only if an
// instance had it in hand.
func TestArmDies(t *testing.T) {
	for _, dying := range []string{"v2", "v1"} {
		t.Run(map[string]string{"v2": "canary", "v1": "stable"}[dying], func(t *testing.T) {
			l := &lab{t: t, consul: agent.Start(t, agent.Config{}).Addr()}
			v1, v2 := l.web(2, 2)
			b := l.lb()
			l.warm(b, 4)
			l.kvPut("lb/canary/web", `{"ratio":0.5}`)
			eventually(t, 2*time.Second, "the document is applied", func() error { return applied(b, "web", 0.5) })
			var open atomic.Int64
			f := l.flow(load.Config{Addrs: []string{b.traffic}, Rate: 500, Kinds: []load.Kind{load.GET, load.POST}, Posts: &open})
			f.measure(t, "before", 0.5, 1000)
			victims := v2
			if dying == "v1" {
				victims = v1
			}
			// What clients wait for at the moment of the kill is all that an
			// instance can have in hand.
			inHand := open.Load()
			for _, v := range victims {
				v.signal(syscall.SIGKILL)
				inHand = max(inHand, open.Load())
			}
			killed := time.Now()
			for _, v := range victims { // until the kernel has closed its sockets it takes requests
				for v.running() {
					inHand = max(inHand, open.Load())
				}
			}
			// What came between two looks: POSTs are half of the load.
			inHand += 1 + int64(250*time.Since(killed).Seconds())
			<-time.After(5 * time.Second)
			r := f.end()
			_, last := f.seen(dying)
			t.Logf("FIGURE every %s instance killed: %s; POSTs in hand %d; its last answer came %s after", dying, r, inHand, last.Sub(killed).Round(time.Millisecond))
			for cause, n := range r.Failed {
				// A POST that an instance had in hand is lost with it: it is never sent twice.
				if cause == "POST status 502" && int64(n) <= inHand {
					continue
				}
				t.Errorf("%d × %s", n, cause)
			}
			for _, s := range r.Samples {
				t.Log(s)
			}
		})
	}
}
