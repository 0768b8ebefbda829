package proxy

import (
	"crypto/tls"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"serin/route"
)

func headerOf(lines ...string) Header {
	h := http.Header{}
	for _, l := range lines {
		k, v, _ := strings.Cut(l, ": ")
		h.Add(k, v)
	}
	return Header(h)
}

func printHeader(h Header) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(h)) {
		for _, v := range h[k] {
			out = append(out, k+": "+v)
		}
	}
	return strings.Join(out, "\n")
}

func headersCore() *Core {
	return &Core{
		Trusted: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")},
		Headers: Headers{ClientIP: "Client-IP-Seen", RequestID: "X-Request-Id", TLS: "X-Tls", TLSValue: "yes"},
		Rand:    fixed(0x0123456789abcdef),
	}
}

func TestClientAddr(t *testing.T) {
	c := headersCore()
	f := func(remote, xff, want string) {
		t.Helper()
		h := Header{}
		for line := range strings.SplitSeq(xff, "|") {
			if line != "" {
				h["X-Forwarded-For"] = append(h["X-Forwarded-For"], line)
			}
		}
		if got := c.ClientAddr(h, netip.MustParseAddr(remote)).String(); got != want {
			t.Errorf("peer %s, X-Forwarded-For %q\n got %s\nwant %s", remote, xff, got, want)
		}
	}
	f("203.0.113.7", "", "203.0.113.7")
	f("::ffff:203.0.113.7", "", "203.0.113.7")
	f("fe80::1%eth0", "", "fe80::1")
	f("203.0.113.7", "1.1.1.1", "203.0.113.7") // not trusted: not believed
	f("10.0.0.1", "", "10.0.0.1")
	f("10.0.0.1", "1.1.1.1", "1.1.1.1")
	f("10.0.0.1", "6.6.6.6, 1.1.1.1", "1.1.1.1") // the rightmost untrusted one
	f("10.0.0.1", "6.6.6.6, 1.1.1.1, 10.0.0.2", "1.1.1.1")
	f("10.0.0.1", "6.6.6.6, 1.1.1.1|10.0.0.2,10.0.0.3", "1.1.1.1")
	f("10.0.0.1", "10.0.0.9, 10.0.0.2", "10.0.0.9") // all trusted: the first
	f("10.0.0.1", "1.1.1.1, junk, 10.0.0.2", "10.0.0.2")
	f("10.0.0.1", "1.1.1.1, ", "10.0.0.1")
	f("10.0.0.1", "1.1.1.1:4711", "1.1.1.1")
	f("10.0.0.1", "[2001:db8::1]:80", "2001:db8::1")
	f("10.0.0.1", "[2001:db8::1]", "2001:db8::1")
	f("fd00::1", "2001:db8::1", "2001:db8::1")
}

func TestForwardHeaders(t *testing.T) {
	c := headersCore()
	f := func(remote string, change func(*Forwarding), want string, lines ...string) {
		t.Helper()
		h := headerOf(lines...)
		fw := Forwarding{
			Remote: netip.MustParseAddrPort(remote), Local: netip.MustParseAddrPort("192.0.2.1:8080"),
			Proto: "HTTP/1.1", Host: "a.test", RequestID: "id1",
		}
		fw.Client = c.ClientAddr(h, fw.Remote.Addr())
		if change != nil {
			change(&fw)
		}
		c.ForwardHeaders(h, fw)
		if got := printHeader(h); got != strings.TrimSpace(want) {
			t.Errorf("\n%s\n got\n%s\nwant\n%s", strings.Join(lines, "\n"), got, want)
		}
	}
	// From a stranger: whatever pretends to be ours is replaced.
	f("203.0.113.7:5000", nil, `
Accept: */*
Client-Ip-Seen: 203.0.113.7
Forwarded: for=203.0.113.7; proto=http; by=192.0.2.1; httpproto=http/1.1
X-Forwarded-For: 203.0.113.7
X-Forwarded-Host: a.test
X-Forwarded-Port: 8080
X-Forwarded-Proto: http
X-Real-Ip: 203.0.113.7
X-Request-Id: id1`,
		"Accept: */*", "X-Forwarded-For: 6.6.6.6", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil", "X-Forwarded-Port: 1",
		"X-Forwarded-Prefix: /x", "X-Real-Ip: 6.6.6.6", "Forwarded: for=6.6.6.6", "Client-IP-Seen: 6.6.6.6", "X-Tls: yes",
		"X-Request-Id: mine", "Proxy: http://evil", "True-Client-Ip: 6.6.6.6", "X-Forwarded-Client-Cert: x", "X-Forwarded-Tls-Client: x",
		"X_Forwarded_For: 6.6.6.6", "X.Real.Ip: 6.6.6.6", "Transfer_Encoding: chunked", "Content_Length: 5")
	// From a trusted proxy, over TLS: its own are continued.
	f("10.0.0.1:5000", func(fw *Forwarding) {
		fw.TLS = &tls.ConnectionState{Version: tls.VersionTLS13, CipherSuite: tls.TLS_AES_128_GCM_SHA256}
		fw.Prefix = "/api"
		fw.Proto = "HTTP/2.0"
	}, `
Client-Ip-Seen: 1.1.1.1
Forwarded: for=1.1.1.1, for=10.0.0.1; proto=https; by=192.0.2.1; httpproto=http/2.0; tlsver=tls13; tlscipher=0x1301
X-Forwarded-For: 1.1.1.1, 10.0.0.1
X-Forwarded-Host: www.test
X-Forwarded-Port: 443
X-Forwarded-Prefix: /outer/api
X-Forwarded-Proto: http
X-Real-Ip: 1.1.1.1
X-Request-Id: id1
X-Tls: yes`,
		"X-Forwarded-For: 1.1.1.1", "X-Forwarded-Host: www.test", "X-Forwarded-Proto: http", "X-Forwarded-Port: 443",
		"X-Forwarded-Prefix: /outer", "Forwarded: for=1.1.1.1", "X-Real-Ip: 6.6.6.6")
	// Hop-by-hop headers, an upgrade, the balancer's own cookie, IPv6.
	f("[2001:db8::1]:5000", func(fw *Forwarding) { fw.Upgrade = "websocket"; fw.StripCookie = "lb_canary" }, `
Client-Ip-Seen: 2001:db8::1
Connection: Upgrade
Cookie: a=1; b="x; y"
Forwarded: for="[2001:db8::1]"; proto=http; by=192.0.2.1; httpproto=http/1.1
Te: trailers
Upgrade: websocket
X-Forwarded-For: 2001:db8::1
X-Forwarded-Host: a.test
X-Forwarded-Port: 8080
X-Forwarded-Proto: http
X-Real-Ip: 2001:db8::1
X-Request-Id: id1`,
		"Connection: Upgrade, X-Hop", "Connection: keep-alive", "X-Hop: 1", "Upgrade: websocket", "Keep-Alive: timeout=5",
		"Te: trailers, deflate", "Trailer: X", "Proxy-Authorization: secret", "Transfer-Encoding: chunked", "Http2-Settings: AA",
		`Cookie: a=1; lb_canary=0123; b="x; y"`, "Cookie: lb_canary=4567")
}

// TestConnectionRemovesNothing: for every header we can add, in many spellings,
// Connection cannot keep it from the instance, nor those that a request would
// mean another thing without (CVE-2025-48865, CVE-2026-62987).
func TestConnectionRemovesNothing(t *testing.T) {
	c := headersCore()
	c.Settings.Self = "feed"
	fw := Forwarding{
		Remote: netip.MustParseAddrPort("203.0.113.7:1"), Client: netip.MustParseAddr("203.0.113.7"), Local: netip.MustParseAddrPort("192.0.2.1:443"),
		Proto: "HTTP/1.1", Host: "a.test", RequestID: "id1", Prefix: "/p", TLS: &tls.ConnectionState{},
	}
	edited := &route.Target{Options: &route.Options{RequestHeaders: []route.HeaderEdit{{Name: "X-Tenant", Value: "ours"}}}}
	forward := func(h Header) Header {
		c.ForwardHeaders(h, fw)
		return c.EditRequest(h, edited)
	}
	plain := forward(Header{})
	if len(plain) != 12 {
		t.Fatalf("%d headers added, want 12:\n%s", len(plain), printHeader(plain))
	}
	own := headerOf("Authorization: Bearer x", "Cookie: a=1", "Content-Type: text/plain", "Content-Length: 3")
	maps.Copy(plain, own)
	for name := range plain {
		for _, spelled := range []string{name, strings.ToLower(name), strings.ToUpper(name), strings.ReplaceAll(name, "-", "_"), " " + name + "\t"} {
			h := maps.Clone(own)
			h["Connection"] = []string{"close, " + spelled, spelled}
			for _, dash := range []string{"_", ".", "~", "+", "!", "*"} {
				h[http.CanonicalHeaderKey(strings.ReplaceAll(name, "-", dash))] = []string{"spoofed"}
			}
			if _, ok := own[name]; ok && name != "Content-Length" {
				h = maps.Clone(own)
				h["Connection"] = []string{spelled}
			}
			h = forward(h)
			if got, want := printHeader(h), printHeader(plain); got != want {
				t.Errorf("Connection: %s\n got\n%s\nwant\n%s", spelled, got, want)
			}
		}
	}
}

// TestHops: each balancer adds its name to those that a request has passed, and
// nothing that a client sends hides one.
func TestHops(t *testing.T) {
	c := headersCore()
	c.Settings.Self = "feed"
	f := func(want string, lines ...string) {
		t.Helper()
		h := headerOf(lines...)
		c.ForwardHeaders(h, Forwarding{Remote: netip.MustParseAddrPort("203.0.113.7:1"), Client: netip.MustParseAddr("203.0.113.7"), Proto: "HTTP/1.1", Host: "a.test"})
		if got := strings.Join(h[hopsHeader], "|"); got != want {
			t.Errorf("%v\n got %s\nwant %s", lines, got, want)
		}
		for name := range h {
			if fold(name) == fold(hopsHeader) && name != hopsHeader {
				t.Errorf("%s reaches the instance", name)
			}
		}
	}
	f("feed")
	f("beef, feed", "X-LB-Hops: beef")
	f("beef, cafe, feed", "X-LB-Hops: beef, cafe", "Connection: X-Lb-Hops")
	f("beef, cafe, feed", "X-LB-Hops: beef", "X-LB-Hops: cafe")
	f("beef, feed", "X-LB-Hops: beef", "X_LB_Hops: none", "X.Lb.Hops: none")
	c.Settings.Self = ""
	f("beef", "X-LB-Hops: beef")
}

func TestResponseHeaders(t *testing.T) {
	c := headersCore()
	c.Headers.Debug = true
	tab := table(t, "web s1 s1:1 passing /")
	d := Decision{Part: tab.Match("a.test", "/", false).Parts[0], Target: target(tab, "s1:1"), SetCookie: "lb_canary=1", Why: WhySticky}
	h := headerOf("Connection: close, X-Hop", "X-Hop: 1", "Keep-Alive: timeout=5", "Set-Cookie: a=1", "Cache-Control: public", "Content-Type: text/plain")
	c.ResponseHeaders(h, &d, "")
	want := `Cache-Control: no-store
Content-Type: text/plain
Set-Cookie: a=1
Set-Cookie: lb_canary=1
X-Lb-Arm: stable
X-Lb-Instance: s1
X-Lb-Service: web
X-Lb-Why: sticky`
	if got := printHeader(h); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	h = headerOf("Connection: upgrade", "Upgrade: websocket", "Sec-Websocket-Accept: x")
	c.ResponseHeaders(h, &Decision{}, "websocket")
	if got, want := printHeader(h), "Connection: Upgrade\nSec-Websocket-Accept: x\nUpgrade: websocket"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestRequestID(t *testing.T) {
	c := headersCore()
	f := func(peer, sent, want string) {
		t.Helper()
		if got := c.RequestID(headerOf("X-Request-Id: "+sent), netip.MustParseAddr(peer)); got != want {
			t.Errorf("from %s with %q: got %s, want %s", peer, sent, got, want)
		}
	}
	const fresh = "01234567-89ab-4def-8123-456789abcdef"
	f("203.0.113.7", "theirs", fresh)
	f("10.0.0.1", "theirs", "theirs")
	f("10.0.0.1", "", fresh)
	f("10.0.0.1", "with blank", fresh)
	f("10.0.0.1", strings.Repeat("x", 129), fresh)
	c.Headers.RequestID = ""
	f("10.0.0.1", "theirs", "")
}

func TestCanonical(t *testing.T) {
	for _, name := range []string{"x-forwarded-for", "X-LB-Why", "ETAG", "te", "a--b", "Client-IP-Seen"} {
		if got, want := canonical(name), http.CanonicalHeaderKey(name); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}

// FuzzForwardHeaders: whatever a stranger sends, what reaches the instance
// about him is ours alone.
func FuzzForwardHeaders(f *testing.F) {
	f.Add("X-Forwarded-For", "1.1.1.1", "x-real-ip", "lb=1; a=2")
	f.Add("x_forwarded.for", ",", "close,,", ";;lb=;")
	f.Fuzz(func(t *testing.T, name, value, connection, cookie string) {
		c := headersCore()
		h := Header{name: {value}, http.CanonicalHeaderKey(name): {value}, "X-Forwarded-For": {value}, "Connection": {connection}, "Cookie": {cookie}}
		fw := Forwarding{Remote: netip.MustParseAddrPort("203.0.113.7:1"), Proto: "HTTP/1.1", Host: "a.test", RequestID: "id1", StripCookie: "lb"}
		fw.Client = c.ClientAddr(h, fw.Remote.Addr())
		if fw.Client != fw.Remote.Addr() {
			t.Fatalf("a stranger was believed to be %v", fw.Client)
		}
		c.ForwardHeaders(h, fw)
		for k, v := range h {
			switch {
			case fold(k) == "x-forwarded-for" && (k != "X-Forwarded-For" || fmt.Sprint(v) != "[203.0.113.7]"):
				t.Fatalf("%q: %q reaches the instance", k, v)
			case fold(k) == "x-request-id" && fmt.Sprint(v) != "[id1]", fold(k) == "connection", fold(k) == "te" && k != "Te":
				t.Fatalf("%q: %q reaches the instance", k, v)
			}
		}
		for _, line := range h["Cookie"] {
			for pair := range strings.SplitSeq(line, ";") {
				if n, _, _ := strings.Cut(strings.TrimSpace(pair), "="); n == "lb" {
					t.Fatalf("the balancer's cookie is forwarded in %q", line)
				}
			}
		}
	})
}

func BenchmarkForwardHeaders(b *testing.B) {
	c := headersCore()
	fw := Forwarding{Remote: netip.MustParseAddrPort("203.0.113.7:1"), Client: netip.MustParseAddr("203.0.113.7"), Local: netip.MustParseAddrPort("192.0.2.1:80"), Proto: "HTTP/1.1", Host: "a.test"}
	in := headerOf("Accept: */*", "User-Agent: x", "Accept-Encoding: gzip", "Cookie: a=1")
	h := Header{}
	b.ReportAllocs()
	for b.Loop() {
		clear(h)
		maps.Copy(h, in)
		c.ForwardHeaders(h, fw)
	}
}
