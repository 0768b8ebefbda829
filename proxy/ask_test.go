package proxy

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

func TestAsk(t *testing.T) {
	f := func(question, want string) {
		t.Helper()
		var a Ask
		err := json.Unmarshal([]byte(question), &a)
		var r Request
		if err == nil {
			r, err = a.Request(&Core{Trusted: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
		}
		got := ""
		if err != nil {
			got = err.Error()
		} else {
			got = fmt.Sprint(r.Method(), " ", r.Host(), " ", r.Path(), " ", r.RawQuery(), " ", r.Client(), " ", r.Chain(nil), " ", r.TLS(), " ", r.Secure())
			for _, name := range []string{"X-A", "Host"} {
				if v, ok := r.Header(name); ok {
					got += " " + name + ":" + v
				}
			}
			if v, ok := r.Cookie("b"); ok {
				got += " b=" + v
			}
		}
		if got != want {
			t.Errorf("%s\n got %s\nwant %s", question, got, want)
		}
	}
	const here = "127.0.0.1 [127.0.0.1]"
	f(`{"url": "http://a.test/x%2fy?b=c#d"}`, "GET a.test /x%2fy b=c "+here+" false false")
	f(`{"url": "a.test"}`, "GET a.test /  "+here+" false false")
	f(`{"url": "a.test:81?q"}`, "GET a.test:81 / q "+here+" false false")
	f(`{"url": "/only/path", "method": "POST"}`, "POST  /only/path  "+here+" false false")
	f(`{"url": "HTTPS://a.test/?u=http://b"}`, "GET a.test / u=http://b "+here+" true true")
	f(`{"url": "a.test/?u=ftp://b", "tls": true}`, "GET a.test / u=ftp://b "+here+" true true")
	f(`{"url": "a.test", "from": "::ffff:192.0.2.1"}`, "GET a.test /  192.0.2.1 [192.0.2.1] false false")
	f(`{"url": "a.test", "from": "10.0.0.1", "headers": {"x-forwarded-for": "192.0.2.1, 10.0.0.2", "X-Forwarded-Proto": "https"}}`, "GET a.test /  192.0.2.1 [10.0.0.1 10.0.0.2 192.0.2.1] false true")
	f(`{"url": "a.test", "headers": {"x-a": ["1", "2"], "host": "h.test", "Cookie": "a=1; b=2"}}`, "GET h.test /  "+here+" false false X-A:1 b=2")
	f(`{"url": "a.test", "headers": ["X-A:  1 ", "Cookie: b=3"]}`, "GET a.test /  "+here+" false false X-A:1 b=3")

	f(`{"url": ""}`, `url "": want [http[s]://]host[:port][/path][?query]`)
	f(`{"url": "http://"}`, `url "http://": it has no host`)
	f(`{"url": "http:///x"}`, `url "http:///x": it has no host`)
	f(`{"url": "ws://a.test"}`, `url "ws://a.test": scheme "ws": want http or https`)
	f(`{"url": "u:p@a.test"}`, `url "u:p@a.test": a name or a password is not part of what is asked: give the header Authorization`)
	f(`{"url": "a.test/x y"}`, `url "a.test/x y": ' ' cannot stand in a URL: write it as %20`)
	f(`{"url": "a.test", "method": "G T"}`, `method "G T": want a word such as GET`)
	f(`{"url": "a.test", "from": "x"}`, `from "x": want an IP address`)
	f(`{"url": "a.test", "headers": ["X"]}`, `header "X": want Name: value`)
	f(`{"url": "a.test", "headers": {"X Y": "1"}}`, `header "X Y:1": want Name: value`)
	f(`{"url": "a.test", "headers": {"X:Y": "1"}}`, `header "X:Y": a name has no colon`)
	f(`{"url": "a.test", "headers": {"X": "1\n2"}}`, `header "X:1\n2": a value has no control characters`)
	f(`{"url": "a.test", "headers": {"X": 1}}`, `header "X": want a text or a list of texts`)
	f(`{"url": "a.test", "headers": 1}`, `headers: want {"Name": "value"}, {"Name": ["value"]} or ["Name: value"]`)
}

func FuzzAsk(f *testing.F) {
	f.Add("http://a.test/x?y", "X: 1")
	f.Add("a.test:80", "Host: b")
	f.Add("/?#", "")
	f.Fuzz(func(t *testing.T, url, header string) {
		a := Ask{URL: url, Headers: AskHeaders{}}
		if a.Headers.Add(header) != nil && len(a.Headers) > 0 {
			t.Errorf("%q is refused and added", header)
		}
		r, err := a.Request(&Core{})
		if err != nil {
			return
		}
		if !strings.HasPrefix(r.Path(), "/") || strings.ContainsAny(r.Host(), "/?#@") {
			t.Errorf("%q: host %q, path %q", url, r.Host(), r.Path())
		}
	})
}
