package evidence_test

import (
	"fmt"

	"serin/canary/evidence"
)

// A canary at 10 % that fails everything is called worse at its fourth failure.
func Example() {
	var cfg evidence.Config
	r := evidence.NewRecorder(cfg)
	for range 36 {
		r.Record(evidence.Sample{Ratio: 0.1})
	}
	for range 4 {
		r.Record(evidence.Sample{Ratio: 0.1, Canary: true, Failed: true})
		f := cfg.Pool(r.Tally())
		fmt.Printf("%s, E = %.0f\n", f.Verdict, f.E)
	}
	fmt.Println(cfg.Pool(r.Tally()).Because)
	// Output:
	// undecided, E = 4
	// undecided, E = 25
	// undecided, E = 181
	// worse, E = 1446
	// the canary fails 100.0 % of 4 requests, stable 0.0 % of 36: E = 1,446 >= 1,000
}
