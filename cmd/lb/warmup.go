package main

import (
	"sync"
	"time"

	"serin/canary/rollout"
	"serin/registry"
	"serin/route"
)

// warmups knows the instances that became ready a short time ago, so that
// evidence can leave out what they do while they warm up. Instances that were
// ready when the program started are warm.
type warmups struct {
	mu    sync.Mutex
	since map[instanceKey]time.Time // when it became ready
}

type instanceKey struct{ service, node, id string }

// forgetAfter is how long an instance that became ready is remembered; a warm-up
// may not be longer.
const forgetAfter = 24 * time.Hour

// published takes in a new catalog.
func (w *warmups) published(old, new *registry.Snapshot, now time.Time) {
	if old == nil {
		return // all that runs at the start is warm
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.since == nil {
		w.since = map[instanceKey]time.Time{}
	}
	for was, is := range registry.Changed(old, new) {
		ready := map[instanceKey]bool{}
		if was != nil {
			for i := range was.Instances {
				in := &was.Instances[i]
				k := instanceKey{was.Name, in.Node, in.ID}
				if ready[k] = in.Ready; is == nil {
					delete(w.since, k)
				}
			}
		}
		if is == nil {
			continue
		}
		for i := range is.Instances {
			in := &is.Instances[i]
			k := instanceKey{is.Name, in.Node, in.ID}
			switch {
			case !in.Ready:
				delete(w.since, k)
			case !ready[k]:
				w.since[k] = now
			}
			delete(ready, k)
		}
		for k := range ready { // gone
			delete(w.since, k)
		}
	}
	for k, at := range w.since {
		if now.Sub(at) > forgetAfter {
			delete(w.since, k)
		}
	}
}

// warming is what a Recorder must know, see its method Warming.
type warming struct {
	addrs  map[string]bool // of the instances that warm up; nil is none
	stable float64         // share of stable's capacity that is warm
	canary bool            // some canary is warm
}

// of returns what warms up among the instances that the rollout's requests may
// go to.
func (w *warmups) of(t *route.Table, p *rollout.Plan, now time.Time) warming {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := warming{stable: 1, canary: true}
	young := func(tg *route.Target) bool {
		at, ok := w.since[instanceKey{tg.Service, tg.Node, tg.ID}]
		return ok && now.Sub(at) < p.Analysis.Warmup
	}
	if len(w.since) == 0 {
		return all
	}
	var warm, whole [2]int
	for r := range t.Routes() {
		for _, part := range r.Parts {
			if part.Split.Rollout != p.Service {
				continue
			}
			for _, arm := range [...]route.ArmName{route.Stable, route.Canary} {
				for _, tg := range part.Arms[arm].Ready {
					whole[arm] += tg.Capacity()
					if !young(tg) {
						warm[arm] += tg.Capacity()
						continue
					}
					if all.addrs == nil {
						all.addrs = map[string]bool{}
					}
					all.addrs[tg.Addr] = true
				}
			}
		}
	}
	if whole[route.Stable] > 0 {
		all.stable = float64(warm[route.Stable]) / float64(whole[route.Stable])
	}
	all.canary = whole[route.Canary] == 0 || warm[route.Canary] > 0
	return all
}
