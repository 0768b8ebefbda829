package route

import (
	"strings"
	"testing"
)

func TestPathRewrite(t *testing.T) {
	f := func(rewrite, raw, want string) {
		t.Helper()
		o, _, err := ParseOptions("rewrite=" + rewrite)
		if err != nil {
			t.Fatal(err)
		}
		if got := o.Rewrite(raw); got != want {
			t.Errorf("%s: Rewrite(%q)\n got %s\nwant %s", rewrite, raw, got, want)
		}
	}
	f("^/u/([0-9]+)$,/users/$1", "/u/42", "/users/42")
	f("^/u/([0-9]+)$,/users/$1", "/u/%34%32", "/users/42")
	f("^/u/([0-9]+)$,/users/$1", "//x/../u/42", "/users/42")
	f("^/u/([0-9]+)$,/users/$1", "/u/42/", "/u/42/")
	f("^/u/([0-9]+)$,/users/$1", "//x/../u/%34x", "//x/../u/%34x") // does not match: the client's bytes
	f("/old,/new", "/old/old", "/new/new")                         // all of them
	f("(?P<a>[^/]+)$,${a}-$a.html", "/x/y", "/x/y-y.html")
	f("a,b", "/A/a", "/A/b")
	f("(?i)a,b", "/A/a", "/b/b")
	f("^/a%20b,/x", "/a b", "/x") // the clean path is encoded
	f("^/a%2Fb$,/x", "/a%2fb", "/x")
	f("$,/x", "/a", "/a/x")
	f("^,/x", "/a", "/x/a")
	f("^/(.*)$,/x?y=$1#z", "/a", "/x%3Fy=a%23z") // a path, whatever it looks like
	f("^/(.*)$,/x%20é/$1", "/a", "/x%20%C3%A9/a")
	f("^/(.*)$,//evil.test/$1", "/a", "/evil.test/a")
	f("^/(.*)$,/x/../$1/.", "/a", "/a/")
	f("^/api/(.*)$,/$1", "/api/..%2fadmin", "/..%2Fadmin") // no segment of dots
	f("^/api/(.*)$,/x/$1", "/api/%2e%2e/admin", "/api/%2e%2e/admin")

	// What comes out is no path: what matched is forwarded.
	f("^/a,x", "/a//b", "/a/b")
	f("^/(.*)$,$1", "/a", "/a")
	f(".*,", "/a", "/") // the empty path is /
	f("^/a,/%", "//a", "/a")
	f("^/a,/%zz", "/a", "/a")
	f("^/a,/%00", "/a", "/a")
	f("^/a,/%0D%0A", "/a", "/a")
	f("^(.*)$,"+strings.Repeat("$1", maxGroups), "/a", strings.Repeat("/a", maxGroups))
	f("^(.*)$,"+strings.Repeat("$1", maxGroups), "/"+strings.Repeat("a", 8000), "/"+strings.Repeat("a", 8000))
	f("a,"+strings.Repeat("b", maxReplacement), "/"+strings.Repeat("a", 8000), "/"+strings.Repeat("a", 8000))
}

// What is forwarded is a clean path, or means what was matched.
func FuzzPathRewrite(f *testing.F) {
	f.Add("^/u/([0-9]+)$", "/users/$1", "/u/%34")
	f.Add("/", "//", "/a/../b")
	f.Add(".", "%", "/a")
	f.Add("(.*)", "$1$1/..$1", "/%2e%2e%2f")
	f.Fuzz(func(t *testing.T, re, to, raw string) {
		o, _, err := ParseOptions("rewrite=" + re + "," + to)
		clean, ok := cleanPath(raw)
		if err != nil || o.PathRewrite == nil || !ok || len(raw) > 1000 {
			return
		}
		got := o.Rewrite(raw)
		means, ok := cleanPath(got)
		if !ok || len(got) > maxRewritten && got != raw && got != clean {
			t.Fatalf("%s: %q is forwarded as %q", o.PathRewrite, raw, got)
		}
		if got != means && means != clean {
			t.Fatalf("%s: %q, which means %q, is forwarded as %q, which means %q", o.PathRewrite, raw, clean, got, means)
		}
		// The same as the standard library makes of it, where that is a path.
		want, ok := cleanPath(o.PathRewrite.RE.ReplaceAllString(clean, o.PathRewrite.To))
		if !ok || len(want) > maxRewritten/2 {
			return
		}
		if means != want {
			t.Fatalf("%s: %q is forwarded as %q, which means %q, want %q", o.PathRewrite, raw, got, means, want)
		}
	})
}
