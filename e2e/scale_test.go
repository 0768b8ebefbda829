package e2e

import (
	"os"
	"testing"
	"time"
)

// scale is how much of everything a run does. The columns of this table are
// printed in docs/TESTING.md: CI's, and those of `make test-full` (SERIN_SCALE=full).
type scale struct {
	FollowRounds  int           // register/critical/maintenance/deregister rounds per figure
	CanaryRate    float64       // requests a second while the ratio moves
	CanaryCount   int           // requests counted per ratio
	StickyKeys    int           // values of the sticky header
	OutageTime    time.Duration // how long Consul stays away
	Rolls         int           // rolling deploys of five instances
	Stops         int           // SIGTERMs of the balancer
	BadTags       int           // generated bad tags
	InvalidChecks int           // invalid documents shown in all their places through the binary
}

var (
	ci   = scale{FollowRounds: 20, CanaryRate: 2000, CanaryCount: 20000, StickyKeys: 10000, OutageTime: 10 * time.Second, Rolls: 2, Stops: 4, BadTags: 200, InvalidChecks: 30}
	full = scale{FollowRounds: 100, CanaryRate: 2000, CanaryCount: 20000, StickyKeys: 10000, OutageTime: time.Minute, Rolls: 10, Stops: 20, BadTags: 200, InvalidChecks: 30}
)

func size(t *testing.T) scale {
	switch s := os.Getenv("SERIN_SCALE"); s {
	case "", "ci":
		return ci
	case "full":
		return full
	default:
		t.Fatalf("SERIN_SCALE=%q: want ci or full", s)
		return scale{}
	}
}
