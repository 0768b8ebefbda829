package route

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

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

// slowMatch says Fabio's order in the plainest words: among the rules whose
// host and path fit, the best host wins, then the longest path.
func slowMatch(rules []Rule, host, path string, tls bool) (best string) {
	usual := ":80"
	if tls {
		usual = ":443"
	}
	plain := func(h string) string { return strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(h), usual), ".") }
	clean, err := CleanPath(path)
	if err != nil {
		return ""
	}
	var bestRank []int
	for _, r := range rules {
		pattern := plain(r.Host)
		withPort := 0
		if strings.HasSuffix(r.Host, usual) {
			withPort = 1
		}
		var rank []int
		switch suffix, wild := strings.CutPrefix(pattern, "*"); {
		case r.Host == "":
			rank = []int{0, 0, 0}
		case wild && strings.HasSuffix(plain(host), suffix):
			rank = []int{1, len(suffix), withPort}
		case !wild && plain(host) == pattern:
			rank = []int{2, 0, withPort}
		default:
			continue
		}
		prefix, _ := CleanPath(r.Path)
		if !strings.HasPrefix(clean, prefix) {
			continue
		}
		if rank = append(rank, len(prefix)); slices.Compare(rank, bestRank) > 0 {
			best, bestRank = r.Host+" "+prefix, rank
		}
	}
	return best
}

func TestMatchIsTheSlowMatch(t *testing.T) {
	label := rapid.SampledFrom([]string{"a", "b", "www", "x-y"})
	name := rapid.Custom(func(t *rapid.T) string { return strings.Join(rapid.SliceOfN(label, 1, 4).Draw(t, "labels"), ".") })
	port := rapid.SampledFrom([]string{"", "", "", ":80", ":443", ":8080"})
	host := rapid.Custom(func(t *rapid.T) string {
		switch rapid.IntRange(0, 5).Draw(t, "kind") {
		case 0:
			return ""
		case 1:
			return "*." + name.Draw(t, "suffix") + port.Draw(t, "port")
		case 2:
			return "*" + port.Draw(t, "port")
		}
		return name.Draw(t, "host") + port.Draw(t, "port")
	})
	segment := rapid.SampledFrom([]string{"a", "ab", "abc", "b", "%61", "%2F", "é", "..", ".", "", "a%20b"})
	path := rapid.Custom(func(t *rapid.T) string {
		return "/" + strings.Join(rapid.SliceOfN(segment, 0, 4).Draw(t, "segments"), "/")
	})
	plain := rapid.SampledFrom([]string{"a", "ab", "abc", "b", "%61", "%2F", "é", "a%20b"})
	prefix := rapid.Custom(func(t *rapid.T) string {
		p := "/" + strings.Join(rapid.SliceOfN(plain, 0, 4).Draw(t, "segments"), "/")
		if p != "/" && rapid.Bool().Draw(t, "slash") {
			p += "/"
		}
		return p
	})
	rule := rapid.Custom(func(t *rapid.T) Rule {
		return Rule{Host: host.Draw(t, "h"), Path: prefix.Draw(t, "p"), Options: Options{Weight: -1}}
	})
	rapid.Check(t, func(t *rapid.T) {
		rules := rapid.SliceOfN(rule, 0, 40).Draw(t, "rules")
		table := tableOf(rules...)
		if p := table.Problems(); len(p) > 0 {
			t.Fatal(p)
		}
		for range 40 {
			h := name.Draw(t, "request host") + port.Draw(t, "request port")
			if rapid.Bool().Draw(t, "upper") {
				h = strings.ToUpper(h)
			}
			p, tls := path.Draw(t, "request path"), rapid.Bool().Draw(t, "tls")
			got := ""
			if r := table.Match(h, p, tls); r != nil {
				got = r.Host + " " + r.key
			}
			if want := slowMatch(rules, h, p, tls); got != want {
				t.Fatalf("Match(%q, %q, %v)\n got %q\nwant %q", h, p, tls, got, want)
			}
		}
	})
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
