package main

import (
	"maps"
	"testing"
	"time"

	"serin/canary/rollout"
	"serin/registry"
	"serin/route"
)

// Instances that became ready lately warm up, each for the plan's time; those
// of the start are warm.
func TestWarmups(t *testing.T) {
	start := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	in := func(id string, ready bool, tags ...string) registry.Instance {
		return registry.Instance{Service: "web", ID: id, Node: "n", Addr: id + ":80", Ready: ready, Tags: append(tags, "urlprefix-/")}
	}
	catalog := func(instances ...registry.Instance) *registry.Snapshot {
		svc := &registry.Service{Name: "web", Instances: instances}
		svc.Normalize()
		return registry.New(svc)
	}
	plan := &rollout.Plan{Service: "web", Analysis: &rollout.Analysis{Warmup: 30 * time.Second}}
	var b route.Builder
	splits := route.Splits{ByService: map[string]*route.Split{"web": {Service: "web", Explicit: true, Rollout: "web", Ratio: 0.1}}}
	var w warmups
	var last *registry.Snapshot
	for _, step := range []struct {
		at     time.Duration
		what   string
		with   []registry.Instance
		addrs  []string
		stable float64
		canary bool
	}{
		{0, "the start: all are warm", []registry.Instance{in("a", true), in("c", true, "canary")}, nil, 1, true},
		{0, "a new stable instance", []registry.Instance{in("a", true), in("b", true), in("c", true, "canary")}, []string{"b:80"}, 0.5, true},
		{29 * time.Second, "nearly warm", []registry.Instance{in("a", true), in("b", true), in("c", true, "canary")}, []string{"b:80"}, 0.5, true},
		{30 * time.Second, "warm", []registry.Instance{in("a", true), in("b", true), in("c", true, "canary")}, nil, 1, true},
		{40 * time.Second, "the canary falls ill", []registry.Instance{in("a", true), in("b", true), in("c", false, "canary")}, nil, 1, true},
		{50 * time.Second, "and is well again", []registry.Instance{in("a", true), in("b", true), in("c", true, "canary")}, []string{"c:80"}, 1, false},
		{60 * time.Second, "a second canary", []registry.Instance{in("a", true), in("b", true), in("c", true, "canary"), in("d", true, "canary")}, []string{"c:80", "d:80"}, 1, false},
		{80 * time.Second, "the first is warm", []registry.Instance{in("a", true), in("b", true), in("c", true, "canary"), in("d", true, "canary")}, []string{"d:80"}, 1, true},
		{81 * time.Second, "the cold one leaves", []registry.Instance{in("a", true), in("b", true), in("c", true, "canary")}, nil, 1, true},
	} {
		now := start.Add(step.at)
		snapshot := catalog(step.with...)
		w.published(last, snapshot, now)
		last = snapshot
		got := w.of(b.Build(route.Inputs{Snapshot: snapshot, Splits: splits}), plan, now)
		want := map[string]bool{}
		for _, a := range step.addrs {
			want[a] = true
		}
		if !maps.Equal(got.addrs, want) || got.stable != step.stable || got.canary != step.canary {
			t.Errorf("%s: %+v; want %v, %v, %v", step.what, got, step.addrs, step.stable, step.canary)
		}
	}
	w.published(last, registry.New(), start)
	if len(w.since) != 0 {
		t.Errorf("what has left is remembered: %v", w.since)
	}
}
