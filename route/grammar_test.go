package route

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// Every option is read, and printed as what is read again.
func TestOptions(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		o, refused, err := ParseOptions(text)
		if err != nil || refused != nil {
			t.Errorf("%s: %v %v", text, refused, err)
			return
		}
		if got := strings.TrimSpace(o.String()); got != want {
			t.Errorf("ParseOptions(%q)\n got %s\nwant %s", text, got, want)
			return
		}
		if again, _, err := ParseOptions(want); err != nil || !reflect.DeepEqual(again, o) {
			t.Errorf("%q printed as %q is read as %q, %v", text, want, again.String(), err)
		}
	}
	same := func(text string) {
		t.Helper()
		f(text, text)
	}
	f("", "")
	f(" \t", "")
	f("strip=a", "strip=/a")
	same("strip=/a prepend=/b host=dst proto=https tlsskipverify=true weight=0.25")
	same("redirect=301,https://$host$path")

	same("allow=ip:10.0.0.0/8,ip:fd00::/8,ip:192.0.2.1")
	same("deny=ip:192.0.2.1,ip:2001:db8::1")
	same("allow=none")
	f("allow=IP:10.1.2.3/8", "allow=ip:10.0.0.0/8")
	f("deny=ip:10.1.2.3/32", "deny=ip:10.1.2.3")
	f("deny=ip:::ffff:10.0.0.0/104", "deny=ip:10.0.0.0/8")
	f("deny=ip:::ffff:10.0.0.1", "deny=ip:10.0.0.1")
	same("deny=ip:::/0")
	same("auth=staff-1")

	same("strategy=p2c")
	same("strategy=least_conn")
	f("strategy=rr", "strategy=round_robin")
	f("strategy=rnd", "strategy=random")
	f("timeout=1500ms", "timeout=1.5s")
	f("timeout=60s", "timeout=1m0s")
	same("timeout=24h0m0s")
	same("timeout=1ms")
	same("retries=0")
	same("retries=10")
	same("ratelimit=100/s")
	f("ratelimit=600/m", "ratelimit=10/s")
	f("ratelimit=100/s,200", "ratelimit=100/s,200")
	f("ratelimit=100/s,100", "ratelimit=100/s")
	f("ratelimit=1/m,2", "ratelimit=1/m,2")
	f("ratelimit=1/h", "ratelimit=1/h")
	same("ratelimit=1e+09/s")
	same("maxconn=1")
	same("maxconn=1000000")
	f("reqheader.set=x-env:blue%20green", "reqheader.set=X-Env:blue%20green")
	f(`respheader.add=Link:<a>;rel="x"`, "respheader.add=Link:<a>;rel=%22x%22")
	f("reqheader.set=X-A:é", "reqheader.set=X-A:%C3%A9")
	f("reqheader.set=X-A:%20a%25:b%20", "reqheader.set=X-A:a%25:b")
	f("reqheader.set=X-A:", "reqheader.set=X-A:")
	same("reqheader.remove=X-A reqheader.set=X-B:1 reqheader.add=X-B:2 reqheader.remove=X-B")
	f("respheader.set=Server:x reqheader.set=X-A:1", "reqheader.set=X-A:1 respheader.set=Server:x")
	same("respheader.set=X-Forwarded-For:1 respheader.remove=Host")
	same("rewrite=^/u/([0-9]{1,3})$,/users/$1")
	same("rewrite=(?P<x>a),/${x}b/$$1")
	f(`rewrite=a,/"b`, `rewrite=a,/%22b`)
	f("methods=post,GET,POST", "methods=GET,POST")
	f("header=x-beta:~^y", "header=X-Beta:~^y")
	f("header=X-B:b header=X-A:a* header=X-A:*", "header=X-A:* header=X-A:a* header=X-B:b")
	f("header=User-Agent:Mozilla/5.0%20(X11*", "header=User-Agent:Mozilla/5.0%20(X11*")
	f("query=v:2* query=a%3ab:x%20y", "query=a%3Ab:x%20y query=v:2*")
	same("header=X-Empty:")
	same("priority=-1000")
	same("priority=1000")
	f("priority=0", "")
	f("priority=+5", "priority=5")
	same("register=alias pxyproto=true grpcservername=inner.example")
	f("pxyproto=false", "")
	same(strings.TrimSpace(strings.Repeat("reqheader.add=A:b ", maxHeaderEdits)))
	same(strings.TrimSpace(strings.Repeat("query=a:b ", maxConditions)))
}

func TestOptionErrors(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		o, refused, err := ParseOptions(text)
		if err == nil || refused != nil || err.Error() != want || !reflect.DeepEqual(o, plain()) {
			t.Errorf("ParseOptions(%q)\n got %v, %q\nwant %s", text, err, o.String(), want)
		}
	}
	f("timeout=5", `at offset 8: timeout "5": want a duration from 1ms to 24h, such as 500ms or 2s`)
	f("retries=11", `at offset 8: retries "11": want a whole number from 0 to 10`)
	f("maxconn=0", `at offset 8: maxconn "0": want a whole number from 1 to 1000000`)
	f("priority=1e3", `at offset 9: priority "1e3": want a whole number from -1000 to 1000`)
	f("strategy=fastest", `at offset 9: strategy "fastest": want p2c, least_conn, round_robin or random`)
	f("ratelimit=100", `at offset 10: ratelimit "100": want a number of requests per s, m or h, such as 100/s, 600/m or 100/s,200`)
	f("ratelimit=0/s", `at offset 10: ratelimit "0/s": want from 1e-06 to 1e+09 requests a second`)
	f("ratelimit=1/s,0", `at offset 10: ratelimit: burst "0": want a whole number from 1 to 1000000000`)
	f("pxyproto=1", `at offset 9: pxyproto "1": want true or false`)
	f("register=a/b", `at offset 9: register "a/b": the name of a service has 1 to 128 letters, digits, dots, dashes or underscores`)
	f("proto=https grpcservername=a:1", `at offset 27: grpcservername "a:1": a name without a port is wanted`)
	f("reqheader.set=X-A", `at offset 14: reqheader.set: "X-A" has no value: write X-A:value`)
	f("reqheader.set=X(A:b", `at offset 14: reqheader.set: "X(A" is not the name of a header`)
	f("reqheader.remove=X-A:b", `at offset 17: reqheader.remove: "X-A:b": only a name is wanted here`)
	f("reqheader.set=X-A:50%", `at offset 14: reqheader.set: "50%": "%" must be followed by two hexadecimal digits; write %25 for the character itself`)
	f("reqheader.set=X-A:%0D%0AX-B:c", `at offset 14: reqheader.set: "%0D%0AX-B:c": a value has no control characters`)
	f("reqheader.set=host:a", `at offset 14: reqheader.set: header Host is set by host=name`)
	f("respheader.set=Upgrade:a", `at offset 15: respheader.set: header Upgrade belongs to the connection and cannot be edited`)
	f("reqheader.set=x-forwarded-proto:https", `at offset 14: reqheader.set: header X-Forwarded-Proto is what Serin says of the client and cannot be edited`)
	f(strings.Repeat("respheader.add=A:b ", maxHeaderEdits+1), `at offset 319: respheader.add: a rule edits at most 16 headers`)
	f("rewrite=/x", `at offset 8: rewrite "/x": want regex,replacement`)
	f(`rewrite="a,/b`, `at offset 8: rewrite: write a blank in the expression as \x20, a quote as \x22: a clean path has neither, they are %20 and %22 there`)
	f("rewrite=(,/x", "at offset 8: rewrite: \"(\" is not a regular expression: missing closing ): `(`")
	f("rewrite=(?=a),/x", "at offset 8: rewrite: \"(?=a)\" is not a regular expression: invalid or unsupported Perl syntax: `(?=`")
	f("rewrite=(a),/$1b", `at offset 8: rewrite: replacement "/$1b": the expression has no group "1b": $1 is the first, ${1} the same in front of a letter, $$ a literal $`)
	f("rewrite=((x{30}){30}y),/", `at offset 8: rewrite: the regular expression "((x{30}){30}y)" is too large: use fewer repetitions and classes`)
	f("rewrite="+strings.Repeat("a", 300)+",/", `at offset 8: rewrite: a regular expression of a tag has at most 256 bytes, not 300`)
	f("strip=/a rewrite=a,/b", `at offset 17: rewrite stands in place of strip and prepend: say it all with one of them`)
	f("rewrite=a,/b prepend=/a", `at offset 21: rewrite stands in place of strip and prepend: say it all with one of them`)
	f("methods=GET,P@ST", `at offset 8: methods: "P@ST" is not a method`)
	f("header=X-A", `at offset 7: header "X-A" has no pattern: write X-A:value, X-A:value* or X-A:*`)
	f("header=X-A:a*b", `at offset 7: "a*b": "*" is understood at the end only; a regular expression begins with "~"`)
	f("header=X-A:~[", "at offset 7: \"[\" is not a regular expression: missing closing ]: `[`")
	f("query=:a", `at offset 6: query ":a" has no name`)
	f(strings.Repeat("header=A:b ", maxConditions+1), `at offset 95: a route looks at 8 headers and query parameters at most`)
	f("timeout=1s\x00", `at offset 10: control character '\x00' in a text`)
	f(strings.Repeat("a", maxTag+1), `at offset 2048: the options are 2049 bytes long: at most 2048 are read`)
	f("tiemout=1s", `at offset 0: unknown option "tiemout": did you mean "timeout"?`)
	f("reqheader.sett=A:b", `at offset 0: unknown option "reqheader.sett": did you mean "reqheader.set"?`)
	f(strings.Repeat("x", 100), `at offset 0: unknown option "`+strings.Repeat("x", 61)+`…"`)
}

func TestNotCarried(t *testing.T) {
	f := func(text string, carried bool, want ...string) {
		t.Helper()
		o, _, err := ParseOptions(text)
		if got := o.NotCarried(); err != nil || !slices.Equal(got, want) || o.Proto.Carried() != carried {
			t.Errorf("%s: not carried %q, carried %v, %v, want %q, %v", text, got, o.Proto.Carried(), err, want, carried)
		}
	}
	f("", true)
	f("proto=https strip=/a timeout=2s auth=x", true)
	f("proto=tcp pxyproto=true", false, "proto=tcp", "pxyproto")
	f("proto=grpc", false, "proto=grpc")
	f("proto=grpcs grpcservername=a register=b", false, "proto=grpcs", "register", "grpcservername")
	f("register=b", true, "register")
}

// The table of options explains each of them, and each has its place in String.
func TestTagOptionsAreDocumented(t *testing.T) {
	for usage, doc := range TagOptions {
		if name, value, ok := strings.Cut(usage, "="); !ok || name == "" || value == "" || doc == "" || strings.HasSuffix(doc, ".") {
			t.Errorf("%q: %q", usage, doc)
		}
	}
	values := map[string]string{
		"true|false": "true", "/path": "/a", "regex,replacement": "a,/b", "name|dst": "dst", "name": "a", "code,url": "301,/x", "Name:value": "A:b", "Name": "A",
		"Name:pattern": "A:b", "name:pattern": "a:b", "duration": "2s", "ip:network,…|none": "ip:10.0.0.1", "ip:network,…": "ip:10.0.0.1", "number/s|m|h[,burst]": "1/s",
		"GET,POST,…": "GET", "number": "1", "http|https|tcp|grpc|grpcs": "tcp", "p2c|least_conn|round_robin|random": "random",
	}
	for _, row := range tagOptions {
		text := row.name + "=" + values[row.value]
		o, refused, err := ParseOptions(text)
		if err != nil || refused != nil || o.String() != " "+text {
			t.Errorf("%s is printed as %q, %v, %v", text, o.String(), refused, err)
		}
	}
}

func TestDecodeValue(t *testing.T) {
	for c := range 256 {
		raw := string([]byte{byte(c)})
		got, err := decodeValue(encodeValue(raw, ":"))
		if control := c < ' ' || c == 0x7f; control != (err != nil) || err == nil && got != raw {
			t.Errorf("%q is written %q and read %q, %v", raw, encodeValue(raw, ":"), got, err)
		}
	}
}

func FuzzParseOptions(f *testing.F) {
	for _, s := range []string{
		"strip=/a prepend=/b host=dst weight=0.1", "allow=ip:10.0.0.0/8,ip:::1", "deny=ip:10.0.0.1 auth=x", "rewrite=^/u/([0-9]+)$,/users/${1}x",
		"reqheader.set=X-A:b%20c respheader.remove=Server", "header=X-A:~^y query=a%3A:b* methods=GET,POST", "ratelimit=600/m,20 maxconn=3 timeout=2s retries=0 priority=-3",
		"strategy=rr proto=grpcs grpcservername=a.b pxyproto=true register=x", "redirect=301,https://$host$path",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		o, refused, err := ParseOptions(text)
		for _, e := range append(refused, err) {
			if o, ok := errors.AsType[*offsetError](e); e != nil && (!ok || o.offset < 0 || o.offset > len(text)) {
				t.Fatalf("%q: error without its offset: %v", text, e)
			}
		}
		if err != nil {
			return
		}
		if refused != nil && (o.Access == nil || o.Access.Deny || len(o.Access.Networks) > 0) {
			t.Fatalf("%q: refused %v and open: %q", text, refused, o.String())
		}
		again, refused, err := ParseOptions(o.String())
		if err != nil || refused != nil || fmt.Sprintf("%+v", again) == "" || again.String() != o.String() {
			t.Fatalf("%q\nprinted %q\nagain   %q, %v, %v", text, o.String(), again.String(), refused, err)
		}
		if len(o.RequestHeaders)+len(o.ResponseHeaders) > maxHeaderEdits || o.Condition != nil && len(o.Condition.Headers)+len(o.Condition.Query) > maxConditions {
			t.Fatalf("%q: more than is allowed", text)
		}
		for _, e := range append(o.RequestHeaders, o.ResponseHeaders...) {
			if strings.ContainsAny(e.Name+e.Value, "\r\n\x00") {
				t.Fatalf("%q: header %q", text, e)
			}
		}
	})
}
