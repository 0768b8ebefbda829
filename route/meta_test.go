package route

import (
	"fmt"
	"strings"
	"testing"
)

func TestMetaOptions(t *testing.T) {
	f := func(meta map[string]string, tag, want string, refused ...string) {
		t.Helper()
		d, errs := MetaOptions(meta)
		var said []string
		for _, e := range errs {
			said = append(said, e.Error())
		}
		r, err := parseRule("urlprefix-", "", "urlprefix-/"+tag, d)
		if err != nil || r.String() != "/"+want || fmt.Sprint(said) != fmt.Sprint(refused) || r.Refused != nil {
			t.Errorf("%v with the tag /%s\n got %s %q %v %v\nwant /%s %q", meta, tag, r, said, err, r.Refused, want, refused)
		}
	}
	type m = map[string]string
	f(nil, " strip=/a", " strip=/a")
	f(m{"version": "1", "lb": "x", "LB-timeout": "x", "xlb-timeout": "2s"}, "", "")
	f(m{"lb-timeout": "2s", "lb-weight": "0.5", "lb-strategy": "rr"}, "", " weight=0.5 strategy=round_robin timeout=2s")
	f(m{"lb-reqheader-set": "X-Meta: from meta", "lb-respheader-remove": "Server"}, "", " reqheader.set=X-Meta:from%20meta respheader.remove=Server")
	f(m{"lb-header": "X-A:a b", "lb-header-2": "X-B:*", "lb-reqheader-add-10": "A:b"}, "", " reqheader.add=A:b header=X-A:a%20b header=X-B:*")
	f(m{"lb-timeout": " 2s "}, "", " timeout=2s")

	f(m{"lb-strip": "/a b", "lb-auth": "x"}, "", " strip=/a%20b auth=x")
	f(m{"lb-rewrite": "^/a(.*), /$1 x"}, "", " rewrite=^/a(.*),%20/$1%20x")
	f(m{"lb-rewrite": "^/a b,/"}, "", "", `meta "lb-rewrite": rewrite: write a blank in the expression as \x20, a quote as \x22: a clean path has neither, they are %20 and %22 there`)
	f(m{"lb-auth": "a b"}, "", "", `meta "lb-auth": auth "a b": the name of a scheme has 1 to 128 bytes and no blank or quote`)

	// The tag goes before, option by option.
	f(m{"lb-timeout": "2s", "lb-retries": "0"}, " timeout=5s", " timeout=5s retries=0")
	f(m{"lb-retries": "3"}, " retries=0", " retries=0")
	f(m{"lb-tlsskipverify": "true"}, " tlsskipverify=false", "")
	f(m{"lb-reqheader-set": "X-A:1", "lb-reqheader-add": "X-A:2"}, " reqheader.set=X-B:3", " reqheader.add=X-A:2 reqheader.set=X-B:3")
	f(m{"lb-allow": "ip:10.0.0.0/8"}, " deny=ip:10.0.0.1", " deny=ip:10.0.0.1")
	f(m{"lb-rewrite": "^/a,/b"}, " prepend=/x", " prepend=/x")
	f(m{"lb-strip": "/a"}, " rewrite=^/a,/b", " rewrite=^/a,/b")
	f(m{"lb-strip": "/a"}, " prepend=/x", " prepend=/x")

	// What cannot be read harms nothing else.
	f(m{"lb-tiemout": "2s", "lb-retries": "1"}, "", " retries=1", `meta "lb-tiemout": there is no such option: did you mean "lb-timeout"?`)
	f(m{"lb-reqheader-sett": "A:b"}, "", "", `meta "lb-reqheader-sett": there is no such option: did you mean "lb-reqheader-set"?`)
	f(m{"lb-colour": "red"}, "", "", `meta "lb-colour": there is no such option`)
	f(m{"lb-": "x"}, "", "", `meta "lb-": there is no such option`)
	f(m{"lb-timeout-2": "2s"}, "", "", `meta "lb-timeout-2": there is no such option: did you mean "lb-timeout"?`)
	f(m{"lb-timeout": "abc", "lb-weight": "0.5"}, "", " weight=0.5", `meta "lb-timeout": timeout "abc": want a duration from 1ms to 24h, such as 500ms or 2s`)
	f(m{"lb-timeout": ""}, "", "", `meta "lb-timeout": no value: want duration`)
	f(m{"lb-host": "a\nb"}, "", "", `meta "lb-host": at offset 1: control character '\n' in a value`)
	f(m{"lb-rewrite": "a,/b", "lb-strip": "/a"}, "", " rewrite=a,/b", `meta "lb-strip": rewrite stands in place of strip and prepend: say it all with one of them`)
	f(m{"lb-host": strings.Repeat("a", maxTag+1)}, "", "", `meta "lb-host": the value is 2049 bytes long: at most 2048 are read`)

	// But nobody is let in where it cannot be read who is.
	f(m{"lb-allow": "10.0.0.0/8"}, "", " allow=none", `meta "lb-allow": "10.0.0.0/8" is not ip:network: write ip:10.0.0.0/8, ip:2001:db8::/32 or one address`)
	f(m{"lb-deny": ""}, "", " allow=none", `meta "lb-deny": no value: want ip:network,…`)
	f(m{"lb-deny": "x"}, " weight=0.5", " weight=0.5 allow=none", `meta "lb-deny": "x" is not ip:network: write ip:10.0.0.0/8, ip:2001:db8::/32 or one address`)
	f(m{"lb-deny": "x"}, " deny=ip:10.0.0.1", " deny=ip:10.0.0.1", `meta "lb-deny": "x" is not ip:network: write ip:10.0.0.0/8, ip:2001:db8::/32 or one address`)
	f(m{"lb-allow": "ip:10.0.0.1", "lb-deny": "ip:10.0.0.2"}, "", " allow=none", `meta "lb-deny": allow= and deny= stand together: only one of them can be meant`)
}

// Defaults are the same when their strings are.
func TestDefaultsString(t *testing.T) {
	a, _ := MetaOptions(map[string]string{"lb-timeout": "2s", "other": "1"})
	b, _ := MetaOptions(map[string]string{"lb-timeout": "2s", "other": "2", "lb-nonsense": "x"})
	c, _ := MetaOptions(map[string]string{"lb-timeout": "3s"})
	none, _ := MetaOptions(map[string]string{"other": "1"})
	if a.String() != b.String() || a.String() == c.String() || none.String() != "" || a.String() == "" {
		t.Errorf("%q, %q, %q, %q", a, b, c, none)
	}
}

func FuzzMetaOptions(f *testing.F) {
	f.Add("lb-timeout", "2s", "lb-strip", "/a")
	f.Add("lb-allow", "x", "lb-deny", "ip:10.0.0.1")
	f.Add("lb-rewrite", "0 ,", "lb-prepend", "a b")
	f.Add("lb-reqheader-set-2", "A: b c", "lb-rewrite", "(a),/$1")
	f.Fuzz(func(t *testing.T, k1, v1, k2, v2 string) {
		meta := map[string]string{k1: v1, k2: v2}
		d, errs := MetaOptions(meta)
		r, err := parseRule("", "", "/", d)
		if err != nil {
			t.Fatalf("%q: the route is refused: %v", meta, err)
		}
		again, err := ParseTag("", r.String())
		if err != nil || again.String() != r.String() {
			t.Fatalf("%q: %q, again %q, %v", meta, r, again, err)
		}
		for k := range meta {
			if (k == "lb-allow" || k == "lb-deny") && len(errs) > 0 && r.Options.Access == nil {
				t.Fatalf("%q: %v, and everybody is let in", meta, errs)
			}
		}
	})
}
