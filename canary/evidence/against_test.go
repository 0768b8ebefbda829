package evidence

import (
	"testing"
	"time"
)

// Whatever can turn a verdict to worse is counted, and nothing else.
func TestAgainst(t *testing.T) {
	var none *Recorder
	none.Record(Sample{Canary: true, Ratio: 0.1, Failed: true})
	if none.Against() != 0 {
		t.Error("nobody's recorder counts")
	}
	for _, c := range []struct {
		what  string
		s     Sample
		again uint64
	}{
		{"a failure of the canary", Sample{Canary: true, Ratio: 0.1, Failed: true}, 1},
		{"a slow answer of the canary", Sample{Canary: true, Ratio: 0.1, Took: 2 * time.Second}, 1},
		{"both", Sample{Canary: true, Ratio: 0.1, Failed: true, Took: 2 * time.Second}, 1},
		{"a good answer of the canary", Sample{Canary: true, Ratio: 0.1}, 0},
		{"a failure of stable", Sample{Ratio: 0.1, Failed: true}, 0},
		{"a failure that does not count", Sample{Canary: true, Ratio: 1, Failed: true}, 0},
	} {
		r := NewRecorder(Config{Slow: time.Second})
		before := r.Against()
		if r.Record(c.s); r.Against()-before != c.again {
			t.Errorf("%s: %d more, want %d", c.what, r.Against()-before, c.again)
		}
	}
}
