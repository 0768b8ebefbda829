package main

import (
	"sync/atomic"

	"serin/canary/evidence"
	"serin/canary/rollout"
	"serin/proxy"
	"serin/route"
)

// witness takes what becomes of requests to the evidence of their rollouts.
type witness struct {
	recorder func(service string) *evidence.Recorder
	failures atomic.Pointer[map[string]rollout.Failures] // by rollout
}

// setPlans takes in which outcomes are failures, rollout by rollout.
func (w *witness) setPlans(plans map[string]*rollout.Plan) {
	failures := make(map[string]rollout.Failures, len(plans))
	for service, p := range plans {
		if p.Analysis != nil {
			failures[service] = p.Analysis.Failures
		}
	}
	w.failures.Store(&failures)
}

// observe takes in one request. It allocates nothing, and costs next to nothing
// where its service is not judged.
func (w *witness) observe(o *proxy.Outcome) {
	if o.Split == nil || o.Split.Rollout == "" {
		return
	}
	failures := w.failures.Load()
	if failures == nil {
		return
	}
	if s, ok := sampleOf(o, (*failures)[o.Split.Rollout]); ok {
		w.recorder(o.Split.Rollout).Record(s)
	}
}

// sampleOf is what a request says about its arm; ok is false where it says
// nothing, because a rule or a guard chose the arm, or no instance was tried.
func sampleOf(o *proxy.Outcome, failures rollout.Failures) (s evidence.Sample, ok bool) {
	ratio := o.Split.Ratio
	if !o.Randomised || !(ratio > 0 && ratio < 1) || o.FirstAddr == "" {
		return s, false
	}
	return evidence.Sample{
		Canary: o.Arm == route.Canary,
		Ratio:  ratio,
		Failed: failed(o, failures),
		Took:   o.FirstTook,
		Gone:   o.FirstClass == proxy.ClientGone && o.FirstByte == 0,
		Key:    o.Key,
		HasKey: o.HasKey && o.Why == proxy.WhySticky,
		Addr:   o.FirstAddr,
	}, true
}

// failed tells whether the first attempt of a request failed: what a retry
// saved is a failure all the same, and what the client did is none.
func failed(o *proxy.Outcome, f rollout.Failures) bool {
	switch o.FirstClass {
	case proxy.ServerError, proxy.Unavailable:
		return f.Status5xx
	case proxy.ConnectError:
		return f.Connect
	case proxy.Timeout:
		return f.Timeout
	case proxy.Reset:
		return f.Reset
	case proxy.Truncated:
		return f.Truncated
	case proxy.OK:
		return f.GRPC && grpcFailed(o.GRPC)
	}
	return false
}

// grpcFailed tells which grpc-status is the server's fault: UNKNOWN, DEADLINE
// EXCEEDED, RESOURCE EXHAUSTED, INTERNAL, UNAVAILABLE and DATA LOSS
// (https://grpc.io/docs/guides/status-codes/). -1 is no gRPC.
func grpcFailed(status int) bool {
	switch status {
	case 2, 4, 8, 13, 14, 15:
		return true
	}
	return false
}
