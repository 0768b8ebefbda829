package evidence

import (
	"math"
	"testing"
)

// The formulas of the specification, written out: what the recorder finds is
// the mean of the products of π(δ)/π(1) and (1−π(δ))/(1−π(1)), failure by failure.
func TestEvidenceIsTheMeanOfTheProducts(t *testing.T) {
	r := NewRecorder(Config{})
	products := [8]float64{1, 1, 1, 1, 1, 1, 1, 1}
	for i, ratio := range []float64{0.1, 0.1, 0.5, 0.01, 0.25, 0.99, 0.1, 0.3, 1e-9} {
		canary := i%2 == 0
		r.Record(Sample{Canary: canary, Ratio: ratio, Failed: true})
		for k, d := range []float64{1.25, 1.5, 2, 3, 5, 10, 30, 100} {
			pi := func(d float64) float64 { return ratio * d / (ratio*d + 1 - ratio) }
			if canary {
				products[k] *= pi(d) / pi(1)
			} else {
				products[k] *= (1 - pi(d)) / (1 - pi(1))
			}
		}
	}
	want := 0.0
	for _, p := range products {
		want += p / 8
	}
	if got := (Config{}).Pool(r.Tally()).E; math.Abs(got/want-1) > 1e-12 {
		t.Errorf("E = %v, want %v", got, want)
	}
}

// Nothing overflows or underflows after a thousand million failures, and what is
// found is what the formula says.
func TestEvidenceAfterAThousandMillionFailures(t *testing.T) {
	f := func(stable, canary uint64, want float64) {
		t.Helper()
		r := NewRecorder(Config{})
		sh := &r.shards[0]
		sh.requests = [2]uint64{stable, canary}
		sh.failures = sh.requests
		sh.ledger.see(0.1, true, 0, seen{failed: true})
		for i := range sh.ledger.cells {
			if c := &sh.ledger.cells[i]; c.ratio != 0 {
				c.n[failed] = sh.failures
			}
		}
		got := Config{}.Pool(r.Tally())
		if math.IsNaN(got.E) || math.IsInf(got.E, 0) || math.Abs(got.E/want-1) > 1e-6 && math.Abs(got.E-want) > 1e-300 {
			t.Errorf("%d of stable, %d of the canary: E = %v, want %v", stable, canary, got.E, want)
		}
	}
	f(0, 1e9, 1e300)
	f(1e9, 0, 0)
	f(9e8, 1e8, 0) // as the ratio says: each alternative is refused
	f(5e8, 5e8, 1e300)
}
