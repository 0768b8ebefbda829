package evidence

import "time"

// Config is what the judgement of one rollout depends on. The zero value of a
// field means the default in its comment.
type Config struct {
	Alpha        float64       // bound of the probability that a canary that is no worse is ever called worse; 0.001
	Beta         float64       // bound of the probability that one that is Margin times worse passes; 0.05
	Margin       float64       // > 1; 2
	MaxErrorRate float64       // passing needs an upper bound of the canary's error rate below it, or the mirror-image test; 0.01
	MinRequests  int           // of the canary in the present step, before it passes; 100
	Slow         time.Duration // an answer that takes longer is a failure of the second test; 0: latency is not judged
	SlowAuto     bool          // judge by stable's p95 and p99, frozen at the end of the previous step
	Sticky       bool          // clients are assigned by their key: each counts once
}
