package metrics

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func names(t testing.TB, prefix, form string) *Names {
	t.Helper()
	n, err := ParseNames(prefix, form)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestPath(t *testing.T) {
	f := func(prefix, form string, labels []Label, want string) {
		t.Helper()
		s := Sample{Name: "lb_x_total", Labels: labels}
		n := names(t, prefix, form)
		for _, s.key = range []string{"", "k", "k"} { // and remembered
			if got := n.Path(s); got != want {
				t.Errorf("%q, %q, %v\n got %s\nwant %s", prefix, form, labels, got, want)
			}
		}
		n.round()
		if got := n.Path(s); got != want {
			t.Errorf("%q, %q, %v in the next round: got %s", prefix, form, labels, got)
		}
	}
	web := []Label{{"arm", "canary"}, {"service", "web"}}
	const fabio = "{{clean .Service}}.{{clean .Host}}.{{clean .Path}}.{{clean .TargetURL.Host}}"
	f("", "", nil, "lb_x_total")
	f("p", "", nil, "p.lb_x_total")
	f("p.q.", "", web, "p.q.lb_x_total.canary.web")
	f("p", "{{clean .Service}}", web, "p.lb_x_total.web.canary")
	f("p", `{{clean .Service}}.{{clean (.Label "arm")}}`, web, "p.lb_x_total.web.canary")
	f("p", fabio, web, "p.lb_x_total.web._._._.canary")
	f("p", fabio, []Label{{"addr", "10.0.0.1:80"}, {"class", "ok"}, {"service", "Web.1"}}, "p.lb_x_total.web_1._._.10_0_0_1_80.ok")
	f("p", fabio, []Label{{"kind", "stream"}}, "p.lb_x_total.stream")
	f("p", fabio, []Label{{"arm", "stable"}, {"service", ""}}, "p.lb_x_total.stable._")
	f("p", "{{.Service}}", []Label{{"service", "a|c\n#:b é/"}}, "p.lb_x_total.a_c___b___")
	f("p", "", []Label{{"service", strings.Repeat("x", 1000)}}, ("p.lb_x_total." + strings.Repeat("x", 1000))[:maxPath])

	host, _ := os.Hostname()
	f("{{clean .Hostname}}.{{clean .Exec}}", "", nil, clean(host)+"."+clean(filepath.Base(os.Args[0]))+".lb_x_total")
}

func TestParseNames(t *testing.T) {
	f := func(prefix, form, want string) {
		t.Helper()
		_, err := ParseNames(prefix, form)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q, %q: got %v, want %s", prefix, form, err, want)
		}
	}
	f("{{", "", "metrics.prefix:1: ")
	f("{{.Host}}", "", "can't evaluate field Host")
	f("{{tidy .Hostname}}", "", `function "tidy" not defined`)
	f("", "{{clean .Service", "metrics.names:1: ")
	f("", "{{.Srevice}}", "can't evaluate field Srevice")
}
