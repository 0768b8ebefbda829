package evidence

import (
	"math/rand/v2"
	"testing"
)

// What clients can do who choose their keys and know the arms of these, as
// docs/EVIDENCE.md says: four that fail roll a canary of 10 % back, and as many
// good ones as it has of its own keep one that is broken.
func TestClientsThatChooseTheirKeys(t *testing.T) {
	cfg := Config{Sticky: true}
	r := NewRecorder(cfg)
	n := 0
	for cfg.Alone(r.Tally(), 1).Verdict != Worse && n < 100 {
		n++
		r.Record(Sample{Canary: true, Ratio: 0.1, Failed: true, Key: uint64(n) << 12, HasKey: true})
	}
	if n != 4 {
		t.Errorf("%d failures roll it back, want 4", n)
	}
	brokenFor := func(own int) Verdict {
		rng := rand.New(rand.NewPCG(8, 1))
		r := NewRecorder(cfg)
		for range own {
			r.Record(Sample{Canary: true, Ratio: 0.1, Key: rng.Uint64(), HasKey: true})
		}
		for range 1000 {
			canary := rng.Float64() < 0.1
			r.Record(Sample{Canary: canary, Ratio: 0.1, Failed: canary && rng.Float64() < 0.5, Key: rng.Uint64(), HasKey: true})
		}
		return cfg.Alone(r.Tally(), 1).Verdict
	}
	if got := brokenFor(0); got != Worse {
		t.Errorf("a canary that fails half of 1,000 clients' requests is %s", got)
	}
	if got := brokenFor(100); got != Inconclusive {
		t.Errorf("beside 100 clients that choose to be on the canary it is %s", got)
	}
}
