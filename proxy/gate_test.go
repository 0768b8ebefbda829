package proxy

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"serin/route"
)

// tune changes the options of the instances at addr, of all where addr is "".
func tune(t *route.Table, addr string, change func(*route.Options)) {
	for target := range t.Targets() {
		if addr == "" || target.Addr == addr {
			o := *target.Options
			change(&o)
			target.Options = &o
		}
	}
}

// doorman is a Gate that notes what it is asked.
type doorman struct {
	asked   []string
	auth    Authorisation
	because Reason
	quota   Quota
}

func (g *doorman) Authorise(scheme string, _ Request) Authorisation {
	g.asked = append(g.asked, "auth "+scheme)
	return g.auth
}

func (g *doorman) Enter(rt *route.Route, t *route.Target, _ time.Time) (*Quota, Reason, time.Duration) {
	g.asked = append(g.asked, "limits of "+t.Service+" "+rt.Host+rt.Path)
	if g.because != NoReason {
		return nil, g.because, 1500 * time.Millisecond
	}
	g.quota.inFlight.Add(1)
	return &g.quota, NoReason, 0
}

// TestOrder: of all that may keep a request from its instance, what comes first
// in Fabio's order answers, and nothing behind it is asked.
func TestOrder(t *testing.T) {
	const (
		access = 1 << iota // the options of the route
		auth
		redirects
		limits
		allOptions = access | auth | redirects | limits
	)
	const (
		outside   = 1 << iota // what the request is
		unknown               // its credentials are wrong
		busy                  // and cannot be checked
		came                  // it came back
		tooFast               // the limits refuse it
		allFaults = outside | unknown | busy | came | tooFast
	)
	for options := range allOptions + 1 {
		for faults := range allFaults + 1 {
			tab := table(t, "web s1 s1:1 passing /")
			tune(tab, "", func(o *route.Options) {
				if options&access > 0 {
					o.Access = &route.Access{Networks: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}}
				}
				if options&auth > 0 {
					o.Auth = "staff"
				}
				if options&redirects > 0 {
					o.Redirect = &route.Redirect{Code: 302, URL: "https://b.test/"}
				}
				if options&limits > 0 {
					o.MaxConn = 1
				}
			})
			r := req("GET a.test/ from:203.0.113.9")
			g := &doorman{auth: Authorisation{OK: true, Realm: `the "staff"`}}
			if faults&outside > 0 {
				r.client = netip.MustParseAddr("198.51.100.1")
			}
			if faults&unknown > 0 {
				g.auth.OK = false
			}
			if faults&busy > 0 {
				g.auth.OK, g.auth.Busy = false, true
			}
			if faults&came > 0 {
				r.header[hopsHeader] = "feed"
			}
			if faults&tooFast > 0 {
				g.because = ReasonRateLimit
			}

			want, asked := "s1 stable default", ""
			switch {
			case options&access > 0 && faults&outside > 0:
				want = "403 answered access"
			case options&auth > 0 && faults&busy > 0:
				want, asked = "503 retry-after=1 answered auth_busy", "auth staff"
			case options&auth > 0 && faults&unknown > 0:
				want, asked = `401 Basic realm="the \"staff\"", charset="UTF-8" answered auth`, "auth staff"
			case options&redirects > 0:
				want = "302 https://b.test/ answered redirect"
			case faults&came > 0:
				want = "508 answered loop"
			case options&limits > 0:
				if asked = "limits of web /"; faults&tooFast > 0 {
					want = "429 retry-after=2 answered rate_limit"
				}
			}
			if options&auth > 0 && asked != "auth staff" && want != "403 answered access" {
				asked = strings.TrimSpace("auth staff " + asked)
			}

			d := Decide(tab, Settings{Self: "feed"}, upstreams(newClock()), g, r, Draw{})
			got := describe(d)
			if a := d.Answer; a != nil {
				got += " " + a.Reason.String()
				if a.Challenge != "" {
					got = strings.Replace(got, " ", " "+a.Challenge+" ", 1)
				}
				if d.Target != nil || d.Part == nil || d.Route == nil {
					t.Errorf("%s: an answer has its route, and no target: %+v", got, d)
				}
			}
			if got != want || strings.Join(g.asked, " ") != asked {
				t.Errorf("options %04b, faults %05b\n got %s, asked %v\nwant %s, asked %s", options, faults, got, g.asked, want, asked)
			}
			inFlight := int64(0)
			if options&limits > 0 && d.Answer == nil {
				inFlight = 1
			}
			if n := g.quota.inFlight.Load(); n != inFlight {
				t.Errorf("options %04b, faults %05b: %d in flight, want %d", options, faults, n, inFlight)
			}
			d.Leave()
			if n := g.quota.inFlight.Load(); n != 0 {
				t.Errorf("options %04b, faults %05b: %d in flight after it left", options, faults, n)
			}
		}
	}
}

// TestAccess: every address that a request is believed to have come over must
// be let in.
func TestAccess(t *testing.T) {
	tab := table(t, "web s1 s1:1 passing /")
	f := func(deny bool, networks, r, want string) {
		t.Helper()
		a := &route.Access{Deny: deny}
		for n := range strings.FieldsSeq(networks) {
			a.Networks = append(a.Networks, netip.MustParsePrefix(n))
		}
		tune(tab, "", func(o *route.Options) { o.Access = a })
		if got := describe(Decide(tab, Settings{}, upstreams(newClock()), nil, req(r), Draw{})); got != want {
			t.Errorf("%+v, %s\n got %s\nwant %s", a, r, got, want)
		}
	}
	const in, out = "s1 stable default", "403 answered"
	f(false, "10.0.0.0/8", "GET a.test/ from:10.1.1.1", in)
	f(false, "10.0.0.0/8", "GET a.test/ from:::ffff:10.1.1.1", in)
	f(false, "10.0.0.0/8", "GET a.test/ from:11.1.1.1", out)
	f(false, "10.0.0.0/8", "GET a.test/ from:11.1.1.1 via:10.0.0.1", out)
	f(false, "10.0.0.0/8", "GET a.test/ from:10.1.1.1 via:11.0.0.1", out)
	f(false, "10.0.0.0/8 11.0.0.0/8", "GET a.test/ from:10.1.1.1 via:11.0.0.1 via:11.0.0.2", in)
	f(true, "10.0.0.0/8", "GET a.test/ from:11.1.1.1", in)
	f(true, "10.0.0.0/8", "GET a.test/ from:10.1.1.1", out)
	f(true, "10.0.0.0/8", "GET a.test/ from:11.1.1.1 via:10.0.0.1", out)
	f(true, "2001:db8::/32", "GET a.test/ from:2001:db8::1", out)
	f(false, "", "GET a.test/ from:10.1.1.1", out) // a list that could not be read
	f(true, "", "GET a.test/ from:10.1.1.1", in)

	// A client that cannot be known is kept out, whatever the rule.
	for _, deny := range []bool{false, true} {
		tune(tab, "", func(o *route.Options) {
			o.Access = &route.Access{Deny: deny, Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
		})
		if got := describe(Decide(tab, Settings{}, upstreams(newClock()), nil, nameless{req("GET a.test/ from:10.1.1.1")}, Draw{})); got != out {
			t.Errorf("deny %v: a client without an address gets %s", deny, got)
		}
	}
}

// nameless is a request over a chain that cannot be read.
type nameless struct{ *request }

func (nameless) Chain([]netip.Addr) []netip.Addr { return nil }

// What needs credentials refuses everybody where nobody can judge them.
func TestAuthWithoutAGate(t *testing.T) {
	tab := table(t, "web s1 s1:1 passing /")
	tune(tab, "", func(o *route.Options) { o.Auth = "staff"; o.MaxConn = 1 })
	if got := describe(Decide(tab, Settings{}, upstreams(newClock()), nil, as(basic("a", "b")), Draw{})); got != "401 answered" {
		t.Errorf("without a gate: %s", got)
	}
	c := testCore(newClock(), tab)
	d := c.Decide(as(basic("a", "b")))
	if got := describe(d); got != "401 answered" || d.Answer.Challenge != `Basic realm="staff", charset="UTF-8"` {
		t.Errorf("without proxy.auth: %s %+v", got, d.Answer)
	}
	c.Auth = authenticator(t, usersOfSecret)
	if d := c.Decide(as(basic("bcrypt", "secret"))); d.Answer != nil {
		t.Errorf("with the scheme: %+v", d.Answer)
	}
	tune(tab, "", func(o *route.Options) { o.Auth = "stuff" })
	if got := describe(c.Decide(as(basic("bcrypt", "secret")))); got != "401 answered" {
		t.Errorf("with a scheme that does not exist: %s", got)
	}
}

// Limits through a Core: they hold over table swaps, and end with the request.
func TestLimitsOfACore(t *testing.T) {
	make := func() *route.Table {
		tab := table(t, "web s1 s1:1 passing / urlprefix-/other")
		tune(tab, "", func(o *route.Options) { o.MaxConn = 2 })
		return tab
	}
	tab := make()
	c := testCore(newClock(), tab)
	c.Table = func() *route.Table { return tab }
	f := func(path, want string) Decision {
		t.Helper()
		d := c.Decide(req("GET a.test" + path))
		if got := describe(d); got != want {
			t.Fatalf("%s: got %s, want %s", path, got, want)
		}
		return d
	}
	const in, full = "s1 stable default", "503 retry-after=1 answered"
	first, second := f("/", in), f("/", in)
	f("/", full)
	tab = make()
	f("/", full)
	f("/other", in)
	first.Leave()
	third := f("/", in)
	f("/", full)
	second.Leave()
	third.Leave()
	f("/", in)
}

func TestOptionsOfTheRoute(t *testing.T) {
	tab := table(t, "web s1 s1:1 passing /\nweb s2 s2:1 passing /")
	f := func(s Settings, o route.Options, want string) {
		t.Helper()
		tune(tab, "", func(to *route.Options) { *to = o; to.Weight = -1 })
		d := Decide(tab, s, upstreams(newClock()), nil, req("GET a.test/"), Draw{})
		if got := fmt.Sprint(d.Attempts, " ", d.Timeout); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	f(Settings{}, route.Options{Retries: -1}, "3 0s")
	f(Settings{Attempts: 5}, route.Options{Retries: -1}, "5 0s")
	f(Settings{Attempts: 5}, route.Options{Retries: 0}, "1 0s")
	f(Settings{Attempts: 1}, route.Options{Retries: 9, Timeout: time.Second}, "10 1s")

	// The strategy: the document's, the route's, the operator's.
	turns := func(operator route.Balance, option string, document *route.Split) string {
		document.Service = "web"
		tab := table(t, "web s1 s1:1 passing /\nweb s2 s2:1 passing /\nweb s3 s3:1 passing /", document)
		if option != "" {
			tune(tab, "", func(o *route.Options) { o.HasBalance = true; o.Balance = balanceOf(option) })
		}
		u := upstreams(newClock())
		u.Swap(tab)
		ids := ""
		for range 6 {
			ids += Decide(tab, Settings{Balance: operator}, u, nil, req("GET a.test/"), Draw{}).Target.ID
		}
		return ids
	}
	const inTurn, byChance = "s1s2s3s1s2s3", "s1s1s1s1s1s1"
	g := func(operator route.Balance, option string, document route.Split, want string) {
		t.Helper()
		if got := turns(operator, option, &document); got != want {
			t.Errorf("proxy.strategy %v, strategy=%s, document %+v: %s, want %s", operator, option, document.Balance, got, want)
		}
	}
	g(route.RoundRobinBalance, "", route.Split{}, inTurn)
	g(route.RandomBalance, "", route.Split{}, byChance)
	g(route.RandomBalance, "round_robin", route.Split{}, inTurn)
	g(route.RoundRobinBalance, "random", route.Split{}, byChance)
	g(route.RoundRobinBalance, "round_robin", route.Split{HasBalance: true, Balance: route.RandomBalance}, byChance)
	g(route.RandomBalance, "random", route.Split{HasBalance: true, Balance: route.RoundRobinBalance}, inTurn)
}

func balanceOf(name string) route.Balance {
	if name == "random" {
		return route.RandomBalance
	}
	return route.RoundRobinBalance
}

// A request that one instance lets in is not retried on another that would keep
// it out, or send it elsewhere.
func TestRetryIsNoWayAround(t *testing.T) {
	f := func(change func(*route.Options), want bool) {
		t.Helper()
		tab := table(t, "web s1 s1:1 passing /\nweb s2 s2:1 passing /")
		tune(tab, "s2:1", change)
		c := testCore(newClock(), tab)
		d := c.Decide(req("GET a.test/"))
		d.Target = target(tab, "s1:1")
		if got := c.Retry(&d, Attempt{Class: ConnectError}); got != want {
			t.Errorf("%+v: retried %v, want %v", target(tab, "s2:1").Options, got, want)
		}
	}
	net := []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}
	f(func(o *route.Options) { o.Strip = "/x" }, true)
	f(func(o *route.Options) { o.Auth = "staff" }, false)
	f(func(o *route.Options) { o.Redirect = &route.Redirect{Code: 301, URL: "/x"} }, false)
	f(func(o *route.Options) { o.Access = &route.Access{Networks: net} }, false)
	same := func(a, b *route.Access) bool {
		return admitsAlike(&route.Options{Access: a}, &route.Options{Access: b})
	}
	if !same(&route.Access{Networks: net}, &route.Access{Networks: net}) {
		t.Error("the same list admits alike")
	}
	if same(&route.Access{Networks: net}, &route.Access{Networks: net, Deny: true}) || same(&route.Access{Networks: net}, &route.Access{}) || same(&route.Access{}, nil) {
		t.Error("other lists do not admit alike")
	}
	// Among many that do not, the search ends.
	lines := "web s s:1 passing /\n"
	for i := range 40 {
		lines += fmt.Sprintf("web x%d x%d:1 passing /\n", i, i)
	}
	tab := table(t, lines)
	tune(tab, "", func(o *route.Options) { o.Auth = "staff" })
	tune(tab, "s:1", func(o *route.Options) { o.Auth = "" })
	c := testCore(newClock(), tab)
	d := c.Decide(req("GET a.test/"))
	d.Answer, d.Target, d.Attempts = nil, target(tab, "s:1"), 3
	if c.Retry(&d, Attempt{Class: ConnectError}) {
		t.Errorf("retried on %s", d.Target.ID)
	}
}

func TestRedirectLoops(t *testing.T) {
	f := func(url, r string, want bool) {
		t.Helper()
		if got := asksFor(req(r), url); got != want {
			t.Errorf("%s, redirected to %s: loops %v, want %v", r, url, got, want)
		}
	}
	f("https://a.test/x", "GET https://a.test/x", true)
	f("https://a.test/x", "GET a.test/x", false)
	f("https://a.test/x", "GET a.test/x secure:yes", true) // TLS ended before us
	f("http://a.test/x", "GET a.test/x secure:yes", false)
	f("HTTPS://A.Test:443/x#part", "GET https://a.test/x", true)
	f("http://a.test/x", "GET A.test:80/x", true)
	f("http://a.test:81/x", "GET a.test/x", false)
	f("http://a.test/x", "GET a.test./x", true)
	f("http://b.test/x", "GET a.test/x", false)
	f("http://a.test/x/", "GET a.test/x", false)
	f("http://a.test/x", "GET a.test//y/..//x", true)
	f("http://a.test", "GET a.test/", true)
	f("http://a.test?q", "GET a.test/?q", true)
	f("/x", "GET a.test/x", true)
	f("/x", "GET https://a.test/x", true)
	f("/x", "GET a.test/y", false)
	f("/x?v=2", "GET a.test/x", false)
	f("/x?v=2", "GET a.test/x?v=2", true)
	f("/x?a=http://b.test/", "GET a.test/x?a=http://b.test/", true)
	f("/x#part", "GET a.test/x", true)
	f("/x", "GET a.test/%00", false)
}

func TestCameBack(t *testing.T) {
	f := func(hops string, want bool) {
		t.Helper()
		if got := cameBack(hops, "feed"); got != want {
			t.Errorf("%q: %v, want %v", hops, got, want)
		}
	}
	f("", false)
	f("beef", false)
	f("feed", true)
	f("beef, feed", true)
	f("feed,beef", true)
	f("beef,  feed ,cafe", true)
	f("feedfeed", false)
	f(strings.Repeat("x,", maxHops-2)+"x", false)
	f(strings.Repeat("x,", maxHops-1)+"x", true) // a circle of others
	f(strings.Repeat(",", 1<<16), true)
}

func TestDecideDoesNotAllocate(t *testing.T) {
	tab := table(t, "web s1 s1:1 passing /\nweb s2 s2:1 passing /")
	c := testCore(newClock(), tab)
	c.Settings.Self = "feed"
	var r Request = req("GET a.test/ " + hopsHeader + ":beef")
	f := func(what string) {
		t.Helper()
		if n := testing.AllocsPerRun(200, func() {
			d := c.Decide(r)
			d.Leave()
		}); n != 0 {
			t.Errorf("%s: %v allocations, want 0", what, n)
		}
	}
	f("plain")
	tune(tab, "", func(o *route.Options) {
		o.Access = &route.Access{Networks: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}}
	})
	f("with an access rule")
	tune(tab, "", func(o *route.Options) { o.MaxConn, o.RateLimit = 5, &route.RateLimit{PerSecond: 1e9, Burst: 1e6} })
	f("with limits")
}

func TestRetryAfterIsRoundedUp(t *testing.T) {
	for d, want := range map[time.Duration]int{0: 1, 1: 1, time.Second: 1, time.Second + 1: 2, 90 * time.Second: 90} {
		if got := seconds(d); got != want {
			t.Errorf("%v: %d, want %d", d, got, want)
		}
	}
}
