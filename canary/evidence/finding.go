package evidence

// Verdict is what the evidence says.
type Verdict string

const (
	Undecided    Verdict = "undecided"    // not enough was seen
	Pass         Verdict = "pass"         // the canary is not Margin times worse, or its error rate is low
	Worse        Verdict = "worse"        // the canary fails more than stable does
	Inconclusive Verdict = "inconclusive" // what was seen cannot be trusted (see Because)
)

// Finding is a judgement and what it rests on. The zero value is undecided.
type Finding struct {
	Verdict   Verdict   `json:"verdict"`
	E         float64   `json:"e"`         // evidence that the canary is worse; at most 1e300
	Threshold float64   `json:"threshold"` // of E, at which it is
	Requests  [2]uint64 `json:"requests"`  // counted, by arm: stable, canary
	Failures  [2]uint64 `json:"failures"`
	Slow      [2]uint64 `json:"slow,omitzero"`     // took longer than the (first) threshold of latency
	Bound     float64   `json:"bound"`             // upper bound of the canary's error rate, 0..1
	Because   string    `json:"because,omitempty"` // one sentence for people
}
