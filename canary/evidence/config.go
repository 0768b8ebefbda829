package evidence

import (
	"math"
	"time"
)

// Defaults of [Config].
const (
	DefaultAlpha        = 0.001
	DefaultBeta         = 0.05
	DefaultMargin       = 2
	DefaultMaxErrorRate = 0.01
	DefaultMinRequests  = 100
)

// Config is what the judgement of one rollout depends on. The zero value of a
// field means the default in its comment; so does one that makes no sense (not a
// number, below 0, a probability of 1 or more, a margin of 1 or less).
type Config struct {
	Alpha        float64       // bound of the probability that a canary that is no worse is ever called worse; 0.001
	Beta         float64       // bound of the probability that one that is Margin times worse passes; 0.05
	Margin       float64       // > 1; 2
	MaxErrorRate float64       // passing needs an upper bound of the canary's error rate below it, or the mirror-image test; 0.01
	MinRequests  int           // of the canary in the present step, before it passes; 100
	Slow         time.Duration // an answer that takes longer is a failure of the second test; 0: latency is not judged
	SlowAuto     bool          // judge by stable's p95 and p99, frozen at the end of the previous step; Slow does not count then
	Sticky       bool          // clients are assigned by their key: each counts once
}

// filled returns c with its defaults.
func (c Config) filled() Config {
	probability := func(p *float64, def float64) {
		if !(*p > 0 && *p < 1) {
			*p = def
		}
	}
	probability(&c.Alpha, DefaultAlpha)
	probability(&c.Beta, DefaultBeta)
	probability(&c.MaxErrorRate, DefaultMaxErrorRate)
	if !(c.Margin > 1) || math.IsInf(c.Margin, 1) {
		c.Margin = DefaultMargin
	}
	if c.MinRequests <= 0 {
		c.MinRequests = DefaultMinRequests
	}
	c.Slow = max(c.Slow, 0)
	return c
}

// latency is how many thresholds of latency are judged.
func (c Config) latency() int {
	switch {
	case c.SlowAuto:
		return 2
	case c.Slow > 0:
		return 1
	}
	return 0
}
