package route

import (
	"strings"
	"testing"

	"serin/registry"
)

// A scheme that nobody has configured keeps everybody out; that is said.
func TestUnknownSchemeIsSaid(t *testing.T) {
	commands, refused := ParseCommands("lb/routes", "route add by-hand h.test/ http://10.0.0.2:80/ opts \"auth=nobody\"\n")
	if refused != nil {
		t.Fatal(refused)
	}
	for _, c := range []struct {
		schemes []string
		want    int
	}{{nil, 0}, {[]string{}, 3}, {[]string{"staff"}, 2}, {[]string{"staff", "nobody"}, 0}} {
		b := Builder{Schemes: c.schemes}
		table := b.Build(Inputs{Snapshot: tagged(t, "urlprefix-a.test/ auth=staff", "urlprefix-b.test/ auth=nobody"), Overrides: &Overrides{Commands: commands}})
		got := 0
		for _, p := range table.Problems() {
			if strings.Contains(p.Error, "no scheme of that name") {
				got++
			}
		}
		if got != c.want || table.Len() != 3 {
			t.Errorf("schemes %q: %d problems and %d routes, want %d and 3: %+v", c.schemes, got, table.Len(), c.want, table.Problems())
		}
	}
}

func tagged(t *testing.T, tags ...string) *registry.Snapshot {
	t.Helper()
	return registry.New(&registry.Service{Name: "web", Instances: []registry.Instance{{
		Service: "web", ID: "web-1", Node: "n", Addr: "10.0.0.1:80", Tags: tags, Weight: 1, Health: registry.Passing, Ready: true,
	}}})
}
