package route

import (
	"cmp"
	"slices"
	"strings"
	"testing"

	fabio "github.com/gobwas/glob"
	"pgregory.net/rapid"
)

// slowHost says how well a route's host fits that of a request, by Fabio's
// rules in the plainest words; the greater, the earlier.
func slowHost(pattern, host string, tls bool) (rank []string, ok bool) {
	usual := ":80"
	if tls {
		usual = ":443"
	}
	host = strings.ToLower(host)
	host = strings.TrimSuffix(host, usual)
	if name, port, _ := strings.Cut(host, ":"); port == "" {
		host = strings.TrimSuffix(name, ".")
	} else {
		host = strings.TrimSuffix(name, ".") + ":" + port
	}
	try := func(p, port string) {
		var r []string
		rest, star := strings.CutPrefix(p, "*")
		reversed := []byte(p)
		slices.Reverse(reversed)
		switch g, err := fabio.Compile(p); {
		case pattern == "":
			r = []string{"0"}
		case !strings.ContainsAny(p, "*?[]{}"):
			if p == host {
				r = []string{"3", "", port}
			}
		case star && !strings.ContainsAny(rest, "*?[]{}"):
			if rest == "" {
				r = []string{"0*", "", port}
			} else if strings.HasSuffix(host, rest) {
				r = []string{"2", strings.Repeat("x", len(rest)), port}
			}
		case err == nil && g.Match(host):
			r = []string{"1", string(reversed), port}
		}
		if slices.Compare(r, rank) > 0 {
			rank, ok = r, true
		}
	}
	try(pattern, "")
	if name, found := strings.CutSuffix(pattern, usual); found {
		try(name, usual)
	}
	return rank, ok
}

// slowSearch returns the routes that match, best first.
func slowSearch(routes []*Route, m Matcher, host, path string, tls bool, request ConditionRequest) []*Route {
	type match struct {
		*Route
		rank []string
	}
	var all []match
	clean, err := CleanPath(path)
	if err != nil {
		return nil
	}
	for _, r := range routes {
		rank, ok := slowHost(r.Host, host, tls)
		if !ok || r.When != nil && (request == nil || !r.When.Holds(request)) {
			continue
		}
		switch m {
		case PrefixMatcher:
			ok = strings.HasPrefix(clean, r.key)
		case IPrefixMatcher:
			ok = strings.HasPrefix(strings.ToLower(clean), r.key)
		case GlobMatcher:
			g, err := fabio.Compile(r.key)
			ok = err == nil && g.Match(clean)
		}
		if ok {
			all = append(all, match{r, rank})
		}
	}
	slices.SortFunc(all, func(a, b match) int {
		return cmp.Or(slices.Compare(b.rank, a.rank), cmp.Compare(b.Priority, a.Priority), strings.Compare(b.key, a.key), compareInPlace(a.Route, b.Route))
	})
	found := make([]*Route, len(all))
	for i := range all {
		found[i] = all[i].Route
	}
	return found
}

type askedFor struct{ method, query, header string }

func (a askedFor) Method() string   { return a.method }
func (a askedFor) RawQuery() string { return a.query }
func (a askedFor) Header(name string) (string, bool) {
	return a.header, name == "X-A" && a.header != ""
}

// drawn are the parts of random tables: few values, so that they meet.
var drawn = struct {
	name, port, host, path, prefix, pattern *rapid.Generator[string]
	when                                    *rapid.Generator[*Condition]
}{}

func init() {
	label := rapid.SampledFrom([]string{"a", "b", "ab", "www", "x-y"})
	drawn.name = rapid.Custom(func(t *rapid.T) string { return strings.Join(rapid.SliceOfN(label, 1, 4).Draw(t, "labels"), ".") })
	drawn.port = rapid.SampledFrom([]string{"", "", "", ":80", ":443", ":8080"})
	drawn.host = rapid.Custom(func(t *rapid.T) string {
		port := drawn.port.Draw(t, "port")
		switch rapid.IntRange(0, 7).Draw(t, "kind") {
		case 0:
			return ""
		case 1:
			return "*." + drawn.name.Draw(t, "suffix") + port
		case 2:
			return "*" + rapid.SampledFrom([]string{"", "b", "y"}).Draw(t, "rest") + port
		case 3, 4:
			return strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "*", "?", ".", "{a,b}", "[ab]", "[!a]", "www", "{a.*,?.b}"}), 1, 5).Draw(t, "glob"), "") + "?a" + port
		}
		return drawn.name.Draw(t, "host") + port
	})
	segment := rapid.SampledFrom([]string{"a", "ab", "abc", "A", "aB", "b", "%61", "%2F", "é", "..", ".", "", "a%20b", "*"})
	drawn.path = rapid.Custom(func(t *rapid.T) string {
		return "/" + strings.Join(rapid.SliceOfN(segment, 0, 4).Draw(t, "segments"), "/")
	})
	plain := rapid.SampledFrom([]string{"a", "ab", "abc", "aB", "b", "%61", "%2F", "é", "a%20b"})
	drawn.prefix = rapid.Custom(func(t *rapid.T) string {
		p := "/" + strings.Join(rapid.SliceOfN(plain, 0, 4).Draw(t, "segments"), "/")
		if p != "/" && rapid.Bool().Draw(t, "slash") {
			p += "/"
		}
		return p
	})
	piece := rapid.SampledFrom([]string{"/", "/", "a", "ab", "b", "*", "**", "?", "{a,b}", "{/a,/b*}", "[ab]", "[!a]", "[a-c]", `\*`, "%2F"})
	near := rapid.SampledFrom([]string{"/a", "/a", "?", "*", "a", "{/a,b}", "[!b]"}) // that often fit the same path
	drawn.pattern = rapid.Custom(func(t *rapid.T) string {
		if rapid.Bool().Draw(t, "near") {
			return "/a" + strings.Join(rapid.SliceOfN(near, 0, 3).Draw(t, "pieces"), "") + "*"
		}
		return rapid.SampledFrom([]string{"/", "/", "/a", "*"}).Draw(t, "start") + strings.Join(rapid.SliceOfN(piece, 0, 4).Draw(t, "pieces"), "")
	})
	drawn.when = rapid.SampledFrom([]*Condition{
		nil, nil, nil, nil,
		{Methods: []string{"GET"}},
		{Methods: []string{"POST"}},
		{Headers: []FieldMatch{{Name: "X-A", Pattern: Pattern{Kind: Present}}}},
		{Methods: []string{"GET"}, Query: []FieldMatch{{Name: "q", Pattern: Pattern{Kind: Exact, Text: "1"}}}},
	})
}

// drawRoutes returns random routes, no two of the same place, priority and
// condition.
func drawRoutes(t *rapid.T, m Matcher, most int) []*Route {
	hosts := rapid.SampledFrom(rapid.SliceOfN(drawn.host, 1, rapid.SampledFrom([]int{2, 30}).Draw(t, "hosts at most")).Draw(t, "hosts"))
	routes := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) *Route {
		r := &Route{Host: hosts.Draw(t, "host"), When: drawn.when.Draw(t, "when"), Priority: rapid.SampledFrom([]int{0, 0, 0, 0, 1, -1}).Draw(t, "priority")}
		if r.Path = drawn.prefix.Draw(t, "prefix"); m == GlobMatcher {
			r.Path = drawn.pattern.Draw(t, "pattern")
		}
		key, err := m.key(r.Path)
		if err != nil {
			t.Fatalf("key of %q: %v", r.Path, err)
		}
		r.key = key
		return r
	}), 0, most).Draw(t, "routes")
	seen := make(map[string]bool)
	return slices.DeleteFunc(routes, func(r *Route) bool {
		k := strings.Join([]string{r.Host, r.key, string(rune('5' + r.Priority)), r.When.String()}, " ")
		defer func() { seen[k] = true }()
		return seen[k]
	})
}

func indexOf(m Matcher, routes []*Route) *index {
	hosts := make(map[string][]*Route)
	for _, r := range routes {
		hosts[r.Host] = append(hosts[r.Host], r)
	}
	e := newIndex(m, false).edit()
	for host, routes := range hosts {
		e.set(host, routes)
	}
	return e.done()
}

func names(routes []*Route) (all []string) {
	for _, r := range routes {
		all = append(all, strings.TrimSpace(r.Host+r.key+" "+r.When.String())+strings.Repeat("+", 1+r.Priority))
	}
	return all
}

func TestSearchIsTheSlowSearch(t *testing.T) {
	for m, name := range []string{"prefix", "iprefix", "glob"} {
		t.Run(name, func(t *testing.T) { testSearch(t, Matcher(m)) })
	}
}

func testSearch(t *testing.T, m Matcher) {
	rapid.Check(t, func(t *rapid.T) {
		routes := drawRoutes(t, m, 60)
		table := &Table{table{index: indexOf(m, routes)}}
		for range 70 {
			host := drawn.name.Draw(t, "name") + rapid.SampledFrom([]string{"", "", "."}).Draw(t, "dot") + drawn.port.Draw(t, "port")
			if len(routes) > 0 && rapid.IntRange(0, 2).Draw(t, "as written") == 0 {
				host = rapid.SampledFrom(routes).Draw(t, "route").Host
				if strings.HasPrefix(host, "*") && rapid.Bool().Draw(t, "under it") {
					host = "a" + host[1:]
				}
			}
			if rapid.Bool().Draw(t, "upper") {
				host = strings.ToUpper(host)
			}
			path, tls := drawn.path.Draw(t, "path"), rapid.Bool().Draw(t, "tls")
			var request ConditionRequest
			if rapid.IntRange(0, 3).Draw(t, "request") > 0 {
				request = askedFor{rapid.SampledFrom([]string{"GET", "POST"}).Draw(t, "method"), rapid.SampledFrom([]string{"", "q=1"}).Draw(t, "query"), rapid.SampledFrom([]string{"", "1"}).Draw(t, "header")}
			}
			var got []*Route
			for s := table.Search(host, path, tls, request); ; {
				r := s.Next()
				if r == nil {
					if s.Next() != nil {
						t.Fatal("a search goes on after its end")
					}
					break
				}
				got = append(got, r)
			}
			if want := slowSearch(routes, m, host, path, tls, request); !slices.Equal(got, want) {
				t.Fatalf("Search(%q, %q, %v, %v)\n got %q\nwant %q", host, path, tls, request, names(got), names(want))
			}
			if first := table.Match(host, path, tls); request == nil && (len(got) == 0) != (first == nil) || request == nil && first != nil && first != got[0] {
				t.Fatalf("Match(%q, %q, %v) = %v, not the first of the search", host, path, tls, first)
			}
			var met []*Route
			for _, c := range table.Considered(host, path, tls, request) {
				if c.Host && c.Path && c.When {
					met = append(met, c.Route)
				}
			}
			if strings.Contains(host, ":") { // ports that are usual for others are not listed where they are tried
				byName := func(a, b *Route) int {
					return cmp.Or(strings.Compare(a.Host, b.Host), cmp.Compare(b.Priority, a.Priority), strings.Compare(b.key, a.key), compareInPlace(a, b))
				}
				slices.SortFunc(met, byName)
				slices.SortFunc(got, byName)
			}
			if !slices.Equal(met, got) {
				t.Fatalf("Considered(%q, %q, %v, %v)\n got %q\nwant %q", host, path, tls, request, names(met), names(got))
			}
		}
	})
}

// TestIndexEdits holds that an index that was edited finds what one finds that
// was built at once, and that no edit changes an older index.
func TestIndexEdits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := rapid.SampledFrom([]Matcher{PrefixMatcher, IPrefixMatcher, GlobMatcher}).Draw(t, "matcher")
		type at struct{ host, key string }
		have := make(map[at][]*Route)
		type version struct {
			x      *index
			routes []*Route
		}
		x := newIndex(m, false)
		var versions []version
		for range rapid.IntRange(1, 8).Draw(t, "edits") {
			routes := drawRoutes(t, m, 60)
			places := make(map[at][]*Route)
			for _, r := range routes {
				k := at{r.Host, r.key}
				places[k] = append(places[k], r)
			}
			e := x.edit()
			for k := range have {
				if rapid.IntRange(0, 2).Draw(t, "goes") == 0 {
					places[k] = nil
				}
			}
			for k, routes := range places {
				e.setPlace(k.host, k.key, routes)
				if have[k] = routes; routes == nil {
					delete(have, k)
				}
			}
			x = e.done()
			var all []*Route
			for _, routes := range have {
				all = append(all, routes...)
			}
			versions = append(versions, version{x, all})
		}
		for i, v := range versions {
			once := indexOf(m, v.routes)
			got, want := slices.Collect(v.x.all()), slices.Collect(once.all())
			if !slices.Equal(got, want) || v.x.size != len(v.routes) {
				t.Fatalf("edit %d of %d\n got %q\nwant %q", i+1, len(versions), names(got), names(want))
			}
			for range 20 {
				host, path := drawn.name.Draw(t, "name")+drawn.port.Draw(t, "port"), drawn.path.Draw(t, "path")
				a, b := v.x.search(host, path, false, askedFor{"GET", "q=1", "1"}), once.search(host, path, false, askedFor{"GET", "q=1", "1"})
				for {
					got, want := a.Next(), b.Next()
					if got != want {
						t.Fatalf("edit %d of %d: search(%q, %q) finds %v, not %v", i+1, len(versions), host, path, got, want)
					}
					if want == nil {
						break
					}
				}
			}
		}
		e := x.edit() // all hosts go
		for k := range have {
			e.set(k.host, nil)
		}
		if x = e.done(); x.size != 0 || !x.names.empty() || !x.suffix.empty() || !x.globs.empty() || x.none != nil {
			t.Fatal("something is left when all routes are gone")
		}
	})
}

// TestPrefixes compares the map with the plainest one, and its copies with what
// they were.
func TestPrefixes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.StringOfN(rapid.SampledFrom([]rune("ab/")), 0, rapid.SampledFrom([]int{3, 8, 12}).Draw(t, "length"), -1)
		type version struct {
			m     prefixes[int]
			plain map[string]int
		}
		var m prefixes[int]
		plain := make(map[string]int)
		var versions []version
		for n := range rapid.IntRange(1, 6).Draw(t, "edits") {
			owned := len(versions) == 0
			for i, k := range rapid.SliceOfN(key, 0, 300).Draw(t, "set") {
				m.set(k, n*1000+i, owned)
				plain[k] = n*1000 + i
			}
			for _, k := range rapid.SliceOfN(key, 0, rapid.SampledFrom([]int{10, 300}).Draw(t, "most")).Draw(t, "delete") {
				m.delete(k, owned)
				delete(plain, k)
			}
			copied := make(map[string]int, len(plain))
			for k, v := range plain {
				copied[k] = v
			}
			versions = append(versions, version{m, copied})
		}
		for _, v := range versions {
			found := make(map[string]int)
			v.m.all(func(l *leaf[int]) bool { found[l.key] = l.value; return true })
			if len(found) != len(v.plain) || v.m.size != len(v.plain) {
				t.Fatalf("%d keys and %d of size, want %d", len(found), v.m.size, len(v.plain))
			}
			for k, want := range v.plain {
				if l := v.m.get(k); l == nil || l.value != want || found[k] != want {
					t.Fatalf("get(%q) = %v, %d among all, want %d", k, l, found[k], want)
				}
			}
			for range 30 {
				s := rapid.StringOfN(rapid.SampledFrom([]rune("abAB/")), 0, 50, -1).Draw(t, "text")
				x := text{s: s, n: rapid.IntRange(0, len(s)).Draw(t, "n"), fold: rapid.Bool().Draw(t, "fold"), back: rapid.Bool().Draw(t, "back")}
				plainText := s
				if x.back {
					plainText = backwards(plainText)
				}
				if plainText = plainText[:x.n]; x.fold {
					plainText = strings.ToLower(plainText)
				}
				length := rapid.IntRange(0, 10).Draw(t, "least")
				long, short := "none", "none"
				for i := range len(plainText) + 1 {
					if _, ok := v.plain[plainText[:i]]; ok {
						if long = plainText[:i]; i >= length && short == "none" {
							short = long
						}
					}
				}
				got := func(l *leaf[int]) string {
					if l == nil {
						return "none"
					}
					return l.key
				}
				if l := got(v.m.longest(x)); l != long {
					t.Fatalf("longest(%+v) = %q, want %q", x, l, long)
				}
				if l := got(v.m.shortest(x, length)); l != short {
					t.Fatalf("shortest(%+v, %d) = %q, want %q", x, length, l, short)
				}
			}
		}
	})
}

// TestPageIsFull holds that keys whose hashes meet are found and lost one by
// one: outside of a test that takes luck.
func TestPageIsFull(t *testing.T) {
	var p page[int]
	key := func(i int) string { return strings.Repeat("a", i) }
	for i := range 2 * pageSize {
		p.put(7, leaf[int]{key(i), i})
	}
	for i := range 2 * pageSize {
		if l := p.find(7, &text{s: key(i), n: i}, i); l == nil || l.value != i {
			t.Errorf("key %d: %v", i, l)
		}
	}
	if l := p.find(7, &text{s: "b", n: 1}, 1); l != nil {
		t.Errorf("b is %v", l)
	}
}
