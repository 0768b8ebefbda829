package route

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"serin/registry"
)

var update = flag.Bool("update", false, "rewrite testdata/*.txt")

// TestGolden builds the catalog of the first part of each file of testdata and
// compares the printed table (second part) and the answers to the lookups
// (third part).
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
			for len(parts) < 3 {
				parts = append(parts, "")
			}
			snapshot, splits := parseCatalog(t, parts[0])
			table := (&Builder{Datacenter: "dc1"}).Build(Inputs{Snapshot: snapshot, Splits: splits})

			var out strings.Builder
			if err := table.Print(&out); err != nil {
				t.Fatal(err)
			}
			for _, p := range table.Problems() {
				fmt.Fprintf(&out, "! %s %s %q: %s\n", p.Service, p.Instance, p.Tag, p.Error)
			}
			printed := strings.ReplaceAll(out.String(), " \n", "\n")

			var lookups strings.Builder
			for line := range strings.Lines(parts[2]) {
				url, _, _ := strings.Cut(strings.TrimSpace(line), " → ")
				if url == "" || url[0] == '#' {
					lookups.WriteString(line)
					continue
				}
				scheme, rest, _ := strings.Cut(url, "://")
				host, path := rest, ""
				if i := strings.IndexByte(rest, '/'); i >= 0 {
					host, path = rest[:i], rest[i:]
				}
				fmt.Fprintf(&lookups, "%s → %s\n", url, describe(table.Match(host, path, scheme == "https"), path))
			}
			got := parts[0] + "---\n" + printed + "---\n" + lookups.String()
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

// parseCatalog reads
//
//	service NAME
//	  INSTANCE [addr=…] [node=…] [weight=…] [health=…] [meta.K=V] [| TAG]…
//	split NAME|* [ratio=…] [min=…] [canary|stable|backup=tag:T|service:S|meta:K:V]
func parseCatalog(t testing.TB, text string) (*registry.Snapshot, Splits) {
	t.Helper()
	splits := Splits{ByService: map[string]*Split{}}
	var services []*registry.Service
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
	return registry.New(services...), splits
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
	snapshot, splits := parseCatalog(t, text)
	return new(Builder).Build(Inputs{Snapshot: snapshot, Splits: splits})
}
