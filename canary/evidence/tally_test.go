package evidence

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"
)

// seenTally is what a busy balancer has seen.
func seenTally(cfg Config, n int) Tally {
	r := NewRecorder(cfg)
	for _, s := range samples(n, cfg.Sticky) {
		r.Record(s)
	}
	return r.Tally()
}

func TestTallyIsSmall(t *testing.T) {
	for _, cfg := range []Config{{}, {Sticky: true}, {SlowAuto: true}, {SlowAuto: true, Sticky: true}} {
		tally := seenTally(cfg, 20_000)
		tally.Requests = [2]uint64{1e9, 1e9}
		text, err := json.Marshal(tally)
		if err != nil || len(text) > 800 {
			t.Errorf("%+v: %d bytes, %v:\n%s", cfg, len(text), err, text)
		}
	}
}

// What is read is what was written, but for digits after the sixth.
func TestTallyRoundTrip(t *testing.T) {
	f := func(tally Tally) {
		t.Helper()
		text, err := json.Marshal(tally)
		if err != nil {
			t.Fatal(err)
		}
		var got Tally
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatalf("%v:\n%s", err, text)
		}
		a, b := tally.ratios(), got.ratios()
		both(&a, &b, func(a, b *Logs, _ int) {
			for k := range a {
				if math.Abs(a[k]-b[k]) > 1e-6 {
					t.Errorf("%v became %v", a[k], b[k])
				}
			}
		})
		got.Worse, got.Better, got.Split = tally.Worse, tally.Better, tally.Split
		if got != tally {
			t.Errorf("%+v became %+v", tally, got)
		}
	}
	f(Tally{})
	f(seenTally(Config{SlowAuto: true}, 5000))
	f(seenTally(Config{SlowAuto: true, Sticky: true}, 5000))
}

func TestTallyRefuses(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		var got Tally
		err := json.Unmarshal([]byte(text), &got)
		if err == nil || !strings.Contains(err.Error(), want) || got != (Tally{}) {
			t.Errorf("%s: %v, %+v; want %q", text, err, got, want)
		}
	}
	f(`{"requests":[-1,0],"balancers":1}`, "number -1")
	f(`{"requests":[1.5,0],"balancers":1}`, "number 1.5")
	f(`{"requests":[9999999999999999,0],"balancers":1}`, "more than can have been counted")
	f(`{"step":9999999999999999,"balancers":1}`, "more than can have been counted")
	f(`{"requests":[5,5],"failures":[0,6],"balancers":1}`, "more failures")
	f(`{"requests":[5,5],"slow":[6,0],"balancers":1}`, "more failures or slow")
	f(`{"requests":[5,5]}`, "balancers: 0")
	f(`{"balancers":1,"limits":[-1,0]}`, "negative")
	f(`{"balancers":1,"split":[1,2,3]}`, "eight numbers")
	f(`{"balancers":1,"split":[1,2,3,4,5,6,7,1e300]}`, "want a logarithm")
	f(`{"balancers":1,"split":[1,2,3,4,5,6,7,1e999]}`, "1e999")
	f(`{"balancers":1,"split":["NaN",2,3,4,5,6,7,8]}`, "string")
	f(`{"balancers":1,"split":1}`, "cannot unmarshal number")
	f(`{"balancers":1,"worse":[[-2e13,0,0,0,0,0,0,0],0,0]}`, "want a logarithm")
	f(`[]`, "cannot unmarshal array")
}

// A tally that was made wrong in memory is left out, whatever is asked.
func TestInvalidTalliesAreLeftOut(t *testing.T) {
	good := seenTally(Config{}, 1000)
	want := Config{}.Pool(good)
	for _, x := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), 1e300} {
		bad := good
		bad.Worse[0][3] = x
		if bad.Valid() == nil {
			t.Errorf("%v is valid", x)
		}
		if got := (Config{}).Pool(bad, good, bad); got != want {
			t.Errorf("%v: %+v, want %+v", x, got, want)
		}
		if got := (Config{}).Alone(bad, 2); got.Verdict != Undecided || got.E != 1 {
			t.Errorf("%v alone: %+v", x, got)
		}
		if _, err := json.Marshal(bad); err == nil {
			t.Errorf("%v is published", x)
		}
		keyed := bad
		keyed.Keyed = true
		if got := (Config{}).Pool(keyed, good); got != want {
			t.Errorf("an invalid keyed tally: %+v, want %+v", got, want)
		}
	}
}

// Without stickiness the evidence of all is the evidence of one that saw all.
func TestSumsAreAsIfOneSawAll(t *testing.T) {
	feed := samples(3000, false)
	one, parts := NewRecorder(Config{}), [3]*Recorder{}
	for i := range parts {
		parts[i] = NewRecorder(Config{})
	}
	for i, s := range feed {
		one.Record(s)
		parts[i%3].Record(s)
	}
	a, b := Config{}.Pool(one.Tally()), Config{}.Pool(parts[0].Tally(), parts[1].Tally(), parts[2].Tally())
	if math.Abs(a.E/b.E-1) > 1e-9 || a.Requests != b.Requests || a.Bound != b.Bound {
		t.Errorf("one: %+v\nthree: %+v", a, b)
	}
	if a.Threshold != 1000 || b.Threshold != 2000 {
		t.Errorf("thresholds %v and %v; want 1000 and 2000", a.Threshold, b.Threshold)
	}
	// Those that have left are kept as one, in any order.
	left := Config{}.Sum(parts[0].Tally(), parts[1].Tally())
	if c := (Config{}).Pool(left, parts[2].Tally()); math.Abs(c.E/b.E-1) > 1e-9 || c.Threshold != b.Threshold {
		t.Errorf("with a sum: %+v, want %+v", c, b)
	}
}

// With stickiness it is the mean, in which those that have left keep their weight.
func TestStickyEvidenceIsAveraged(t *testing.T) {
	cfg := Config{Sticky: true}
	tallies := make([]Tally, 3)
	mean := 0.0
	for i := range tallies {
		r := NewRecorder(cfg)
		for j := range i + 1 {
			r.Record(Sample{Canary: true, Ratio: 0.1, Failed: true, Key: uint64(j) << 12, HasKey: true})
		}
		tallies[i] = r.Tally()
		mean += cfg.Alone(tallies[i], 1).E / 3
	}
	f := func(ts ...Tally) {
		t.Helper()
		if got := cfg.Pool(ts...).E; math.Abs(got/mean-1) > 1e-9 {
			t.Errorf("E = %v, want %v", got, mean)
		}
	}
	f(tallies...)
	f(cfg.Sum(tallies[0], tallies[1]), tallies[2])
	f(tallies[1], cfg.Sum(cfg.Sum(tallies[2]), tallies[0]))
	f(cfg.Sum(tallies...), Tally{})
	// A tally that says so is averaged also where the configuration does not yet.
	if got := (Config{}).Pool(tallies...).E; math.Abs(got/mean-1) > 1e-9 {
		t.Errorf("keyed tallies: E = %v, want %v", got, mean)
	}
}

func TestSumOfNothing(t *testing.T) {
	if got := (Config{}).Sum(); got != (Tally{}) {
		t.Errorf("%+v", got)
	}
	if got := (Config{Sticky: true}).Sum(Tally{}, Tally{}); got != (Tally{}) {
		t.Errorf("%+v", got)
	}
	huge := Tally{Balancers: largest, Requests: [2]uint64{largest, largest}}
	if got := (Config{}).Sum(huge, huge); got.Valid() != nil {
		t.Errorf("%+v: %v", got, got.Valid())
	}
}

// Whatever stands in KV, reading and judging it neither panics nor gives what
// JSON cannot tell; and what was read is written as it was read.
func FuzzTally(f *testing.F) {
	for _, cfg := range []Config{{}, {Sticky: true, SlowAuto: true}, {Slow: time.Millisecond}} {
		text, err := json.Marshal(seenTally(cfg, 2000))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text, true)
		f.Add(text, false)
	}
	for _, text := range []string{
		`{}`, `null`, `{"balancers":1}`, `{"requests":[9007199254740992,9007199254740992],"failures":[0,9007199254740992],"balancers":9007199254740992}`,
		`{"balancers":1,"keyed":true,"worse":[[1e13,-1e13,1e13,-1e13,0,0,0,0],0,0],"split":[1e13,1e13,1e13,1e13,1e13,1e13,1e13,1e13]}`,
		`{"requests":[1e300,-1]}`, `{"balancers":1,"split":[NaN]}`,
	} {
		f.Add([]byte(text), true)
	}
	f.Fuzz(func(t *testing.T, text []byte, sticky bool) {
		var a Tally
		if err := json.Unmarshal(text, &a); err != nil {
			return
		}
		if err := a.Valid(); err != nil {
			t.Fatalf("%s: read although %v", text, err)
		}
		once, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		var b Tally
		if err := json.Unmarshal(once, &b); err != nil {
			t.Fatalf("%s: %v", once, err)
		}
		if twice, err := json.Marshal(b); err != nil || string(twice) != string(once) {
			t.Fatalf("%s became %s, %v", once, twice, err)
		}
		cfg := Config{Sticky: sticky, SlowAuto: true}
		sum := cfg.Sum(a, b, seenOnce)
		if err := sum.Valid(); err != nil {
			t.Fatalf("the sum of valid tallies: %v", err)
		}
		for _, finding := range []Finding{cfg.Pool(a, b, seenOnce), cfg.Alone(a, 3), cfg.Pool(sum)} {
			if _, err := json.Marshal(finding); err != nil || finding.Because == "" || finding.Bound < 0 || finding.Bound > 1 {
				t.Fatalf("%+v: %v", finding, err)
			}
		}
	})
}

var seenOnce = Tally{Balancers: 1, Requests: [2]uint64{1, 0}}
