package main

import (
	"testing"
	"time"

	"serin/canary/evidence"
	"serin/canary/rollout"
	"serin/proxy"
	"serin/route"
)

var allFailures = rollout.Failures{Status5xx: true, Connect: true, Timeout: true, Reset: true, Truncated: true, GRPC: true}

// drawn is a request that chance sent to the canary, and that went well.
func drawn() proxy.Outcome {
	return proxy.Outcome{
		Split: &route.Split{Ratio: 0.1, Rollout: "web"}, Arm: route.Canary, Why: proxy.WhyChance, Randomised: true,
		FirstAddr: "10.0.0.1:80", FirstTook: time.Millisecond, Attempts: 1, Status: 200, GRPC: -1,
	}
}

// Only randomised traffic counts, by the arm first chosen.
func TestSamples(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*proxy.Outcome)
		counts bool
		want   evidence.Sample
	}{
		"canary":                  {func(*proxy.Outcome) {}, true, evidence.Sample{Canary: true, Ratio: 0.1, Took: time.Millisecond, Addr: "10.0.0.1:80"}},
		"stable":                  {func(o *proxy.Outcome) { o.Arm = route.Stable }, true, evidence.Sample{Ratio: 0.1, Took: time.Millisecond, Addr: "10.0.0.1:80"}},
		"sticky":                  {func(o *proxy.Outcome) { o.Why, o.HasKey, o.Key = proxy.WhySticky, true, 7 }, true, evidence.Sample{Canary: true, Ratio: 0.1, Took: time.Millisecond, Addr: "10.0.0.1:80", Key: 7, HasKey: true}},
		"a key that chose no arm": {func(o *proxy.Outcome) { o.HasKey, o.Key = true, 7 }, true, evidence.Sample{Canary: true, Ratio: 0.1, Took: time.Millisecond, Addr: "10.0.0.1:80", Key: 7}},
		"saved by a retry":        {func(o *proxy.Outcome) { o.FirstClass, o.Attempts = proxy.ConnectError, 2 }, true, evidence.Sample{Canary: true, Ratio: 0.1, Failed: true, Took: time.Millisecond, Addr: "10.0.0.1:80"}},
		"nobody waited":           {func(o *proxy.Outcome) { o.FirstClass = proxy.ClientGone }, true, evidence.Sample{Canary: true, Ratio: 0.1, Gone: true, Took: time.Millisecond, Addr: "10.0.0.1:80"}},
		"gone in the body":        {func(o *proxy.Outcome) { o.FirstClass, o.FirstByte = proxy.ClientGone, 1 }, true, evidence.Sample{Canary: true, Ratio: 0.1, Took: time.Millisecond, Addr: "10.0.0.1:80"}},
		"by rule or overflow":     {func(o *proxy.Outcome) { o.Randomised = false }, false, evidence.Sample{}},
		"everybody":               {func(o *proxy.Outcome) { o.Split = &route.Split{Ratio: 1, Rollout: "web"} }, false, evidence.Sample{}},
		"nobody":                  {func(o *proxy.Outcome) { o.Split = &route.Split{Rollout: "web"} }, false, evidence.Sample{}},
		"refused by ourselves":    {func(o *proxy.Outcome) { o.FirstAddr, o.Class, o.Attempts = "", proxy.Answered, 0 }, false, evidence.Sample{}},
	} {
		o := drawn()
		c.change(&o)
		s, ok := sampleOf(&o, allFailures)
		if ok != c.counts || ok && s != c.want {
			t.Errorf("%s: %+v, %v; want %+v, %v", name, s, ok, c.want, c.counts)
		}
	}
}

// What is a failure, and whose choice that is.
func TestFailures(t *testing.T) {
	only := func(set func(*rollout.Failures)) (f rollout.Failures) { set(&f); return f }
	for class, is := range map[proxy.Class]rollout.Failures{
		proxy.ServerError:  only(func(f *rollout.Failures) { f.Status5xx = true }),
		proxy.Unavailable:  only(func(f *rollout.Failures) { f.Status5xx = true }),
		proxy.ConnectError: only(func(f *rollout.Failures) { f.Connect = true }),
		proxy.Timeout:      only(func(f *rollout.Failures) { f.Timeout = true }),
		proxy.Reset:        only(func(f *rollout.Failures) { f.Reset = true }),
		proxy.Truncated:    only(func(f *rollout.Failures) { f.Truncated = true }),
	} {
		o := drawn()
		o.FirstClass = class
		but := allFailures
		for _, pair := range []struct{ has, all *bool }{
			{&is.Status5xx, &but.Status5xx},
			{&is.Connect, &but.Connect},
			{&is.Timeout, &but.Timeout},
			{&is.Reset, &but.Reset},
			{&is.Truncated, &but.Truncated},
			{&is.GRPC, &but.GRPC},
		} {
			*pair.all = !*pair.has
		}
		if !failed(&o, is) || failed(&o, but) {
			t.Errorf("%v is a failure by %+v: %v, by %+v: %v", class, is, failed(&o, is), but, failed(&o, but))
		}
	}
	for _, class := range []proxy.Class{proxy.OK, proxy.ClientGone, proxy.ClientError, proxy.NoTarget, proxy.Answered} {
		o := drawn()
		if o.FirstClass = class; failed(&o, allFailures) {
			t.Errorf("%v is no failure of the instance", class)
		}
	}
	for status := -1; status <= 16; status++ {
		o := drawn()
		o.GRPC = status
		want := map[int]bool{2: true, 4: true, 8: true, 13: true, 14: true, 15: true}[status]
		if failed(&o, allFailures) != want {
			t.Errorf("grpc-status %d: want failed=%v", status, want)
		}
	}
}

// What is not judged costs nothing and asks for no recorder.
func TestObserveWithoutRollout(t *testing.T) {
	w := witness{recorder: func(string) *evidence.Recorder { t.Error("a recorder was asked for"); return nil }}
	for _, o := range []proxy.Outcome{{}, {Split: &route.Split{Ratio: 0.1}}, drawn()} {
		w.observe(&o)
	}
	rec := evidence.NewRecorder(evidence.Config{})
	w.recorder = func(string) *evidence.Recorder { return rec }
	w.setPlans(map[string]*rollout.Plan{"web": {Analysis: &rollout.Analysis{Failures: allFailures}}})
	o := drawn()
	if n := testing.AllocsPerRun(100, func() { w.observe(&o) }); n != 0 {
		t.Errorf("observing allocates %v times", n)
	}
}
