package route

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"serin/registry"
)

func TestAmbiguous(t *testing.T) {
	f := func(m Matcher, routes, request, want string) {
		t.Helper()
		var list []*Route
		for word := range strings.FieldsSeq(routes) {
			word, guarded := strings.CutSuffix(word, "!")
			word, conditional := strings.CutSuffix(word, "?")
			word, redirect := strings.CutSuffix(word, ">")
			i := strings.IndexByte(word, '/')
			r := newTestRoute(word[:i], word[i:])
			r.guarded = guarded
			if conditional {
				r.When = &Condition{Methods: []string{"GET"}}
			}
			if redirect {
				target := &Target{Options: &Options{Redirect: &Redirect{Code: 302, URL: "/x"}}}
				r.Parts = []*Part{{Arms: [3]*Arm{{Ready: []*Target{target}}, noArm, noArm}}}
			}
			list = append(list, r)
		}
		host, path, _ := strings.Cut(request, "/")
		table := &Table{table{index: indexOf(m, list)}}
		s := table.Search(host, "/"+path, strings.HasSuffix(host, ":443"), askedFor{method: "GET"})
		got := "none"
		if r := s.Next(); r != nil {
			if got = r.Host + r.Path; s.Ambiguous(r) {
				got += " ambiguous"
			}
		}
		if got != want {
			t.Errorf("%s of %s\n got %s\nwant %s", request, routes, got, want)
		}
	}
	const guarded = "a.b/ a.b/admin!"
	for _, path := range []string{
		"..%2fadmin", "..%2Fadmin", "x%2f..%2fadmin", "..%5cadmin", "..%5Cadmin", `..\admin`, "x/..;/admin", "x/..;a=b/admin",
		"x/%2e%2e;/admin", "x/..%3b/admin", "x/.%2E%3Ba/admin", ";/admin", ";x=1/admin", ".;/admin", "%2e;/admin", "%252e%252e%252fadmin",
		"x%25%32%66admin", "..%c0%afadmin", "..%C1%9cadmin", "..\xc0\xafadmin", "%2561dmin", "adm%2569n",
	} {
		f(PrefixMatcher, guarded, "a.b/"+path, "a.b/ ambiguous")
		f(PrefixMatcher, "a.b/", "a.b/"+path, "a.b/")
		f(PrefixMatcher, "a.b/ c.d/admin!", "a.b/"+path, "a.b/")
	}
	for _, path := range []string{"", "x", "x%20y", "caf%C3%A9", "x;v=1", "x;v=1/y", "x%25", "100%25x", "...;/x", "x..;/y", "%7Eme", "x/../y"} {
		f(PrefixMatcher, guarded, "a.b/"+path, "a.b/")
	}
	// parameters hide a longer route
	f(PrefixMatcher, "a.b/ a.b/x/admin!", "a.b/x;v=1/admin", "a.b/ ambiguous")
	f(PrefixMatcher, "a.b/ a.b/x/admin!", "a.b/x%3Bv=1/admin", "a.b/ ambiguous")
	f(PrefixMatcher, "a.b/ a.b/x/admin!", "a.b/x;v=1/open", "a.b/")
	f(PrefixMatcher, "a.b/ a.b/x/admin!", "a.b/x/admin;v=1", "a.b/x/admin")
	f(PrefixMatcher, "a.b/ a.b/x! a.b/x/admin!", "a.b/x;v=1/admin", "a.b/x ambiguous")
	f(IPrefixMatcher, "a.b/ a.b/x/admin!", "A.B./X;v=1/Admin", "a.b/ ambiguous")
	f(GlobMatcher, "a.b/* a.b/x/admin!", "a.b/x;v=1/admin", "a.b/* ambiguous")
	f(GlobMatcher, "a.b/ a.b/* /admin!", "a.b/..%2fadmin", "a.b/* ambiguous")
	// on the way of the search
	f(PrefixMatcher, "a.b/x *.b/admin!", "a.b/x%2f..%2fadmin", "a.b/x ambiguous")
	f(PrefixMatcher, "a.b/x a.*/admin!", "a.b/x%2f..%2fadmin", "a.b/x ambiguous")
	f(PrefixMatcher, "a.b/x /admin!", "a.b/x%2f..%2fadmin", "a.b/x ambiguous")
	f(PrefixMatcher, "a.b/x */admin!", "a.b/x%2f..%2fadmin", "a.b/x ambiguous")
	f(PrefixMatcher, "a.b/ a.b/x *.b/admin! */admin! /admin!", "a.b/x%2f..%2fadmin", "a.b/x")
	f(PrefixMatcher, "a.b/x *.b/ /admin!", "a.b/x%2f..%2fadmin", "a.b/x")
	f(PrefixMatcher, "a.b/? /admin!", "a.b/..%2fadmin", "a.b/ ambiguous")
	f(PrefixMatcher, "a.b/> /admin!", "a.b/..%2fadmin", "a.b/ ambiguous")
	f(PrefixMatcher, "a.b:443/ a.b/admin!", "a.b:443/..%2fadmin", "a.b:443/")
	f(PrefixMatcher, "a.b/ a.b:443/admin!", "a.b:443/..%2fadmin", "a.b/ ambiguous")
	f(PrefixMatcher, "a.b/ a.b:443/admin!", "a.b/..%2fadmin", "a.b/")
	f(PrefixMatcher, "a.b/! c.d/", "c.d/%2f", "c.d/")
	f(PrefixMatcher, "a.b/!", "c.d/%2f", "none")
}

// TestGuardedIsTheSlowOne compares what is kept of guarded routes with a look at
// all of them: for every way to read a path that could be meant, no request gets
// by a guarded route without being called ambiguous.
func TestGuardedIsTheSlowOne(t *testing.T) {
	for m, name := range []string{"prefix", "iprefix", "glob"} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				routes := drawRoutes(t, Matcher(m), 20)
				many := 0
				for _, r := range routes {
					if r.guarded = rapid.IntRange(0, 3).Draw(t, "guarded") == 0; r.guarded {
						many++
					}
				}
				table := &Table{table{index: indexOf(Matcher(m), routes)}}
				if table.index.guarded != many {
					t.Fatalf("%d routes are guarded, want %d", table.index.guarded, many)
				}
				for range 30 {
					host, tls := drawn.name.Draw(t, "name")+drawn.port.Draw(t, "port"), rapid.Bool().Draw(t, "tls")
					path, read := drawn.path.Draw(t, "path"), drawn.path.Draw(t, "as")
					request := askedFor{"GET", "q=1", "1"}
					s := table.Search(host, path+"%2F", tls, request)
					taken := s.Next()
					other := slowSearch(routes, Matcher(m), host, read, tls, request)
					if taken != nil && len(other) > 0 && other[0].guarded && !s.Ambiguous(taken) {
						t.Fatalf("%q of %s is no other path, but %q is that of %q", path+"%2F", host, read, names(other[:1]))
					}
				}
				e := table.index.edit()
				for _, r := range routes {
					e.setPlace(r.Host, r.key, nil)
				}
				if x := e.done(); x.guarded != 0 {
					t.Fatalf("%d routes are guarded when all are gone", x.guarded)
				}
			})
		})
	}
}

// TestRoutesAreGuarded: by any target, whatever its health, and by commands.
func TestRoutesAreGuarded(t *testing.T) {
	for options, want := range map[string]bool{
		"": false, " strip=/x": false, " allow=ip:10.0.0.0/8": true, " deny=ip:10.0.0.0/8": true, " auth=x": true, " allow=nonsense": true, " weight=0 allow=none": true,
	} {
		for _, health := range []registry.Health{registry.Passing, registry.Critical, registry.Maintenance} {
			instance := func(id int, tag string, health registry.Health) registry.Instance {
				return registry.Instance{
					Service: "web", ID: fmt.Sprint(id), Node: "n", Addr: fmt.Sprintf("10.0.0.%d:80", id), Tags: []string{tag},
					Weight: 1, Health: health, Ready: health == registry.Passing,
				}
			}
			in := Inputs{Snapshot: registry.New(&registry.Service{Name: "web", Instances: []registry.Instance{
				instance(1, "urlprefix-a.b/", registry.Passing), instance(2, "urlprefix-a.b/"+options, health),
			}})}
			if table := new(Builder).Build(in); !table.Match("a.b", "/", false).guarded == want {
				t.Errorf("%q, %s: guarded is %v", options, health, !want)
			}
		}
		commands, _ := ParseCommands("", fmt.Sprintf("route add web a.b/ http://10.0.0.1 opts %q", strings.TrimSpace(options)))
		if table := new(Builder).Build(Inputs{Snapshot: registry.New(), Overrides: &Overrides{Commands: commands}}); options != "" && !table.Match("a.b", "/", false).guarded == want {
			t.Errorf("command with %q: guarded is %v", options, !want)
		}
	}
}
