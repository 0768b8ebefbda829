package route

import (
	"fmt"
	"strings"
	"testing"

	"serin/registry"
)

// TestExpressionsAreBounded: what an expression costs decides how long a text
// may be that it is matched with.
func TestExpressionsAreBounded(t *testing.T) {
	for expression, longest := range map[string]int{"[^b][^c][^d]x": 3640, ".{0,250}x": 130, "(a?){100}x": 130} {
		p, err := ParsePattern("~" + expression)
		if err != nil {
			t.Fatal(err)
		}
		if !p.holds(strings.Repeat("a", p.longest-1)+"x", true) || p.holds(strings.Repeat("a", p.longest)+"x", true) || p.longest != longest {
			t.Errorf("%s: values of %d bytes, want %d", expression, p.longest, longest)
		}
		var o Options
		if err := parseRewrite(&o, expression+",/y"); err != nil {
			t.Fatal(err)
		}
		short, long := "/"+strings.Repeat("a", p.longest-2)+"x", "/"+strings.Repeat("a", p.longest-1)+"x"
		if o.Rewrite(short) == short || o.Rewrite(long) != long {
			t.Errorf("%s: a path of %d bytes becomes %.20q, of %d %.20q", expression, len(short), o.Rewrite(short), len(long), o.Rewrite(long))
		}
	}
	var o Options
	if err := parseRewrite(&o, "a,b"); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{maxReplaced, maxReplaced + 1} {
		path, want := "/"+strings.Repeat("a", n), "/"+strings.Repeat("b", n)
		if n > maxReplaced {
			want = path
		}
		if got := o.Rewrite(path); got != want {
			t.Errorf("%d matches: %s, want %s", n, got, want)
		}
	}
}

// TestGlobHostsAreCapped: requests that no other host serves are compared with
// globs one by one, so one service has only so many.
func TestGlobHostsAreCapped(t *testing.T) {
	svc := &registry.Service{Name: "web"}
	for i := range 2 {
		in := registry.Instance{Service: "web", ID: fmt.Sprint(i), Node: "n", Addr: "10.0.0.1:80", Weight: 1, Health: registry.Passing, Ready: true, Tags: []string{"urlprefix-*.a.test/"}}
		for n := range 40 {
			in.Tags = append(in.Tags, fmt.Sprintf("urlprefix-%d-%d?.test/", i, n))
		}
		svc.Instances = append(svc.Instances, in)
	}
	table := new(Builder).Build(Inputs{Snapshot: registry.New(svc)})
	if table.Len() != maxGlobHosts+1 || len(table.Problems()) != 80-maxGlobHosts || !strings.Contains(table.Problems()[0].Error, "more than 64 routes whose hosts are globs") {
		t.Errorf("%d routes, %d problems", table.Len(), len(table.Problems()))
	}
}

// TestWhatCannotBePrintedIsNoCommand: what is replaced for the terminal's sake
// would be read back as something else.
func TestWhatCannotBePrintedIsNoCommand(t *testing.T) {
	for _, tag := range []string{"a\u202eb", "a\u200bb"} {
		var out strings.Builder
		if err := new(Builder).Build(Inputs{Snapshot: tagged(t, "urlprefix-a.b/", tag)}).PrintCommands(&out); err != nil || !strings.HasPrefix(out.String(), "# no command can say: ") {
			t.Errorf("%q: %s, %v", tag, out.String(), err)
		}
	}
}
