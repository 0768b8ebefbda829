package main

import (
	"fmt"
	"maps"
	"testing"

	"serin/registry"
	"serin/route"
)

// tableOf is a table of n services of one stable and one canary, with the split
// of s0 and that of all others.
func tableOf(n int, own, common *route.Split) *route.Table {
	var services []*registry.Service
	for i := range n {
		name := fmt.Sprint("s", i)
		svc := &registry.Service{Name: name}
		for _, tag := range []string{"stable", "canary"} {
			svc.Instances = append(svc.Instances, registry.Instance{
				Service: name, ID: name + tag, Addr: "10.0.0.1:80", Ready: true, Tags: []string{"urlprefix-/" + name, tag},
			})
		}
		services = append(services, svc)
	}
	splits := route.Splits{ByService: map[string]*route.Split{}, Default: common}
	if own != nil {
		splits.ByService["s0"] = own
	}
	return new(route.Builder).Build(route.Inputs{Snapshot: registry.New(services...), Splits: splits})
}

func TestSharesInForce(t *testing.T) {
	f := func(table *route.Table, want map[string]float64) {
		t.Helper()
		if got := sharesInForce(table); !maps.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	half := &route.Split{Explicit: true, Ratio: 0.5}
	guarded := &route.Split{Service: "s0", Explicit: true, Ratio: 0.5, MinHealthy: 2}
	f(nil, map[string]float64{})
	f(tableOf(2, nil, nil), map[string]float64{})
	f(tableOf(2, guarded, half), map[string]float64{"s0": 0, "": 0.5})
	f(tableOf(0, guarded, nil), map[string]float64{"s0": 0.5})
}

func TestEmptyArms(t *testing.T) {
	f := func(table *route.Table, want int, last string) {
		t.Helper()
		got := emptyArms(table)
		if len(got) != want || want > 0 && got[want-1] != last {
			t.Errorf("got %d: %q\nwant %d, the last %q", len(got), got, want, last)
		}
	}
	v9 := &route.Split{Explicit: true, Ratio: 0.5, Stable: route.Selector{Tag: "v9"}}
	own := &route.Split{Service: "s0", Explicit: true, Ratio: 0.5, Canary: route.Selector{Tag: "v8"}}
	f(nil, 0, "")
	f(tableOf(2, nil, nil), 0, "")
	waits := new(route.Builder).Build(route.Inputs{Snapshot: registry.New(&registry.Service{Name: "s0", Instances: []registry.Instance{
		{Service: "s0", ID: "a", Addr: "10.0.0.1:80", Ready: true, Tags: []string{"urlprefix-/"}},
	}}), Splits: route.Splits{ByService: map[string]*route.Split{"s0": {Service: "s0", Explicit: true, Ratio: 0.5}}}})

	f(waits, 0, "") // for its first canary
	f(tableOf(1, own, nil), 1, `s0: the canary arm is empty: no instance of the service has tag "v8"`)
	f(tableOf(2, own, v9), 2, `s1: the stable arm is empty: no instance of the service has tag "v9"`)
	f(tableOf(10, nil, v9), 10, `s9: the stable arm is empty: no instance of the service has tag "v9"`)
	f(tableOf(13, nil, v9), 11, "and 3 more arms are empty: see /api/v1/problems")
}
