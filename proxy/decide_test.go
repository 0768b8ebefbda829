package proxy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"serin/route"
)

// describe prints a decision as one line.
func describe(d Decision) string {
	if a := d.Answer; a != nil {
		s := fmt.Sprint(a.Status)
		if a.Location != "" {
			s += " " + a.Location
		}
		if a.RetryAfter > 0 {
			s += fmt.Sprintf(" retry-after=%d", a.RetryAfter)
		}
		return s + " " + a.Class.String()
	}
	s := fmt.Sprint(d.Target.ID, " ", d.Arm, " ", d.Why)
	if d.Panic {
		s += " panic"
	}
	return s
}

// sweep decides a lattice of draws that covers all of them evenly, and prints
// which share of the requests met what, and where it went.
func sweep(t *route.Table, s Settings, live Live, r Request) string {
	const parts, arms, instances = 5, 20, 12
	got := map[string]int{}
	ids := map[string][]string{}
	for i := range parts * arms * instances {
		d := Decide(t, s, live, nil, r, Draw{
			Part:     at(2*(i/(arms*instances))+1, 2*parts),
			Arm:      at(2*(i/instances%arms)+1, 2*arms),
			Instance: at(2*(i%instances)+1, 2*instances),
			Now:      newClock().t,
		})
		what := describe(d)
		if d.Target != nil && d.Answer == nil {
			var id string
			id, what, _ = strings.Cut(what, " ")
			if !slices.Contains(ids[what], id) {
				ids[what] = append(ids[what], id)
			}
		}
		got[what]++
	}
	var out []string
	for _, what := range slices.Sorted(maps.Keys(got)) {
		slices.Sort(ids[what])
		out = append(out, strings.Join(append([]string{fmt.Sprintf("%g%% %s", float64(got[what])*100/(parts*arms*instances), what)}, ids[what]...), " "))
	}
	return strings.Join(out, ", ")
}

const twoAndOne = `
web s1 s1:1 passing /
web s2 s2:1 passing /
web c1 c1:1 passing / canary
`

func TestDecide(t *testing.T) {
	f := func(lines string, split *route.Split, s Settings, r, eject, want string) {
		t.Helper()
		if split == nil {
			split = &route.Split{}
		}
		split.Service = "web"
		tab := table(t, lines, split)
		u := upstreams(newClock())
		u.Swap(tab)
		for addr := range strings.FieldsSeq(eject) {
			in, _ := u.byAddr.get(addr)
			in.condition.eject(Reset, u.now(), 0)
			u.set(in, ejected)
		}
		if got := sweep(tab, s, u, req(r)); got != want {
			t.Errorf("%s\n got %s\nwant %s", r, got, want)
		}
	}
	random := Settings{Balance: route.RandomBalance}

	// No route, no instance, bad requests.
	f("", nil, random, "GET a.test/", "", "100% 404 no_target")
	f("", nil, Settings{NoRouteStatus: 421}, "GET a.test/", "", "100% 421 no_target")
	f("web s1 s1:1 passing b.test/", nil, random, "GET a.test/", "", "100% 404 no_target")
	f(twoAndOne, nil, random, "GET a.test/%00", "", "100% 400 client_error")
	f(twoAndOne, nil, random, "GET a.test/%zz", "", "100% 400 client_error")
	f("web s1 s1:1 critical /", nil, random, "GET a.test/", "", "100% 503 retry-after=1 no_target")
	f("web s1 s1:1 passing /", nil, random, "OPTIONS *", "", "100% stable default s1")
	f("web s1 s1:1 passing /", nil, random, "GET *", "", "100% 400 client_error")

	// The split.
	f(twoAndOne, nil, random, "GET a.test/", "", "100% stable default s1 s2")
	f(twoAndOne, &route.Split{Explicit: true}, random, "GET a.test/", "", "100% stable chance s1 s2")
	f(twoAndOne, &route.Split{Explicit: true, Ratio: 0.1}, random, "GET a.test/", "", "10% canary chance c1, 90% stable chance s1 s2")
	f(twoAndOne, &route.Split{Explicit: true, Ratio: 1}, random, "GET a.test/", "", "100% canary chance c1")
	f(twoAndOne, &route.Split{Explicit: true, Ratio: 0.3, Method: route.RoundRobin}, random, "GET a.test/", "", "30% canary turn c1, 70% stable turn s1 s2")
	rule := route.MatchRule{Headers: []route.FieldMatch{{Name: "X-Canary", Pattern: route.Pattern{Text: "yes"}}}, To: route.Canary}
	f(twoAndOne, &route.Split{Explicit: true, Match: []route.MatchRule{rule}}, random, "GET a.test/ X-Canary:yes", "", "100% canary rule c1")

	// Guards.
	half := func() *route.Split { return &route.Split{Explicit: true, Ratio: 0.5} }
	f(twoAndOne, half(), random, "GET a.test/", "c1:1", "50% stable chance s1 s2, 50% stable no_canary s1 s2")
	f(twoAndOne, half(), random, "GET a.test/", "s1:1 s2:1", "50% canary chance c1, 50% canary no_stable c1")
	f(twoAndOne, &route.Split{Explicit: true, Ratio: 0.5, MinHealthy: 2}, random, "GET a.test/", "", "50% stable chance s1 s2, 50% stable no_canary s1 s2")
	f("web c1 c1:1 passing / canary", &route.Split{Explicit: true, MinHealthy: 2}, random, "GET a.test/", "", "100% canary no_stable c1")
	f("web s1 s1:1 critical /\nweb c1 c1:1 passing / canary", half(), random, "GET a.test/", "", "50% canary chance c1, 50% canary no_stable c1")
	three := "\nweb c2 c2:1 passing / canary\nweb c3 c3:1 passing / canary"
	f(twoAndOne+three, &route.Split{Explicit: true, Ratio: 0.5, MinHealthy: 2}, Settings{PanicPercent: 50}, "GET a.test/", "c1:1 c2:1",
		"50% stable chance s1 s2, 50% stable no_canary s1 s2")
	f(twoAndOne+three, half(), Settings{PanicPercent: 50}, "GET a.test/", "c1:1 c2:1", "50% canary chance panic c1 c2 c3, 50% stable chance s1 s2")
	backup := func() *route.Split {
		return &route.Split{Explicit: true, Ratio: 0.5, Backup: route.Selector{Tag: "spare"}}
	}
	f("web s1 s1:1 critical /\nweb b1 b1:1 passing / spare", backup(), random, "GET a.test/", "", "100% backup backup b1")
	f(twoAndOne+"web b1 b1:1 passing / spare", backup(), random, "GET a.test/", "", "50% canary chance c1, 50% stable chance s1 s2")

	// Panic: our own ejections are ignored where too few are left; critical
	// instances only on demand, and never those in maintenance.
	four := "web a a:1 passing /\nweb b b:1 passing /\nweb c c:1 passing /\nweb d d:1 passing /"
	p50 := Settings{Balance: route.RandomBalance, PanicPercent: 50}
	f(four, nil, p50, "GET a.test/", "a:1", "100% stable default b c d")
	f(four, nil, p50, "GET a.test/", "a:1 b:1", "100% stable default c d")
	f(four, nil, p50, "GET a.test/", "a:1 b:1 c:1", "100% stable default panic a b c d")
	f(four, nil, random, "GET a.test/", "a:1 b:1 c:1", "100% stable default d")
	f("web a a:1 passing /", nil, random, "GET a.test/", "a:1", "100% stable default panic a") // never 503 for an ejection
	critical := Settings{Balance: route.RandomBalance, PanicCritical: true}
	down := "web a a:1 critical /\nweb b b:1 critical /\nweb m m:1 maintenance /"
	f(down, nil, random, "GET a.test/", "", "100% 503 retry-after=1 no_target")
	f(down, nil, critical, "GET a.test/", "", "100% stable panic panic a b")
	f("web m m:1 maintenance /", nil, critical, "GET a.test/", "", "100% 503 retry-after=1 no_target")
	f(down+"\nweb ok ok:1 passing /", nil, critical, "GET a.test/", "", "100% stable default ok")

	// Weights first divide a route among services, then the document its own part.
	f("web s1 s1:1 passing urlprefix-/_weight=0.2\nweb c1 c1:1 passing urlprefix-/_weight=0.2 canary\napi a1 a1:1 passing /", half(), random, "GET a.test/", "",
		"20% canary chance c1, 20% stable chance s1, 60% stable default a1")

	// Redirects.
	redirect := "web s1 s1:1 passing urlprefix-/_redirect=301,https://$host$path"
	f(redirect, nil, random, "GET a.test/x?q=1", "", "100% 301 https://a.test/x?q=1 answered")
	f(redirect, nil, random, "GET a.test:80/x", "", "100% 301 https://a.test/x answered")
	f(redirect, nil, random, "GET a.test//evil.test/%2f..", "", "100% 301 https://a.test/evil.test/%2F.. answered")
	f(redirect, nil, random, "GET a<b/", "", "100% 400 client_error")
	f(redirect, nil, random, "GET https://a.test/x?q=1", "", "100% 508 answered")
	f("web s1 s1:1 passing urlprefix-/_strip=/a_redirect=302,/$path", nil, random, "GET a.test/a//evil.test", "", "100% 302 /evil.test answered")
	f("web s1 s1:1 passing urlprefix-/_redirect=302,/$path", nil, random, "GET a.test//evil.test", "", "100% 508 answered")
}

// TestDecideFull: where there is no room, canaries leave it to stable, and
// stable refuses.
// Before the catalog is known nobody can say that there is no such route.
// TestDecideAmbiguous: what an instance could read as the path of a guarded
// route is refused before an instance is chosen.
func TestDecideAmbiguous(t *testing.T) {
	tab := table(t, `
web s1 s1:1 passing urlprefix-a.test/ urlprefix-a.test/admin_allow=ip:10.0.0.0/8
web s2 s2:1 passing urlprefix-b.test/
`)
	for r, want := range map[string]string{
		"GET a.test/..%2fadmin":                    "400 client_error ambiguous",
		`GET a.test/x/..;/admin`:                   "400 client_error ambiguous",
		"GET a.test/admin%2f from:10.0.0.1":        "400 client_error ambiguous",
		"GET a.test/x":                             "s1 stable default",
		"GET a.test/admin":                         "403 answered access",
		"GET a.test//admin":                        "403 answered access",
		"GET a.test/admin/x%20y;v=1 from:10.0.0.1": "s1 stable default",
		"GET b.test/..%2fadmin":                    "s2 stable default",
	} {
		d := Decide(tab, Settings{}, upstreams(newClock()), nil, req(r), Draw{})
		got := describe(d)
		if d.Answer != nil {
			got += " " + d.Answer.Reason.String()
		}
		if got != want {
			t.Errorf("%s\n got %s\nwant %s", r, got, want)
		}
	}
}

func TestDecideWithoutATable(t *testing.T) {
	for _, tab := range []*route.Table{nil, {}} {
		d := Decide(tab, Settings{}, upstreams(newClock()), nil, req("GET a.test/"), Draw{})
		if got, want := describe(d), "503 retry-after=1 no_target"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestDecideFull(t *testing.T) {
	tab := table(t, twoAndOne, &route.Split{Service: "web", Explicit: true, Ratio: 1})
	u := NewUpstreams(UpstreamsConfig{Limits: Limits{InFlightTarget: 1, InFlightTotal: 3}})
	u.Swap(tab)
	f := func(want string) {
		t.Helper()
		d := Decide(tab, Settings{}, u, nil, req("GET a.test/"), Draw{})
		if got := describe(d); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if d.Target != nil {
			u.Claim(d.Target)
		}
	}
	f("c1 canary chance")
	f("s1 stable no_canary")
	f("s2 stable no_canary")
	f("503 retry-after=1 no_target") // the service has three

	u = NewUpstreams(UpstreamsConfig{Limits: Limits{InFlightTotal: 2}})
	u.Swap(tab)
	f("c1 canary chance")
	f("c1 canary chance")
	f("503 retry-after=1 no_target") // every instance has room, the service has none

	u = NewUpstreams(UpstreamsConfig{Limits: Limits{InFlightTarget: -1, InFlightTotal: -1}})
	u.Swap(tab)
	for range 2000 { // no limit
		f("c1 canary chance")
	}
}

func TestDecideSticky(t *testing.T) {
	cookie := route.Sticky{
		By:     []route.KeySource{{Kind: route.KeyCookie, Name: "lb_canary", Mint: true}, {Kind: route.KeyIP}},
		Cookie: route.Cookie{Name: "lb_canary", SameSite: "Lax"},
	}
	sp := &route.Split{Service: "web", Explicit: true, Ratio: 0.5, Method: route.Hash, Sticky: cookie, Secret: [2]uint64{1, 2}}
	tab := table(t, twoAndOne, sp)
	u := upstreams(newClock())
	u.Swap(tab)
	decide := func(r Request, draw uint64) Decision {
		return Decide(tab, Settings{}, u, nil, r, Draw{Arm: draw, Instance: draw, Now: newClock().t})
	}
	first := decide(req("GET a.test/ User-Agent:x"), 0)
	second := decide(req("GET a.test/other User-Agent:x"), 1<<63)
	if first.SetCookie == "" || first.SetCookie != second.SetCookie || first.Arm != second.Arm || first.Key != second.Key {
		t.Errorf("parallel first requests disagree: %q %v, %q %v", first.SetCookie, first.Arm, second.SetCookie, second.Arm)
	}
	if first.Why != WhySticky || !first.HasKey || first.Strip != "lb_canary" {
		t.Errorf("got why %v, has key %v, strip %q", first.Why, first.HasKey, first.Strip)
	}
	id, attrs, _ := strings.Cut(strings.TrimPrefix(first.SetCookie, "lb_canary="), ";")
	if want := " Path=/; HttpOnly; SameSite=Lax"; attrs != want || len(id) != 16 {
		t.Errorf("cookie %q: want 16 digits and %q", first.SetCookie, want)
	}
	if back := decide(req("GET a.test/ cookie:lb_canary="+id), 1); back.Key != first.Key || back.SetCookie != "" || back.Strip != "lb_canary" {
		t.Errorf("the cookie that was set comes back as another client: %+v", back)
	}
	if other := decide(req("GET a.test/ User-Agent:y"), 0); other.SetCookie == first.SetCookie {
		t.Error("another user agent got the same id")
	}

	// A client that is in the canary stays there while the ratio grows.
	arms := func(ratio float64) (s string) {
		sp := *sp
		sp.Ratio = ratio
		tab := table(t, twoAndOne, &sp)
		for i := range 200 {
			s += Decide(tab, Settings{}, u, nil, req(fmt.Sprintf("GET a.test/ cookie:lb_canary=u%d", i)), Draw{}).Arm.String()[:1]
		}
		return s
	}
	low, high := arms(0.2), arms(0.6)
	for i := range low {
		if low[i] == 'c' && high[i] != 'c' {
			t.Fatalf("client %d went back to stable as the ratio grew", i)
		}
	}
	if strings.Count(low, "c") == 0 || strings.Count(high, "c") <= strings.Count(low, "c") {
		t.Errorf("%d and %d of 200 in the canary", strings.Count(low, "c"), strings.Count(high, "c"))
	}
}

func TestSetCookie(t *testing.T) {
	f := func(c route.Cookie, tls bool, want string) {
		t.Helper()
		if got := setCookie("n", c, "v", tls); got != want {
			t.Errorf("got %s\nwant %s", got, want)
		}
	}
	f(route.Cookie{}, false, "n=v; Path=/; HttpOnly")
	f(route.Cookie{SameSite: "None", MaxAge: 60, Domain: "a.test"}, true, "n=v; Path=/; HttpOnly; SameSite=None; Max-Age=60; Domain=a.test; Secure")
}

func BenchmarkDecide(b *testing.B) {
	f := func(name, r string, sp *route.Split) {
		sp.Service = "web"
		tab := table(b, twoAndOne, sp)
		u := NewUpstreams(UpstreamsConfig{})
		u.Swap(tab)
		var q Request = req(r)
		d := Draw{1 << 61, 1 << 62, 3 << 60, 1 << 63, newClock().t}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Decide(tab, Settings{PanicPercent: 50}, u, nil, q, d)
			}
		})
	}
	f("plain", "GET a.test/x", &route.Split{})
	f("chance", "GET a.test/x", &route.Split{Explicit: true, Ratio: 0.5})
	f("turn", "GET a.test/x", &route.Split{Explicit: true, Ratio: 0.5, Method: route.RoundRobin})
	f("sticky", "GET a.test/x cookie:uid=1234567890", &route.Split{
		Explicit: true, Ratio: 0.5, Method: route.Hash,
		Sticky: route.Sticky{By: []route.KeySource{{Kind: route.KeyCookie, Name: "uid"}}},
	})
}
