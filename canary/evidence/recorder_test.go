package evidence

import (
	"math"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"gonum.org/v1/gonum/stat/distuv"
)

func TestMemory(t *testing.T) {
	var r Recorder
	kib := func(n uintptr) uint64 { return uint64(n+1023) / 1024 }
	figure(t, "memory of a recorder", "%d KiB", kib(unsafe.Sizeof(r)+shards*unsafe.Sizeof(shard{})))
	figure(t, "more where clients are sticky, once the first has come", "%d KiB", kib(2*unsafe.Sizeof(bitmap{})+unsafe.Sizeof(firsts{})))
	figure(t, "more for each threshold of latency where clients are sticky", "%d KiB", kib(unsafe.Sizeof([bitmapWords]uint64{})))
	figure(t, "more for `slow: \"auto\"`", "%d KiB", kib(unsafe.Sizeof(times{})))
}

// Totals are exact with many goroutines, and so is the evidence: the order does
// not matter to it.
func TestRecorderIsExact(t *testing.T) {
	f := func(cfg Config) {
		t.Helper()
		const goroutines = 16
		feed := samples(4000, cfg.Sticky)
		for i := range feed {
			feed[i].Failed = i%7 == 0
			feed[i].Ratio = []float64{0.1, 0.2, 0.3}[i%3]
		}
		want := single(cfg)
		for range goroutines {
			for _, s := range feed {
				want.Record(s)
			}
		}
		r := NewRecorder(cfg)
		var wg sync.WaitGroup
		for range goroutines {
			wg.Go(func() {
				for i, s := range feed {
					r.Record(s)
					if i%1000 == 0 {
						r.Tally()
					}
				}
			})
		}
		wg.Wait()
		got, exp := r.Tally(), want.Tally()
		if got.Requests != exp.Requests || got.Failures != exp.Failures || got.Slow != exp.Slow || got.Step != exp.Step {
			t.Errorf("%+v: counts %+v, want %+v", cfg, got, exp)
		}
		if got.Requests[0]+got.Requests[1] != goroutines*4000 {
			t.Errorf("%+v: %v requests, want %d", cfg, got.Requests, goroutines*4000)
		}
		a, b := got.ratios(), exp.ratios()
		both(&a, &b, func(a, b *Logs, event int) {
			for k := range a {
				if math.Abs(a[k]-b[k]) > 1e-6*(1+math.Abs(b[k])) {
					t.Errorf("%+v: event %d: %v, want %v", cfg, event, *a, *b)
				}
			}
		})
	}
	f(Config{})
	f(Config{Slow: time.Millisecond})
	f(Config{Sticky: true, Slow: time.Millisecond})
}

// Steps, warm-ups, tallies and first freezes beside the traffic lose nothing.
func TestRecorderUnderEverythingAtOnce(t *testing.T) {
	r := NewRecorder(Config{Sticky: true, SlowAuto: true})
	feed := samples(5000, true)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for _, s := range feed {
				r.Record(s)
			}
		})
	}
	wg.Go(func() {
		for range 50 {
			r.Step()
			r.Tally()
			r.Warming(map[string]bool{"10.9.9.9:80": true}, 0.5, true)
			r.Warming(nil, 1, true)
		}
	})
	wg.Wait()
	if got := r.Tally(); got.Requests[0]+got.Requests[1] != 8*5000 || got.Valid() != nil {
		t.Errorf("%+v, %v; want %d requests", got, got.Valid(), 8*5000)
	}
}

func TestRecordDoesNotAllocate(t *testing.T) {
	for _, cfg := range []Config{{}, {SlowAuto: true}, {Sticky: true, SlowAuto: true}} {
		r, feed, i := NewRecorder(cfg), samples(4096, cfg.Sticky), 0
		r.Warming(map[string]bool{"10.9.9.9:80": true}, 0.5, true)
		if n := testing.AllocsPerRun(4000, func() {
			feed[i&4095].Ratio = float64(1+i%40) / 50
			r.Record(feed[i&4095])
			i++
		}); n != 0 {
			t.Errorf("%+v: %v allocations", cfg, n)
		}
	}
}

// A document for a service without traffic must cost little: who may write one may
// write many.
func TestARecorderThatSeesNothingIsSmall(t *testing.T) {
	all := make([]*Recorder, 1000)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range all {
		all[i] = NewRecorder(Config{Sticky: true, SlowAuto: true})
		all[i].Record(Sample{Ratio: 0.1, Failed: true}) // of nobody
		all[i].Tally()
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if each := (after.HeapAlloc - before.HeapAlloc) / uint64(len(all)); each > 32<<10 {
		t.Errorf("%d bytes each", each)
	}
	runtime.KeepAlive(all)
}

func TestNilRecorder(t *testing.T) {
	var r *Recorder
	r.Record(Sample{Ratio: 0.5})
	r.Step()
	r.Warming(nil, 1, true)
	if got := r.Tally(); got != (Tally{}) {
		t.Errorf("%+v", got)
	}
}

// Condition 2: what was not drawn while both arms could serve has no ratio, and
// does not count.
func TestCondition2OnlyRandomisedTrafficCounts(t *testing.T) {
	r := NewRecorder(Config{})
	for _, ratio := range []float64{0, 1, -0.1, 1.1, math.NaN(), math.Inf(1), math.Inf(-1)} {
		r.Record(Sample{Canary: true, Ratio: ratio, Failed: true})
	}
	if got := r.Tally(); got != (Tally{Balancers: 1}) {
		t.Errorf("%+v; want nothing counted", got)
	}
}

// Condition 3: the arm first chosen is charged for its first attempt.
func TestCondition3TheArmFirstChosen(t *testing.T) {
	r := NewRecorder(Config{})
	r.Record(Sample{Canary: true, Ratio: 0.1, Failed: true, Addr: "10.0.0.9:80"})
	if got := r.Tally(); got.Failures != [2]uint64{0, 1} || got.Requests != [2]uint64{0, 1} {
		t.Errorf("%+v; want one failure of the canary", got)
	}
}

// Condition 7: warming instances do not count, and the ratio is the greatest
// that the canary's share can be among what counts.
func TestCondition7Warmup(t *testing.T) {
	f := func(addrs map[string]bool, stable float64, canary bool, s Sample, want float64) {
		t.Helper()
		r := NewRecorder(Config{})
		r.Warming(addrs, stable, canary)
		s.Failed = true
		r.Record(s)
		got := 0.0
		for i := range r.shards {
			for _, c := range r.shards[i].ledger.cells {
				got += c.ratio
			}
		}
		if math.Abs(got-want) > 1e-12 || (r.Tally().Requests != [2]uint64{}) != (want > 0) {
			t.Errorf("Warming(%v, %v, %v), %+v: ratio %v, want %v", addrs, stable, canary, s, got, want)
		}
	}
	warm := map[string]bool{"a": true}
	f(nil, 1, true, Sample{Addr: "a", Ratio: 0.1}, 0.1)
	f(warm, 1, true, Sample{Addr: "a", Ratio: 0.1}, 0)
	f(warm, 1, true, Sample{Addr: "b", Ratio: 0.1}, 0.1)
	f(warm, 0.5, true, Sample{Addr: "b", Ratio: 0.1}, 0.1/(0.1+0.9*0.5))
	f(warm, 0.5, true, Sample{Addr: "b", Ratio: 0.1, Canary: true}, 0.1/(0.1+0.9*0.5))
	f(warm, 1, false, Sample{Addr: "b", Ratio: 0.1}, 0)
	f(warm, 0, true, Sample{Addr: "b", Ratio: 0.1}, 0)
	f(warm, math.NaN(), true, Sample{Addr: "b", Ratio: 0.1}, 0)
	f(warm, 1e-300, true, Sample{Addr: "b", Ratio: 0.5}, 0)
	f(warm, 7, true, Sample{Addr: "b", Ratio: 0.1}, 0.1)
	f(nil, 0.5, true, Sample{Addr: "b", Ratio: 0.1}, 0.1/(0.1+0.9*0.5))

	// While anything warms up nothing speaks for the canary, nor for a wrong share.
	r := NewRecorder(Config{})
	r.Warming(warm, 0.5, true)
	for range 100 {
		r.Record(Sample{Ratio: 0.5, Failed: true, Addr: "b"})
	}
	if got := r.Tally(); got.Better != [2]Logs{} || got.Split != (Logs{}) || got.Worse == [3]Logs{} || got.Requests[0] != 100 {
		t.Errorf("while warming up: %+v", got)
	}
	r.shards = r.shards[:1]
	before := r.Tally()
	r.Warming(warm, 1, true) // a canary only: the ratio is the same, and a bound
	r.Record(Sample{Ratio: 0.5, Failed: true, Addr: "b"})
	r.Warming(nil, 1, true)
	r.Record(Sample{Ratio: 0.5, Failed: true, Addr: "a"})
	r.Warming(warm, 1, true)
	r.Record(Sample{Ratio: 0.5, Failed: true, Addr: "b"})
	var one Logs
	one.see(better(DefaultMargin), 0.5, 1, 0)
	if got := r.Tally(); got.Better[failed] != one || before.Better[failed] != (Logs{}) {
		t.Errorf("one failure of three counts for passing: %v, want %v", got.Better[failed], one)
	}
	if got := r.Tally(); got.Better == [2]Logs{} || got.Split == (Logs{}) {
		t.Errorf("warmed up: %+v", got)
	}
}

// With some of stable's instances warming up, and clients that fail alike on
// all, the share that is used is not exceeded: no more alarms than alpha.
func TestCondition7WarmupIsConservative(t *testing.T) {
	const runs = 300
	hits, cfg := 0, Config{Alpha: 0.05}
	rng := rand.New(rand.NewPCG(13, 9))
	for range runs {
		r := single(cfg)
		r.Warming(map[string]bool{"warming": true}, 0.25, true)
		for range 300 {
			s := Sample{Canary: rng.Float64() < 0.1, Ratio: 0.1, Failed: true, Addr: "b"}
			if rng.Float64() < 0.75 && !s.Canary || rng.Float64() < 0.5 && s.Canary {
				s.Addr = "warming" // 3 of 4 stable instances, 1 of 2 canaries
			}
			r.Record(s)
			if alarm(cfg, r.Tally()) {
				hits++
				break
			}
		}
	}
	atMost(t, "warming up", hits, runs, cfg.Alpha)
}

func TestStepStartsAgain(t *testing.T) {
	r := NewRecorder(Config{})
	for range 5 {
		r.Record(Sample{Canary: true, Ratio: 0.5})
	}
	r.Step()
	r.Record(Sample{Canary: true, Ratio: 0.5})
	r.Record(Sample{Ratio: 0.5})
	if got := r.Tally(); got.Step != 1 || got.Requests != [2]uint64{1, 6} {
		t.Errorf("%+v; want step 1 of 6 requests of the canary", got)
	}
}

func TestLimitsAreFrozen(t *testing.T) {
	r := NewRecorder(Config{SlowAuto: true})
	stable := func(n int, scale time.Duration) {
		for i := range n {
			r.Record(Sample{Ratio: 0.5, Took: scale * time.Duration(i%100)})
		}
	}
	check := func(when string, low95, low99 time.Duration) {
		t.Helper()
		got := r.Tally().Limits
		for i, low := range []time.Duration{low95, low99} {
			if got[i] < low || got[i] > low+low/8 {
				t.Errorf("%s: limits %v; want p%d from %v on", when, got, 95+4*i, low)
			}
		}
	}
	stable(freezeAfter-1, time.Millisecond)
	for range 100 {
		r.Record(Sample{Ratio: 0.5, Failed: true})
		r.Record(Sample{Ratio: 0.5, Canary: true})
	}
	r.Step()
	check("too few", 0, 0)
	r.Record(Sample{Ratio: 0.5})
	check("a thousand", 94*time.Millisecond, 98*time.Millisecond)
	stable(2000, 2*time.Millisecond)
	check("frozen", 94*time.Millisecond, 98*time.Millisecond)
	r.Step()
	check("next step", 188*time.Millisecond, 196*time.Millisecond)
	stable(10, time.Hour)
	r.Step()
	check("too few for another", 188*time.Millisecond, 196*time.Millisecond)
}

func TestBuckets(t *testing.T) {
	last := -1
	for d := time.Duration(1); d > 0; d += d/40 + 1 {
		b := bucket(d)
		if b < last || b >= buckets {
			t.Fatalf("%v is in bucket %d, after %d", d, b, last)
		}
		last = b
		if d < 1<<timesHigh && d >= 1<<timesLow && (upper(b) < d || upper(b) > d+d/16) {
			t.Fatalf("%v: its bucket ends at %v", d, upper(b))
		}
		if d > 1<<62 {
			break
		}
	}
}

// Whom a client shares its bit with has nothing to do with its arm: chi-square
// of bits by arms, at several shares.
func TestPlacesAreIndependentOfArms(t *testing.T) {
	rng := rand.New(rand.NewPCG(14, 10))
	const groups, n = 64, 200_000
	for _, ratio := range []float64{0.01, 0.1, 0.5} {
		var counts [2][groups]float64
		var arms [2]float64
		for range n {
			key := rng.Uint64()
			arm := 0
			if float64(key) < ratio*(1<<64) {
				arm = 1
			}
			word, _ := place(key)
			counts[arm][word*groups/bitmapWords]++
			arms[arm]++
		}
		chi := 0.0
		for g := range groups {
			all := counts[0][g] + counts[1][g]
			for arm := range 2 {
				want := all * arms[arm] / n
				chi += (counts[arm][g] - want) * (counts[arm][g] - want) / want
			}
		}
		if p := (distuv.ChiSquared{K: groups - 1}).Survival(chi); p < 0.001 {
			t.Errorf("ratio %v: chi-square %v, p = %v", ratio, chi, p)
		}
	}
	// The arm is the high half's: the low half is not asked but where that ties.
	a, b := place(0x1234_5678_0000_0000)
	if c, d := place(0xffff_ffff_0000_0000); a != c || b != d {
		t.Error("the high half decides the place")
	}
}

func TestStickyKeysCountOnceEach(t *testing.T) {
	r := NewRecorder(Config{Sticky: true, Slow: time.Second})
	s := Sample{Canary: true, Ratio: 0.1, Failed: true, Took: 2 * time.Second, Key: 42, HasKey: true}
	r.Record(s)
	once := r.Tally()
	for range 100 {
		r.Record(s)
	}
	got := r.Tally()
	if got.Worse != once.Worse || got.Better != once.Better || got.Split != once.Split || once.Worse[slow] == (Logs{}) {
		t.Errorf("a client that comes again is evidence again: %+v, then %+v", once, got)
	}
	if got.Requests[1] != 101 || got.Failures[1] != 101 || got.Slow[1] != 101 || got.Step != 101 {
		t.Errorf("%+v; want 101 requests counted", got)
	}
	// A request without a key was drawn by itself.
	s.HasKey = false
	r.Record(s)
	if r.Tally().Worse == got.Worse {
		t.Error("a request without a key is no evidence")
	}
}

// Epochs: the bitmap is cleared when half full, E starts from 1, and what was
// found keeps its share of alpha. The mean of E stays 1 throughout.
func TestEpochs(t *testing.T) {
	sum := 0.0
	for j := range 60 {
		if sum += weight(j); math.Abs(sum+later(j)-1) > 1e-12 {
			t.Fatalf("epoch %d: shares %v and %v to come", j, sum, later(j))
		}
	}
	f := newFirsts(better(2), 0)
	want := []float64{0, 0, 0, 0, 0, 0, 0, 0}
	base := f.sum().worse[failed]
	if base.logE() > 1e-12 || base.logE() < -1e-12 {
		t.Errorf("E of nothing is exp(%v)", base.logE())
	}
	for epoch := range 3 {
		f.see(1, true, 0.1, true, 1, seen{failed: true})
		var one Logs
		one.see(worse, 0.1, 1, 1)
		got := f.sum().worse[failed]
		for k := range got {
			now := want[k] + weight(epoch)*math.Exp(one[k]) + later(epoch)
			if math.Abs(math.Exp(got[k])/now-1) > 1e-9 {
				t.Errorf("epoch %d, alternative %d: %v, want %v", epoch, k, math.Exp(got[k]), now)
			}
			want[k] += weight(epoch) * math.Exp(one[k])
		}
		f.see(1, true, 0.1, true, 1, seen{failed: true})
		if f.sum().worse[failed] != got {
			t.Errorf("epoch %d: a client counts twice", epoch)
		}
		f.maps[failed].Load().set = 1<<bitmapBits/2 - 1
		f.maps[failed].Load().words[5].Or(1)
		f.mu.Lock()
		f.begin(failed)
		f.mu.Unlock()
		if f.maps[failed].Load().set != 0 || f.maps[failed].Load().words[5].Load() != 0 {
			t.Errorf("epoch %d: the bitmap is not cleared", epoch)
		}
		if after := f.sum().worse[failed]; math.Abs(math.Exp(after[0])-(want[0]+later(epoch))) > 1e-9 {
			t.Errorf("epoch %d: E starts from %v, want %v", epoch+1, math.Exp(after[0]), want[0]+later(epoch))
		}
	}
	if f.epochs[drawn].over != 0 || f.epochs[failed].over != 3 {
		t.Errorf("epochs %+v; want three of failures only", f.epochs)
	}
}

// A bitmap that fills up by clients starts the next epoch by itself.
func TestEpochWhenHalfFull(t *testing.T) {
	f := newFirsts(better(2), 0)
	f.see(1, true, 0.1, true, 0, seen{drawn: true})
	m := f.maps[drawn].Load()
	for i := range m.words[:bitmapWords*3/8] { // three quarters of the way
		m.words[i].Store(math.MaxUint64)
		m.set += 64
	}
	rng := rand.New(rand.NewPCG(15, 11))
	n := 0
	for f.epochs[drawn].over == 0 && n < 1<<bitmapBits {
		f.see(rng.Uint64(), true, 0.1, true, 0, seen{drawn: true})
		n++
	}
	// Half of the bits are set after m·ln 2 clients, from 3/8 on after m·ln(5/4).
	if want := math.Log(1.25) * (1 << bitmapBits); math.Abs(float64(n)-want) > want/100 {
		t.Errorf("a new epoch after %d clients, want about %.0f", n, want)
	}
	if f.maps[slow].Load() != nil || f.maps[slower].Load() != nil || f.maps[failed].Load() != nil {
		t.Error("bitmaps for what no client has had")
	}
}

// A canary that hangs until clients go away is none that answers: what nobody
// waited for is no good request, so that its step is held, and where latency is
// judged it is slow.
func TestWhatNobodyWaitedFor(t *testing.T) {
	look := func(cfg Config, hangs bool) Finding {
		r := NewRecorder(cfg)
		for range 2000 {
			r.Record(Sample{Canary: true, Ratio: 0.5, Gone: hangs, Took: 3 * time.Second})
			r.Record(Sample{Ratio: 0.5, Took: 20 * time.Millisecond})
		}
		return cfg.Pool(r.Tally())
	}
	if got := look(Config{}, false); got.Verdict != Pass || got.Requests != [2]uint64{2000, 2000} {
		t.Errorf("that answers: %+v", got)
	}
	if got := look(Config{}, true); got.Verdict != Inconclusive || got.Requests != [2]uint64{2000, 0} || !strings.Contains(got.Because, "fewer than its ratio says") {
		t.Errorf("that hangs: %+v", got)
	}
	if got := look(Config{Slow: time.Second}, true); got.Verdict != Worse || got.Slow != [2]uint64{0, 2000} {
		t.Errorf("that hangs, and latency is judged: %+v", got)
	}
	r := NewRecorder(Config{SlowAuto: true})
	for range 2 * freezeAfter {
		r.Record(Sample{Ratio: 0.5, Gone: true, Took: time.Hour})
	}
	if n := r.Tally().Requests[0]; n != 0 || r.limits[0].Load() != 0 {
		t.Errorf("thresholds %v are made of %d requests that nobody waited for", r.limits[0].Load(), n)
	}
}
