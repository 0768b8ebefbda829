package canary

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"serin/route"
)

func TestForBalancer(t *testing.T) {
	f := func(doc string, self Self, want string) {
		t.Helper()
		v := versionOf(t, doc)
		got := string(forBalancer(v.raw.Value, v.doc, self, func(string) uint64 { return 1 << 62 }, new2026))
		if got != want {
			t.Errorf("%s\n for %+v\n got %s\nwant %s", doc, self, got, want)
		}
		if _, err := Parse("k", []byte(got)); err != nil {
			t.Errorf("%s is no document: %v", got, err)
		}
	}
	n1 := Self{Node: "n1", Datacenter: "dc1", Tags: []string{"edge"}}
	// What needs no change is the same text.
	f(`{ "ratio": "10%", "comment": "as it is" }`, n1, `{ "ratio": "10%", "comment": "as it is" }`)
	f(`{"config_server": "file:/x", "x-a": null, "ratio": 0.1}`, n1, `{"x-a":null,"ratio":0.1}`)
	// Environments of balancers are applied or dropped.
	f(`{"ratio": 0.1, "x-ticket": 7, "environments": [{"name": "a", "when": {"node": "n2"}, "ratio": 0.2}, {"name": "b", "when": {"tag": "edge"}, "ratio": 0.3, "canary": "v2"}, {"name": "c", "when": {"cidr": "10.0.0.0/8"}, "ratio": 1}]}`,
		n1, `{"ratio":0.3,"x-ticket":7,"canary":"v2"}`)
	f(`{"ratio": 0.1, "environments": [{"name": "a", "when": {"node": "n2"}, "ratio": 0.2}]}`, n1, `{"ratio":0.1}`)
	// Those of clients stay, and ask for nothing else.
	f(`{"ratio": 0.1, "environments": [{"name": "c", "when": {"cidr": "10.0.0.0/8", "node": ["n1", "n2"]}, "ratio": 1}, {"name": "d", "when": {"cidr": "10.0.0.0/8", "node": "n2"}, "ratio": 1}]}`,
		n1, `{"ratio":0.1,"environments":[{"name":"c","when":{"cidr":"10.0.0.0/8"},"ratio":1}]}`)
	// Those before the one that holds are patches of what they were patches of.
	f(`{"ratio": 0.1, "limits": {"max_ratio": 0.5}, "environments": [{"name": "c", "when": {"cidr": "10.0.0.0/8"}, "method": "round_robin"}, {"name": "b", "when": {"tag": "edge"}, "ratio": 0.3, "limits": {"max_ratio": null, "min_healthy": 2}}]}`,
		n1, `{"ratio":0.3,"limits":{"min_healthy":2},"environments":[{"name":"c","when":{"cidr":"10.0.0.0/8"},"ratio":0.1,"limits":{"min_healthy":null,"max_ratio":0.5},"method":"round_robin"}]}`)
	// What cannot be told so is left to the asker.
	f(`{"steps": [{"ratio": 0.1, "for": "1m"}], "environments": [{"name": "c", "when": {"cidr": "10.0.0.0/8"}, "method": "round_robin"}, {"name": "x", "when": {"node": "n2"}, "limits": {"min_healthy": 3}}, {"name": "b", "when": {"tag": "edge"}, "steps": null, "ratio": 0.3, "roll": {"start": "2025-01-01T00:00:00Z", "end": "2025-01-02T00:00:00Z"}}]}`,
		n1, `{"steps":[{"ratio":0.1,"for":"1m"}],"environments":[{"name":"c","when":{"cidr":"10.0.0.0/8"},"method":"round_robin"},{"name":"b","when":{"tag":"edge"},"steps":null,"ratio":0.3}]}`)
	// A roll that has come to this balancer, and one that has not.
	f(`{"environments": [{"name": "a", "when": {"datacenter": "dc1"}, "roll": {"start": "2025-12-31T00:00:00Z", "end": "2026-01-02T00:00:00Z"}, "ratio": 0.2}]}`, n1, `{"ratio":0.2}`)
	f(`{"environments": [{"name": "a", "when": {"datacenter": "dc1"}, "roll": {"start": "2025-12-31T00:00:00Z", "end": "2027-01-02T00:00:00Z"}, "ratio": 0.2}]}`, n1, `{}`)
}

// TestResolve asks a controller, which answers as it serves.
func TestResolve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := newFakeSource("lb/canary")
		c := &Controller{
			Source: source, Publish: func(route.Splits, []string) {},
			Open: func(string, time.Duration) (Source, error) { return newFakeSource("remote"), nil },
		}
		c.SetSecret([2]uint64{1, 2})
		c.SetSelf(Self{Node: "n1"})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }()
		ask := func(service string, a Asker, want string) {
			t.Helper()
			text, hash, ok := c.Resolve(service, a)
			if got := string(text); got != want || ok != (want != "") || ok && hash != Hash(text) {
				t.Errorf("%s as %+v: %v %s\n got %s\nwant %s", service, a, ok, hash, got, want)
			}
		}
		client := func(addr string) Asker { return Asker{Client: netip.MustParseAddr(addr)} }
		ask("web", Asker{}, "")
		source.do("doc", `* {"ratio": 0.3}`)
		ask("web", Asker{}, `{"ratio": 0.3}`)
		ask("", Asker{}, `{"ratio": 0.3}`)
		source.do("doc", `web {"ratio": 7}`) // refused: the common one stays in force
		ask("web", Asker{}, `{"ratio": 0.3}`)
		source.do("doc", `web {"comment": "c", "config_server": "https://dead.example", "ratio": 0.1, "environments": [
			{"name": "office", "when": {"cidr": "10.0.0.0/8"}, "ratio": 1},
			{"name": "here", "when": {"node": "n1"}, "ratio": 0.5},
			{"name": "there", "when": {"node": "n2"}, "canary": "v2"}]}`)
		const office = `,"environments":[{"name":"office","when":{"cidr":"10.0.0.0/8"},"ratio":1}]}`
		ask("web", Asker{}, `{"comment":"c","ratio":0.5}`)
		ask("web", client("10.1.2.3"), `{"comment":"c","ratio":1}`)
		ask("web", client("::ffff:10.1.2.3"), `{"comment":"c","ratio":1}`)
		ask("web", client("192.0.2.1"), `{"comment":"c","ratio":0.5}`)
		ask("web", Asker{Self: &Self{}}, `{"comment":"c","ratio":0.1`+office)
		ask("web", Asker{Self: &Self{Node: "n1"}}, `{"comment":"c","ratio":0.5`+office)
		ask("web", Asker{Self: &Self{Node: "n2"}}, `{"comment":"c","ratio":0.1,"canary":"v2"`+office)
		source.do("doc", `api {"ratio": 7}`)
		source.do("delete", "*")
		ask("api", Asker{}, "")
		ask("other", Asker{}, "")

		// Half of the clients of a roll, and those that the balancer serves so.
		source.do("doc", `roll {"ratio": 0.1, "environments": [{"name": "all", "when": {"cidr": "0.0.0.0/0"}, "roll": {"start": "1999-12-31T00:00:00Z", "end": "2000-01-02T00:00:00Z"}, "ratio": 0.9}]}`)
		split := c.current().splits.For("roll")
		n := 0
		for i := range 200 {
			addr := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
			text, _, _ := c.Resolve("roll", Asker{Client: addr})
			_, in := split.VariantFor(addr)
			if has := strings.Contains(string(text), "0.9"); has != (in == "all") {
				t.Errorf("%s is answered %s and served %q", addr, text, in)
			} else if has {
				n++
			}
		}
		if n < 60 || n > 140 {
			t.Errorf("%d of 200 clients are in a roll that is half done", n)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// FuzzResolve: what is answered is a document, and means the same to who asked.
func FuzzResolve(f *testing.F) {
	for _, seed := range []string{
		`{}`,
		`{"ratio": 0.1, "environments": [{"name": "a", "when": {"cidr": "10.0.0.0/8"}, "ratio": 1}, {"name": "b", "when": {"node": "n1"}, "ratio": 0.3, "limits": {"max_ratio": 0.2}}]}`,
		`{"steps": [{"ratio": 0.1, "for": "1m"}], "environments": [{"name": "a", "when": {"cidr": "10.0.0.0/8", "node": "n1"}, "method": "hash"}, {"name": "b", "when": {"tag": "t"}, "steps": null, "ratio": 1}]}`,
		`{"config_server": "file:/a", "x-": null, "match": [{"path": "/a", "to": "canary"}], "environments": [{"name": "b", "when": {"datacenter": "dc1"}, "roll": {"start": "2025-01-01T00:00:00Z", "end": "2027-01-01T00:00:00Z"}, "match": null, "comment": "c"}]}`,
		`{"sticky": {"by": ["ip"], "instance": "node"}, "mirror": {"ratio": 0.1}, "environments": [{"name": "a", "when": {"host": "a.example"}, "sticky": {"instance": false}, "mirror": null}, {"name": "b", "when": {"node": "n1"}, "sticky": false, "mirror": {"timeout": "1s"}}]}`,
	} {
		f.Add(seed, uint64(1)<<62)
	}
	self := Self{Node: "n1", Datacenter: "dc1", Tags: []string{"t"}}
	f.Fuzz(func(t *testing.T, text string, u uint64) {
		raw := Raw{Key: "k", Value: []byte(text)}
		d, err := Parse(raw.Key, raw.Value)
		if err != nil {
			return
		}
		v, err := newVersion("web", raw, d)
		if err != nil {
			t.Fatalf("Parse lets pass what cannot be used: %v", err)
		}
		roll := func(string) uint64 { return u }
		for _, environment := range append([]Environment{{}}, d.Environments...) {
			got := forClient(raw.Value, d, environment.Name)
			if one, err := Parse("k", got); err != nil || one.Environments != nil || one.ConfigServer != "" {
				t.Fatalf("for a client: %s: %v", got, err)
			}
		}
		got := forBalancer(raw.Value, d, self, roll, new2026)
		one, err := Parse("k", got)
		if err != nil || one.ConfigServer != "" {
			t.Fatalf("for a balancer: %s: %v", got, err)
		}
		again, err := newVersion("web", Raw{Key: "k", Value: got}, one)
		if err != nil {
			t.Fatal(err)
		}
		here := resolve(d, v.patched, self, (Addresses{}).of, roll, new2026)
		there := resolve(one, again.patched, self, (Addresses{}).of, roll, new2026)
		if !here.doc.movesAs(there.doc) || len(here.variants) > len(there.variants) {
			t.Fatalf("%s\n means something else to who asked: %s", text, got)
		}
		for i, a := range there.variants {
			if b := here.variants; i >= len(b) || a.name != b[i].name {
				continue // of a share of 0
			} else if !a.doc.movesAs(b[i].doc) {
				t.Fatalf("%s\n environment %s means something else to who asked: %s", text, a.name, got)
			}
		}
	})
}
