package archtest

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// allowed lists, for every package, what of ours and of others it may import
// besides the standard library. A package that is missing here fails the test:
// a new room needs a place in the house, and in docs/ARCHITECTURE.md.
var allowed = map[string]struct{ ours, others []string }{
	// depth 0: facts
	"registry":           {},
	"proxy/guard":        {},
	"metrics":            {others: []string{"github.com/hashicorp/go-hclog", "github.com/prometheus/client_golang", "github.com/prometheus/client_model"}},
	"internal/archtest":  {},
	"internal/devconsul": {},
	"internal/agent":     {},
	"internal/shell":     {},
	"internal/casefile":  {},
	"internal/spelling":  {},
	"schema":             {}, // JSON Schemas, embedded
	"internal/demo":      {others: []string{"github.com/coder/websocket"}},

	// depth 1: the catalog as Consul tells it; where traffic may go
	"registry/consul": {ours: []string{"registry"}, others: []string{"github.com/hashicorp/consul/api", "github.com/google/uuid", "github.com/hashicorp/go-hclog"}},
	"route":           {ours: []string{"registry", "internal/spelling"}, others: []string{"github.com/dchest/siphash", "golang.org/x/net/idna"}}, // the hash of sticky assignment, and international host names: both pure

	// depth 2: what changes the table, and what moves the bytes
	"canary/evidence": {},
	"canary/rollout":  {ours: []string{"canary/evidence"}, others: []string{"github.com/hashicorp/go-hclog", "github.com/prometheus/client_golang"}},
	"canary/webhook":  {ours: []string{"canary/rollout"}, others: []string{"github.com/hashicorp/go-hclog", "github.com/prometheus/client_golang"}},
	"canary/daemon":   {others: []string{"github.com/hashicorp/go-hclog", "github.com/prometheus/client_golang"}}, // the protocol of maxwells-daemon

	"canary":        {ours: []string{"route", "canary/evidence", "canary/rollout", "internal/shell", "internal/spelling"}, others: []string{"github.com/dchest/siphash", "github.com/hashicorp/go-hclog", "github.com/prometheus/client_golang", "github.com/go-json-experiment/json"}},
	"control":       {ours: []string{"registry", "route"}, others: []string{"github.com/hashicorp/go-hclog", "github.com/prometheus/client_golang"}},
	"proxy":         {ours: []string{"route", "internal/spelling"}, others: []string{"github.com/hashicorp/go-hclog", "github.com/prometheus/client_golang", "github.com/tg123/go-htpasswd"}},
	"proxy/nethttp": {ours: []string{"proxy", "proxy/guard", "route"}, others: []string{"github.com/hashicorp/go-hclog", "github.com/klauspost/compress", "github.com/andybalholm/brotli"}},

	// depth 3: looking
	"admin": {ours: []string{"registry", "route", "canary", "canary/rollout", "proxy", "schema"}, others: []string{"github.com/hashicorp/go-hclog", "github.com/prometheus/client_golang"}},

	// depth 4: wiring
	"cmd/lb":           {ours: []string{"*"}, others: []string{"*"}},
	"cmd/demo-service": {ours: []string{"registry/consul", "internal/demo"}, others: []string{"github.com/hashicorp/go-hclog"}},

	// tests and measurements of the whole
	"e2e":             {ours: []string{"*"}, others: []string{"*"}},
	"e2e/bench":       {ours: []string{"*"}, others: []string{"*"}},
	"e2e/benchfollow": {ours: []string{"internal/agent"}},
	"e2e/load":        {others: []string{"github.com/coder/websocket", "github.com/google/uuid"}},
	"deploy":          {ours: []string{"*"}, others: []string{"*"}},

	// what is generated from the types
	"schema/generate": {ours: []string{"route", "canary", "canary/rollout"}, others: []string{"github.com/invopop/jsonschema"}},

	// the manual, kept true by its test
	"docs": {ours: []string{"*"}},
}

// owners are modules that exactly one package may import, and why.
var owners = map[string]struct{ owner, why string }{
	"github.com/hashicorp/consul/api": {"registry/consul", "Consul's client stays behind one door, so that nothing else depends on its shapes"},
	"github.com/spf13/cobra":          {"cmd/lb", "flags belong to the program, not to its packages"},
	"github.com/invopop/jsonschema":   {"schema/generate", "it makes a file that is committed, and is no part of the program"},
}

// banned are names that say nothing.
var banned = []string{"util", "utils", "common", "helpers", "types", "models", "misc", "base"}

type pkg struct {
	ImportPath string
	Name       string
	Doc        string
	Imports    []string
	GoFiles    []string
	Module     *struct{ Path string }
}

func list(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Name,Doc,Imports,GoFiles,Module", "serin/...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var pkgs []pkg
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
}

func TestArrowsPointDownward(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range list(t) {
		name := strings.TrimPrefix(p.ImportPath, "serin/")
		seen[name] = true
		rule, ok := allowed[name]
		if !ok {
			t.Errorf("package %s has no rule: give it a place in internal/archtest and in docs/ARCHITECTURE.md", name)
			continue
		}
		for _, imp := range p.Imports {
			if bad, why := refuses(name, rule.ours, rule.others, imp); bad {
				t.Errorf("%s imports %s: %s", name, imp, why)
			}
		}
	}
	for name := range allowed {
		if !seen[name] {
			t.Errorf("package %s has a rule but does not exist: remove the rule", name)
		}
	}
}

func refuses(name string, ours, others []string, imp string) (bad bool, why string) {
	if inner, ok := strings.CutPrefix(imp, "serin/"); ok {
		if slices.Contains(ours, "*") || slices.Contains(ours, inner) {
			return false, ""
		}
		return true, "not one of the packages below it"
	}
	if first, _, _ := strings.Cut(imp, "/"); !strings.Contains(first, ".") {
		return false, "" // standard library
	}
	for mod, o := range owners {
		if within(imp, mod) && name != o.owner && !slices.Contains(others, mod) {
			return true, "only " + o.owner + " may: " + o.why
		}
	}
	if slices.Contains(others, "*") {
		return false, ""
	}
	if slices.ContainsFunc(others, func(mod string) bool { return within(imp, mod) }) {
		return false, ""
	}
	return true, "not among the modules this package may use"
}

func within(imp, mod string) bool { return imp == mod || strings.HasPrefix(imp, mod+"/") }

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	for _, p := range list(t) {
		if len(p.GoFiles) > 0 && p.Doc == "" {
			t.Errorf("package %s has no package comment", p.ImportPath)
		}
		if slices.Contains(banned, p.Name) {
			t.Errorf("package %s: the name %q says nothing; name it for what it gives", p.ImportPath, p.Name)
		}
	}
}

// The rules themselves are tested: a guard that cannot bite guards nothing.
func TestRefuses(t *testing.T) {
	f := func(pkg, imp string, want bool) {
		t.Helper()
		if got, why := refuses(pkg, allowed[pkg].ours, allowed[pkg].others, imp); got != want {
			t.Errorf("refuses(%s, %s) = %v (%s), want %v", pkg, imp, got, why, want)
		}
	}
	f("route", "net/netip", false)
	f("route", "serin/registry", false)
	f("route", "serin/proxy", true)
	f("route", "github.com/hashicorp/consul/api", true)
	f("cmd/lb", "github.com/hashicorp/consul/api", true)
	f("cmd/lb", "github.com/spf13/cobra", false)
	f("cmd/lb", "github.com/invopop/jsonschema", true)
	f("cmd/lb", "serin/schema", false)
	f("schema/generate", "github.com/invopop/jsonschema", false)
	f("registry/consul", "github.com/hashicorp/consul/api", false)
	f("canary", "serin/proxy", true)
	f("proxy", "serin/canary", true)
	f("admin", "github.com/prometheus/client_golang/prometheus/promhttp", false)
	f("admin", "github.com/spf13/cobra", true)
}
