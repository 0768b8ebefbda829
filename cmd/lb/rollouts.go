package main

import (
	"cmp"
	"context"
	"encoding/json"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"serin/canary"
	"serin/canary/rollout"
	"serin/canary/webhook"
	"serin/route"
)

// rollouts is what moves shares by themselves: this balancer's part in the
// fleet, what its requests show, and who is told.
//
//	canaries.Plans → fleet → canaries.SetStates
//	Outcome → witness → the fleet's recorders
//	table → fleet.SetApplied
//	events → notifier
type rollouts struct {
	fleet    *rollout.Fleet
	witness  witness
	warmups  warmups
	notifier *webhook.Notifier
	plans    atomic.Pointer[map[string]*rollout.Plan]
}

// joinFleet makes b's part in the rollouts. The listeners are open.
func (b *balancer) joinFleet(reg prometheus.Registerer) {
	b.fleet = &rollout.Fleet{
		Store:    rolloutStore{b.client},
		Self:     rollout.Self{ID: balancerID(), Addr: b.looking.Addr().String(), Version: buildVersion().Version, Blind: b.cfg.alone},
		States:   b.rolloutStates,
		Happened: b.happened,
		Logger:   b.log.Named("rollout"),
		Metrics:  rollout.NewMetrics(reg),
	}
	b.witness.recorder = b.fleet.Recorder
	b.notifier = &webhook.Notifier{Private: private(b.cfg), Log: b.log.Named("webhook"), Metrics: webhook.NewMetrics(reg)}
	b.canaries.Plans = b.rolloutPlans
}

// private lists what documents may not have sent: the balancer's own secrets, as
// their references. Its variables are refused without being listed.
func private(cfg Config) (references []string) {
	for _, path := range []string{cfg.Registry.Consul.TokenFile, cfg.Registry.Consul.TLS.KeyFile, os.Getenv("CONSUL_HTTP_TOKEN_FILE")} {
		if path != "" {
			references = append(references, "file:"+path)
		}
	}
	return references
}

// balancerID names this process among all balancers, of the past too.
func balancerID() string {
	host, _ := os.Hostname()
	host = strings.Map(func(r rune) rune {
		if r == '/' || r <= ' ' {
			return '-'
		}
		return r
	}, cmp.Or(host, "lb"))
	return host + "-" + uuid.NewString()[:8]
}

// rolloutPlans takes in the plans of the documents in force.
func (b *balancer) rolloutPlans(plans map[string]*rollout.Plan) {
	b.plans.Store(&plans)
	b.witness.setPlans(plans)
	b.fleet.SetPlans(plans)
}

// rolloutStates takes in the states that all balancers share.
func (b *balancer) rolloutStates(states map[string]rollout.State) {
	b.canaries.SetStates(states)
	if b.saver == nil {
		return
	}
	kept := map[string]json.RawMessage{}
	for service, s := range states {
		if text, err := json.Marshal(s); err == nil {
			kept[service] = text
		}
	}
	b.saver.SetRollouts(kept)
}

// restoreRollouts takes the states from disk, so that what was promoted, rolled
// back or paused is so without Consul too.
func (b *balancer) restoreRollouts(kept map[string]json.RawMessage) {
	states := map[string]rollout.State{}
	for service, text := range kept {
		var s rollout.State
		if err := json.Unmarshal(text, &s); err != nil {
			b.log.Warn("the state of a rollout on disk cannot be used", "service", service, "error", err)
			continue
		}
		states[service] = s
	}
	if len(states) > 0 { // else nothing is known: a rollout waits for Consul's word
		b.canaries.SetStates(states)
	}
}

// happened is told what this balancer did to a rollout.
func (b *balancer) happened(e rollout.Event, p *rollout.Plan) {
	if p != nil {
		b.notifier.Notify(e, p)
	}
}

// applied is what is in force of each document, by rollout: what the table makes
// of it, and which newer text is refused.
func applied(t *route.Table, st canary.Status) map[string]rollout.Applied {
	out := map[string]rollout.Applied{}
	splits := t.Splits()
	for _, service := range documented(t) {
		sp := splits.Default
		if service != "" {
			sp = splits.ByService[service]
		}
		e := t.Effect(service)
		out[canary.Label(service)] = rollout.Applied{Index: sp.Index, Hash: sp.DocHash, Ratio: e.Ratio, Because: canary.JoinReasons(sp.Because, e.Because)}
	}
	for _, s := range st.Services {
		a, ok := out[canary.Label(s.Service)]
		if ok {
			a.Index = canary.Raw{Key: s.Source, Index: a.Index}.SharedIndex()
		}
		if s.Error != nil {
			a.Rejected, a.Invalid, ok = s.Index, s.Error.Error(), true
		}
		if ok {
			out[canary.Label(s.Service)] = a
		}
	}
	return out
}

// tellFleet tells the fleet what is in force here.
func (b *balancer) tellFleet() { b.fleet.SetApplied(applied(b.loop.Table(), b.canaries.Status())) }

// attend looks once a second, until ctx ends, at what no table tells: documents
// that are refused, and instances whose warm-up is over.
func (b *balancer) attend(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			b.tellFleet()
			b.warm(now)
		}
	}
}

// warm tells the recorders which instances are in their warm-up.
func (b *balancer) warm(now time.Time) {
	plans := b.plans.Load()
	if plans == nil {
		return
	}
	for service, p := range *plans {
		if rec := b.fleet.Recorder(service); rec != nil && p.Analysis != nil {
			w := b.warmups.of(b.loop.Table(), p, now)
			rec.Warming(w.addrs, w.stable, w.canary)
		}
	}
}

// introduce says who this balancer is, once Consul's agent has told it.
func (b *balancer) introduce(ctx context.Context) error {
	said := false
	again(ctx, func() bool {
		node, datacenter, err := b.client.Agent(ctx)
		if err == nil {
			b.canaries.SetSelf(canary.Self{Node: node, Datacenter: datacenter, Tags: b.cfg.Registry.Consul.Register.Tags})
			return true
		}
		if ctx.Err() == nil && !said {
			said = true
			b.log.Warn("the agent does not say which node this is: no environment matches by node, datacenter or tag yet", "error", err)
		}
		return false
	})
	return nil
}
