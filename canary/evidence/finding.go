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
	E         float64   `json:"e"`         // evidence that the canary is worse
	Threshold float64   `json:"threshold"` // of E, at which it is
	Requests  [2]uint64 `json:"requests"`  // counted, by arm: stable, canary
	Failures  [2]uint64 `json:"failures"`
	Bound     float64   `json:"bound"`             // upper bound of the canary's error rate, 0..1
	Because   string    `json:"because,omitempty"` // one sentence for people
}

// Alone judges what one of balancers has seen by itself: the veto. It never passes.
func (c Config) Alone(t Tally, balancers int) Finding { return Finding{Verdict: Undecided} }

// Pool judges what all balancers have seen together.
func (c Config) Pool(tallies ...Tally) Finding { return Finding{Verdict: Undecided} }

// Sum is what balancers that have left have seen, kept as one Tally.
func (c Config) Sum(tallies ...Tally) Tally { return Tally{} }
