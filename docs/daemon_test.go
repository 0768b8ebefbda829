package docs_test

import (
	"strconv"
	"strings"
	"testing"

	"serin/canary/daemon"
)

// The page's requests are answered as it says.
func TestDaemonProtocol(t *testing.T) {
	n := 0
	for _, r := range rows(section(t, page(t, "DAEMON.md"), "The protocol")) {
		q := quoted(r[0])
		if len(q) != 1 || len(r) < 3 || len(quoted(r[2])) != 1 {
			continue
		}
		n++
		unquote := func(s string) string {
			s, err := strconv.Unquote(`"` + s + `"`)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		request, want := unquote(q[0]), unquote(quoted(r[2])[0])
		ratio, err := strconv.ParseFloat(strings.TrimSpace(r[1]), 64)
		a := daemon.Decide(strings.TrimSuffix(request, "\n"), ratio, err == nil, 0.25)
		if got := a.Assignment + "\n" + string(a.Arm) + "\n\n"; got != want {
			t.Errorf("%q at %s: %q, the page says %q", request, r[1], got, want)
		}
	}
	if n < 9 {
		t.Errorf("%d requests are on the page", n)
	}
}

// The page's defaults of a listener are the program's.
func TestDaemonListener(t *testing.T) {
	text := section(t, page(t, "DAEMON.md"), "Options")
	l, err := daemon.ParseListener("web")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"`" + l.Addr + "`", "`0" + strconv.FormatUint(uint64(l.Mode), 8) + "`"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not say %s", want)
		}
	}
}

// The page's table of defaults is what the help of both commands says.
func TestDaemonDefaults(t *testing.T) {
	help := map[string]string{"daemon": run(t, "daemon", "--help"), "run": run(t, "run", "--help")}
	n := 0
	for _, r := range rows(section(t, page(t, "DAEMON.md"), "Options")) {
		key := quoted(r[0])
		if len(key) == 0 || len(r) < 3 || len(quoted(r[1])) != 1 || !strings.Contains(key[0], ".") {
			continue
		}
		for i, command := range []string{"daemon", "run"} {
			value := quoted(r[1+i])
			if len(value) != 1 {
				continue
			}
			n++
			_, after, _ := strings.Cut(help[command], "\n  --"+key[0])
			after, _, _ = strings.Cut(after, "\n  --")
			if !strings.Contains(after, "[default "+value[0]+"; ") {
				t.Errorf("lb %s: the default of %s is not %s:\n%s", command, key[0], value[0], after)
			}
		}
	}
	if n < 10 {
		t.Errorf("%d defaults are on the page", n)
	}
}
