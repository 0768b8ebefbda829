package route

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"serin/registry"
)

func TestParseTag(t *testing.T) {
	f := func(tag, want string) {
		t.Helper()
		rule, err := ParseTag("urlprefix-", tag)
		got := rule.String()
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("ParseTag(%q)\n got %s\nwant %s", tag, got, want)
		}
	}
	f("urlprefix-/", "/")
	f("urlprefix-foo.com", "foo.com/")
	f("urlprefix-Foo.COM./Api", "foo.com/Api")
	f("  urlprefix- foo.com/api   strip=/api  ", "foo.com/api strip=/api")
	f("\turlprefix-/x\r\n", "/x")
	f("urlprefix-foo.com:8080/", "foo.com:8080/")
	f("urlprefix-*/", "*/")
	f("urlprefix-*:80/", "*:80/")
	f("urlprefix-*.foo.com/", "*.foo.com/")
	f("urlprefix-[FD00::1]:81/", "[fd00::1]:81/")
	f("urlprefix-10.0.0.1/", "10.0.0.1/")
	f("urlprefix-xn--bcher-kva.example/bücher", "xn--bcher-kva.example/bücher")
	f("urlprefix-/a prepend=b/ strip=a", "/a strip=/a prepend=/b/")
	f("urlprefix-/ host=dst", "/ host=dst")
	f("urlprefix-/ host=Api.Internal:8080", "/ host=api.internal:8080")
	f("urlprefix-/ proto=http", "/")
	f("urlprefix-/ proto=https tlsskipverify=true", "/ proto=https tlsskipverify=true")
	f("urlprefix-/ tlsskipverify=false", "/")
	f("urlprefix-/ weight=0", "/ weight=0")
	f("urlprefix-/ weight=-0", "/ weight=0")
	f("urlprefix-/ weight=0.25", "/ weight=0.25")
	f("urlprefix-/ weight=1e0", "/ weight=1")
	f("urlprefix-/ redirect=301,https://www.foo.com$path", "/ redirect=301,https://www.foo.com$path")
	f("urlprefix-/ redirect=308,https://$host:8443/x?a,b", "/ redirect=308,https://$host:8443/x?a,b")
	f("urlprefix-/a redirect=302,/b$path", "/a redirect=302,/b$path")
	f("urlprefix-/%24x", "/%24x")
	f("urlprefix-/a\"b\u00a0c strip=/\"", `/a%22b%C2%A0c strip=/%22`)
	f("urlprefix-/a\tstrip=/a \t weight=1", "/a strip=/a weight=1")

	// TCP, and what is not carried yet.
	f("urlprefix-:8080 proto=tcp", ":8080 proto=tcp")
	f("urlprefix-:8080/ proto=tcp pxyproto=true", ":8080 proto=tcp pxyproto=true")
	f("urlprefix-10.0.0.1:8080 proto=tcp", "10.0.0.1:8080/ proto=tcp")
	f("urlprefix-foo.com/ proto=tcp", "foo.com/ proto=tcp")
	f("urlprefix-/ proto=grpc register=Alias.1", "/ proto=grpc register=Alias.1")
	f("urlprefix-/ proto=grpcs grpcservername=Inner.Example", "/ proto=grpcs grpcservername=inner.example")

	// Globs and international names.
	f("urlprefix-Foo*.com/", "foo*.com/")
	f("urlprefix-*.*.com:80/", "*.*.com:80/")
	f("urlprefix-web-[a-c]?.{x,y}.com./", "web-[a-c]?.{x,y}.com/")
	f("urlprefix-*foo.com/", "*foo.com/")
	f("urlprefix-[!a]b.com/", "[!a]b.com/")
	f("urlprefix-Bücher.example/bücher", "xn--bcher-kva.example/bücher")
	f("urlprefix-*.Bücher.example:8080/", "*.xn--bcher-kva.example:8080/")
	f("urlprefix-straße.example/", "xn--strae-oqa.example/")
	f("urlprefix-/ host=bücher.example:80", "/ host=xn--bcher-kva.example:80")

	f("canary", ErrNotRoute.Error())
	f("urlprefix", ErrNotRoute.Error())
	f("", ErrNotRoute.Error())

	f("urlprefix-", `at offset 10: nothing after the prefix: write urlprefix-/ to serve every host and path`)
	f("urlprefix-   ", `at offset 10: nothing after the prefix: write urlprefix-/ to serve every host and path`)
	f("urlprefix-/api weight=1o", `at offset 22: weight "1o" is not a number`)
	f("  urlprefix-/api weight=1o", `at offset 24: weight "1o" is not a number`)
	f("urlprefix-/ weight=NaN", `at offset 19: weight "NaN" is not a number`)
	f("urlprefix-/ weight=Inf", `at offset 19: weight "Inf": want 0, or a number from 1e-09 to 1e+09`)
	f("urlprefix-/ weight=-1", `at offset 19: weight "-1": want 0, or a number from 1e-09 to 1e+09`)
	f("urlprefix-/ weight=1e999", `at offset 19: weight "1e999": want 0, or a number from 1e-09 to 1e+09`)
	f("urlprefix-/ weight=1e-10", `at offset 19: weight "1e-10": want 0, or a number from 1e-09 to 1e+09`)
	f("urlprefix-/ weight=", `at offset 18: option "weight" has no value: write weight=number`)
	f("urlprefix-/ strip", `at offset 17: option "strip" has no value: write strip=/path`)
	f("urlprefix-/ strip=/a strip=/b", `at offset 21: option "strip" is given twice`)
	f("urlprefix-/ Strip=/a", `at offset 12: unknown option "Strip": did you mean "strip"?`)
	f("urlprefix-/ wieght=1", `at offset 12: unknown option "wieght": did you mean "weight"?`)
	f("urlprefix-/ colour=red", `at offset 12: unknown option "colour"`)
	f("urlprefix-/ proto=ftp", `at offset 18: proto "ftp": want http, https, tcp, grpc or grpcs`)
	f("urlprefix-/ tlsskipverify=1", `at offset 26: tlsskipverify "1": want true or false`)
	f("urlprefix-:8080", `at offset 10: ":8080" is a port and no host: write :8080 proto=tcp for TCP, or host:8080/ for HTTP`)
	f("urlprefix-:8080 proto=https", `at offset 10: ":8080" is a port and no host: write :8080 proto=tcp for TCP, or host:8080/ for HTTP`)
	f("urlprefix-:8080/x proto=tcp", `at offset 15: ":8080/x": a TCP port has no path`)
	f("urlprefix-:0 proto=tcp", `at offset 10: port "0" is not a number from 1 to 65535`)
	f("urlprefix-:99999 proto=tcp", `at offset 10: port "99999" is not a number from 1 to 65535`)
	f("urlprefix-foo.com:0/", `at offset 17: port "0" is not a number from 1 to 65535`)
	f("urlprefix-foo.com:080/", `at offset 17: port "080" is not a number from 1 to 65535`)
	f("urlprefix-foo..com/", `at offset 14: host "foo..com": a label has 1 to 63 letters`)
	f("urlprefix-foo com/", `at offset 14: unknown option "com/"`)
	f("urlprefix-a@b.com/", `at offset 11: host "a@b.com": '@' cannot be part of a host`)
	f("urlprefix-foo*.co m/", `at offset 18: unknown option "m/"`)
	f("urlprefix-foo*.co+m/", `at offset 17: host "foo*.co+m": '+' cannot be part of a host`)
	f("urlprefix-b*ücher.example/", `at offset 12: host "b*ücher.example": a glob is written in ASCII, international names in punycode (xn--…)`)
	f("urlprefix-☃⒈.example/", `at offset 10: host "☃⒈.example" is no international name: idna: disallowed rune U+2488`)
	f("urlprefix-[::1/", `at offset 10: host "[::1": brackets hold an IPv6 address`)
	f("urlprefix-/a?b", `at offset 12: '?' in a path: a route matches the path only; write the character as %3F if it is part of it`)
	f("urlprefix-/a%zz", `at offset 12: path "/a%zz": "%" must be followed by two hexadecimal digits and not encode NUL, CR or LF`)
	f("urlprefix-/a%00", `at offset 12: path "/a%00": "%" must be followed by two hexadecimal digits and not encode NUL, CR or LF`)
	f("urlprefix-/a/../b", `at offset 10: path "/a/../b" has an empty segment or one of dots: no request has them when it is matched`)
	f("urlprefix-/ strip=/a//b", `at offset 18: path "/a//b" has an empty segment or one of dots: no request has them when it is matched`)
	f("urlprefix-/a\nb", `at offset 12: control character '\n' in a tag`)
	f("urlprefix-/a\x1b[31m", `at offset 12: control character '\x1b' in a tag`)
	f("urlprefix-/a\xff", `at offset 12: the tag is not valid UTF-8`)
	f("urlprefix-/$DC", `at offset 11: $DC: the datacenter is not known here`)
	f("urlprefix-/a$DCx", `at offset 12: only the variables $DC and ${DC} exist: write a literal $ as %24`)
	f("urlprefix-/a${HOME}", `at offset 12: only the variables $DC and ${DC} exist: write a literal $ as %24`)
	f("urlprefix-/"+strings.Repeat("a", 2048), `at offset 2048: the tag is 2059 bytes long: at most 2048 are read`)
	f("urlprefix-/ redirect=301", `at offset 21: redirect "301": want code,url`)
	f("urlprefix-/ redirect=200,/x", `at offset 21: redirect code "200" is not from 300 to 399`)
	f("urlprefix-/ redirect=301,javascript:alert(1)", `at offset 21: redirect url "javascript:alert(1)": want http://…, https://… or a path that starts with /`)
	f("urlprefix-/ redirect=301,//evil.com", `at offset 21: redirect url starts with //: that is another host; write https://host/path`)
	f(`urlprefix-/ redirect=301,/\evil.com`, `at offset 21: redirect url "/\\evil.com": '\\' must be percent-encoded`)
	f("urlprefix-/ redirect=301,https://a@evil.com/", `at offset 21: redirect url "https://a@evil.com/": host "a@evil.com": '@' cannot be part of a host`)
	f("urlprefix-/ redirect=301,https:///x", `at offset 21: redirect url "https:///x": want http://…, https://… or a path that starts with /`)
}

func TestExpandDatacenter(t *testing.T) {
	for tag, want := range map[string]string{
		"urlprefix-web.$DC.example/":     "web.east-1.example/",
		"urlprefix-${DC}.example/$DC/x":  "east-1.example/East-1/x",
		"urlprefix-/${DC}x strip=/${DC}": "", // options are not expanded
	} {
		r, err := parseTag("urlprefix-", "East-1", tag)
		if got := r.String(); want != "" && (err != nil || got != want) {
			t.Errorf("%s\n got %s, %v\nwant %s", tag, got, err, want)
		}
	}
}

// A tag that asks for protection never loses it by a mistake.
func TestProtectionSurvivesMistakes(t *testing.T) {
	const nobody = "/admin allow=none"
	f := func(options, want, refused string) {
		t.Helper()
		r, err := ParseTag("urlprefix-", "urlprefix-/admin "+options)
		got := ""
		for _, e := range r.Refused {
			got += e.Error()
		}
		if err != nil || r.String() != want || got != refused {
			t.Errorf("%s\n got %s, %s, %v\nwant %s, %s", options, r, got, err, want, refused)
		}
	}
	f("allow=ip:10.0.0.0/8", "/admin allow=ip:10.0.0.0/8", "")
	f("allow=ip:10.0.0.0/33", nobody, `at offset 23: "10.0.0.0/33" is not a network: write 10.0.0.0/8, 2001:db8::/32 or one address; as the tag has allow=, its route lets nobody in until this is mended`)
	f("deny=10.0.0.1", nobody, `at offset 22: "10.0.0.1" is not ip:network: write ip:10.0.0.0/8, ip:2001:db8::/32 or one address; as the tag has deny=, its route lets nobody in until this is mended`)
	f("allow=ip:10.0.0.1 deny=ip:10.0.0.2", nobody, `at offset 40: allow= and deny= stand together: only one of them can be meant; as the tag has allow=, its route lets nobody in until this is mended`)
	f("deny=ip:10.0.0.1 deny=ip:10.0.0.2", nobody, `at offset 34: option "deny" is given twice; as the tag has deny=, its route lets nobody in until this is mended`)
	f("allow=", nobody, `at offset 22: option "allow" has no value: write allow=ip:network,…|none; as the tag has allow=, its route lets nobody in until this is mended`)
	f("weight=abc auth=staff", nobody, `at offset 24: weight "abc" is not a number; as the tag has auth=, its route lets nobody in until this is mended`)
	f("auth=staff wieght=1", nobody, `at offset 28: unknown option "wieght": did you mean "weight"?; as the tag has auth=, its route lets nobody in until this is mended`)
	f("proto=https strip=/x? allow=ip:10.0.0.1", "/admin proto=https allow=none", `at offset 35: '?' in a path: a route matches the path only; write the character as %3F if it is part of it; as the tag has allow=, its route lets nobody in until this is mended`)

	r, err := ParseTag("", ":80 wieght=1 proto=tcp allow=ip:10.0.0.1")
	if err != nil || r.String() != ":80 proto=tcp allow=none" || len(r.Refused) != 1 {
		t.Errorf("a port: %s, %v, %v", r, r.Refused, err)
	}
	if r, err := ParseTag("", "/a%00 allow=ip:10.0.0.1"); err == nil {
		t.Errorf("a path that cannot be read: %s", r)
	}
}

// badTags are tags that start with the prefix and cannot be routes.
func badTags() (tags []string) {
	hosts := []string{"", "foo.com"}
	for _, h := range hosts {
		for c := range 0x20 {
			tags = append(tags, fmt.Sprintf("%s/a%cb", h, c), fmt.Sprintf("%s/ strip=/%cb", h, c))
		}
		for _, w := range []string{"abc", "1o", "", "NaN", "nan", "Inf", "+Inf", "-Inf", "infinity", "-1", "-0.1", "1e999", "0x", "1,5", "50%", "1e10", "--1", "½"} {
			tags = append(tags, h+"/ weight="+w)
		}
		for _, o := range []string{
			"register=a%b", "register=", "pxyproto=1", "pxyproto=yes", "grpcservername=a..b", "grpcservername=a:80", "grpcservername=*.a",
			"proto=HTTP", "proto=ftp", "proto=", "proto", "alow=ip:10.0.0.1", "Deny=ip:10.0.0.1",
			"strategy=fastest", "strategy=P2C", "timeout=5", "timeout=0s", "timeout=-1s", "timeout=25h", "timeout=1us", "timeout=", "timeout=2s timeout=3s",
			"retries=-1", "retries=11", "retries=1.5", "retries=x", "retries=99999999999999999999",
			"ratelimit=100", "ratelimit=100/d", "ratelimit=/s", "ratelimit=0/s", "ratelimit=-1/s", "ratelimit=NaN/s", "ratelimit=Inf/s", "ratelimit=1e12/s",
			"ratelimit=1/s,", "ratelimit=1/s,0", "ratelimit=1/s,-1", "ratelimit=1/s,1.5", "ratelimit=1/s,2,3", "ratelimit=1e-9/h",
			"maxconn=0", "maxconn=-1", "maxconn=1000001", "maxconn=x", "priority=1001", "priority=-1001", "priority=1.5", "priority=high",
			"reqheader.set=X-A", "reqheader.set=:x", "reqheader.set=X(A:x", "reqheader.set=X-A:%zz", "reqheader.set=X-A:50%", "reqheader.set=X-A:%0d%0aY:z",
			"reqheader.set=X-A:%00", "reqheader.remove=X-A:y", "reqheader.remove=", "reqheader=X-A:y", "reqheader.sett=X-A:y",
			"reqheader.set=Host:x", "reqheader.set=connection:x", "reqheader.add=Content-Length:0", "reqheader.set=transfer-encoding:x", "reqheader.remove=X-Forwarded-For",
			"reqheader.set=x-real-ip:1.2.3.4", "reqheader.add=Forwarded:for=x", "respheader.set=Content-Length:0", "respheader.remove=Trailer",
			strings.Repeat("reqheader.add=A:b ", 9) + strings.Repeat("respheader.add=A:b ", 8), strings.Repeat("header=A:b ", 5) + strings.Repeat("query=A:b ", 4),
			"rewrite=x", "rewrite=(,/x", "rewrite=x,$1", "rewrite=(x),/$1y", "rewrite=(x),/$2", "rewrite=(x),/${1", "rewrite=(?P<n>x),/$m", "rewrite=x,/$", "rewrite=x{1001},/",
			"rewrite=((a{50}){50}){2},/", "rewrite=" + strings.Repeat("a", 257) + ",/", "rewrite=a,/" + strings.Repeat("a", 256), "rewrite=(a),/" + strings.Repeat("$1", 10),
			"rewrite=a,/b strip=/a", "strip=/a rewrite=a,/b", "rewrite=a,/b prepend=/a", `rewrite=a\,/b`,
			"methods=", "methods=GET,", "methods=GET,,POST", "methods=G@T", "methods=A,B,C,D,E,F,G,H,I,J,K,L,M,N,O,P,Q",
			"header=X-A", "header=:x", "header=X(A:x", "header=X-A:~(", "header=X-A:a*b", "header=X-A:%", "header=X-A:~" + strings.Repeat("x", 257), "header=X-A:~(x{99}){99}",
			"query=v", "query=:x", "query=v:~[", "query=v:*x", "query=%:x",
			"tlsskipverify=yes", "tlsskipverify=1", "wieght=1", "=", "=x", "x", "strip=/a strip=/a", "weight=1 weight=2",
			"strip=/%", "strip=/%00", "strip=/a?b", "prepend=/%0d", "prepend=/#", "host=a/b", "host=*", "host=a..b", "host=a:b",
			"redirect=301", "redirect=301,", "redirect=,/x", "redirect=099,/x", "redirect=400,/x", "redirect=3O1,/x", "redirect=301,x",
			"redirect=301,javascript:alert(1)", "redirect=301,data:text/html,x", "redirect=301,//evil.com", `redirect=301,/\evil.com`,
			"redirect=301,ftp://x/", "redirect=301,https://", "redirect=301,https:///x", "redirect=301,https://a@b/", "redirect=301,https://a:b/",
			`redirect=301,/"`, "redirect=301,/é", "redirect=301,/<script>",
		} {
			tags = append(tags, h+"/ "+o)
		}
		for _, p := range []string{"/%", "/%1", "/%zz", "/%00", "/%0a", "/%0D", "/?", "/.", "/a/..", "/%2e/x", "//x", "/a?b=c", "/#x", "/$", "/$X", "/$DCX", "/${X}", "/\xff", "/\xc3", "/\u0085"} {
			tags = append(tags, h+p)
		}
	}
	tags = append(tags,
		":80", ":8080 proto=http", ":8080/x proto=tcp", ":65536 proto=tcp", ": proto=tcp", "foo.com:", "foo.com:0", "foo.com:65536", "foo.com:x", "foo.com:-1", "a..b", ".a", "*@a", "a*|", "[a.com", "{a,b.com", "a[]b", "a[z-a]b", "[::1", "::1", "[1.2.3.4]", "[fe80::1%25lo]", "a b.com/", "a_b!c", "é*.com", "⒈.com", "a.xn--\u00fc", "-é-.com", "a@b", `a\b`, "a;b", "a,b", "a<b>", `"a"`, "a|b", "a^b", "a`b", "a~b", "a+b", "a=b", "a&b", "a(b)", "a'b", "$X.com", "$.com", "%41.com",
		strings.Repeat("a", 64), strings.Repeat("a.", 127)+"com", "", "/"+strings.Repeat("x", 3000), strings.Repeat("y", 1<<20),
	)
	for i := range tags {
		tags[i] = "urlprefix-" + tags[i]
	}
	return tags
}

func TestBadTagsTouchNothingElse(t *testing.T) {
	good := func(extra ...string) *registry.Service {
		return &registry.Service{Name: "web", Instances: []registry.Instance{
			{Service: "web", ID: "a", Addr: "10.0.0.1:80", Ready: true, Tags: append([]string{"urlprefix-web.test/"}, extra...)},
			{Service: "web", ID: "b", Addr: "10.0.0.2:80", Ready: true, Tags: []string{"urlprefix-web.test/ weight=0.3"}},
		}}
	}
	print := func(table *Table) string {
		var b strings.Builder
		if err := table.Print(&b); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	neighbour := &registry.Service{Name: "zoo", Instances: []registry.Instance{
		{Service: "zoo", ID: "z", Addr: "10.0.0.3:80", Ready: true, Tags: []string{"urlprefix-/ strip=/x", "urlprefix-zoo.test/"}},
	}}
	want := print(new(Builder).Build(Inputs{Snapshot: registry.New(good(), neighbour), Splits: Splits{}}))
	tags := badTags()
	if len(tags) < 200 {
		t.Fatalf("only %d bad tags", len(tags))
	}
	b := new(Builder)
	for _, tag := range tags {
		table := b.Build(Inputs{Snapshot: registry.New(good(tag), neighbour), Splits: Splits{}})
		got := print(table)
		// The bad tag is no route: it shows beside its instance as nothing.
		if got != want {
			t.Errorf("tag %q\n got %s\nwant %s", tag, got, want)
		}
		p := table.Problems()
		if len(p) != 1 || p[0].Service != "web" || p[0].Instance != "a" || p[0].Error == "" || !strings.HasPrefix(p[0].Error, "at offset ") {
			t.Errorf("tag %q: problems %+v", tag, p)
		}
	}
}

func TestTooManyTags(t *testing.T) {
	in := registry.Instance{Service: "web", ID: "a", Addr: "10.0.0.1:80", Ready: true}
	for i := range maxTags + 5 {
		in.Tags = append(in.Tags, fmt.Sprintf("urlprefix-/%d/", i), "other")
	}
	table := new(Builder).Build(Inputs{Snapshot: registry.New(&registry.Service{Name: "web", Instances: []registry.Instance{in}}), Splits: Splits{}})
	if table.Len() != maxTags || len(table.Problems()) != 1 {
		t.Errorf("%d routes, problems %v", table.Len(), table.Problems())
	}
}

func FuzzParseTag(f *testing.F) {
	for _, s := range []string{
		"urlprefix-/", "urlprefix-foo.com/a strip=/a prepend=/b host=dst", "urlprefix-*.foo.com:80/ redirect=301,https://$host$path",
		"urlprefix-[::1]:81/ weight=0.1 proto=https tlsskipverify=true", " urlprefix- a.b/%2f%C3é weight=1e-9",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, tag string) {
		r, err := ParseTag("urlprefix-", tag)
		if err != nil {
			var n int
			if !errors.Is(err, ErrNotRoute) {
				if _, serr := fmt.Sscanf(err.Error(), "at offset %d:", &n); serr != nil || n > len(tag) {
					t.Fatalf("%q: error without its offset: %v", tag, err)
				}
			}
			return
		}
		again, err := ParseTag("", r.String())
		if err != nil || again.String() != r.String() || again.Host != r.Host || again.Path != r.Path {
			t.Fatalf("%q\nprinted %q\nagain   %q, %v", tag, r, again, err)
		}
		if _, err := CleanPath(r.Path); err != nil {
			t.Fatalf("%q: path %q matches nothing", tag, r.Path)
		}
	})
}
