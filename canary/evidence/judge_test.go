package evidence

import (
	"encoding/json"
	"math"
	"os"
	"regexp"
	"testing"
	"time"

	"gonum.org/v1/gonum/mathext"
)

// feed gives a recorder requests of both arms at ratio 0.1, of which some fail
// and some are slow.
func feed(r *Recorder, requests, failures, slow [2]int) {
	for arm := range 2 {
		for i := range requests[arm] {
			s := Sample{Canary: arm == 1, Ratio: 0.1, Failed: i < failures[arm], Key: uint64(arm<<24|i) << 1, HasKey: true}
			if i >= requests[arm]-slow[arm] {
				s.Took = time.Second
			}
			r.Record(s)
		}
	}
}

// What people are told.
func TestFindings(t *testing.T) {
	f := func(cfg Config, requests, failures, slow [2]int, want Verdict, sentence string) {
		t.Helper()
		r := NewRecorder(cfg)
		feed(r, requests, failures, slow)
		got := cfg.Pool(r.Tally())
		if got.Verdict != want || got.Because != sentence {
			t.Errorf("%v requests, %v failures, %v slow:\n got %s: %s\nwant %s: %s", requests, failures, slow, got.Verdict, got.Because, want, sentence)
		}
	}
	none := [2]int{}
	f(Config{}, none, none, none, Undecided, "no request has been counted yet")
	f(Config{}, [2]int{50, 0}, none, none, Undecided, "no request of the canary has been counted yet")
	f(Config{}, [2]int{360, 40}, none, none, Undecided, "needs about 944 more requests of the canary")
	f(Config{}, [2]int{3600, 400}, none, none, Undecided, "needs about 584 more requests of the canary")
	f(Config{}, [2]int{3600, 400}, [2]int{3, 1}, none, Undecided, "needs about 862 more requests of the canary without a failure, or more failures of stable, to tell that it is not worse")
	f(Config{}, [2]int{3801, 412}, [2]int{4, 6}, none, Undecided, "needs about 1,875 more requests of the canary without a failure, or more failures of stable, to tell that it is not worse; E = 408 of 1,000 that call it worse")
	f(Config{MinRequests: 2000}, [2]int{9000, 1000}, none, none, Undecided, "needs about 1,000 more requests of the canary")
	f(Config{}, [2]int{9000, 1000}, none, none, Pass, "the canary fails 0.0 % of 1,000 requests: with 95.0 % confidence below 0.99 %, and 1.0 % is allowed")
	f(Config{}, [2]int{9000, 1000}, [2]int{450, 50}, none, Pass, "the canary fails 5.0 % of 1,000 requests, stable 5.0 % of 9,000: with 95.0 % confidence not 2 times as much")
	f(Config{}, [2]int{3801, 412}, [2]int{4, 21}, none, Worse, "the canary fails 5.1 % of 412 requests, stable 0.11 % of 3,801: E = 3.7e+15 >= 1,000")
	f(Config{Sticky: true}, [2]int{36, 4}, [2]int{0, 4}, none, Worse, "the canary fails 100.0 % of 4 requests, stable 0.0 % of 36: E = 1,432 >= 1,000")
	f(Config{Slow: 250 * time.Millisecond}, [2]int{900, 100}, none, [2]int{9, 30}, Worse, "the canary is slower than 250ms in 30.0 % of 100 requests, stable 1.0 % of 900: E = 1.2e+20 >= 1,000")
	f(Config{Slow: 250 * time.Millisecond}, [2]int{9000, 1000}, none, [2]int{130, 15}, Undecided, "needs more requests to tell that the canary is not slower: 1.5 % of its requests took longer than 250ms, 1.44 % of stable's")
}

// The examples of docs/EVIDENCE.md are what is found.
func TestExamplesOfThePage(t *testing.T) {
	page, err := os.ReadFile("../../docs/EVIDENCE.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```json\n(.*?)```").FindAllSubmatch(page, -1)
	for i, failures := range [][2]int{{4, 7}, {4, 0}} {
		r := NewRecorder(Config{})
		feed(r, [2]int{3801, 412}, failures, [2]int{})
		want := Config{}.Pool(r.Tally())
		var got Finding
		if i >= len(blocks) || json.Unmarshal(blocks[i][1], &got) != nil {
			t.Fatalf("example %d is missing, or is no JSON", i+1)
		}
		if math.Abs(got.E-want.E) > 0.01*want.E || math.Abs(got.Bound-want.Bound) > 0.001 {
			t.Errorf("example %d: E %v and bound %v; want %v and %v", i+1, got.E, got.Bound, want.E, want.Bound)
		}
		got.E, got.Bound = want.E, want.Bound
		if got != want {
			t.Errorf("example %d: %+v\nwant %+v", i+1, got, want)
		}
	}
}

// Where latency is judged half of the evidence is of failures, half of latency.
func TestEvidenceOfLatencyIsAveraged(t *testing.T) {
	f := func(cfg Config, want float64) {
		t.Helper()
		// E of 10, of 1000 and of 100,000.
		tally := Tally{Balancers: 1, Requests: [2]uint64{1, 1}}
		for e, x := range []float64{10, 1e3, 1e5} {
			for k := range tally.Worse[e] {
				tally.Worse[e][k] = math.Log(x)
			}
		}
		if got := cfg.Pool(tally).E; math.Abs(got/want-1) > 1e-9 {
			t.Errorf("%+v: E = %v, want %v", cfg, got, want)
		}
	}
	f(Config{}, 10)
	f(Config{Slow: time.Second}, 10/2.+1e3/2)
	f(Config{SlowAuto: true}, 10/2.+1e3/4+1e5/4)
	f(Config{SlowAuto: true, Slow: time.Second}, 10/2.+1e3/4+1e5/4)
}

// Until there are thresholds of latency, failures alone decide what passes.
func TestLatencyThatIsNotKnownYet(t *testing.T) {
	tally := Tally{Balancers: 1, Requests: [2]uint64{999, 2000}, Slow: [2]uint64{0, 100}, Step: 2000}
	if got := (Config{SlowAuto: true}).Pool(tally); got.Verdict != Pass {
		t.Errorf("without thresholds: %+v", got)
	}
	tally.Limits[0] = time.Second
	if got := (Config{SlowAuto: true}).Pool(tally); got.Verdict != Undecided {
		t.Errorf("with thresholds: %+v", got)
	}
}

// One balancer has all of alpha; of several the pool has half, and each a share
// of the other half, and of what the sample ratio is checked at.
func TestThresholds(t *testing.T) {
	one := Tally{Balancers: 1, Requests: [2]uint64{1000, 1000}}
	f := func(got Finding, threshold float64, want Verdict) {
		t.Helper()
		if math.Abs(got.Threshold-threshold) > 1e-6 || got.Verdict != want {
			t.Errorf("%+v; want threshold %v, %s", got, threshold, want)
		}
	}
	f(Config{}.Pool(one), 1000, Undecided)
	f(Config{}.Pool(one, one), 2000, Undecided)
	f(Config{}.Pool(one, Tally{}), 1000, Undecided)
	f(Config{}.Pool(Config{}.Sum(one, one), one), 2000, Undecided)
	f(Config{Alpha: 0.1}.Alone(one, 5), 100, Undecided)
	for k := range one.Split {
		one.Split[k] = math.Log(1500)
	}
	f(Config{}.Alone(one, 1), 1000, Inconclusive)
	f(Config{}.Alone(one, 2), 4000, Undecided)
	f(Config{}.Pool(one), 1000, Inconclusive)
}

func TestLowTrafficIsUndecided(t *testing.T) {
	for _, sticky := range []bool{false, true} {
		cfg := Config{Sticky: sticky}
		r := NewRecorder(cfg)
		feed(r, [2]int{180, 20}, [2]int{2, 0}, [2]int{})
		if got := cfg.Pool(r.Tally()); got.Verdict != Undecided {
			t.Errorf("20 requests: %+v", got)
		}
		if got := cfg.Pool(NewRecorder(cfg).Tally()); got.Verdict != Undecided || got.E != 1 || got.Bound != 1 {
			t.Errorf("none: %+v", got)
		}
		if got := cfg.Pool(); got.Verdict != Undecided {
			t.Errorf("no balancer: %+v", got)
		}
	}
}

// The veto never passes, and costs more the more balancers have it.
func TestAlone(t *testing.T) {
	good, bad := NewRecorder(Config{}), NewRecorder(Config{})
	feed(good, [2]int{90_000, 10_000}, [2]int{}, [2]int{})
	if got := (Config{}).Alone(good.Tally(), 1); got.Verdict != Undecided {
		t.Errorf("%+v", got)
	}
	feed(bad, [2]int{0, 4}, [2]int{0, 4}, [2]int{}) // E = 1,441
	for n, want := range map[int]struct {
		Verdict
		threshold float64
	}{-1: {Worse, 1000}, 0: {Worse, 1000}, 1: {Worse, 1000}, 2: {Undecided, 4000}, 3: {Undecided, 6000}} {
		got := Config{}.Alone(bad.Tally(), n)
		if got.Verdict != want.Verdict || math.Abs(got.Threshold-want.threshold) > 1e-6 || got.Because == "" {
			t.Errorf("%d balancers: %+v; want %+v", n, got, want)
		}
	}
}

// Of a step, so many requests of the canary are needed, whatever came before.
func TestMinRequestsAreOfTheStep(t *testing.T) {
	r := NewRecorder(Config{})
	feed(r, [2]int{9000, 1000}, [2]int{}, [2]int{})
	if got := (Config{}).Pool(r.Tally()); got.Verdict != Pass {
		t.Errorf("%+v", got)
	}
	r.Step()
	if got := (Config{}).Pool(r.Tally()); got.Verdict != Undecided || got.Because != "needs about 100 more requests of the canary" {
		t.Errorf("%+v", got)
	}
	feed(r, [2]int{900, 100}, [2]int{}, [2]int{})
	if got := (Config{}).Pool(r.Tally()); got.Verdict != Pass {
		t.Errorf("%+v", got)
	}
}

// Nonsense in a Config means the defaults.
func TestConfigFilled(t *testing.T) {
	want := Config{Alpha: DefaultAlpha, Beta: DefaultBeta, Margin: DefaultMargin, MaxErrorRate: DefaultMaxErrorRate, MinRequests: DefaultMinRequests}
	for _, x := range []float64{0, -1, 1e9, math.NaN(), math.Inf(1), math.Inf(-1)} {
		c := Config{Alpha: x, Beta: x, Margin: x, MaxErrorRate: x, MinRequests: -1, Slow: -1}
		if x == 1e9 {
			c.Margin = 1
		}
		if got := c.filled(); got != want {
			t.Errorf("%v: %+v", x, got)
		}
	}
	own := Config{Alpha: 0.1, Beta: 0.2, Margin: 3, MaxErrorRate: 0.3, MinRequests: 7, Slow: 8, Sticky: true}
	if got := own.filled(); got != own {
		t.Errorf("%+v", got)
	}
}

// The bound against the formula by another library, and its closed form.
func TestBound(t *testing.T) {
	for _, n := range []uint64{1, 2, 10, 100, 1000, 100_000} {
		if got, want := Bound(n, 0, 0.05), 1-math.Pow(0.05/float64(n+1), 1/float64(n)); math.Abs(got-want) > 1e-12 {
			t.Errorf("Bound(%d, 0) = %v, want %v", n, got, want)
		}
		last := 0.0
		for _, s := range []uint64{0, 1, 2, 5, 9, 15, 16, 17, 50, 99, 500, 50_000} {
			if s >= n {
				continue
			}
			got := Bound(n, s, 0.05)
			if got <= last || got < float64(s)/float64(n) || got >= 1 {
				t.Errorf("Bound(%d, %d) = %v after %v", n, s, got, last)
			}
			last = got
			a, b := float64(s), float64(n-s)
			if m := mathext.Lbeta(a+1, b+1) - a*math.Log(got) - b*math.Log1p(-got); math.Abs(m-math.Log(20)) > 1e-6 {
				t.Errorf("Bound(%d, %d) = %v: the mixture is %v there, want 20", n, s, got, math.Exp(m))
			}
		}
	}
	if got := Bound(1000, 0, 0.05); got >= 0.0099 {
		t.Errorf("1,000 requests bound the rate by %v; want below 0.99 %%", got)
	}
	for _, n := range []uint64{0, 1, 10, 1 << 53} {
		if got := Bound(n, n+5, 0.05); got != 1 {
			t.Errorf("nothing but failures in %d: %v", n, got)
		}
	}
	if got := Bound(1<<53, 1<<20, 0.05); math.Abs(got*(1<<33)-1) > 0.02 {
		t.Errorf("Bound(2^53, 2^20) = %v, want about 2^-33", got)
	}
}

func TestRequestsFor(t *testing.T) {
	for _, s := range []uint64{0, 1, 7} {
		n := requestsFor(0.01, s, 0.05)
		if !(Bound(n, s, 0.05) < 0.01) || Bound(n-1, s, 0.05) < 0.01 {
			t.Errorf("with %d failures %d requests", s, n)
		}
	}
	if got := requestsFor(1e-300, 0, 0.05); got != 1_000_000_000 {
		t.Errorf("%d requests for nothing at all", got)
	}
}

func TestNumbers(t *testing.T) {
	f := func(got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	f(grouped(0), "0")
	f(grouped(999), "999")
	f(grouped(1000), "1,000")
	f(grouped(1234567), "1,234,567")
	f(number(2411.7), "2,412")
	f(number(12.345), "12.3")
	f(number(0.00123), "0.00123")
	f(number(1e300), "1e+300")
	f(rate(0.05), "5.0 %")
	f(rate(0.001), "0.1 %")
	f(rate(0.0012), "0.12 %")
	f(rate(0.00012), "0.012 %")
	f(percent(0, 0), "0.0 %")
	f(short(1234567*time.Nanosecond).String(), "1.23ms")
	f(short(2*time.Second).String(), "2s")
	f(short(0).String(), "0s")
}

// A Finding is JSON whatever was seen: E is finite.
func TestFindingIsJSON(t *testing.T) {
	r := NewRecorder(Config{})
	r.shards[0].requests = [2]uint64{0, 1e9}
	r.shards[0].failures = [2]uint64{0, 1e9}
	r.shards[0].ledger.logs.worse[failed] = Logs{1e9, 2e9, 3e9}
	f := Config{}.Pool(r.Tally())
	if text, err := json.Marshal(f); err != nil || f.Verdict != Worse {
		t.Errorf("%s, %v", text, err)
	}
}
