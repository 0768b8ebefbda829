package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"serin/canary"
	"serin/canary/rollout"
	"serin/registry"
	"serin/route"
)

// What the fleet is told: what the table makes of every document, and what is
// refused.
func TestApplied(t *testing.T) {
	svc := &registry.Service{Name: "web", Instances: []registry.Instance{
		{Service: "web", ID: "a", Addr: "10.0.0.1:80", Ready: true, Tags: []string{"urlprefix-/"}},
		{Service: "web", ID: "b", Addr: "10.0.0.2:80", Ready: true, Tags: []string{"urlprefix-/", "canary"}},
	}}
	svc.Normalize()
	alone := &registry.Service{Name: "api", Instances: []registry.Instance{
		{Service: "api", ID: "c", Addr: "10.0.0.3:80", Ready: true, Tags: []string{"urlprefix-/api"}},
	}}
	alone.Normalize()
	var b route.Builder
	table := b.Build(route.Inputs{Snapshot: registry.New(svc, alone), Splits: route.Splits{
		Default: &route.Split{Explicit: true, Ratio: 0.3, Wanted: 0.3, Index: 5, DocHash: "five"},
		ByService: map[string]*route.Split{
			"web": {Service: "web", Explicit: true, Ratio: 0.2, Wanted: 0.5, Because: "max_ratio: 0.2", Index: 7, DocHash: "seven"},
			"api": {Service: "api", Explicit: true, Ratio: 0.5, Wanted: 0.5, Index: 6, DocHash: "six"},
		},
	}})
	got := applied(table, canary.Status{Services: []canary.ServiceStatus{
		{Service: ""}, {Service: "web", Index: 9, Error: &canary.Error{Key: "lb/canary/web", Line: 1, Column: 2, Msg: "no"}},
	}})
	want := map[string]rollout.Applied{
		"*":   {Index: 5, Hash: "five", Ratio: 0.3},
		"web": {Index: 7, Hash: "seven", Ratio: 0.2, Because: "max_ratio: 0.2", Rejected: 9, Invalid: "lb/canary/web:1:2: no"},
		"api": {Index: 6, Hash: "six", Because: "health: no canary instance is ready"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A balancer's name has no slash, which would be another key in Consul, and no
// two are the same.
func TestBalancerID(t *testing.T) {
	a, b := balancerID(), balancerID()
	if a == b || len(a) < 10 {
		t.Errorf("%q, %q", a, b)
	}
}

func TestPrivate(t *testing.T) {
	t.Setenv("CONSUL_HTTP_TOKEN_FILE", "/run/token")
	var cfg Config
	cfg.Registry.Consul.TokenFile, cfg.Registry.Consul.TLS.KeyFile = "/etc/token", "/etc/key.pem"
	if diff := cmp.Diff([]string{"file:/etc/token", "file:/etc/key.pem", "file:/run/token"}, private(cfg)); diff != "" {
		t.Error(diff)
	}
}
