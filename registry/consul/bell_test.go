package consul

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/consul/api"
)

func TestSettled(t *testing.T) {
	for _, tt := range []struct {
		base, index uint64
		explained   []uint64
		want        bool
	}{
		{7, 7, nil, true},
		{7, 8, nil, false},
		{7, 8, []uint64{8}, true},
		{7, 9, []uint64{9}, false}, // something else happened at 8
		{7, 9, []uint64{8, 9}, true},
		{7, 9, []uint64{8, 9, 12}, true},
		{7, 10, []uint64{8, 9, 12}, false},
		{7, 6, []uint64{6}, false},                 // went back
		{1, 1<<63 + 5, []uint64{1<<63 + 5}, false}, // no loop over all between
	} {
		explained := map[uint64]bool{}
		for _, i := range tt.explained {
			explained[i] = true
		}
		if got := settled(tt.base, tt.index, explained); got != tt.want {
			t.Errorf("settled(%d, %d, %v) = %v", tt.base, tt.index, tt.explained, got)
		}
	}
}

func TestExplained(t *testing.T) {
	b := bell{cancel: func() {}, base: 5, explained: map[uint64]bool{}}
	for i := range uint64(2 * mostExplained) {
		b.explain(i)
	}
	if len(b.explained) != mostExplained || b.explained[5] {
		t.Errorf("%d indices are remembered, 5 is: %v", len(b.explained), b.explained[5])
	}
	b.know(mostExplained)
	if len(b.explained) != 5 || b.base != mostExplained {
		t.Errorf("%v above %d", b.explained, b.base)
	}
	off := bell{}
	off.explain(9)
	off.missed()
	if len(off.explained) != 0 || !off.rung.IsZero() {
		t.Error("a bell that does not listen remembers")
	}
}

func TestCatalogPause(t *testing.T) {
	for size, want := range map[int]time.Duration{0: 0, 700: 0, 138 << 10: 35 * time.Millisecond, 620 << 10: 158 * time.Millisecond, 64 << 20: time.Second} {
		if got := catalogPause(size).Truncate(time.Millisecond); got != want {
			t.Errorf("%d bytes: %v, want %v", size, got, want)
		}
	}
}

func TestStreamWait(t *testing.T) {
	for n, want := range map[int]time.Duration{0: 30 * time.Second, 1200: 30 * time.Second, 10000: 250 * time.Second, 1 << 20: 10 * time.Minute} {
		if got := streamWait(n, maxWait); got != want {
			t.Errorf("%d streams: %v, want %v", n, got, want)
		}
	}
}

func TestSpread(t *testing.T) {
	for crowd, want := range map[int]time.Duration{0: time.Second, 1: time.Second, 48: time.Second, 4800: 100 * time.Second} {
		if got := spread(time.Second, crowd); got != want {
			t.Errorf("crowd of %d: %v, want %v", crowd, got, want)
		}
	}
}

func TestSweepPause(t *testing.T) {
	const period = 120 * time.Second
	for _, tt := range []struct {
		n     int
		cost  time.Duration
		hurry bool
		want  time.Duration
	}{
		{100, 500 * time.Microsecond, false, 1200 * time.Millisecond},
		{10000, 500 * time.Microsecond, false, 12 * time.Millisecond},
		{10000, time.Millisecond, false, 20 * time.Millisecond}, // a twentieth of a core
		{100, time.Millisecond, true, 20 * time.Millisecond},
		{100, 0, true, sweepFloor},
		{0, 0, false, sweepFloor},
	} {
		if got := sweepPause(tt.n, period, tt.cost, tt.hurry); got != tt.want {
			t.Errorf("%+v: %v", tt, got)
		}
	}
}

// ringing is a Watcher of n services in bell mode, in a synctest bubble.
func ringing(t *testing.T, f *fakeConsul, n int) *recorder {
	for i := range n {
		f.set(fmt.Sprintf("s%03d", i), "a", "b")
	}
	f.set("lb", "lb-1")
	c := f.client(t)
	pretend(c)
	r := record(t, c, WatchConfig{}, nil)
	time.Sleep(time.Second)
	synctest.Wait()
	if s := r.Status(); s.Mode != Bell || s.Services != n+1 || !r.Ready() {
		t.Fatalf("status %+v", s)
	}
	return r
}

// A change that a list or the catalog names costs a read of that service; all
// checks are read only where none is named.
func TestWhatABellReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		r := ringing(t, f, 60)
		const all = "/v1/health/state/any"
		step := func(what, want string, alls int, change func()) {
			t.Helper()
			before, reads := f.hitsOf(all), r.Status().Reads
			change()
			time.Sleep(300 * time.Millisecond)
			synctest.Wait()
			s, _ := r.last()
			if got := names(s); !strings.Contains(got+" ", want+" ") {
				t.Errorf("%s: snapshot has no %q", what, want)
			}
			if got := f.hitsOf(all) - before; got != alls {
				t.Errorf("%s: all checks were read %d times, want %d", what, got, alls)
			}
			if n := r.Status().Reads - reads; n > 12 {
				t.Errorf("%s: %d reads", what, n)
			}
			if n := r.Status().Corrections; n != 0 {
				t.Errorf("%s: %d corrections", what, n)
			}
			time.Sleep(time.Second)
		}
		step("a check flips", "s007:a,b", 0, func() { f.flip("s007", "critical") })
		if s, _ := r.last(); s.Service("s007").Instances[0].Ready {
			t.Error("critical, and ready")
		}
		step("and back", "s007:a,b", 0, func() { f.flip("s007", "passing") })
		step("a new service", "new:x", 0, func() { f.set("new", "x") })
		step("one more instance", "s008:a,b,c", 1, func() { f.set("s008", "a", "b", "c") })
		step("one less", "s008:a,b", 1, func() { f.set("s008", "a", "b") })
		step("the last one gone", "s009:a,b s010:a,b", 1, func() { f.set("new") })
	})
}

// flip sets the first check of a service, as an agent does that tells of it.
func (f *fakeConsul) flip(name, status string) {
	f.change(func() {
		c := *f.services[name][0].Checks[0]
		c.Status, c.ModifyIndex = status, f.index
		e := *f.services[name][0]
		e.Checks = append(e.Checks[:0:0], &c)
		f.services[name] = append(f.services[name][:0:0], append([]*api.ServiceEntry{&e}, f.services[name][1:]...)...)
	})
}

// The sweep finds what no bell told, within its period, and counts it.
func TestSweepCorrects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		r := ringing(t, f, 60)
		f.mu.Lock() // nothing rings, and the index stays
		f.services["s033"][0].Service.Port = 7777
		f.mu.Unlock()
		time.Sleep(125 * time.Second)
		synctest.Wait()
		s, _ := r.last()
		if got := s.Service("s033").Instances[0].Addr; got != "10.0.0.1:7777" {
			t.Errorf("not corrected: %s", got)
		}
		st := r.Status()
		if st.Corrections != 1 || st.OldestAnswer > 130*time.Second || st.Stale {
			t.Errorf("status %+v", st)
		}
		if st.ReadsPerSecond <= 0 || st.ReadsPerSecond > 3 {
			t.Errorf("%v reads a second for a sweep over 61 services", st.ReadsPerSecond)
		}
	})
}

// In a storm the catalog and all checks are read at a bounded rate, and at its
// end everything is right.
func TestBellStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		r := ringing(t, f, 60)
		before := f.hitsOf("/v1/health/state/any")
		for i := range 500 {
			name := fmt.Sprintf("s%03d", i%60)
			switch i % 3 {
			case 0:
				f.set(name, "a", "b", "c")
			case 1:
				f.set(name, "a", "b!")
			case 2:
				f.set(name, "a", "d")
			}
			time.Sleep(20 * time.Millisecond)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if n := f.hitsOf("/v1/health/state/any") - before; n > 110 {
			t.Errorf("all checks were read %d times in 10 s", n)
		}
		s, _ := r.last()
		for svc := range s.All() {
			f.mu.Lock()
			want := len(f.services[svc.Name])
			f.mu.Unlock()
			if len(svc.Instances) != want || svc.Hold != "" {
				t.Errorf("%s has %d instances, want %d; %s", svc.Name, len(svc.Instances), want, svc.Hold)
			}
		}
	})
}

func TestOutrun(t *testing.T) {
	now := time.Unix(1000, 0)
	for _, tt := range []struct {
		read, told uint64
		doubt      time.Time
		want       bool
	}{
		{9, 10, now, true},
		{9, 10, now.Add(-999 * time.Millisecond), true},
		{9, 10, now.Add(-time.Second), false}, // the index went back
		{9, 10, time.Time{}, false},           // nothing is doubted
		{10, 10, now, false},
		{11, 10, now, false},
	} {
		if got := outrun(tt.read, tt.told, tt.doubt, now); got != tt.want {
			t.Errorf("%+v: %v", tt, got)
		}
	}
}
