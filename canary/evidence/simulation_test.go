package evidence

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"gonum.org/v1/gonum/stat/distuv"
)

// The simulations have fixed seeds and count in one shard, so that their
// figures are the same each time; docs/EVIDENCE.md shows them.

// single returns a Recorder whose counts do not depend on chance.
func single(cfg Config) *Recorder {
	r := NewRecorder(cfg)
	r.shards = r.shards[:1]
	return r
}

// figure checks that docs/EVIDENCE.md has a row that begins with what was
// simulated and what came out.
func figure(t *testing.T, what, format string, args ...any) {
	t.Helper()
	page, err := os.ReadFile("../../docs/EVIDENCE.md")
	if err != nil {
		t.Fatal(err)
	}
	row := "| " + what + " | " + fmt.Sprintf(format, args...) + " |"
	if !strings.Contains(string(page), "\n"+row) {
		t.Errorf("docs/EVIDENCE.md does not say\n%s", row)
	}
}

// atMost fails when so many of n runs refute that the probability is at most p:
// the exact binomial test (Clopper-Pearson), with 99.9 % confidence.
func atMost(t *testing.T, what string, hits, n int, p float64) {
	t.Helper()
	if hits > 0 && (distuv.Beta{Alpha: float64(hits), Beta: float64(n - hits + 1)}).Quantile(0.001) > p {
		t.Errorf("%s: %d of %d runs, which is more than %v allows", what, hits, n, p)
	}
}

// alarm reports whether a tally of a lone balancer is an alarm; it is Pool
// without its sentences. Only a failure of the canary can raise one, stable's
// lower E: the simulations look after those alone.
func alarm(cfg Config, t Tally) bool {
	cfg = cfg.filled()
	return cfg.logE(t) >= math.Log(1/cfg.Alpha)
}

// from tells whether a failure is the canary's that is delta times as likely to fail.
func from(rng *rand.Rand, delta, r float64) bool {
	return rng.Float64() < r*delta/(r*delta+1-r)
}

// constant and ramped are shares of the canary at the i-th of n events.
func constant(r float64) func(i, n int) float64 { return func(int, int) float64 { return r } }

func ramped(i, n int) float64 { return 0.01 + 0.98*float64(i*50/n)/50 }

// untilAlarm feeds failures of a canary that is delta times as bad until the
// alarm, at most n. It returns how many there were, and of the canary.
func untilAlarm(cfg Config, rng *rand.Rand, delta float64, n int, share func(i, n int) float64) (all, canary int, ok bool) {
	r := single(cfg)
	for i := range n {
		s := Sample{Ratio: share(i, n), Failed: true, Key: rng.Uint64(), HasKey: cfg.Sticky}
		if s.Canary = from(rng, delta, s.Ratio); s.Canary {
			canary++
		}
		r.Record(s)
		if s.Canary && alarm(cfg, r.Tally()) {
			return i + 1, canary, true
		}
	}
	return n, canary, false
}

// No more false alarms than alpha, although E is looked at after every failure.
func TestNullAlarmsAreWithinVillesBound(t *testing.T) {
	t.Parallel()
	f := func(what string, cfg Config, runs int, share func(i, n int) float64) {
		t.Helper()
		rng, hits := rand.New(rand.NewPCG(5, 1)), 0
		for range runs {
			if _, _, ok := untilAlarm(cfg, rng, 1, 150, share); ok {
				hits++
			}
		}
		atMost(t, what, hits, runs, cfg.Alpha)
		if hits == 0 {
			t.Errorf("%s: no alarm at all: the bound is not tried", what)
		}
		figure(t, what, "%.1f %% of %s runs", float64(hits)*100/float64(runs), grouped(uint64(runs)))
	}
	f("no worse, 10 %, alpha 0.05: alarms", Config{Alpha: 0.05}, 500, constant(0.1))
	f("no worse, 50 %, alpha 0.05: alarms", Config{Alpha: 0.05}, 300, constant(0.5))
	f("no worse, ramp from 1 % to 99 %, alpha 0.05: alarms", Config{Alpha: 0.05}, 300, ramped)
	f("no worse, 10 %, alpha 0.05, sticky: alarms", Config{Alpha: 0.05, Sticky: true}, 150, constant(0.1))
	f("no worse, ramp, alpha 0.05, sticky: alarms", Config{Alpha: 0.05, Sticky: true}, 150, ramped)
}

// crowd is clients that come again and again: one in ten fails half of its
// requests, whoever serves it, the others one in a thousand.
type crowd struct {
	rng  *rand.Rand
	keys []uint64
}

func newCrowd(seed uint64, n int) *crowd {
	c := &crowd{rng: rand.New(rand.NewPCG(seed, 7)), keys: make([]uint64, n)}
	for i := range c.keys {
		c.keys[i] = c.rng.Uint64()
	}
	return c
}

// next is a request of anyone, while the canary's share is r.
func (c *crowd) next(r float64) Sample {
	i := c.rng.IntN(len(c.keys))
	p := 0.001
	if i%10 == 0 {
		p = 0.5
	}
	return Sample{
		Canary: float64(c.keys[i]) < r*(1<<64), Ratio: r, Failed: c.rng.Float64() < p,
		Key: c.keys[i], HasKey: true,
	}
}

// Condition 1: with sticky clients each counts once. Counting their requests
// makes one unlucky client of the canary look like a bad canary.
func TestCondition1StickyKeysCountOnce(t *testing.T) {
	t.Parallel()
	const runs, requests = 100, 8_000
	f := func(cfg Config, share func(i, n int) float64) (hits int) {
		for run := range runs {
			c, r := newCrowd(uint64(run), 200), single(cfg)
			known, failures := map[uint64]bool{}, 0
			for i := range requests {
				s := c.next(share(i, requests))
				r.Record(s)
				if !s.Failed {
					continue
				}
				failures++
				look := failures%20 == 0 // fewer looks, fewer alarms
				if cfg.Sticky {
					look = s.Canary && !known[s.Key] // E does not grow otherwise
				}
				known[s.Key] = true
				if look && alarm(cfg, r.Tally()) {
					hits++
					break
				}
			}
		}
		return hits
	}
	keys := f(Config{Alpha: 0.05, Sticky: true}, constant(0.1))
	atMost(t, "sticky", keys, runs, 0.05)
	ramp := f(Config{Alpha: 0.05, Sticky: true}, func(i, n int) float64 { return 0.05 + 0.45*float64(i*20/n)/20 })
	atMost(t, "sticky, ramped", ramp, runs, 0.05)
	figure(t, "the same clients again and again, alpha 0.05, each counted once: alarms", "%.1f %% of %d runs", float64(keys)*100/runs, runs)
	figure(t, "the same on a ramp from 5 % to 50 %: alarms", "%.1f %% of %d runs", float64(ramp)*100/runs, runs)

	all := f(Config{Alpha: 0.001}, constant(0.1))
	if all < runs/10 {
		t.Errorf("counting requests: %d alarms of %d: the contrast is gone", all, runs)
	}
	figure(t, "the same clients, alpha 0.001, each request counted: alarms", "%.0f %% of %d runs", float64(all)*100/runs, runs)
}

// A canary that is five times better, and clients of whom in the end all have
// failed once: those of the canary come last, which is no alarm.
func TestStickyClientsThatFailLater(t *testing.T) {
	t.Parallel()
	const runs = 60
	hits, cfg := 0, Config{Alpha: 0.05, Sticky: true}
	for run := range runs {
		c, r := newCrowd(uint64(2000+run), 300), single(cfg)
		known := map[uint64]bool{}
		for i := 0; len(known) < 300*95/100 && i < 100_000; i++ {
			s := c.next(0.1 + 0.3*float64(min(i, 9999)/1000)/10)
			if s.Failed = c.rng.Float64() < 0.1; s.Canary {
				s.Failed = c.rng.Float64() < 0.02
			}
			if !s.Failed || known[s.Key] {
				continue
			}
			known[s.Key] = true
			r.Record(s)
			if s.Canary && alarm(cfg, r.Tally()) {
				hits++
				break
			}
		}
	}
	atMost(t, "better, and later", hits, runs, cfg.Alpha)
}

// Three balancers, each with its veto, and all pooled: together within alpha.
func TestSeveralBalancersShareAlpha(t *testing.T) {
	t.Parallel()
	const runs, balancers = 120, 3
	f := func(what string, cfg Config) {
		t.Helper()
		alarms, vetoes := 0, 0
		for run := range runs {
			c := newCrowd(uint64(1000+run), 1000)
			var rs [balancers]*Recorder
			for i := range rs {
				rs[i] = single(cfg)
			}
			failures := 0
			for range 2000 {
				s := c.next(0.2)
				if !cfg.Sticky {
					s.Canary = c.rng.Float64() < s.Ratio
				}
				r := rs[c.rng.IntN(balancers)]
				r.Record(s)
				if !s.Failed {
					continue
				}
				if s.Canary && cfg.Alone(r.Tally(), balancers).Verdict == Worse {
					vetoes++
					alarms++
					break
				}
				if failures++; failures%5 == 0 {
					all := []Tally{rs[0].Tally(), rs[1].Tally(), rs[2].Tally()}
					if cfg.logE(cfg.Sum(all...)) >= math.Log(2/cfg.Alpha) {
						if f := cfg.Pool(all...); f.Verdict != Worse {
							t.Fatalf("E is over 2/alpha, and Pool says %+v", f)
						}
						alarms++
						break
					}
				}
			}
		}
		atMost(t, what, alarms, runs, cfg.Alpha)
		figure(t, what, "%.1f %% of %d runs (vetoes: %.1f %%)", float64(alarms)*100/runs, runs, float64(vetoes)*100/runs)
	}
	f("three balancers, no worse, alpha 0.05: alarms", Config{Alpha: 0.05})
	f("three balancers, no worse, alpha 0.05, sticky: alarms", Config{Alpha: 0.05, Sticky: true})
}

// quantiles returns the median and the 99th percentile.
func quantiles(xs []int) (median, p99 int) {
	slices.Sort(xs)
	return xs[len(xs)/2], xs[len(xs)*99/100]
}

// A canary that fails every request, at 10 % of the traffic.
func TestBrokenCanaryAtTenPercent(t *testing.T) {
	t.Parallel()
	f := func(what string, cfg Config, stable float64) {
		t.Helper()
		const runs = 400
		rng := rand.New(rand.NewPCG(6, 2))
		var counts []int
		for range runs {
			r, failures := single(cfg), 0
			for failures < 100 {
				s := Sample{Canary: rng.Float64() < 0.1, Ratio: 0.1, Key: rng.Uint64(), HasKey: cfg.Sticky}
				if s.Failed = s.Canary || rng.Float64() < stable; s.Canary {
					failures++
				}
				r.Record(s)
				if s.Canary && alarm(cfg, r.Tally()) {
					break
				}
			}
			counts = append(counts, failures)
		}
		median, p99 := quantiles(counts)
		if median != 4 || p99 > 8 {
			t.Errorf("%s: median %d, p99 %d; want 4, at most 8", what, median, p99)
		}
		figure(t, what, "median %d, p99 %d", median, p99)
	}
	f("broken at 10 %, stable fails 0.1 %: failures of the canary until the alarm", Config{}, 0.001)
	f("broken at 10 %, stable fails 0.5 %", Config{}, 0.005)
	f("broken at 10 %, stable fails 0.1 %, sticky", Config{Sticky: true}, 0.001)
}

// A canary that was good for long and then breaks has that speak for it: E is of
// the whole rollout.
func TestCanaryThatBreaksLater(t *testing.T) {
	t.Parallel()
	const runs, good = 40, 20_000
	rng := rand.New(rand.NewPCG(16, 12))
	var counts []int
	for range runs {
		r, failures := single(Config{}), 0
		for i := 0; failures < 1000; i++ {
			s := Sample{Canary: rng.Float64() < 0.1, Ratio: 0.1}
			if s.Failed = rng.Float64() < 0.001; s.Canary && i >= good {
				s.Failed = true
				failures++
			}
			r.Record(s)
			if i >= good && s.Canary && alarm(Config{}, r.Tally()) {
				break
			}
		}
		counts = append(counts, failures)
	}
	median, p99 := quantiles(counts)
	if p99 > 30 {
		t.Errorf("median %d, p99 %d failures; want at most 30", median, p99)
	}
	figure(t, "broken at 10 % after 20,000 good requests (0.1 % fail): failures of the canary until the alarm", "median %d, p99 %d", median, p99)
}

func TestFiveTimesWorse(t *testing.T) {
	t.Parallel()
	const runs = 400
	rng := rand.New(rand.NewPCG(7, 3))
	var counts []int
	for range runs {
		n, _, ok := untilAlarm(Config{}, rng, 5, 2000, constant(0.1))
		if !ok {
			t.Fatal("no alarm after 2,000 failures")
		}
		counts = append(counts, n)
	}
	median, p99 := quantiles(counts)
	if median < 30 || median > 40 {
		t.Errorf("median %d failures; want about 35", median)
	}
	figure(t, "five times worse at 10 %: failures of both arms until the alarm", "median %d, p99 %d", median, p99)
}

// Both arms fail together, from one moment on: nothing is the canary's fault.
func TestSharedOutageRollsNothingBack(t *testing.T) {
	t.Parallel()
	f := func(what string, cfg Config) {
		t.Helper()
		const runs = 80
		hits := 0
		rng := rand.New(rand.NewPCG(8, 4))
		for range runs {
			r := single(cfg)
			for i := range 1500 {
				s := Sample{Canary: rng.Float64() < 0.1, Ratio: 0.1, Key: rng.Uint64(), HasKey: cfg.Sticky}
				s.Failed = i >= 1000 || rng.Float64() < 0.001
				r.Record(s)
				if s.Failed && s.Canary && alarm(cfg, r.Tally()) {
					hits++
					break
				}
			}
		}
		if hits != 0 {
			t.Errorf("%s: %d of %d rolled back", what, hits, runs)
		}
		figure(t, what, "%d of %d runs", hits, runs)
	}
	f("both arms fail everything: alarms", Config{})
	f("both arms fail everything, sticky: alarms", Config{Sticky: true})
}

// Condition 6: latency is judged by the same engine.
func TestCondition6SlowIsFailure(t *testing.T) {
	t.Parallel()
	const runs = 100
	// took is around 50 ms, one in twenty over 114 ms, times slower.
	took := func(rng *rand.Rand, slower float64) time.Duration {
		return time.Duration(slower * math.Exp(rng.NormFloat64()/2) * float64(50*time.Millisecond))
	}
	until := func(cfg Config, rng *rand.Rand, slower float64, n int) (int, Finding) {
		r := single(cfg)
		for i := range n {
			s := Sample{Canary: rng.Float64() < 0.1, Ratio: 0.1}
			if s.Took = took(rng, 1); s.Canary {
				s.Took = took(rng, slower)
			}
			r.Record(s)
			if i%20 == 0 && alarm(cfg, r.Tally()) {
				return i + 1, cfg.Pool(r.Tally())
			}
		}
		return n, cfg.Pool(r.Tally())
	}
	f := func(what string, cfg Config, slower float64) {
		t.Helper()
		rng := rand.New(rand.NewPCG(9, 5))
		var counts []int
		for range runs {
			n, finding := until(cfg, rng, slower, 50_000)
			if finding.Verdict != Worse || !strings.Contains(finding.Because, "is slower than") {
				t.Fatalf("%s: after %d requests %s: %s", what, n, finding.Verdict, finding.Because)
			}
			counts = append(counts, n)
		}
		median, p99 := quantiles(counts)
		figure(t, what, "median %s, p99 %s", grouped(uint64(median)), grouped(uint64(p99)))
	}
	f("canary takes 1.5 times as long, slow auto: requests until the alarm", Config{SlowAuto: true}, 1.5)
	f("canary takes twice as long, slow 200ms: requests until the alarm", Config{Slow: 200 * time.Millisecond}, 2)

	null := func(what string, cfg Config) {
		t.Helper()
		rng, hits := rand.New(rand.NewPCG(10, 6)), 0
		for range runs {
			if _, finding := until(cfg, rng, 1, 4000); finding.Verdict == Worse {
				hits++
			}
		}
		atMost(t, what, hits, runs, cfg.Alpha)
		figure(t, what, "%d of %d runs", hits, runs)
	}
	null("canary as quick as stable, slow auto, alpha 0.05: alarms", Config{SlowAuto: true, Alpha: 0.05})
}

// Condition 5: the arms get what the draw says, or nothing is concluded.
func TestCondition5SampleRatio(t *testing.T) {
	t.Parallel()
	f := func(what string, cfg Config, truth float64, n, runs int) (fired int, counts []int) {
		rng := rand.New(rand.NewPCG(11, 7))
		for range runs {
			r := single(cfg)
			for i := range n {
				ratio := 0.1 + 0.4*float64(i*4/n)/4
				odds := truth * ratio / (1 - ratio)
				r.Record(Sample{Canary: rng.Float64() < odds/(1+odds), Ratio: ratio, Key: rng.Uint64(), HasKey: cfg.Sticky})
				if i%10 == 0 {
					if fires, _ := cfg.uneven(r.Tally(), 1); fires {
						fired++
						counts = append(counts, i)
						break
					}
				}
			}
		}
		return fired, counts
	}
	for _, sticky := range []bool{false, true} {
		runs := 300
		if sticky {
			runs = 60
		}
		fired, _ := f("even", Config{Sticky: sticky}, 1, 2000, runs)
		atMost(t, "even", fired, runs, splitAlpha)
	}
	for _, odds := range []float64{0.8, 1.25} {
		fired, counts := f("uneven", Config{}, odds, 20_000, 50)
		if fired != 50 {
			t.Errorf("odds %v: seen in %d of 50 runs", odds, fired)
			continue
		}
		median, p99 := quantiles(counts)
		figure(t, fmt.Sprintf("the canary's odds are %v times what they should be: requests until the sample ratio is refused", odds), "median %s, p99 %s", grouped(uint64(median)), grouped(uint64(p99)))
	}

	// Its verdict. A canary that gets too few is made to look better, not worse:
	// an alarm holds then, a pass does not. One that gets too many gets no verdict.
	judge := func(canary bool, fails int, want Verdict, sentence string) {
		t.Helper()
		r := NewRecorder(Config{})
		for range 2000 {
			r.Record(Sample{Canary: canary, Ratio: 0.5})
		}
		for range fails {
			r.Record(Sample{Canary: true, Ratio: 0.5, Failed: true})
		}
		if got := (Config{}).Pool(r.Tally()); got.Verdict != want || !strings.Contains(got.Because, sentence) {
			t.Errorf("%+v; want %s, %q", got, want, sentence)
		}
		if got := (Config{}).Alone(r.Tally(), 3); got.Verdict != want {
			t.Errorf("alone: %+v; want %s", got, want)
		}
	}
	judge(true, 0, Inconclusive, "more than its ratio says")
	judge(true, 100, Inconclusive, "more than its ratio says")
	judge(false, 0, Inconclusive, "fewer than its ratio says")
	judge(false, 100, Worse, "the canary fails 100.0 %")
}

// Passing is as sure as beta says: one that is twice as bad, and above
// max_error_rate, passes each way in at most 5 % of the runs; and a good one does.
func TestPassing(t *testing.T) {
	t.Parallel()
	const runs = 120
	f := func(stable, canary float64, n int, all bool) (mirrored, low, passed int, counts []int) {
		cfg := Config{}.filled()
		rng := rand.New(rand.NewPCG(12, 8))
		for range runs {
			r, m, l, p := single(cfg), false, false, false
			for i := range n {
				s := Sample{Canary: rng.Float64() < 0.25, Ratio: 0.25}
				if s.Failed = rng.Float64() < stable; s.Canary {
					s.Failed = rng.Float64() < canary
				}
				r.Record(s)
				if i%25 != 24 {
					continue
				}
				tally := r.Tally()
				m = m || tally.Better[failed].logE() >= math.Log(1/cfg.Beta)
				l = l || Bound(tally.Requests[1], tally.Failures[1], cfg.Beta) < cfg.MaxErrorRate
				if !p && (m || l) && cfg.Pool(tally).Verdict == Pass {
					p = true
					counts = append(counts, i+1)
				}
				if p && !all {
					break
				}
			}
			for hit, is := range map[*int]bool{&mirrored: m, &low: l, &passed: p} {
				if is {
					*hit++
				}
			}
		}
		return mirrored, low, passed, counts
	}
	mirrored, low, passed, _ := f(0.01, 0.02, 3000, true)
	atMost(t, "twice as bad, by the mirror image", mirrored, runs, 0.05)
	atMost(t, "twice as bad, by its rate", low, runs, 0.05)
	figure(t, "twice as bad as stable (2 % to 1 %): passes", "%.1f %% of %d runs", float64(passed)*100/runs, runs)
	_, low, _, _ = f(0.0001, 0.01, 3000, true)
	atMost(t, "at the largest rate", low, runs, 0.05)

	_, _, passed, counts := f(0.001, 0.001, 20_000, false)
	if passed < runs*95/100 {
		t.Errorf("a good canary: %d of %d passed", passed, runs)
	}
	median, p99 := quantiles(counts)
	figure(t, "as good as stable (0.1 %), 25 %: requests until it passes", "median %s, p99 %s", grouped(uint64(median)), grouped(uint64(p99)))
	_, _, _, counts = f(0.05, 0.05, 20_000, false)
	median, p99 = quantiles(counts)
	figure(t, "as good as stable, which fails 5 %, 25 %: requests until it passes", "median %s, p99 %s", grouped(uint64(median)), grouped(uint64(p99)))
}
