package e2e

import (
	"fmt"
	"os"
	"strings"
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
	Hijack        int           // requests while an intruder claims what another has
	Fuzz          time.Duration // of each parser of the routing
	Rollbacks     int           // rollbacks of a bad canary
	SharedOutage  time.Duration // how long both arms fail
	Aborts        int           // aborts by hand
	RampKeys      int           // keys while two balancers run a ramp
	RampRounds    int           // requests of each key on the way
	RampRate      float64       // requests a second meanwhile
}

var (
	ci = scale{
		FollowRounds: 20, CanaryRate: 2000, CanaryCount: 20000, StickyKeys: 10000, OutageTime: 10 * time.Second, Rolls: 2, Stops: 4, BadTags: 200, InvalidChecks: 30, Hijack: 10000, Fuzz: time.Minute,
		Rollbacks: 5, SharedOutage: 5 * time.Second, Aborts: 50, RampKeys: 20000, RampRounds: 6, RampRate: 4000,
	}
	full = scale{
		FollowRounds: 100, CanaryRate: 2000, CanaryCount: 20000, StickyKeys: 10000, OutageTime: time.Minute, Rolls: 10, Stops: 20, BadTags: 200, InvalidChecks: 30, Hijack: 10000, Fuzz: 5 * time.Minute,
		Rollbacks: 25, SharedOutage: 30 * time.Second, Aborts: 50, RampKeys: 100000, RampRounds: 6, RampRate: 4000,
	}
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

// docs/TESTING.md shows this table as it is.
func TestScaleIsDocumented(t *testing.T) {
	page, err := os.ReadFile("../docs/TESTING.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		what     string
		ci, full any
	}{
		{"rounds per figure of following the catalog", ci.FollowRounds, full.FollowRounds},
		{"requests a second while the ratio moves", int(ci.CanaryRate), int(full.CanaryRate)},
		{"requests counted per ratio", ci.CanaryCount, full.CanaryCount},
		{"values of the sticky header", ci.StickyKeys, full.StickyKeys},
		{"time that Consul stays away", ci.OutageTime, full.OutageTime},
		{"rolling deploys of five instances", ci.Rolls, full.Rolls},
		{"SIGTERMs of the balancer", ci.Stops, full.Stops},
		{"generated bad tags", ci.BadTags, full.BadTags},
		{"invalid documents", ci.InvalidChecks, full.InvalidChecks},
		{"requests while an intruder claims what another has", ci.Hijack, full.Hijack},
		{"fuzzing of tags, route commands, hosts, paths, networks, each", ci.Fuzz, full.Fuzz},
		{"rollbacks of a bad canary", ci.Rollbacks, full.Rollbacks},
		{"time that both arms fail", ci.SharedOutage, full.SharedOutage},
		{"aborts by hand", ci.Aborts, full.Aborts},
		{"keys while two balancers run a ramp", ci.RampKeys, full.RampKeys},
	} {
		want := fmt.Sprintf("| %s | %s | %s |", row.what, thousands(row.ci), thousands(row.full))
		if !strings.Contains(string(page), want) {
			t.Errorf("docs/TESTING.md lacks the row %s", want)
		}
	}
}

// thousands writes 20000 as 20,000.
func thousands(v any) string {
	s := fmt.Sprint(v)
	if n, ok := v.(int); ok && n >= 1000 {
		s = fmt.Sprintf("%d,%03d", n/1000, n%1000)
	}
	return s
}
