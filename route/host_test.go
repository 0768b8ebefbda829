package route

import "testing"

func TestCleanHost(t *testing.T) {
	f := func(host string, tls bool, want string) {
		t.Helper()
		if got := CleanHost(host, tls); got != want {
			t.Errorf("CleanHost(%q, %v)\n got %s\nwant %s", host, tls, got, want)
		}
	}
	f("foo.com", false, "foo.com")
	f("FOO.com.", false, "foo.com")
	f("foo.com:80", false, "foo.com")
	f("foo.com:80", true, "foo.com:80")
	f("foo.com.:443", true, "foo.com")
	f("foo.com:443", false, "foo.com:443")
	f("foo.com.:8080", false, "foo.com:8080")
	f("[::1]", false, "[::1]")
	f("[::1]:80", false, "[::1]")
	f("[FD00::1]:81", false, "[fd00::1]:81")
	f("", false, "")
	f(":80", false, "")
	f("a:80:80", false, "a:80")
	f("É.com", false, "É.com")

	if n := testing.AllocsPerRun(100, func() { _, _ = CleanHost("www.foo.com.:80", false), CleanHost("www.foo.com:8080", false) }); n != 0 {
		t.Errorf("%v allocations for plain hosts", n)
	}
}

func FuzzHost(f *testing.F) {
	for _, s := range []string{"foo.com", "*.foo.com:80", "[::1]:443", "a..b", "A.:80", "*"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		_ = CleanHost(s, true)
		host, at, err := parseHost(s, true)
		if err != nil {
			if at < 0 || at > len(s) {
				t.Fatalf("%q: offset %d: %v", s, at, err)
			}
			return
		}
		if again, _, err := parseHost(host, true); again != host || err != nil {
			t.Fatalf("%q: %q, then %q, %v", s, host, again, err)
		}
		// Every host that a rule can have is reached by a request for it.
		if host[0] == '*' {
			return
		}
		r := Rule{Host: host, Path: "/"}
		table := tableOf(r)
		for _, tls := range []bool{false, true} {
			if table.Match(s, "/", tls) == nil && !usualElsewhere(host, tls) {
				t.Fatalf("%q is not reached (tls %v)", s, tls)
			}
		}
	})
}

// usualElsewhere reports whether host is bound to the other kind of request by
// its port.
func usualElsewhere(host string, tls bool) bool {
	_, port := splitPort(host)
	return port == ":80" && tls || port == ":443" && !tls
}
