package main

import (
	"fmt"
	"maps"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"serin/admin"
	"serin/route"
)

// state is the balancer's answer to probes. It is ready when the first full
// picture is in the table; after that only draining ends it: losing Consul
// makes it stale, which is a warning.
func (b *balancer) readiness() admin.State {
	var s admin.State
	switch {
	case b.draining.Load():
		s.NotReady = append(s.NotReady, "draining")
	case !b.ready.Load():
		s.NotReady = b.missing()
		if len(s.NotReady) == 0 {
			b.ready.Store(true)
		}
	}
	s.Warnings = b.warnings()
	return s
}

// missing lists what a first full picture lacks.
func (b *balancer) missing() (out []string) {
	if b.restored {
		return nil
	}
	if !b.watcher.Ready() {
		out = append(out, "the catalog is not known yet: "+orWaiting(b.watcher.Status().LastError))
	} else if b.loop.Table().Snapshot() != b.latest.Load() {
		out = append(out, "the first table is not built yet")
	}
	if c := b.canaries.Status(); !c.Answered && c.Error == "" {
		out = append(out, "the canary documents are not known yet")
	}
	for _, f := range b.keys {
		if !f.Heard() {
			out = append(out, "what is at "+f.path+" is not known yet")
		}
	}
	if !b.keyed.Load() {
		out = append(out, "the secret of sticky assignment is not known yet")
	}
	return out
}

func orWaiting(err string) string {
	if err == "" {
		return "waiting for Consul"
	}
	return err
}

// warnings lists what a person should look at although traffic flows.
func (b *balancer) warnings() (out []string) {
	if w := b.watcher.Status(); w.Stale && b.ready.Load() {
		why := w.LastError
		if why == "" && len(w.Holds) > 0 {
			why = fmt.Sprintf("%d services are held, the first is %s: %s", len(w.Holds), w.Holds[0].Service, w.Holds[0].Reason)
		}
		out = append(out, "the catalog may be out of date: "+orWaiting(why))
	}
	for _, f := range b.keys {
		if w := f.Warning(); w != "" && b.ready.Load() {
			out = append(out, w)
		}
	}
	if w := b.ownership.warning(); w != "" {
		out = append(out, w)
	}
	out = append(out, b.auth.Problems()...)
	return append(append(out, b.canaries.Problems()...), emptyArms(b.loop.Table())...)
}

// emptyArms are the selectors of documents that no instance matches, as many as
// a person reads: the log and /api/v1/problems have all. A document without
// selectors that waits for its first canary, or outlives its last, is ordinary:
// it must not turn the checks of all balancers to warning.
func emptyArms(table *route.Table) (out []string) {
	for _, service := range documented(table) {
		if sp := table.Splits().For(service); !sp.Canary.IsZero() || !sp.Stable.IsZero() || !sp.Backup.IsZero() {
			out = append(out, table.Effect(service).Warnings...)
		}
	}
	const most = 10
	if more := len(out) - most; more > 0 {
		out = append(out[:most], fmt.Sprintf("and %d more arms are empty: see /api/v1/problems", more))
	}
	return out
}

// sharesInForce is what the table makes of each document in it.
func sharesInForce(table *route.Table) map[string]float64 {
	shares := map[string]float64{}
	for _, service := range documented(table) {
		shares[service] = table.Effect(service).Ratio
	}
	return shares
}

// documented lists the services that have a document in the table, "" for the
// one of all others.
func documented(table *route.Table) []string {
	splits := table.Splits()
	names := slices.Sorted(maps.Keys(splits.ByService))
	if splits.Default != nil {
		names = append(names, "")
	}
	return names
}

// adminServer is what looks into b.
func (b *balancer) adminServer(metrics prometheus.Gatherer) *admin.Server {
	return &admin.Server{
		Table:        b.loop.Table,
		Upstreams:    b.core.Upstreams.Snapshot,
		Core:         b.core,
		Canary:       b.canaries,
		CanaryEditor: b.editor(),
		Fleet:        b.fleet,
		Overrides:    b.overrides,
		ReadOnly:     b.cfg.readOnly(),
		Registry:     b.registryStatus,
		Ready:        b.readiness,
		Config:       b.cfg.show(),
		Version:      buildVersion(),
		Metrics:      metrics,
		TagPrefix:    b.cfg.Registry.Consul.TagPrefix,
		Remote:       b.cfg.UI.AllowRemote,
		Started:      b.started,
		Log:          b.log.Named("admin"),
	}
}

func (b *balancer) registryStatus() admin.RegistryStatus {
	w := b.watcher.Status()
	s := admin.RegistryStatus{Addr: b.client.Addr(), LastContact: w.LastContact, Error: w.LastError, Stale: w.Stale, Source: "none"}
	switch {
	case !w.LastContact.IsZero():
		s.Source = "consul"
	case b.restored:
		s.Source = "disk"
	}
	names, _ := b.client.Registered()
	s.Registered = slices.Sorted(maps.Keys(names))
	s.Following = &admin.Following{
		Mode: string(w.Mode), Services: w.Services, Streams: w.Streams, Connections: w.Connections,
		ReadsPerSecond: w.ReadsPerSecond, OldestAnswer: w.OldestAnswer.Seconds(), Corrections: w.Corrections,
	}
	return s
}
