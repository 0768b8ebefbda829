package route

import (
	"fmt"
	"slices"
	"testing"

	"serin/registry"
)

// tableOf is a table with a service per rule.
func tableOf(rules ...Rule) *Table {
	services := make([]*registry.Service, len(rules))
	for i, r := range rules {
		name := fmt.Sprintf("s%06d", i)
		services[i] = &registry.Service{Name: name, Instances: []registry.Instance{{
			Service: name, ID: name, Addr: fmt.Sprintf("10.%d.%d.%d:80", i>>16, i>>8&255, i&255), Ready: true, Health: registry.Passing,
			Weight: 1, Tags: []string{"urlprefix-" + r.Host + r.Path},
		}}}
	}
	return new(Builder).Build(Inputs{Snapshot: registry.New(services...), Splits: Splits{}})
}

func TestMatchDoesNotAllocate(t *testing.T) {
	table := tableOf(Rule{Host: "www.foo.com", Path: "/api/"}, Rule{Host: "*.bar.com", Path: "/"}, Rule{Host: "foo.com:80", Path: "/"}, Rule{Path: "/x"})
	if n := testing.AllocsPerRun(100, func() {
		table.Match("www.foo.com", "/api/v1/x", false)
		table.Match("a.b.bar.com:8080", "/x%20y", false)
		table.Match("a.b.bar.com", "/", true)
		table.Match("nowhere", "/y", false)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestNilTable(t *testing.T) {
	var table *Table
	if table.Match("a", "/", false) != nil || table.Problems() != nil || table.Len() != 0 || table.Snapshot() != nil {
		t.Error("a nil table has something")
	}
	for range table.Targets() {
		t.Error("a nil table has a target")
	}
	if table = new(Builder).Build(Inputs{Snapshot: nil, Splits: Splits{}}); table.Match("a", "/", false) != nil {
		t.Error("an empty table matches")
	}
}

func BenchmarkMatch(b *testing.B) {
	bench := func(name string, x *index, hosts, paths []string, found bool) {
		b.Run(name, func(b *testing.B) {
			table := &Table{table{index: x}}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if r := table.Match(hosts[i%len(hosts)], paths[i%len(paths)], false); (r != nil) != found {
					b.Fatal(r)
				}
				i += 7919
			}
		})
	}
	thing := []string{"/api/v1/things/42"}
	for _, n := range []int{1, 1000, 10000} {
		var routes []*Route
		var hosts, wild, nobody []string
		for i := range n {
			hosts = append(hosts, fmt.Sprintf("service-%d.example.com", i))
			wild = append(wild, fmt.Sprintf("www.tenant-%d.example.com", i))
			nobody = append(nobody, fmt.Sprintf("nobody-%d.example.com", i))
			routes = append(routes, newTestRoute(hosts[i], "/"), newTestRoute(fmt.Sprintf("*.tenant-%d.example.com", i), "/"))
		}
		x := indexOf(PrefixMatcher, routes)
		bench(fmt.Sprintf("hosts=%d", n), x, hosts, thing, true)
		bench(fmt.Sprintf("hosts=%d/wildcard", n), x, wild, thing, true)
		bench(fmt.Sprintf("hosts=%d/none", n), x, nobody, thing, false)
	}
	for _, m := range []struct {
		name string
		Matcher
		end string
	}{{"prefix", PrefixMatcher, ""}, {"iprefix", IPrefixMatcher, ""}, {"glob", GlobMatcher, "/*"}} {
		var routes []*Route
		var paths, others []string
		for i := range 50000 {
			p := fmt.Sprintf("/team-%d/service-%d/v%d", i%50, i, i%3)
			r := newTestRoute("www.example.com", p+m.end)
			routes = append(routes, r)
			paths = append(paths, p+"/things/42")
			others = append(others, fmt.Sprintf("/team-%d/other-%d/v%d/things/42", i%50, i, i%3))
		}
		x := indexOf(m.Matcher, routes)
		bench("paths=50000/"+m.name, x, []string{"www.example.com"}, paths, true)
		bench("paths=50000/"+m.name+"/none", x, []string{"www.example.com"}, others, false)
	}
	var routes []*Route
	var hosts []string
	paths := []string{"/api/v1/things/42", "/api/v2/things/42", "/static/app.js", "/admin/users", "/"}
	for i := range 10000 {
		hosts = append(hosts, fmt.Sprintf("service-%d.example.com", i))
		for _, p := range []string{"/api/v1/", "/api/v2/", "/static/", "/admin", "/"} {
			routes = append(routes, newTestRoute(hosts[i], p))
		}
	}
	bench("hosts=10000/paths=5", indexOf(PrefixMatcher, routes), hosts, paths, true)
}

func newTestRoute(host, path string) *Route { return &Route{Host: host, Path: path, key: path} }

// BenchmarkIndexEdit changes one route of 50,000: of a host of its own, and of
// a host that has them all.
func BenchmarkIndexEdit(b *testing.B) {
	for name, at := range map[string]func(i int) (host, path string){
		"hosts=50000": func(i int) (string, string) { return fmt.Sprintf("service-%d.example.com", i), "/" },
		"paths=50000": func(i int) (string, string) { return "www.example.com", fmt.Sprintf("/service-%d/", i) },
	} {
		b.Run(name, func(b *testing.B) {
			var routes []*Route
			for i := range 50000 {
				routes = append(routes, newTestRoute(at(i)))
			}
			x := indexOf(PrefixMatcher, routes)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				r := routes[i%len(routes)]
				e := x.edit()
				e.setPlace(r.Host, r.key, []*Route{newTestRoute(r.Host, r.Path)})
				x = e.done()
				i += 7919
			}
		})
	}
}

// TestRoutesOfOnePlace is the order of routes of one host and path.
func TestRoutesOfOnePlace(t *testing.T) {
	get := &Condition{Methods: []string{"GET"}}
	header := &Condition{Headers: []FieldMatch{{Name: "X-A", Pattern: Pattern{Kind: Present}}}}
	both := &Condition{Methods: get.Methods, Headers: header.Headers}
	routes := []*Route{{Priority: 1, When: get}, {Priority: 1}, {When: both}, {When: header}, {When: get}, {}, {Priority: -1, When: both}}
	for i, r := range routes {
		r.Host, r.Path, r.key = "a.test", "/x", "/x"
		for _, other := range routes[i+1:] {
			if compareInPlace(r, other) >= 0 || compareInPlace(other, r) <= 0 {
				t.Errorf("%d %v is not before %d %v", r.Priority, r.When, other.Priority, other.When)
			}
		}
	}
	shuffled := []*Route{routes[5], routes[2], routes[0], routes[6], routes[3], routes[4], routes[1]}
	if got := indexOf(PrefixMatcher, shuffled).host("a.test"); !slices.Equal(got, routes) {
		t.Errorf("the host has %q, want %q", names(got), names(routes))
	}
}
