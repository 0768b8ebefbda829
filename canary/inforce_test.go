package canary

import (
	"context"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"

	"serin/canary/rollout"
	"serin/route"
)

// TestPlansAndNames: who else is told what, and that it is told on change only.
func TestPlansAndNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := newFakeSource("lb/canary")
		var plans, names []string
		var published atomic.Pointer[route.Split]
		split := published.Load
		var followed []string
		c := &Controller{
			Source:  source,
			Publish: func(s route.Splits, f []string) { published.Store(s.ByService["web"]); followed = f },
			Plans: func(m map[string]*rollout.Plan) {
				text := ""
				for _, service := range slices.Sorted(maps.Keys(m)) {
					text += fmt.Sprintf("%s=%s@%d ", service, m[service].ID, m[service].Index)
				}
				plans = append(plans, text)
			},
			Names:      func(h, s []string) { names = append(names, fmt.Sprint(h, s)) },
			StaleAfter: 8 * time.Second,
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }()
		is := func(what string, got *[]string, want ...string) {
			t.Helper()
			synctest.Wait()
			if !slices.Equal(*got, want) {
				t.Errorf("%s %q, want %q", what, *got, want)
			}
			*got = nil
		}
		source.do("again", "")
		is("plans", &plans, "")
		is("names", &names, "[] []")
		source.do("doc", `web {"ratio": 0.5}`)
		is("plans", &plans)
		source.do("doc", `web {"ratio": 0.5, "id": "v2", "analysis": true, "environments": [
			{"name": "a", "when": {"host": "b.example", "service": "batch"}, "balance": "hash"},
			{"name": "c", "when": {"node": "other", "host": "a.example"}, "ratio": 1}]}`)
		is("plans", &plans, "web=v2@2 ")
		is("names", &names, "[b.example] [batch]")
		if !slices.Equal(followed, []string{"batch"}) {
			t.Errorf("followed %v", followed)
		}
		// Nobody knows yet whether it was rolled back.
		if split().Ratio != 0 || split().Because != "rollout: its state was not read yet" || split().Rollout != "web" || split().ID != "v2" {
			t.Errorf("%+v", *split())
		}
		c.SetStates(map[string]rollout.State{})
		synctest.Wait()
		if split().Ratio != 0.5 || split().Because != "" || split().Variants[0].Split.Balance != route.HashBalance || split().Variants[0].Split.Rollout != "web" {
			t.Errorf("%+v", *split())
		}
		was := split()
		c.SetStates(nil)
		c.SetAddresses(Addresses{Hosts: map[string][]netip.Addr{"x": nil}})
		synctest.Wait()
		if split() != was {
			t.Error("another split although nothing changed")
		}
		source.do("again", "")
		source.do("doc", `* {"id": "all"}`)
		is("plans", &plans, "*=all@3 web=v2@2 ")
		is("names", &names)
		// The other node's environment is asked for when this is that node.
		c.SetSelf(Self{Node: "other"})
		is("names", &names, "[a.example b.example] [batch]")
		// StaleAfter is of documents that do not say.
		source.do("lost", "500")
		time.Sleep(7 * time.Second)
		before := split().Ratio
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if before != 0.5 || split().Ratio != 0 {
			t.Errorf("share %v, and %v after StaleAfter", before, split().Ratio)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestCompileMirror(t *testing.T) {
	f := func(doc string, step *float64, want string) {
		t.Helper()
		d, err := Parse("k", []byte(doc))
		if err != nil {
			t.Fatal(err)
		}
		got := "none"
		if m := Compile(d, Applied{Mirror: step}).Mirror; m != nil {
			got = fmt.Sprintf("%+v", *m)
		}
		if got != want {
			t.Errorf("%s: %s\nwant %s", doc, got, want)
		}
	}
	f(`{}`, nil, "none")
	f(`{"mirror": 0.2}`, nil, "{Ratio:0.2 Methods:[GET HEAD OPTIONS] MaxBody:65536 Timeout:5s MaxInFlight:100 Shadow:false}")
	f(`{"mirror": 0.2}`, new(0.0), "none")
	f(`{}`, new(0.5), "{Ratio:0.5 Methods:[GET HEAD OPTIONS] MaxBody:65536 Timeout:5s MaxInFlight:100 Shadow:false}")
	f(`{"mirror": {"ratio": 0.1, "methods": ["POST"], "max_body": 9, "timeout": "1s", "max_inflight": 2, "shadow": true}}`, new(0.3),
		"{Ratio:0.3 Methods:[POST] MaxBody:9 Timeout:1s MaxInFlight:2 Shadow:true}")
}

// TestEffectiveOrder: every clamp has its reason, in the order in which they bite.
func TestEffectiveOrder(t *testing.T) {
	d, err := Parse("k", []byte(`{"ratio": 0.5, "limits": {"max_ratio": 0.2}, "expires": "2026-01-01T01:00:00Z"}`))
	if err != nil {
		t.Fatal(err)
	}
	f := func(p rollout.Position, s SourceState, after time.Duration, wantRatio float64, want string) {
		t.Helper()
		if ratio, because := Effective(d, p, s, new2026.Add(after)); ratio != wantRatio || because != want {
			t.Errorf("%+v %+v +%v: %v %q, want %v %q", p, s, after, ratio, because, wantRatio, want)
		}
	}
	gone := SourceState{LostSince: new2026, StaleAfter: 8 * time.Second}
	f(rollout.Position{Ratio: 0.1}, SourceState{}, 0, 0.1, "")
	f(rollout.Position{Ratio: 0.3, Because: "paused by hand"}, SourceState{}, 0, 0.2, "rollout: paused by hand; max_ratio: 0.2")
	f(rollout.Position{Ratio: 0.3, Because: "paused by hand"}, gone, 8*time.Second, 0, "rollout: paused by hand; max_ratio: 0.2; stale: the source is lost since 2026-01-01T00:00:00Z")
	f(rollout.Position{Ratio: 1, Phase: rollout.Promoted}, gone, time.Minute, 0.2, "max_ratio: 0.2")
	f(rollout.Position{Ratio: 1, Phase: rollout.Promoted}, SourceState{Restored: true}, 0, 0.2, "max_ratio: 0.2")
	f(rollout.Position{Ratio: 0.5, Phase: rollout.Running}, SourceState{Restored: true}, 0, 0, "max_ratio: 0.2; stale: restored from disk, the source has not answered yet")
	f(rollout.Position{Ratio: 1, Phase: rollout.Promoted}, gone, time.Hour, 0, "expires: since 2026-01-01T01:00:00Z")
	f(rollout.Position{Because: "rolled back", Phase: rollout.RolledBack}, gone, time.Hour, 0, "rollout: rolled back")
}

// TestShareThatIsNone: what is no share is 0 in the end, with its reason, and counted.
func TestShareThatIsNone(t *testing.T) {
	registry := prometheus.NewRegistry()
	r := &run{c: &Controller{Metrics: NewMetrics(registry)}, log: hclog.NewNullLogger()}
	for _, ratio := range []float64{math.NaN(), -0.1, 1.5, math.Inf(1)} {
		p := r.part(&Document{}, rollout.Position{Ratio: ratio}, SourceState{}, new2026)
		if p.ratio != 0 || p.because != "BUG: the share was not within 0..1" {
			t.Errorf("%v: %v %q", ratio, p.ratio, p.because)
		}
	}
	if p := r.part(&Document{}, rollout.Position{Ratio: 1}, SourceState{}, new2026); p.ratio != 1 || p.because != "" {
		t.Errorf("1: %v %q", p.ratio, p.because)
	}
	if text := metricsText(t, registry); !strings.Contains(text, "lb_canary_assertions_total 4\n") {
		t.Errorf("metrics\n%s", text)
	}
}
