package canary

import (
	"net/netip"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"serin/canary/rollout"
	"serin/route"
)

// What a settle costs does not grow with the clients and the rules of
// environments while neither they nor the addresses change.
func TestSettleKeepsWhatCosts(t *testing.T) {
	c := &Controller{Publish: func(route.Splits, []string) {}}
	c.init()
	c.SetStates(map[string]rollout.State{})
	r := &run{c: c, ctx: t.Context(), log: hclog.NewNullLogger(), entries: map[string]*entry{}, main: &feed{}}
	at := new2026
	const doc = `{"match": [{"path": "~^/a", "to": "canary"}], "environments": [
		{"name": "a", "when": {"service": "batch"}, "roll": {"start": "2026-01-01T00:00:00Z", "end": "2027-01-01T00:00:00Z"}, "ratio": 1},
		{"name": "b", "when": {"service": "batch"}, "ratio": 0.5},
		{"name": "c", "when": {"cidr": "10.0.0.0/8"}, "match": [{"path": "~^/b", "to": "canary"}]}]}`
	r.arriveMain(Event{Docs: map[string]Raw{"web": {Key: "lb/canary/web", Value: []byte(doc), Index: 1}}, At: at}, at)
	settled := func(addrs ...string) []route.Variant {
		t.Helper()
		if len(addrs) > 0 {
			var all []netip.Addr
			for _, a := range addrs {
				all = append(all, netip.MustParseAddr(a))
			}
			c.SetAddresses(Addresses{Services: map[string][]netip.Addr{"batch": all}})
		}
		at = at.Add(24 * time.Hour)
		r.settle(at)
		all := r.entries["web"].split.Variants
		if len(all) != 3 || r.entries["web"].own.err != nil {
			t.Fatal(all, r.entries["web"].own.err)
		}
		return all
	}
	first := settled("192.0.2.1", "192.0.2.2")
	if first[0].Prepared != first[1].Prepared || first[0].Prepared == first[2].Prepared {
		t.Error("environments for the same clients have not the same ones, or others have")
	}
	if &first[0].Split.Match[0] != &first[1].Split.Match[0] || &first[0].Split.Match[0] == &first[2].Split.Match[0] {
		t.Error("environments with the same rules have not the same ones, or others have")
	}
	for _, addrs := range [][]string{nil, {"192.0.2.1", "192.0.2.2"}} { // a later time; the same addresses again
		again := settled(addrs...)
		for i := range again {
			if again[i].Prepared != first[i].Prepared || &again[i].Split.Match[0] != &first[i].Split.Match[0] {
				t.Errorf("environment %s was made anew after %v", again[i].Name, addrs)
			}
		}
		if again[0].Share <= first[0].Share {
			t.Errorf("the roll did not move: %v, then %v", first[0].Share, again[0].Share)
		}
	}
	other := settled("192.0.2.1", "192.0.2.3")
	if other[0].Prepared == first[0].Prepared || other[0].Prepared != other[1].Prepared || other[2].Prepared != first[2].Prepared {
		t.Error("other addresses have not made the clients of the service, and those alone, anew")
	}
	if got := other[1].Clients; len(got) != 2 || got[1].String() != "192.0.2.3/32" {
		t.Errorf("clients of the service are %v", got)
	}
}
