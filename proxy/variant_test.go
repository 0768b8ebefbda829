package proxy

import (
	"net/netip"
	"testing"

	"serin/route"
)

// forClients is a split with one environment of clients.
func forClients(sp, variant *route.Split, network string) *route.Split {
	sp.Service, sp.Explicit = "web", true
	variant.Explicit = true
	sp.Variants = []route.Variant{{Name: "office", Clients: []netip.Prefix{netip.MustParsePrefix(network)}, Share: 1, Split: variant}}
	return sp
}

// TestDecideInAnEnvironment: for clients of an environment its split decides
// everything: the arm, the key, the guards, the balance.
func TestDecideInAnEnvironment(t *testing.T) {
	f := func(sp, variant *route.Split, r, want, environment string) {
		t.Helper()
		tab := table(t, twoAndOne, forClients(sp, variant, "10.0.0.0/8"))
		u := upstreams(newClock())
		u.Swap(tab)
		s := Settings{Balance: route.RandomBalance}
		if got := sweep(tab, s, u, req(r)); got != want {
			t.Errorf("%s\n got %s\nwant %s", r, got, want)
		}
		d := Decide(tab, s, u, nil, req(r), Middle(newClock().t))
		if d.Environment != environment || (d.Split == d.Part.Split) != (environment == "") {
			t.Errorf("%s: environment %q of split %+v", r, d.Environment, d.Split)
		}
	}
	out, in := "GET a.test/", "GET a.test/ from:10.1.2.3"
	f(&route.Split{}, &route.Split{Ratio: 1}, out, "100% stable chance s1 s2", "")
	f(&route.Split{}, &route.Split{Ratio: 1}, in, "100% canary chance c1", "office")
	f(&route.Split{Ratio: 1}, &route.Split{Ratio: 0.5, MinHealthy: 2}, in, "50% stable chance s1 s2, 50% stable no_canary s1 s2", "office")
	rule := []route.MatchRule{{Methods: []string{"GET"}, To: route.Canary}}
	f(&route.Split{}, &route.Split{Match: rule}, in, "100% canary rule c1", "office")
	f(&route.Split{Match: rule}, &route.Split{}, in, "100% stable chance s1 s2", "office")
	f(&route.Split{Ratio: 1}, &route.Split{Ratio: 0.3, Method: route.RoundRobin}, in, "30% canary turn c1, 70% stable turn s1 s2", "office")
	byUser := route.Sticky{By: []route.KeySource{{Kind: route.KeyHeader, Name: "X-User"}}}
	f(&route.Split{Method: route.Hash, Sticky: byUser}, &route.Split{Ratio: 1, Method: route.Hash, Sticky: byUser}, in+" X-User:a", "100% canary sticky c1", "office")
	f(&route.Split{Ratio: 1}, &route.Split{HasBalance: true, Balance: route.HashBalance}, "GET a.test/ from:10.1.2.4", "100% stable chance s1", "office")
}

// TestRetryStaysInItsEnvironment: an environment without a canary gets no
// retry there either.
func TestRetryStaysInItsEnvironment(t *testing.T) {
	clk := newClock()
	tab := table(t, "web s1 s1:1 passing /\nweb c1 c1:1 passing / canary", forClients(&route.Split{Ratio: 0.5}, &route.Split{}, "10.0.0.0/8"))
	c := testCore(clk, tab)
	for from, want := range map[string]bool{"10.1.1.1": false, "192.0.2.1": true} {
		d := c.Decide(req("GET a.test/ from:" + from))
		if got := c.Retry(&d, Attempt{Class: ConnectError}); got != want {
			t.Errorf("from %s: retried: %v", from, got)
		}
	}
}

// TestTurnsOfAnEnvironmentAreItsOwn: clients that come in step with others get
// both arms nevertheless.
func TestTurnsOfAnEnvironmentAreItsOwn(t *testing.T) {
	half := func() *route.Split { return &route.Split{Ratio: 0.5, Method: route.RoundRobin} }
	tab := table(t, twoAndOne, forClients(half(), half(), "10.0.0.0/8"))
	u := upstreams(newClock())
	u.Swap(tab)
	arms := map[string]int{}
	for range 100 {
		for _, from := range []string{"10.0.0.1", "192.0.2.1"} {
			arms[from+" "+Decide(tab, Settings{}, u, nil, req("GET a.test/ from:"+from), Draw{}).Arm.String()]++
		}
	}
	for what, n := range arms {
		if n != 50 {
			t.Errorf("%s: %d of 100", what, n)
		}
	}
}

func TestRandomised(t *testing.T) {
	f := func(lines string, sp *route.Split, s Settings, r, eject string, want bool) {
		t.Helper()
		sp.Service, sp.Explicit = "web", true
		tab := table(t, lines, sp)
		u := upstreams(newClock())
		u.Swap(tab)
		for _, target := range []string{"s1:1", "s2:1", "c1:1"} {
			if in, ok := u.byAddr.get(target); ok && eject != "" && target == eject {
				in.condition.eject(Reset, u.now(), 0)
				u.set(in, ejected)
			}
		}
		for _, draw := range []uint64{0, 1<<64 - 1} { // of either arm
			if d := Decide(tab, s, u, nil, req(r), Draw{Arm: draw}); d.Randomised != want {
				t.Errorf("%s, %s draws %v (%v): randomised: %v", r, eject, d.Arm, d.Why, d.Randomised)
			}
		}
	}
	half := func() *route.Split { return &route.Split{Ratio: 0.5} }
	get := "GET a.test/"
	f(twoAndOne, half(), Settings{}, get, "", true)
	f(twoAndOne, &route.Split{Ratio: 0.5, Method: route.RoundRobin}, Settings{}, get, "", true)
	f(twoAndOne, &route.Split{Ratio: 0.5, Method: route.Hash, Sticky: route.Sticky{By: []route.KeySource{{Kind: route.KeyIP}}}}, Settings{}, get, "", true)
	f(twoAndOne, half(), Settings{}, get, "s1:1", true)
	f(twoAndOne, half(), Settings{}, get, "c1:1", false) // canary gives its requests to stable
	f(twoAndOne, &route.Split{Ratio: 0.5, MinHealthy: 2}, Settings{}, get, "", false)
	f("web s1 s1:1 critical /\nweb c1 c1:1 passing / canary", half(), Settings{}, get, "", false)
	f("web s1 s1:1 passing /", half(), Settings{}, get, "", false)
	f(twoAndOne, half(), Settings{PanicPercent: 60}, get, "s1:1", false) // one arm panics
	f("web b1 b1:1 passing / spare", &route.Split{Ratio: 0.5, Backup: route.Selector{Tag: "spare"}}, Settings{}, get, "", false)
	f("web s1 s1:1 critical /\nweb c1 c1:1 critical / canary", half(), Settings{PanicCritical: true}, get, "", false)
	f(twoAndOne, &route.Split{Ratio: 0.5, Match: []route.MatchRule{{Methods: []string{"GET"}, To: route.Canary}}}, Settings{}, get, "", false)
	f(twoAndOne, &route.Split{Ratio: 0.5, Match: []route.MatchRule{{Methods: []string{"GET"}, To: route.Stable}}}, Settings{}, get, "", false)

	// A canary without room leaves its requests to stable.
	sp := half()
	sp.Service, sp.Explicit = "web", true
	tab := table(t, twoAndOne, sp)
	u := NewUpstreams(UpstreamsConfig{Limits: Limits{InFlightTarget: 1}})
	u.Swap(tab)
	u.Claim(target(tab, "c1:1"))
	if d := Decide(tab, Settings{}, u, nil, req(get), Draw{Arm: 0}); d.Arm != route.Stable || d.Why != WhyNoCanary || d.Randomised {
		t.Errorf("%v because of %v, randomised: %v", d.Arm, d.Why, d.Randomised)
	}
	// Where no document says anything nothing is compared.
	tab = table(t, twoAndOne)
	if d := Decide(tab, Settings{}, u, nil, req(get), Draw{}); d.Randomised {
		t.Error("randomised without a document")
	}
}

// TestHashBalance: the same client has the same instance, whose clients alone
// move when it goes, and the arms are drawn as ever.
func TestHashBalance(t *testing.T) {
	lines := "web a a:1 passing /\nweb b b:1 passing /\nweb c c:1 passing /\nweb d d:1 passing /\nweb e e:1 passing / canary\nweb f f:1 passing / canary"
	byUser := route.Sticky{By: []route.KeySource{{Kind: route.KeyHeader, Name: "X-User"}}}
	for name, sp := range map[string]*route.Split{
		"by address":          {Ratio: 0.5},
		"by address, ratio 0": {},
		"by key":              {Ratio: 0.5, Sticky: byUser},
		"by key, ratio 0":     {Sticky: byUser},
	} {
		sp.Service, sp.Explicit, sp.HasBalance, sp.Balance, sp.Secret = "web", true, true, route.HashBalance, [2]uint64{1, 2}
		tab := table(t, lines, sp)
		u := upstreams(newClock())
		u.Swap(tab)
		byKey := len(sp.Sticky.By) > 0
		of := func(client int, draw uint64, arm route.ArmName) string {
			r := req("GET a.test/ from:10.0.0." + string(rune('0'+client%10)))
			if byKey {
				r = req("GET a.test/ X-User:u" + string(rune('a'+client%26)) + " from:10.0.0." + string(rune('0'+draw%10)))
			}
			armDraw := uint64(1<<64 - 1)
			if arm == route.Canary {
				armDraw = 0
			}
			d := Decide(tab, Settings{}, u, nil, r, Draw{Instance: draw * 0x9e3779b97f4a7c15, Arm: armDraw})
			if sp.Ratio > 0 && d.Arm != arm {
				t.Errorf("%s: drawn %v, got %v: the balance decides about the arm", name, arm, d.Arm)
			}
			return d.Target.ID
		}
		for _, arm := range []route.ArmName{route.Stable, route.Canary} {
			if arm == route.Canary && sp.Ratio == 0 {
				continue
			}
			all := map[string]bool{}
			for client := range 10 {
				first := of(client, 0, arm)
				all[first] = true
				for draw := range uint64(20) {
					if again := of(client, draw, arm); again != first {
						t.Fatalf("%s: client %d had %s, and now %s", name, client, first, again)
					}
				}
			}
			if len(all) < 2 {
				t.Errorf("%s: all clients of %v have the same instance", name, arm)
			}
		}
		before := map[int]string{}
		for client := range 10 {
			before[client] = of(client, 1, route.Stable)
		}
		in, _ := u.byAddr.get("a:1")
		in.condition.eject(Reset, u.now(), 0)
		u.set(in, ejected)
		for client, was := range before {
			if is := of(client, 1, route.Stable); is == "a" || was != "a" && is != was {
				t.Errorf("%s: client %d moved from %s to %s when a went", name, client, was, is)
			}
		}
	}
	// Nothing is known of a client without an address.
	sp := &route.Split{Service: "web", Explicit: true, HasBalance: true, Balance: route.HashBalance}
	tab := table(t, lines, sp)
	r := req("GET a.test/")
	r.client = netip.Addr{}
	got := map[string]bool{}
	for i := range 40 {
		got[Decide(tab, Settings{}, upstreams(newClock()), nil, r, Draw{Instance: at(i, 40)}).Target.ID] = true
	}
	if len(got) < 4 {
		t.Errorf("of four instances %d get what cannot be told apart", len(got))
	}
}
