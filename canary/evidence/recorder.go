package evidence

import "time"

// Sample is one request that was assigned to an arm by chance, turn or key while
// both arms could serve.
type Sample struct {
	Canary bool    // the arm first chosen
	Ratio  float64 // the canary's share when it was drawn, 0 < Ratio < 1
	Failed bool    // its first attempt
	Took   time.Duration
	Key    uint64 // the client's position, where HasKey
	HasKey bool
	Addr   string // of the instance first tried, for its warm-up
}

// Recorder counts the samples of one rollout in one balancer. It is safe for
// concurrent use.
type Recorder struct{ cfg Config }

// NewRecorder returns a Recorder that has seen nothing.
func NewRecorder(cfg Config) *Recorder { return &Recorder{cfg: cfg} }

// Record takes in one sample. A nil Recorder takes nothing.
func (r *Recorder) Record(s Sample) {}

// Tally returns what was seen.
func (r *Recorder) Tally() Tally { return Tally{} }

// Step says that the rollout has come to another step: thresholds of latency are
// frozen, and Tally.Step starts again.
func (r *Recorder) Step() {}

// Warming says which instances are in their warm-up: their requests do not
// count. stable is the share of stable's capacity that is not warming up; while
// all canaries warm up (canary is false) nothing counts. Nil addrs is none.
func (r *Recorder) Warming(addrs map[string]bool, stable float64, canary bool) {}
