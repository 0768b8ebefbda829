package proxy

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"serin/route"
)

// brief prints an explanation as one line.
func brief(e Explanation) string {
	s := fmt.Sprint(e.Status)
	if e.Route != nil {
		s += fmt.Sprint(" ", e.Route.Host, e.Route.Path, " ", e.Service, " ", e.Arm)
	}
	for _, text := range []string{e.Target, e.URL, e.Location} {
		if text != "" {
			s += " " + text
		}
	}
	return s + ": " + e.Why
}

func explain(t testing.TB, lines, r string, split *route.Split, s Settings) Explanation {
	t.Helper()
	var splits []*route.Split
	if split != nil {
		split.Service = "web"
		splits = append(splits, split)
	}
	return Explain(ExplainInput{Table: table(t, lines, splits...), Settings: s, Request: req(r), Draw: Middle(newClock().t)})
}

func TestExplain(t *testing.T) {
	f := func(lines, r string, split *route.Split, want string) {
		t.Helper()
		if got := brief(explain(t, lines, r, split, Settings{PanicPercent: 50, PanicCritical: strings.Contains(want, "panic")})); got != want {
			t.Errorf("%s\n got %s\nwant %s", r, got, want)
		}
	}
	// what the instance is asked
	f("web w 10.0.0.1:80 passing urlprefix-a.test/_strip=/x_prepend=/y", "GET a.test/x/1?q=2", nil,
		"200 a.test/ web stable 10.0.0.1:80 http://10.0.0.1:80/y/1?q=2: stable: no canary document says otherwise")
	f("web w 10.0.0.1:80 passing urlprefix-a.test/_host=b.test_proto=https", "GET a.test/%2f", nil,
		"200 a.test/ web stable 10.0.0.1:80 https://b.test/%2f: stable: no canary document says otherwise")
	f("web w 10.0.0.1:80 passing urlprefix-a.test/_host=dst", "GET a.test/", nil,
		"200 a.test/ web stable 10.0.0.1:80 http://10.0.0.1:80/: stable: no canary document says otherwise")
	// answers
	f("web w w:1 passing urlprefix-a.test/_redirect=302,/b", "GET a.test/", nil, "302 a.test/ web stable /b: the route is a redirect")
	f("web w w:1 passing urlprefix-a.test/_deny=ip:203.0.113.0/24", "GET a.test/", nil, "403 a.test/ web stable: allow= or deny= of the route keeps out 203.0.113.7")
	f("web w w:1 passing urlprefix-a.test/_auth=x", "GET a.test/", nil, "401 a.test/ web stable: auth= of the route asks for a name and a password that the request does not have")
	f("web w w:1 passing urlprefix-a.test/ urlprefix-a.test/x_deny=ip:203.0.113.0/24", "GET a.test/..%2fx", nil,
		"400 a.test/  : an instance could read the path as that of another route, and allow=, deny= or auth= hold for some of the host")
	f("web w w:1 critical /", "GET a.test/", nil, "503 / web stable: no instance of the service is available")
	f("web w w:1 passing urlprefix-a.test/", "GET b.test/", nil, "404: no route for this host and path")
	f("web w w:1 passing /", "GET a.test/%zz", nil, "400: the path of the request is malformed")
	// arms
	f(twoAndOne, "GET a.test/", &route.Split{Explicit: true, Ratio: 0.25},
		"200 / web stable s2:1 http://s2:1/: stable: by chance: 25 % of the requests go to canary, and shown is the draw in the middle")
	f(twoAndOne, "GET a.test/", &route.Split{Explicit: true, Ratio: 0.25, Method: route.RoundRobin},
		"200 / web stable s2:1 http://s2:1/: stable: in turn: 25 % of the requests go to canary, and shown is the first turn")
	f(twoAndOne, "GET a.test/", &route.Split{Explicit: true, Ratio: 0.75, MinHealthy: 2},
		"200 / web stable s2:1 http://s2:1/: stable: it would be canary, which has too few instances that can serve (limits.min_healthy is 2)")
	f(twoAndOne, "GET a.test/", &route.Split{Explicit: true, Ratio: 0.25, Match: []route.MatchRule{{Methods: []string{"GET"}, To: route.Canary}}},
		"200 / web canary c1:1 http://c1:1/: canary: a match rule of the canary document sends it there")
	f("web c c:1 passing / canary", "GET a.test/", &route.Split{Explicit: true, Because: "it is early"},
		"200 / web canary c:1 http://c:1/: canary: it would be stable, which has no instance that can serve; it is early")
	f("web b b:1 passing / spare", "GET a.test/", &route.Split{Backup: route.Selector{Tag: "spare"}},
		"200 / web backup b:1 http://b:1/: backup: neither stable nor canary has an instance that can serve")
	f("web w w:1 critical /", "GET a.test/", nil,
		"200 / web stable w:1 http://w:1/: stable: no instance is ready, and proxy.panic.critical lets those serve that Consul calls critical")
	// the limit of overload, environments, copies
	f(twoAndOne, "GET a.test/", &route.Split{Explicit: true, Ratio: 0.75, Overload: 0.5},
		"200 / web stable s2:1 http://s2:1/: stable: by chance: 20 % of the requests go to canary, and shown is the draw in the middle; capacity: 1 canary, 2 stable")
	office := forClients(&route.Split{}, &route.Split{Ratio: 1, Because: "ramp"}, "203.0.113.0/24")
	f(twoAndOne, "GET a.test/", office,
		"200 / web canary c1:1 http://c1:1/: canary: by chance: 100 % of the requests go to canary, and shown is the draw in the middle; ramp; the client is in the environment office")
	if e := explain(t, twoAndOne, "GET a.test/", office, Settings{}); e.Environment != "office" || e.Mirror != "" {
		t.Errorf("environment %q, mirror %q", e.Environment, e.Mirror)
	}
	if e := explain(t, twoAndOne, "GET a.test/ from:192.0.2.1", office, Settings{}); e.Environment != "" || e.Arm != "stable" {
		t.Errorf("environment %q, arm %q", e.Environment, e.Arm)
	}
	const byChance = "200 / web stable s2:1 http://s2:1/: stable: by chance: 0 % of the requests go to canary, and shown is the draw in the middle"
	copied := func(lines, r string, ratio float64, mirror, want string) {
		t.Helper()
		e := explain(t, lines, r, &route.Split{Explicit: true, Mirror: &route.Mirror{Ratio: ratio}}, Settings{})
		if got := brief(e); got != want || e.Mirror != mirror {
			t.Errorf("got %s, copied to %q\nwant %s", got, e.Mirror, want)
		}
	}
	copied(twoAndOne, "GET a.test/", 0.75, "c1:1", byChance+"; 75 % of such requests are copied to canary")
	copied(twoAndOne, "GET a.test/", 0.25, "", byChance+"; 25 % of such requests are copied to canary")
	copied(twoAndOne, "POST a.test/", 1, "", byChance)
	copied("web s1 s1:1 passing /\nweb s2 s2:1 passing /", "GET a.test/", 1, "", byChance+"; 100 % of such requests are copied to canary, which has no instance for a copy now")
	sticky := func() *route.Split {
		return &route.Split{Explicit: true, Ratio: 1, Method: route.Hash, Sticky: route.Sticky{By: []route.KeySource{
			{Kind: route.KeyHeader, Name: "X-User"}, {Kind: route.KeyCookie, Name: "lb", Mint: true}, {Kind: route.KeyIP},
		}}}
	}
	for r, by := range map[string]string{
		"GET a.test/ X-User:7":    "header X-User",
		"GET a.test/ cookie:lb=7": "cookie lb",
		"GET a.test/":             "cookie lb, which it is given with this answer",
	} {
		want := "canary: the client is known by its " + by + ", which stands at "
		if got := explain(t, twoAndOne, r, sticky(), Settings{}).Why; !strings.HasPrefix(got, want) || !strings.HasSuffix(got, "; canary has what is below 100 %") {
			t.Errorf("%s\n got %s\nwant %s…", r, got, want)
		}
	}
}

func TestExplainSaysWhyNot(t *testing.T) {
	lines := `
web w w:1 passing urlprefix-a.test/x urlprefix-a.test/x_methods=POST,PUT_header=X-A:1 urlprefix-a.test/ urlprefix-a.test/_priority=-1 urlprefix-a.test/y
api a a:1 passing urlprefix-*.test/x urlprefix-/x urlprefix-b.test/x
old o o:1 passing urlprefix-loop.test/_redirect=301,http://loop.test/ urlprefix-loop.test/l_redirect=301,http://loop.test/l
`
	f := func(r, want string) {
		t.Helper()
		e := explain(t, lines, r, nil, Settings{})
		var got []string
		for _, c := range e.Considered {
			got = append(got, fmt.Sprint(c.Host, c.Path, " ", c.When, " ", c.Service, " ", c.Why))
		}
		got = append(got, fmt.Sprint(e.Others))
		if have := strings.Join(got, "\n"); have != strings.TrimSpace(want) {
			t.Errorf("%s\n got %s\nwant %s", r, have, want)
		}
	}
	f("PUT a.test/x/1", `
a.test/x methods=POST,PUT header=X-A:1 web its condition does not hold: header=X-A:1
a.test/  web a longer path goes first
a.test/  web its priority is -1, and 0 goes first
*.test/x  api a more exact host goes first
/x  api a more exact host goes first
a.test/y  web its path does not match
3`)
	f("GET loop.test/l", `
loop.test/l  old its redirect would lead to what was asked for
*.test/x  api its path does not match
/x  api its path does not match
6`)
	f("GET c.example/z", `
/x  api its path does not match
a.test/  web its host does not match
a.test/  web its host does not match
loop.test/  old its host does not match
6`)
}

// An explanation is what Decide decides with the same input, and its shares are
// those of all requests.
func TestExplanationsAreDecisions(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		options := rapid.SampledFrom([]string{"", "_strip=/a", "_redirect=301,/b", "_allow=ip:203.0.113.7", "_deny=ip:203.0.113.7", "_weight=0.3", "_methods=POST", "_host=dst", "_ratelimit=1/s,1", "_maxconn=1"})
		var lines strings.Builder
		for i := range rapid.IntRange(1, 6).Draw(rt, "instances") {
			fmt.Fprintf(&lines, "%s i%d 10.0.0.%d:80 %s urlprefix-%s%s%s%s\n",
				rapid.SampledFrom([]string{"web", "api"}).Draw(rt, "service"), i, i,
				rapid.SampledFrom([]string{"passing", "passing", "critical", "maintenance"}).Draw(rt, "health"),
				rapid.SampledFrom([]string{"", "a.test", "*.test"}).Draw(rt, "host"), rapid.SampledFrom([]string{"/", "/a", "/a/b"}).Draw(rt, "path"),
				options.Draw(rt, "options"), rapid.SampledFrom([]string{"", " canary"}).Draw(rt, "tag"))
		}
		tab := table(t, lines.String(), &route.Split{Service: "web", Explicit: true, Ratio: rapid.Float64Range(0, 1).Draw(rt, "ratio")})
		r := req(rapid.SampledFrom([]string{"GET", "POST"}).Draw(rt, "method") + " " + rapid.SampledFrom([]string{"a.test", "b.test", "c"}).Draw(rt, "of") + rapid.SampledFrom([]string{"/", "/a/x", "/a/b", "/..%2fa", "/a;x/b"}).Draw(rt, "at"))
		d := Draw{Part: rapid.Uint64().Draw(rt, "part"), Arm: rapid.Uint64().Draw(rt, "arm"), Instance: rapid.Uint64().Draw(rt, "instance"), Now: newClock().t}
		s := Settings{PanicPercent: 50, PanicCritical: rapid.Bool().Draw(rt, "panic")}
		core := &Core{}
		in := ExplainInput{Table: tab, Settings: s, Gate: (*gate)(core), Request: r, Draw: d}
		e := Explain(in)
		if again := Explain(in); brief(again) != brief(e) { // nothing is used up
			rt.Fatalf("explained twice:\n%s\n%s", brief(e), brief(again))
		}
		dec := Decide(tab, s, calm{}, nil, r, d)
		switch {
		case dec.Answer != nil:
			if e.Status != dec.Answer.Status || e.Location != dec.Answer.Location || e.Target != "" || e.URL != "" {
				rt.Fatalf("decided %s, explained %s", describe(dec), brief(e))
			}
		case e.Status != 200 || e.Target != dec.Target.Addr || e.Arm != dec.Arm.String() || e.Route.Path != dec.Route.Path || e.Route.Host != dec.Route.Host:
			rt.Fatalf("decided %s, explained %s", describe(dec), brief(e))
		}
		if e.Route == nil {
			return
		}
		sum := 0.0
		for _, w := range e.Weights {
			sum += w.Share
		}
		if len(e.Weights) > 0 && math.Abs(sum-1) > 1e-9 && sum != 0 {
			rt.Fatalf("the shares sum to %g: %+v", sum, e.Weights)
		}
	})
}

// Scripts read these members.
func TestExplanationInJSON(t *testing.T) {
	b, err := json.Marshal(explain(t, "web w w:1 passing urlprefix-a.test/", "GET b.test/", nil, Settings{}))
	const want = `{"status":404,"route":null,"service":"","target":"","url":"","location":"","arm":"","weights":[],"problems":[],"why":"no route for this host and path",` +
		`"answer":"no route for this host and path","considered":[{"host":"a.test","path":"/","source":"tag","service":"web","why":"its host does not match"}]}`
	if err != nil || string(b) != want {
		t.Errorf("got  %s, %v\nwant %s", b, err, want)
	}
}
