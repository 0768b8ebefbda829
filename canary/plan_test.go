package canary

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"serin/canary/evidence"
	"serin/canary/rollout"
)

func TestPlan(t *testing.T) {
	f := func(doc string, want *rollout.Plan) {
		t.Helper()
		d, err := Parse("k", []byte(doc))
		if err != nil {
			t.Error(err)
			return
		}
		if want != nil {
			want.Service, want.Key, want.Index, want.Hash = "web", "lb/canary/web", 7, "h"
		}
		if diff := cmp.Diff(want, d.Plan("web", "lb/canary/web", 7, "h")); diff != "" {
			t.Errorf("plan of %s (-want +got)\n%s", doc, diff)
		}
	}
	all := rollout.Failures{Status5xx: true, Connect: true, Timeout: true, Reset: true, Truncated: true, GRPC: true}
	usual := func() *rollout.Analysis {
		return &rollout.Analysis{
			Config: evidence.Config{Alpha: 0.001, Beta: 0.05, Margin: 2, MaxErrorRate: 0.01, MinRequests: 100},
			Warmup: 30 * time.Second, Failures: all, OnFail: "rollback", OnInconclusive: "wait", MaxWait: time.Hour,
		}
	}
	sticky := usual()
	sticky.Sticky = true
	auto := usual()
	auto.SlowAuto = true
	ten, clock := 0.1, time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

	// No rollout: what it says holds.
	f(`{}`, nil)
	f(`{"ratio": 0.1, "sticky": true, "mirror": 0.1, "limits": {"max_ratio": 0.2}, "expires": "2026-11-22T10:00:00Z"}`, nil)
	f(`{"environments": [{"name": "a", "when": {"node": "n"}, "ratio": 1}]}`, nil)

	f(`{"id": "2"}`, &rollout.Plan{ID: "2"})
	f(`{"control": "run", "ratio": 0.1}`, &rollout.Plan{Ratio: 0.1, Control: rollout.Run})
	f(`{"control": "abort", "ratio": 0.1}`, &rollout.Plan{Ratio: 0.1, Control: rollout.Abort})
	f(`{"ratio": 0.1, "analysis": true}`, &rollout.Plan{Ratio: 0.1, Analysis: usual()})
	f(`{"ratio": 0.1, "analysis": {}, "sticky": true}`, &rollout.Plan{Ratio: 0.1, Analysis: sticky})
	f(`{"ratio": 0.1, "analysis": {}, "method": "hash"}`, &rollout.Plan{Ratio: 0.1, Analysis: sticky})
	f(`{"ratio": 0.1, "analysis": {}, "sticky": false}`, &rollout.Plan{Ratio: 0.1, Analysis: usual()})
	f(`{"analysis": {"slow": "auto"}}`, &rollout.Plan{Analysis: auto})
	f(`{"analysis": {"alpha": 0.01, "beta": 0.1, "margin": 3, "max_error_rate": 0.05, "slow": "300ms", "min_requests": 7, "warmup": "0s",
		"failures": ["5xx", "grpc"], "on_fail": "pause", "on_inconclusive": "promote", "max_wait": "5m"}}`,
		&rollout.Plan{Analysis: &rollout.Analysis{
			Config:   evidence.Config{Alpha: 0.01, Beta: 0.1, Margin: 3, MaxErrorRate: 0.05, MinRequests: 7, Slow: 300 * time.Millisecond},
			Failures: rollout.Failures{Status5xx: true, GRPC: true}, OnFail: "pause", OnInconclusive: "promote", MaxWait: 5 * time.Minute,
		}})
	f(`{"ramp": {"over": "1h"}}`, &rollout.Plan{Ramp: &rollout.Ramp{To: 1, Over: time.Hour}})
	f(`{"ramp": {"from": 0.1, "to": "50%", "start": "2026-11-22T11:00:00+01:00", "end": "2026-11-22T11:00:00Z"}}`,
		&rollout.Plan{Ramp: &rollout.Ramp{From: 0.1, To: 0.5, Start: clock, End: clock.Add(time.Hour)}})
	f(`{"steps": [{"mirror": 0.1, "for": "1m"}, {"ratio": 0.1, "for": "10m"}, {"pause": true}, {"pause": "1h"}, {"ratio": 0.1}],
		"notify": [{"url": "env:A", "on": ["rollback"], "headers": {"B": "c"}}]}`,
		&rollout.Plan{
			Steps:  []rollout.Step{{Mirror: &ten, For: time.Minute}, {Ratio: &ten, For: 10 * time.Minute}, {Pause: true}, {Pause: true, PauseFor: time.Hour}, {Ratio: &ten}},
			Notify: []rollout.Notify{{URL: "env:A", On: []string{"rollback"}, Headers: map[string]string{"B": "c"}}},
		})
}

func TestPlanOfTheCommonDocument(t *testing.T) {
	d := &Document{ID: "2"}
	if p := d.Plan("", "lb/canary", 1, "h"); p.Service != "*" {
		t.Errorf("service %q, want *", p.Service)
	}
}
