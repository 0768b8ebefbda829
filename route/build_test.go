package route

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"serin/registry"
)

func printed(t interface{ Fatal(...any) }, table *Table) string {
	var b strings.Builder
	if err := table.Print(&b); err != nil {
		t.Fatal(err)
	}
	for _, p := range table.Problems() {
		fmt.Fprintln(&b, p.Service, p.Instance, p.Node, p.Tag, p.Error)
	}
	return b.String()
}

// printedWhole is printed with what the parts make of their splits.
func printedWhole(t interface{ Fatal(...any) }, table *Table) string {
	var b strings.Builder
	for r := range table.Routes() {
		for _, p := range r.Parts {
			printSplit(&b, r.Host+r.Path, p.Split)
		}
	}
	return printed(t, table) + b.String()
}

// printSplit writes what a part makes of a split.
func printSplit(b *strings.Builder, where string, s *Split) {
	fmt.Fprintf(b, "%q %q %v %q\n", where, s.Sequence(), s.Ratio, s.Capacity())
	for _, v := range s.Variants {
		printSplit(b, where+" "+v.Name, v.Split)
	}
}

// TestBuildKeepsWhatDidNotChange: a route of services that did not change is
// the very same route in the next table.
func TestBuildKeepsWhatDidNotChange(t *testing.T) {
	_, in := parseCatalog(t, `service a
  a1 | urlprefix-a.test/ | urlprefix-shared.test/
service b
  b1 | urlprefix-b.test/ | urlprefix-shared.test/
service c
  c1 | urlprefix-c.test/
service d
  d1 | urlprefix-d.test/
split c ratio=0.5 canary=service:b
split * ratio=0.1
`)
	snapshot, splits := in.Snapshot, in.Splits
	var b Builder
	first := b.Build(Inputs{Snapshot: snapshot, Splits: splits})
	kept := func(what string, next *Table, hosts ...string) {
		t.Helper()
		for _, host := range []string{"a.test", "b.test", "c.test"} {
			want := strings.Contains(strings.Join(hosts, " "), host)
			if same := first.Match(host, "/", false) == next.Match(host, "/", false); same != want {
				t.Errorf("%s: route of %s kept: %v, want %v", what, host, same, want)
			}
		}
		first = next
	}
	kept("nothing", b.Build(Inputs{Snapshot: snapshot, Splits: splits}), "a.test", "b.test", "c.test")
	change := func(name string) *registry.Snapshot {
		svc := *snapshot.Service(name)
		snapshot = snapshot.With(&svc)
		return snapshot
	}
	kept("service a", b.Build(Inputs{Snapshot: change("a"), Splits: splits}), "b.test", "c.test")
	kept("service b, which c joins", b.Build(Inputs{Snapshot: change("b"), Splits: splits}), "a.test")
	shared := first.Match("shared.test", "/", false)
	kept("service d", b.Build(Inputs{Snapshot: change("d"), Splits: splits}), "a.test", "b.test", "c.test")
	if len(shared.Parts) != 2 || first.Match("shared.test", "/", false) != shared {
		t.Error("a route that two unchanged services share was built again")
	}
	own := *splits.ByService["c"]
	kept("the split of c", b.Build(Inputs{Snapshot: snapshot, Splits: Splits{ByService: map[string]*Split{"c": &own}, Default: splits.Default}}), "a.test", "b.test")
	other := *splits.Default
	kept("nothing, with an own split", b.Build(Inputs{Snapshot: snapshot, Splits: Splits{ByService: map[string]*Split{"c": &own}, Default: splits.Default}}), "a.test", "b.test", "c.test")
	kept("the default", b.Build(Inputs{Snapshot: snapshot, Splits: Splits{ByService: map[string]*Split{"c": &own}, Default: &other}}), "c.test")
}

func TestBuildKeepsWithoutDocuments(t *testing.T) {
	_, in := parseCatalog(t, "service a\n a1 | urlprefix-a.test/\n")
	snapshot := in.Snapshot
	var b Builder
	first := b.Build(Inputs{Snapshot: snapshot, Splits: Splits{}})
	if next := b.Build(Inputs{Snapshot: snapshot, Splits: Splits{}}); next.Match("a.test", "/", false) != first.Match("a.test", "/", false) {
		t.Error("a route that did not change was built again")
	}
}

var anyOwner = regexp.MustCompile(`(belongs to) service "\w+", which owns \S+:`)

// TestBuildIsTheSameEveryTime: whatever a Builder built before, its table is
// that of a new Builder (which is told who owned what), nothing of an older
// table has changed, and the commands that it prints build it again.
func TestBuildIsTheSameEveryTime(t *testing.T) {
	tag := rapid.SampledFrom([]string{
		"urlprefix-/", "urlprefix-a.test/", "urlprefix-a.test/x", "urlprefix-*.test/ weight=0.3", "urlprefix-a.test/ weight=0.2",
		"urlprefix-a.test/ strip=/y", "urlprefix-a.test:80/", "urlprefix-a.test/ priority=1", "urlprefix-a.test/ methods=GET", "urlprefix-/ weight=0",
		"urlprefix-a.test/ proto=grpc", "urlprefix-?.test/", "urlprefix-/ bad", "canary", "green",
	})
	instance := rapid.Custom(func(t *rapid.T) registry.Instance {
		ready := rapid.Bool().Draw(t, "ready")
		return registry.Instance{
			ID: rapid.StringMatching("[a-c]").Draw(t, "id"), Addr: fmt.Sprintf("10.0.0.%d:80", rapid.IntRange(0, 9).Draw(t, "addr")),
			Ready: ready, Health: registry.Health(rapid.IntRange(0, 3).Draw(t, "health")), Tags: rapid.SliceOfN(tag, 0, 4).Draw(t, "tags"),
		}
	})
	service := rapid.Custom(func(t *rapid.T) *registry.Service {
		svc := &registry.Service{Name: rapid.SampledFrom([]string{"s1", "s2", "s3", "s4"}).Draw(t, "name"), Instances: rapid.SliceOfN(instance, 0, 4).Draw(t, "instances")}
		for i := range svc.Instances {
			svc.Instances[i].Service, svc.Instances[i].Node = svc.Name, fmt.Sprint("n", i)
		}
		svc.Normalize()
		return svc
	})
	split := rapid.Custom(func(t *rapid.T) *Split {
		s := &Split{Ratio: rapid.Float64Range(0, 1).Draw(t, "ratio")}
		s.Canary.Service = rapid.SampledFrom([]string{"", "", "s1", "s9"}).Draw(t, "canary service")
		s.Backup.Tag = rapid.SampledFrom([]string{"", "green"}).Draw(t, "backup")
		s.Overload = rapid.SampledFrom([]float64{0, 0, 0.5, 1}).Draw(t, "overload")
		for i := range rapid.IntRange(0, 2).Draw(t, "variants") {
			s.Variants = append(s.Variants, Variant{
				Name: fmt.Sprint(i), Clients: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32")}, Share: 1,
				Split: &Split{Ratio: rapid.Float64Range(0, 1).Draw(t, "variant"), Overload: rapid.SampledFrom([]float64{0, 1}).Draw(t, "its overload")},
			})
		}
		return s
	})
	command := rapid.SampledFrom([]string{
		`route add s1 a.test/ http://10.0.0.1:80/`, `route add s9 a.test/x http://10.0.0.2:80/ weight 0.2 tags "canary,green"`,
		`route add s2 a.test/ http://10.0.0.3:80/ opts "methods=GET"`, `route add s1 /to https://to.test$path opts "redirect=301"`,
		`route del s1`, `route del s2 a.test/`, `route del s9 a.test/x http://10.0.0.2:80/`, `route del s1 tags "green"`, `route del tags "canary"`,
		`route weight s1 a.test/ weight 0.4`, `route weight s2 a.test/ weight 0 tags "green"`, `route weight a.test/ weight 0.5 tags "green"`,
		`route del s7`, `route add s1 a.test/ http://127.0.0.1:9/`, `route nonsense`,
	})
	policy := rapid.Custom(func(t *rapid.T) *Ownership {
		o := &Ownership{Mode: OwnershipMode(rapid.IntRange(0, 2).Draw(t, "mode")), Hold: rapid.Bool().Draw(t, "hold")}
		if rapid.Bool().Draw(t, "rule") {
			o.Rules = []OwnershipRule{{[]string{rapid.SampledFrom([]string{"s1", "s*"}).Draw(t, "of")}, []string{rapid.SampledFrom([]string{"a.test/x", "*/", "*.test/"}).Draw(t, "claim")}}}
		}
		return o
	})
	rapid.Check(t, func(t *rapid.T) {
		b := Builder{Denied: Addresses{{Network: netip.MustParsePrefix("127.0.0.0/8")}}}
		fresh := func() *Builder { return &Builder{Denied: b.Denied} }
		var snapshot *registry.Snapshot
		var overrides *Overrides
		var ownership *Ownership
		splits := Splits{}
		var old *Table
		var was string
		for range rapid.IntRange(1, 8).Draw(t, "builds") {
			if rapid.Bool().Draw(t, "splits change") {
				splits = Splits{Default: split.Draw(t, "default"), ByService: map[string]*Split{"s2": split.Draw(t, "s2")}}
			}
			if rapid.IntRange(0, 4).Draw(t, "remove") == 0 {
				snapshot = snapshot.Without("s1")
			} else {
				snapshot = snapshot.With(service.Draw(t, "service"))
			}
			if rapid.IntRange(0, 3).Draw(t, "commands change") == 0 {
				overrides = ParseOverrides(CommandText{"kv", strings.Join(rapid.SliceOfN(command, 0, 6).Draw(t, "commands"), "\n")})
			}
			if rapid.IntRange(0, 4).Draw(t, "policy changes") == 0 {
				ownership = policy.Draw(t, "policy")
			}
			in := Inputs{Snapshot: snapshot, Splits: splits, Overrides: overrides, Ownership: ownership}
			table := b.Build(in)
			if ownership != nil && ownership.Mode == FirstOwner {
				told := *ownership
				told.Owners = table.Owners()
				in.Ownership = &told
			}
			// Of several owners that refuse a claim either names another.
			if got, want := anyOwner.ReplaceAllString(printedWhole(t, table), "$1"), anyOwner.ReplaceAllString(printedWhole(t, fresh().Build(in)), "$1"); got != want {
				t.Fatalf("incremental\n%s\nfrom nothing\n%s", got, want)
			}
			if n := len(table.Problems()); n != table.NumProblems() {
				t.Fatalf("%d problems, and a count of %d", n, table.NumProblems())
			}
			commands := printCommands(t, table)
			again := fresh().Build(Inputs{Overrides: ParseOverrides(CommandText{"again", commands})})
			if got, want := withoutComments(printCommands(t, again)), withoutComments(commands); got != want {
				t.Fatalf("printed\n%s\nits commands build\n%s", want, got)
			}
			n := 0
			for r := range table.Routes() {
				n++
				sum := 0.0
				ready := 0
				for _, p := range r.Parts {
					sum += p.Share
					for _, a := range p.Arms {
						ready += len(a.Ready)
					}
				}
				if ready > 0 && (sum < 1-1e-9 || sum > 1+1e-9) || ready == 0 && sum != 0 {
					t.Fatalf("%s%s: shares sum to %v, %d ready", r.Host, r.Path, sum, ready)
				}
			}
			if n != table.Len() {
				t.Fatalf("%d routes, and a length of %d", n, table.Len())
			}
			if old != nil {
				if got := printedWhole(t, old); got != was {
					t.Fatalf("an older table changed\n got %s\nwant %s", got, was)
				}
				checkDiff(t, old, table)
				checkStep(t, old, table)
			}
			old, was = table, printedWhole(t, table)
		}
	})
}

// checkDiff compares Diff with sets made of whole tables.
func checkDiff(t *rapid.T, old, new *Table) {
	c := Diff(old, new)
	targets := func(t *Table) map[liveKey]bool {
		m := map[liveKey]bool{}
		for target := range t.Targets() {
			m[target.live()] = true
		}
		return m
	}
	routes := func(t *Table) map[string]bool {
		m := map[string]bool{}
		for r := range t.Routes() {
			m[fmt.Sprint(r.place())] = true
		}
		return m
	}
	routeKey := func(r *Route) string { return fmt.Sprint(r.place()) }
	same(t, "routes added", routes(new), routes(old), c.RoutesAdded, routeKey)
	same(t, "routes gone", routes(old), routes(new), c.RoutesGone, routeKey)
	same(t, "targets added", targets(new), targets(old), c.TargetsAdded, (*Target).live)
	same(t, "targets gone", targets(old), targets(new), c.TargetsGone, (*Target).live)
	if back := Diff(new, old); back.Empty() != c.Empty() {
		t.Fatalf("one way %+v, the other %+v", c, back)
	}
}

// checkStep: what a Builder says of its next table is what a comparison of the
// whole tables finds.
func checkStep(t *rapid.T, old, new *Table) {
	fast := Diff(old, new)
	out, in := Replaced(old, new)
	keep := new.from
	new.from = nil
	slow := Diff(old, new)
	slowOut, slowIn := Replaced(old, new)
	new.from = keep
	text := func(c Changes, out, in []*Route) string {
		var s strings.Builder
		for i, list := range [...][]*Target{c.TargetsAdded, c.TargetsGone, c.TargetsReady, c.TargetsFailed} {
			for _, t := range list {
				fmt.Fprintln(&s, i, t.live())
			}
		}
		for i, list := range [...][]*Route{c.RoutesAdded, c.RoutesGone, out, in} {
			for _, r := range list {
				fmt.Fprintf(&s, "%d %v %p\n", i, r.place(), r)
			}
		}
		for i, list := range [...][]Problem{c.ProblemsAdded, c.ProblemsGone} {
			lines := []string{}
			for _, p := range list {
				lines = append(lines, fmt.Sprintln(i, p))
			}
			slices.Sort(lines)
			s.WriteString(strings.Join(lines, ""))
		}
		return s.String()
	}
	if got, want := text(fast, out, in), text(slow, slowOut, slowIn); got != want {
		t.Fatalf("the step says\n%s\nthe tables say\n%s", got, want)
	}
}

// same fails unless got is a without b.
func same[K comparable, V any](t *rapid.T, what string, a, b map[K]bool, got []V, key func(V) K) {
	seen := map[K]bool{}
	for _, v := range got {
		k := key(v)
		if seen[k] || !a[k] || b[k] {
			t.Fatalf("%s: %v does not belong there, or is there twice", what, k)
		}
		seen[k] = true
	}
	for k := range a {
		if !b[k] && !seen[k] {
			t.Fatalf("%s: %v is missing", what, k)
		}
	}
}

func TestDiff(t *testing.T) {
	var b Builder
	build := func(text string) *Table {
		_, in := parseCatalog(t, text)
		return b.Build(in)
	}
	names := func(c Changes) string {
		var s []string
		add := func(what string, names ...string) {
			if len(names) > 0 {
				s = append(s, what+" "+strings.Join(names, ","))
			}
		}
		route := func(rs []*Route) (out []string) {
			for _, r := range rs {
				out = append(out, r.Host+r.Path)
			}
			return out
		}
		target := func(ts []*Target) (out []string) {
			for _, t := range ts {
				out = append(out, t.ID)
			}
			return out
		}
		problem := func(ps []Problem) (out []string) {
			for _, p := range ps {
				out = append(out, p.Tag)
			}
			return out
		}
		add("+route", route(c.RoutesAdded)...)
		add("-route", route(c.RoutesGone)...)
		add("+target", target(c.TargetsAdded)...)
		add("-target", target(c.TargetsGone)...)
		add("ready", target(c.TargetsReady)...)
		add("failed", target(c.TargetsFailed)...)
		add("+problem", problem(c.ProblemsAdded)...)
		add("-problem", problem(c.ProblemsGone)...)
		return strings.Join(s, "; ")
	}
	var last *Table
	f := func(catalog, want string) {
		t.Helper()
		next := build(catalog)
		if got := names(Diff(last, next)); got != want {
			t.Errorf("%s\n got %s\nwant %s", catalog, got, want)
		}
		last = next
	}
	f("service web\n a | urlprefix-x/ | urlprefix-y/\n b | urlprefix-x/", "+route x/,y/; +target a,b")
	f("service web\n a | urlprefix-x/ | urlprefix-y/\n b | urlprefix-x/", "")
	f("service web\n a health=critical | urlprefix-x/ | urlprefix-y/\n b | urlprefix-x/", "failed a")
	f("service web\n a | urlprefix-x/ | urlprefix-z/\n b | urlprefix-x/ | urlprefix-/ bad", "+route z/; -route y/; ready a; +problem urlprefix-/ bad")
	f("service web\n a | urlprefix-x/\n b health=maintenance | urlprefix-x/", "-route z/; -target b; -problem urlprefix-/ bad")
	f("service web\n a addr=10.9.9.9:80 | urlprefix-x/", "+target a; -target a")
	f("", "-route x/; -target a")
}

func TestPrintIsPrintable(t *testing.T) {
	in := registry.Instance{Service: "web", ID: "a\x1b[31m", Addr: "10.0.0.1:80", Ready: true, Tags: []string{"urlprefix-/\u202ex", "two words\n", "<b>\u202e"}}
	got := printed(t, new(Builder).Build(Inputs{Snapshot: registry.New(&registry.Service{Name: "web", Instances: []registry.Instance{in}}), Splits: Splits{}}))
	if strings.ContainsAny(got, "\x1b\u202e") || strings.Count(got, "\n") != 2 || !strings.Contains(got, "two words\uFFFD,<b>\uFFFD") {
		t.Errorf("%q", got)
	}
}
