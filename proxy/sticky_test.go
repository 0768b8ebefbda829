package proxy

import (
	"net/netip"
	"strings"
	"testing"

	"serin/route"
)

// TestKeyFallsThrough: the first source that the request has wins; what is
// empty it has not, and what is missing is never hashed.
func TestKeyFallsThrough(t *testing.T) {
	uid := route.KeySource{Kind: route.KeyCookie, Name: "uid"}
	user := route.KeySource{Kind: route.KeyHeader, Name: "X-User"}
	own := route.KeySource{Kind: route.KeyCookie, Name: "lb_canary", Mint: true}
	ip := route.KeySource{Kind: route.KeyIP}
	f := func(r, want string, by ...route.KeySource) {
		t.Helper()
		sp := &route.Split{Service: "web", Explicit: true, Ratio: 0.5, Method: route.Hash, Secret: [2]uint64{1, 2}, Sticky: route.Sticky{By: by}}
		q := req(r)
		if strings.HasSuffix(r, " from:::") {
			q.client = netip.Addr{}
		}
		k := stickyKey(sp, q, newClock().t)
		got := "none"
		for what, position := range map[string]uint64{
			"cookie a": sp.Position(route.KeyCookie, "a"), "header a": sp.Position(route.KeyHeader, "a"),
			"address": sp.PositionAddr(netip.MustParseAddr("203.0.113.7")), "empty": sp.Position(route.KeyCookie, ""), "empty header": sp.Position(route.KeyHeader, ""),
		} {
			if k.found && k.position == position {
				got = what
			}
		}
		if k.setCookie != "" {
			got = "minted"
		}
		if k.found == (got == "none") || got != want {
			t.Errorf("%s by %v: %s (found: %v), want %s", r, by, got, k.found, want)
		}
		if arm, why := chooseArm(sp, calm{}, q, k, 0); !k.found && (why != WhyChance || arm != route.Canary) {
			t.Errorf("%s: without a key it is %v because of %v", r, arm, why)
		}
	}
	f("GET a.test/ cookie:uid=a X-User:b", "cookie a", uid, user, ip)
	f("GET a.test/ X-User:a", "header a", uid, user, ip)
	f("GET a.test/ cookie:uid= X-User:a", "header a", uid, user, ip)
	f("GET a.test/ cookie:uid= X-User:", "address", uid, user, ip)
	f("GET a.test/ cookie:uid= X-User:", "none", uid, user)
	f("GET a.test/", "none", uid)
	f("GET a.test/", "address", ip)
	f("GET a.test/ from:::", "none", ip)
	f("GET a.test/ X-User:a from:::", "header a", ip, user)
	f("GET a.test/ cookie:lb_canary=a", "cookie a", own, ip)
	f("GET a.test/ cookie:lb_canary=", "minted", own, ip)
	f("GET a.test/", "minted", own, ip)
	f("GET a.test/ from:::", "none", own, ip) // there is nothing to derive an id from
	f("GET a.test/ cookie:uid=a", "cookie a", uid, own)
}

// TestCookieIsSecureOverTLS: also where a trusted proxy ended the TLS.
func TestCookieIsSecureOverTLS(t *testing.T) {
	sp := &route.Split{Ratio: 0.5, Sticky: route.Sticky{By: []route.KeySource{{Kind: route.KeyCookie, Name: "lb_canary", Mint: true}}}}
	for r, want := range map[string]bool{"GET a.test/": false, "GET https://a.test/": true, "GET a.test/ secure:yes": true} {
		if k := stickyKey(sp, req(r), newClock().t); strings.HasSuffix(k.setCookie, "; Secure") != want {
			t.Errorf("%s: %s", r, k.setCookie)
		}
	}
}

// TestKeyOfAnInstance: it is computed where something asks for it, and is
// another than that of the arm.
func TestKeyOfAnInstance(t *testing.T) {
	by := []route.KeySource{{Kind: route.KeyHeader, Name: "X-User"}, {Kind: route.KeyIP}}
	for name, c := range map[string]struct {
		sp   route.Split
		want bool
	}{
		"arm only":            {route.Split{Ratio: 0.5, Sticky: route.Sticky{By: by}}, false},
		"instance":            {route.Split{Ratio: 0.5, Sticky: route.Sticky{By: by, Instance: route.InstanceSticks}}, true},
		"node, ratio 0":       {route.Split{Sticky: route.Sticky{By: by, Instance: route.NodeSticks}}, true},
		"balance hash":        {route.Split{HasBalance: true, Balance: route.HashBalance, Sticky: route.Sticky{By: by}}, true},
		"a balance not asked": {route.Split{Ratio: 0.5, Balance: route.HashBalance, Sticky: route.Sticky{By: by}}, false},
	} {
		for _, r := range []string{"GET a.test/ X-User:a", "GET a.test/"} {
			k := stickyKey(&c.sp, req(r), newClock().t)
			if !k.found || (k.instance != 0) != c.want || k.instance == k.position {
				t.Errorf("%s, %s: %+v", name, r, k)
			}
		}
	}
}

// stickyCases are the keys that a sticky decision may look for.
var stickyCases = map[string]struct {
	ask   Ask
	split route.Split
}{
	"cookie": {
		Ask{URL: "http://a.test/x", Headers: AskHeaders{"Cookie": {"theme=dark; session=0123456789abcdef0123456789abcdef; uid=7f2c9a4be1d05386"}}},
		route.Split{Sticky: route.Sticky{By: []route.KeySource{{Kind: route.KeyCookie, Name: "uid"}, {Kind: route.KeyIP}}}},
	},
	"header": {
		Ask{URL: "http://a.test/x", Headers: AskHeaders{"X-User": {"alice@example.com"}}},
		route.Split{Sticky: route.Sticky{By: []route.KeySource{{Kind: route.KeyHeader, Name: "X-User"}}}},
	},
	"address": {
		Ask{URL: "http://a.test/x", From: "203.0.113.7"},
		route.Split{Sticky: route.Sticky{By: []route.KeySource{{Kind: route.KeyIP}}}},
	},
	"IPv6": {
		Ask{URL: "http://a.test/x", From: "2001:db8:1:2::7"},
		route.Split{Sticky: route.Sticky{By: []route.KeySource{{Kind: route.KeyIP}}}},
	},
}

// sticky returns a case's split, and a request whose header is read as the
// engine reads it.
func sticky(t testing.TB, name string) (*route.Split, Request) {
	t.Helper()
	c := stickyCases[name]
	sp := c.split
	sp.Service, sp.ID, sp.Explicit, sp.Ratio, sp.Method, sp.Secret = "web", "2026-11", true, 0.5, route.Hash, [2]uint64{1, 2}
	r, err := c.ask.Request(&Core{})
	if err != nil {
		t.Fatal(err)
	}
	return &sp, r
}

func TestStickyDecisionDoesNotAllocate(t *testing.T) {
	for name := range stickyCases {
		sp, r := sticky(t, name)
		tab := table(t, twoAndOne, sp)
		u := upstreams(newClock())
		u.Swap(tab)
		if n := testing.AllocsPerRun(100, func() {
			if d := Decide(tab, Settings{}, u, nil, r, Draw{}); d.Why != WhySticky {
				t.Error(d.Why)
			}
		}); n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// BenchmarkSticky measures what a sticky split adds to a request: to find the
// client's key, to hash it, and to choose the arm.
func BenchmarkSticky(b *testing.B) {
	for name := range stickyCases {
		sp, r := sticky(b, name)
		now := newClock().t
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				chooseArm(sp, calm{}, r, stickyKey(sp, r, now), 0)
			}
		})
	}
}
