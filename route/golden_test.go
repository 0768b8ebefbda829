package route

import (
	"flag"
	"fmt"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"serin/registry"
)

var update = flag.Bool("update", false, "rewrite testdata/*.txt")

// TestGolden builds the table of the first part of each file of testdata and
// compares what is printed for people, with the problems (second part), the
// answers to the lookups (third part), and the commands that say the same
// (fourth part), which must build the table that they were printed from.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no golden files", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			parts := strings.Split(string(b), "---\n")
			for len(parts) < 4 {
				parts = append(parts, "")
			}
			builder, in := parseCatalog(t, parts[0])
			builder.Datacenter = "dc1"
			table := builder.Build(in)

			var out strings.Builder
			if err := table.Print(&out); err != nil {
				t.Fatal(err)
			}
			for _, p := range table.Problems() {
				if strings.HasPrefix(p.Where, "lb/routes:") {
					fmt.Fprintf(&out, "! %s: %s\n", p.Where, p.Error)
				} else {
					fmt.Fprintf(&out, "! %s %s %q: %s\n", p.Service, p.Instance, p.Tag, p.Error)
				}
			}
			if n := table.NumProblems(); n != len(table.Problems()) {
				t.Errorf("NumProblems %d of %d", n, len(table.Problems()))
			}
			for place, owner := range sortedMap(table.Owners()) {
				fmt.Fprintf(&out, "= %s owns %s\n", owner, place)
			}
			printed := strings.ReplaceAll(out.String(), " \n", "\n")

			var lookups strings.Builder
			for line := range strings.Lines(parts[2]) {
				asked, _, _ := strings.Cut(strings.TrimSpace(line), " → ")
				if asked == "" || asked[0] == '#' {
					lookups.WriteString(line)
					continue
				}
				fmt.Fprintf(&lookups, "%s → %s\n", asked, lookup(table, asked))
			}
			commands := printCommands(t, table)
			again := (&Builder{Matcher: builder.Matcher, NoGlobs: builder.NoGlobs, Denied: builder.Denied, Allowed: builder.Allowed}).Build(Inputs{Overrides: ParseOverrides(CommandText{"again", commands})})
			if got, want := printCommands(t, again), withoutComments(commands); withoutComments(got) != want {
				t.Errorf("the commands build another table\n got:\n%s\nwant:\n%s", got, want)
			}
			got := parts[0] + "---\n" + printed + "---\n" + lookups.String() + "---\n" + commands
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(b) {
				t.Errorf("%s\n got:\n%s\nwant:\n%s", file, got, b)
			}
		})
	}
}

func sortedMap(m map[string]string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			if !yield(k, m[k]) {
				return
			}
		}
	}
}

func printCommands(t interface{ Fatal(...any) }, table *Table) string {
	var out strings.Builder
	if err := table.PrintCommands(&out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func withoutComments(text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		if line[0] != '#' {
			out.WriteString(line)
		}
	}
	return out.String()
}

// asked is a request of a lookup: [METHOD ]URL[ Name:value]…
type asked struct {
	method, query string
	headers       map[string]string
}

func (a asked) Method() string   { return a.method }
func (a asked) RawQuery() string { return a.query }
func (a asked) Header(name string) (string, bool) {
	v, ok := a.headers[name]
	return v, ok
}

// lookup describes what a request meets.
func lookup(table *Table, line string) string {
	words := strings.Fields(line)
	a := asked{method: "GET", headers: map[string]string{}}
	if !strings.Contains(words[0], "://") {
		a.method, words = words[0], words[1:]
	}
	for _, w := range words[1:] {
		name, value, _ := strings.Cut(w, ":")
		a.headers[name] = value
	}
	scheme, rest, _ := strings.Cut(words[0], "://")
	if path, query, ok := strings.Cut(rest, "?"); ok {
		rest, a.query = path, query
	}
	host, path := rest, ""
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		host, path = rest[:i], rest[i:]
	}
	s := table.Search(host, path, scheme == "https", a)
	return describe(s.Next(), path)
}

// describe tells a route, its arms as stable/canary/backup with their Fixed,
// and the path that would be forwarded.
func describe(r *Route, path string) string {
	if r == nil {
		return "no route"
	}
	s := r.Host + r.Path
	for _, p := range r.Parts {
		s += fmt.Sprintf("  %s %.4g", p.Service, p.Share)
		for a := range p.Arms {
			if arm := p.Arms[a]; len(arm.Ready)+len(arm.Critical) > 0 {
				s += fmt.Sprintf(" %s:%d", ArmName(a), len(arm.Ready))
				if arm.Fixed > 0 {
					s += fmt.Sprintf("(fixed %.4g)", arm.Fixed)
				}
			}
		}
	}
	for target := range r.Targets() {
		if o := target.Options; o.Redirect != nil {
			s += fmt.Sprintf("  %d %s", o.Redirect.Code, o.Location("client.test", path, "q=1", false))
		} else if forwarded := o.Rewrite(path); forwarded != path {
			s += "  forwards " + forwarded
		}
		break
	}
	return s
}

// parseCatalog reads what a table is built from:
//
//	builder [matcher=iprefix|glob] [globs=off] [denied=A,B] [allowed=A,B]
//	service NAME
//	  INSTANCE [addr=…] [node=…] [weight=…] [health=…] [created=…] [meta.K=V] [| TAG]…
//	split NAME|* [ratio=…] [min=…] [canary|stable|backup=tag:T|service:S|meta:K:V]
//	route add|del|weight …
//	ownership first-owner|strict [hold]
//	rule SERVICE,SERVICE CLAIM,CLAIM
//	owner PLACE SERVICE
//
// The route commands are those of the source lb/routes, counted from 1.
func parseCatalog(t testing.TB, text string) (*Builder, Inputs) {
	t.Helper()
	splits := Splits{ByService: map[string]*Split{}}
	var services []*registry.Service
	builder := new(Builder)
	var commands strings.Builder
	var ownership *Ownership
	for line := range strings.Lines(text) {
		head, tags, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " | ")
		words := strings.Fields(head)
		if len(words) == 0 || words[0][0] == '#' {
			continue
		}
		kv := map[string]string{}
		for _, w := range words[1:] {
			k, v, _ := strings.Cut(w, "=")
			kv[k] = v
		}
		switch words[0] {
		case "route":
			commands.WriteString(strings.TrimSuffix(line, "\n") + "\n")
			continue
		case "builder":
			for k, v := range kv {
				var err error
				switch k {
				case "matcher":
					builder.Matcher = map[string]Matcher{"iprefix": IPrefixMatcher, "glob": GlobMatcher}[v]
				case "globs":
					builder.NoGlobs = v == "off"
				case "denied":
					builder.Denied, err = ParseAddresses(strings.Split(v, ","))
				case "allowed":
					builder.Allowed, err = ParseAddresses(strings.Split(v, ","))
				default:
					t.Fatalf("builder: %q", k)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			continue
		case "ownership":
			ownership = &Ownership{Mode: map[string]OwnershipMode{"first-owner": FirstOwner, "strict": Strict}[words[1]], Hold: len(words) > 2}
			continue
		case "rule":
			ownership.Rules = append(ownership.Rules, OwnershipRule{strings.Split(words[1], ","), strings.Split(words[2], ",")})
			continue
		case "owner":
			if ownership.Owners == nil {
				ownership.Owners = map[string]string{}
			}
			ownership.Owners[words[1]] = words[2]
			continue
		case "service":
			services = append(services, &registry.Service{Name: words[1]})
			continue
		case "split":
			delete(kv, words[1])
			sp := &Split{Service: words[1], Explicit: true}
			for k, v := range kv {
				switch k {
				case "ratio":
					sp.Ratio, _ = strconv.ParseFloat(v, 64)
				case "min":
					sp.MinHealthy, _ = strconv.Atoi(v)
				case "canary":
					sp.Canary = parseSelector(v)
				case "stable":
					sp.Stable = parseSelector(v)
				case "backup":
					sp.Backup = parseSelector(v)
				default:
					t.Fatalf("split: %q", k)
				}
			}
			if words[1] == "*" {
				sp.Service = ""
				splits.Default = sp
			} else {
				splits.ByService[words[1]] = sp
			}
			continue
		}
		svc := services[len(services)-1]
		n := len(svc.Instances) + 1
		in := registry.Instance{
			Service: svc.Name, ID: words[0], Node: fmt.Sprint("node", n), Datacenter: "dc1",
			Addr: fmt.Sprintf("10.0.%d.%d:80", len(services), n), Weight: 1, Health: registry.Passing, Meta: map[string]string{},
		}
		for k, v := range kv {
			var err error
			switch {
			case k == "addr":
				in.Addr = v
			case k == "node":
				in.Node = v
			case k == "weight":
				in.Weight, err = strconv.Atoi(v)
			case k == "created":
				in.Created, err = strconv.ParseUint(v, 10, 64)
			case k == "health" && v == "unchecked":
				in.Reason = "has no health check"
			case k == "health":
				err = in.Health.UnmarshalText([]byte(v))
				in.Reason = "is " + v
			case strings.HasPrefix(k, "meta."):
				in.Meta[k[5:]] = v
			default:
				t.Fatalf("instance: %q", k)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		in.Ready = in.Reason == ""
		if tags != "" {
			for tag := range strings.SplitSeq(tags, " | ") {
				if q, err := strconv.Unquote(tag); err == nil {
					tag = q
				}
				in.Tags = append(in.Tags, tag)
			}
		}
		svc.Instances = append(svc.Instances, in)
	}
	for _, svc := range services {
		svc.Normalize()
	}
	in := Inputs{Snapshot: registry.New(services...), Splits: splits, Ownership: ownership}
	if commands.Len() > 0 {
		in.Overrides = ParseOverrides(CommandText{"lb/routes", commands.String()})
	}
	return builder, in
}

func parseSelector(s string) (sel Selector) {
	kind, v, _ := strings.Cut(s, ":")
	switch kind {
	case "tag":
		sel.Tag = v
	case "service":
		sel.Service = v
	case "meta":
		k, v, _ := strings.Cut(v, ":")
		sel.Meta = map[string]string{k: v}
	}
	return sel
}

// mustBuild is a table of a catalog in the form of parseCatalog.
func mustBuild(t testing.TB, text string) *Table {
	t.Helper()
	b, in := parseCatalog(t, text)
	return b.Build(in)
}
