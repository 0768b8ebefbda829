package route

import (
	"net/url"
	"strings"
	"testing"
)

func TestLocation(t *testing.T) {
	f := func(tag, host, path, query, want string) {
		t.Helper()
		r, err := ParseTag("", tag)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.Options.Location(host, path, query, false); got != want {
			t.Errorf("%s: Location(%q, %q, %q)\n got %s\nwant %s", tag, host, path, query, got, want)
		}
	}
	// Fabio's table (route/target_test.go there), where the path is clean.
	f("/ redirect=301,http://bar.com/", "foo.com", "/", "", "http://bar.com/")
	f("/ redirect=301,http://bar.com/", "foo.com", "/abc", "a=b", "http://bar.com/")
	f("/ redirect=301,http://bar.com/$path", "foo.com", "/", "", "http://bar.com/")
	f("/ redirect=301,http://bar.com$path", "foo.com", "/abc", "", "http://bar.com/abc")
	f("/ redirect=301,http://bar.com/$path", "foo.com", "/abc/?", "", "http://bar.com/abc/%3F")
	f("/ redirect=301,http://bar.com/a/b/$path", "foo.com", "/c", "d=e", "http://bar.com/a/b/c?d=e")
	f("/ redirect=301,http://bar.com/$path?x=y", "foo.com", "/c", "d=e", "http://bar.com/c?x=y")
	f("/foo strip=/foo redirect=301,http://bar.com$path", "foo.com", "/foo/c", "d=e", "http://bar.com/c?d=e")
	f("/foo strip=/foo prepend=/x redirect=301,http://bar.com$path", "foo.com", "/foo/c", "", "http://bar.com/x/c")
	f("/ redirect=301,https://$host$path", "Foo.com.:80", "/a%20b", "", "https://foo.com/a%20b")
	f("/ redirect=301,https://$host$path", "foo.com:8080", "/", "", "https://foo.com:8080/")
	f("/ redirect=301,https://$host:8443$path", "foo.com:8080", "/", "", "https://foo.com:8443/")
	f("/ redirect=301,https://$host", "foo.com", "/a", "b", "https://foo.com")
	f("/ redirect=301,/new$path#top", "foo.com", "/a", "b=c", "/new/a?b=c#top")

	// No request turns a redirect into one to somewhere else.
	f("/ redirect=301,/$path", "foo.com", "//evil.com", "", "/evil.com")
	f("/ redirect=301,/$path", "foo.com", "//evil.com/%2f..", "", "/evil.com/%2F..")
	f("/ redirect=301,/$path", "foo.com", `/\evil.com`, "", "/%5Cevil.com")
	f("/ redirect=301,/$path", "foo.com", "/.//evil.com", "", "/evil.com")
	f("/x strip=/x redirect=301,/$path", "foo.com", "/x//evil.com", "", "/evil.com")
	f("/ redirect=301,https://$host$path", "evil.com/@foo.com", "/", "", "")
	f("/ redirect=301,https://$host$path", "foo.com\r\nX: y", "/", "", "")
	f("/ redirect=301,https://$host$path", "", "/", "", "")
	f("/ redirect=301,https://foo.com$path", "foo.com", "/a\r\nX: y", "", "")
	f("/ redirect=301,https://foo.com$path", "foo.com", "/", "a\r\nb <é", "https://foo.com/?a%0D%0Ab%20%3C%C3%A9")
}

func FuzzLocation(f *testing.F) {
	f.Add("/", "/$path", "foo.com", "//evil.com", "q")
	f.Add("/x", "https://$host$path", "foo.com:80", "/x/..//y", "a#b")
	f.Add("", "//x", "a@b", "/", "\r\n")
	f.Fuzz(func(t *testing.T, strip, to, host, path, query string) {
		o := Options{}
		if parseRedirect(&o, "301,"+to) != nil {
			return
		}
		if s, err := optionPath(strip); err == nil {
			o.Strip = s
		}
		got := o.Location(host, path, query, true)
		if got == "" {
			return
		}
		for i := range len(got) {
			if got[i] <= ' ' || got[i] >= 0x7f || got[i] == '\\' {
				t.Fatalf("%q: Location %q", to, got)
			}
		}
		if strings.HasPrefix(to, "/") {
			if !strings.HasPrefix(got, "/") || strings.HasPrefix(got, "//") {
				t.Fatalf("%q becomes %q", to, got)
			}
			return
		}
		u, err := url.Parse(got)
		if err != nil {
			return // a stray % of the operator's own
		}
		want := CleanHost(host, true)
		if _, authority, _ := splitURL(to); !strings.Contains(authority, "$host") {
			want = authority
		} else if authority != "$host" {
			name, _ := splitPort(want)
			want = strings.Replace(authority, "$host", name, 1)
		}
		if u.Host != want || u.User != nil {
			t.Fatalf("%q for host %q becomes %q: host %q, want %q", to, host, got, u.Host, want)
		}
	})
}
