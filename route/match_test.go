package route

import (
	"fmt"
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
	bench := func(name string, table *Table, hosts, paths []string) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if table.Match(hosts[i%len(hosts)], paths[i%len(paths)], false) == nil {
					b.Fatal("no route")
				}
				i += 7919
			}
		})
	}
	for _, n := range []int{1, 1000, 10000} {
		var rules []Rule
		var hosts, wild []string
		for i := range n {
			hosts = append(hosts, fmt.Sprintf("service-%d.example.com", i))
			wild = append(wild, fmt.Sprintf("www.tenant-%d.example.com", i))
			rules = append(rules, Rule{Host: hosts[i], Path: "/"}, Rule{Host: fmt.Sprintf("*.tenant-%d.example.com", i), Path: "/"})
		}
		table := tableOf(rules...)
		bench(fmt.Sprintf("hosts=%d", n), table, hosts, []string{"/api/v1/things/42"})
		bench(fmt.Sprintf("wildcards=%d", n), table, wild, []string{"/api/v1/things/42"})
	}
	rules, paths := manyPaths(50000)
	bench("paths=50000", tableOf(rules...), []string{"www.example.com"}, paths)
}

func manyPaths(n int) (rules []Rule, paths []string) {
	for i := range n {
		p := fmt.Sprintf("/team-%d/service-%d/v%d", i%50, i, i%3)
		rules = append(rules, Rule{Host: "www.example.com", Path: p})
		paths = append(paths, p+"/things/42")
	}
	return rules, paths
}
