package route

import (
	"strings"
	"testing"
)

func TestCleanPath(t *testing.T) {
	f := func(raw, want string) {
		t.Helper()
		got, err := CleanPath(raw)
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("CleanPath(%q)\n got %s\nwant %s", raw, got, want)
		}
	}
	f("/", "/")
	f("", "/")
	f("/a/b/", "/a/b/")
	f("//a///b//", "/a/b/")
	f("/a/./b/.", "/a/b/")
	f("/a/../b", "/b")
	f("/a/b/..", "/a/")
	f("/..", "/")
	f("/../../a", "/a")
	f("/a//../b", "/b")
	f("/a/..b/.c/...", "/a/..b/.c/...")
	f("/%2e%2E/a/%2e/b", "/a/b")
	f("/%252e%252e/a", "/%252e%252e/a")
	f("/%61%7e%7E", "/a~~")
	f("/a%2fb%2Fc", "/a%2Fb%2Fc")
	f("/a%5cb\\c", "/a%5Cb%5Cc")
	f("/a;b%3bc", "/a;b;c")
	f("/é%c3%a9", "/%C3%A9%C3%A9")
	f("/%c0%ae%c0%ae/a", "/%C0%AE%C0%AE/a") // overlong: no dot
	f("/%23%3F%25?", "/%23%3F%25%3F")
	f("/a b\"<>", "/a%20b%22%3C%3E")
	f("/%01%7f", "/%01%7F")

	const bad = "path is not valid"
	f("a", bad)
	f("*", bad)
	f("/%", bad)
	f("/%4", bad)
	f("/%4g", bad)
	f("/%00", bad)
	f("/a%0d%0Ab", bad)
	f("/\x00", bad)
	f("/\t", bad)
	f("/\x7f", bad)
}

func TestRewrite(t *testing.T) {
	f := func(strip, prepend, raw, want string) {
		t.Helper()
		o := &Options{Strip: strip, Prepend: prepend}
		if got := o.Rewrite(raw); got != want {
			t.Errorf("strip=%s prepend=%s: Rewrite(%q)\n got %s\nwant %s", strip, prepend, raw, got, want)
		}
	}
	f("", "", "/%66oo//x/../%2e", "/%66oo//x/../%2e") // untouched
	f("/foo", "", "/foo/%41%2f//x", "/%41%2f//x")
	f("/foo", "", "/foo", "/")
	f("/foo", "", "/foobar", "/bar")
	f("/foo/", "", "/foo/bar", "/bar")
	f("/foo", "", "/other", "/other")
	f("/foo", "", "/%66oo/x%2fy", "/x%2Fy")
	f("/foo", "", "//foo/x", "/x")
	f("/foo", "", "/x/../foo/y", "/y")
	f("/foo", "", "/foo/../../etc", "/foo/../../etc") // its clean path lacks the prefix
	f("/foo", "", "/foo/../foo/x", "/x")
	f("/foo", "", "/foo../x", "/x") // the cut must not make a dot segment
	f("/foo", "", "/foo%2e%2e/x", "/x")
	f("/foo", "", "/foo/%2e%2e/foo/x", "/x")
	f("/f%6fo", "", "/foo/x", "/x")
	f("", "/v1", "/x", "/v1/x")
	f("", "/v1/", "/x/", "/v1/x/")
	f("", "/v1", "//x", "/v1//x")
	f("", "/v1", "/../x", "/v1/x")
	f("", "/é", "/x", "/%C3%A9/x")
	f("/a", "/b", "/a/c%2Fd", "/b/c%2Fd")
	f("/a", "/b", "/a/../a/../a/x", "/b/x")
}

func TestCleanPathDoesNotAllocate(t *testing.T) {
	o := &Options{Strip: "/api"}
	if n := testing.AllocsPerRun(100, func() {
		_, _ = CleanPath("/api/v1/things/%20x%2F/~user/.well-known/a.b")
		o.Rewrite("/api/v1/x%20y")
	}); n != 0 {
		t.Errorf("%v allocations for plain paths", n)
	}
}

func FuzzPath(f *testing.F) {
	f.Add("/a/%2e%2e/b//c", "/a", "/b")
	f.Add("/foo../x", "/foo", "")
	f.Add("/x/../%66oo/%2f", "foo", "/é/")
	f.Add("/%25%32%65/.", "/%2e", "/..")
	f.Fuzz(func(t *testing.T, raw, strip, prepend string) {
		clean, err := CleanPath(raw)
		if err != nil {
			return
		}
		if again, err := CleanPath(clean); again != clean || err != nil {
			t.Fatalf("%q: clean %q, again %q, %v", raw, clean, again, err)
		}
		for seg := range strings.SplitSeq(clean, "/") {
			if seg == "." || seg == ".." || strings.ContainsAny(seg, "\x00\r\n\\ ") {
				t.Fatalf("%q: clean %q", raw, clean)
			}
		}
		o := &Options{}
		if strip != "" {
			if o.Strip, err = optionPath(strip); err != nil {
				return
			}
		}
		if prepend != "" {
			if o.Prepend, err = optionPath(prepend); err != nil {
				return
			}
		}
		// What is forwarded means what was decided on, cut and prefixed.
		want := clean
		if prefix, _ := CleanPath(o.Strip); o.Strip != "" && strings.HasPrefix(clean, prefix) {
			want, _ = CleanPath("/" + strings.TrimPrefix(clean[len(prefix):], "/"))
		}
		if prefix, _ := CleanPath(o.Prepend); o.Prepend != "" {
			want = strings.TrimSuffix(prefix, "/") + want
		}
		got := o.Rewrite(raw)
		if again, err := CleanPath(got); err != nil || again != want {
			t.Fatalf("strip=%s prepend=%s: %q is forwarded as %q, which means %q, want %q", o.Strip, o.Prepend, raw, got, again, want)
		}
	})
}
