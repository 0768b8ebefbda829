package proxy

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"serin/route"
)

func TestMirrorDecision(t *testing.T) {
	f := func(lines string, sp *route.Split, r string, draw Draw, want string) {
		t.Helper()
		sp.Service, sp.Explicit = "web", true
		tab := table(t, lines, sp)
		u := upstreams(newClock())
		u.Swap(tab)
		s := Settings{Balance: route.RoundRobinBalance, PanicCritical: true}
		d := Decide(tab, s, u, nil, req(r), draw)
		got := ""
		if d.Mirror != nil {
			got = d.Mirror.ID
		}
		if got != want {
			t.Errorf("%s (%v): copied to %q, want %q", r, d.Arm, got, want)
		}
	}
	mirror := func(ratio float64, methods ...string) *route.Split {
		return &route.Split{Mirror: &route.Mirror{Ratio: ratio, Methods: methods}}
	}
	get := "GET a.test/"
	f(twoAndOne, &route.Split{}, get, Draw{}, "")
	f(twoAndOne, mirror(1), get, Draw{}, "c1") // at ratio 0
	f(twoAndOne, mirror(1), get, Draw{Mirror: 1<<64 - 1}, "c1")
	f(twoAndOne, mirror(0), get, Draw{}, "")
	f(twoAndOne, mirror(0.25), get, Draw{Mirror: at(24, 100)}, "c1")
	f(twoAndOne, mirror(0.25), get, Draw{Mirror: at(26, 100)}, "")
	f(twoAndOne, mirror(1), "HEAD a.test/", Draw{}, "c1")
	f(twoAndOne, mirror(1), "OPTIONS a.test/", Draw{}, "c1")
	f(twoAndOne, mirror(1), "POST a.test/", Draw{}, "")
	f(twoAndOne, mirror(1, "POST"), "POST a.test/", Draw{}, "c1")
	f(twoAndOne, mirror(1, "POST"), get, Draw{}, "")

	// Only what stable serves, whatever sent it there.
	both := mirror(1)
	both.Ratio = 0.5
	f(twoAndOne, both, get, Draw{Arm: 0}, "")
	f(twoAndOne, both, get, Draw{Arm: 1<<64 - 1}, "c1")
	rule := mirror(1)
	rule.Ratio, rule.Match = 1, []route.MatchRule{{Methods: []string{"GET"}, To: route.Stable}}
	f(twoAndOne, rule, get, Draw{}, "c1")
	f("web c1 c1:1 passing / canary", mirror(1), get, Draw{}, "")
	f("web s1 s1:1 passing /", mirror(1), get, Draw{}, "")
	f("web s1 s1:1 critical /\nweb c1 c1:1 critical / canary", mirror(1), get, Draw{}, "")

	// A canary that would not have let the request in gets no copy.
	f("web s1 s1:1 passing /\nweb c1 c1:1 passing urlprefix-/_deny=ip:203.0.113.0/24 canary", mirror(1), get, Draw{}, "")

	// Nor one that is ejected.
	sp := mirror(1)
	sp.Service = "web"
	tab := table(t, twoAndOne, sp)
	u := upstreams(newClock())
	u.Swap(tab)
	in, _ := u.byAddr.get("c1:1")
	in.condition.eject(Reset, u.now(), 0)
	u.set(in, ejected)
	if d := Decide(tab, Settings{}, u, nil, req(get), Draw{}); d.Mirror != nil {
		t.Error("an ejected canary gets a copy")
	}
}

// TestMirrorTakesNoTurn: what is served in turn does not notice that copies are
// sent, and every canary gets its share of them.
func TestMirrorTakesNoTurn(t *testing.T) {
	lines := "web s1 s1:1 passing /\nweb c1 c1:1 passing / canary\nweb c2 c2:1 passing / canary"
	tab := table(t, lines, &route.Split{Service: "web", Explicit: true, Mirror: &route.Mirror{Ratio: 1}})
	u := upstreams(newClock())
	u.Swap(tab)
	got := map[string]int{}
	for i := range 1000 {
		got[Decide(tab, Settings{Balance: route.RoundRobinBalance}, u, nil, req("GET a.test/"), Draw{Mirror: at(i, 1000)}).Mirror.ID]++
	}
	if got["c1"] < 400 || got["c2"] < 400 {
		t.Errorf("copies: %v", got)
	}
	canary := tab.Match("a.test", "/", false).Parts[0].Arms[route.Canary]
	counted := &turns{Live: u}
	canary.Pick(route.Pick{Balance: route.RoundRobinBalance, Live: counted})
	if counted.last != 0 {
		t.Errorf("the canary's next turn is number %d", counted.last)
	}
}

// turns takes note of the last turn.
type turns struct {
	Live
	last uint64
}

func (l *turns) Turn(sequence string) uint64 {
	l.last = l.Live.Turn(sequence)
	return l.last
}

// TestMirrorDoesNotAllocate: a decision that copies costs no memory.
func TestMirrorDoesNotAllocate(t *testing.T) {
	tab := table(t, twoAndOne, &route.Split{Service: "web", Explicit: true, Ratio: 0.5, Mirror: &route.Mirror{Ratio: 1}})
	u := upstreams(newClock())
	u.Swap(tab)
	var r Request = req("GET a.test/")
	d := Draw{Arm: 1<<64 - 1, Now: newClock().t}
	if n := testing.AllocsPerRun(100, func() {
		if d := Decide(tab, Settings{}, u, nil, r, d); d.Mirror == nil {
			t.Error("no copy")
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestShadowHeaderIsOurs: a client cannot pretend to be a shadow; what a
// trusted balancer says is passed on.
func TestShadowHeaderIsOurs(t *testing.T) {
	for peer, want := range map[string]string{"203.0.113.7:1": "", "10.0.0.1:1": "1"} {
		h := headerOf("X-Lb-Shadow: 1", "X_Lb_Shadow: 1")
		headersCore().ForwardHeaders(h, Forwarding{Remote: netip.MustParseAddrPort(peer), Client: netip.MustParseAddrPort(peer).Addr()})
		if got := first(h, ShadowHeader); got != want || len(h["X_lb_shadow"]) > 0 {
			t.Errorf("from %s: %q", peer, got)
		}
	}
}

func TestMirrorMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	m := NewMetrics(reg, nil, nil, nil)
	for r := range mirrorResults {
		m.Mirrored("web", MirrorResult(r))
	}
	m.Mirrored("web", MirrorOK)
	const want = `lb_mirror_requests_total{result="body",service="web"} 1
lb_mirror_requests_total{result="error",service="web"} 1
lb_mirror_requests_total{result="ok",service="web"} 2
lb_mirror_requests_total{result="saturated",service="web"} 1
lb_mirror_requests_total{result="timeout",service="web"} 1`
	if got := strings.TrimSpace(scrape(reg, "lb_mirror_requests_total")); got != want {
		t.Errorf("got\n%s", got)
	}
	m.Forget("web")
	if got := scrape(reg, "lb_mirror_requests_total"); got != "" {
		t.Errorf("of a service that left: %s", got)
	}
}
