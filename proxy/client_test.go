package proxy

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

func TestChain(t *testing.T) {
	c := headersCore()
	f := func(remote, xff, want string) {
		t.Helper()
		h := Header{}
		for line := range strings.SplitSeq(xff, "|") {
			if line != "" {
				h["X-Forwarded-For"] = append(h["X-Forwarded-For"], line)
			}
		}
		var buf [4]netip.Addr
		got := c.Chain(h, netip.MustParseAddr(remote), buf[:0])
		if fmt.Sprint(got) != want {
			t.Errorf("peer %s, X-Forwarded-For %q\n got %v\nwant %s", remote, xff, got, want)
		}
		if client := c.ClientAddr(h, netip.MustParseAddr(remote)); got != nil && got[len(got)-1] != client {
			t.Errorf("peer %s, X-Forwarded-For %q: the chain ends with %v, and the client is %v", remote, xff, got[len(got)-1], client)
		}
	}
	f("203.0.113.7", "", "[203.0.113.7]")
	f("203.0.113.7", "10.0.0.1", "[203.0.113.7]") // not trusted: not believed
	f("::ffff:203.0.113.7", "junk", "[203.0.113.7]")
	f("10.0.0.1", "", "[10.0.0.1]")
	f("10.0.0.1", "1.1.1.1", "[10.0.0.1 1.1.1.1]")
	f("10.0.0.1", "6.6.6.6, 1.1.1.1, 10.0.0.2", "[10.0.0.1 10.0.0.2 1.1.1.1]")
	f("10.0.0.1", "6.6.6.6, 1.1.1.1|10.0.0.2,10.0.0.3", "[10.0.0.1 10.0.0.3 10.0.0.2 1.1.1.1]")
	f("10.0.0.1", "10.0.0.4, 10.0.0.3, 10.0.0.2", "[10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.4]") // all trusted
	f("10.0.0.1", "junk, 1.1.1.1", "[10.0.0.1 1.1.1.1]")                                   // what a stranger says is not read
	f("fd00::1", "[2001:db8::1]:80", "[fd00::1 2001:db8::1]")
	// Behind a trusted proxy that does not know its client nobody can be judged.
	f("10.0.0.1", "1.1.1.1, junk, 10.0.0.2", "[]")
	f("10.0.0.1", "unknown", "[]")
	f("10.0.0.1", "1.1.1.1, ", "[]")
}

// TestTrustedHeader: where it is named, it alone is believed, from trusted peers
// alone, and instances get it and X-Forwarded-For as they are believed.
func TestTrustedHeader(t *testing.T) {
	f := func(name, remote, client, chain, forwarded, own string, lines ...string) {
		t.Helper()
		c := headersCore()
		c.Headers.Trusted = name
		h := headerOf(lines...)
		peer := netip.MustParseAddr(remote)
		if got := c.ClientAddr(h, peer).String(); got != client {
			t.Errorf("%s from %s, %q: client %s, want %s", name, remote, lines, got, client)
		}
		if got := fmt.Sprint(c.Chain(h, peer, nil)); got != chain {
			t.Errorf("%s from %s, %q: chain %s, want %s", name, remote, lines, got, chain)
		}
		c.ForwardHeaders(h, Forwarding{Remote: netip.AddrPortFrom(peer, 1), Proto: "HTTP/1.1", Host: "a.test", Client: c.ClientAddr(h, peer)})
		if got := strings.Join(h["X-Forwarded-For"], "|"); got != forwarded {
			t.Errorf("%s from %s, %q: X-Forwarded-For %s, want %s", name, remote, lines, got, forwarded)
		}
		if got := strings.Join(h[canonical(name)], "|"); got != own || len(h["X_edge_client"]) > 0 {
			t.Errorf("%s from %s, %q: instances get %q, want %q; %v", name, remote, lines, got, own, h)
		}
		if strings.Contains(strings.Join(h["Forwarded"], ""), "6.6.6.6") {
			t.Errorf("Forwarded of a peer that does not write it is continued: %q", h["Forwarded"])
		}
	}
	const name = "X-Edge-Client"
	f(name, "203.0.113.7", "203.0.113.7", "[203.0.113.7]", "203.0.113.7", "203.0.113.7", "X-Edge-Client: 6.6.6.6", "X_edge_client: 6.6.6.6", "X-Forwarded-For: 6.6.6.6")
	f(name, "10.0.0.1", "1.1.1.1", "[10.0.0.1 1.1.1.1]", "1.1.1.1, 10.0.0.1", "1.1.1.1", "X-Edge-Client: 1.1.1.1", "X-Forwarded-For: 6.6.6.6", "Forwarded: for=6.6.6.6")
	f("x-edge-client", "10.0.0.1", "1.1.1.1", "[10.0.0.1 1.1.1.1]", "1.1.1.1, 10.0.0.1", "1.1.1.1", "X-Edge-Client: 1.1.1.1")
	f(name, "10.0.0.1", "1.1.1.1", "[10.0.0.1 10.0.0.2 1.1.1.1]", "6.6.6.6, 1.1.1.1, 10.0.0.2, 10.0.0.1", "1.1.1.1", "X-Edge-Client: 6.6.6.6, 1.1.1.1, 10.0.0.2")
	f(name, "10.0.0.1", "10.0.0.1", "[10.0.0.1]", "10.0.0.1", "10.0.0.1", "X-Forwarded-For: 6.6.6.6")
	f(name, "10.0.0.1", "10.0.0.1", "[]", "unknown, 10.0.0.1", "10.0.0.1", "X-Edge-Client: unknown")
	f("Client-IP", "10.0.0.1", "1.1.1.1", "[10.0.0.1 1.1.1.1]", "1.1.1.1, 10.0.0.1", "1.1.1.1", "Client-Ip: 1.1.1.1")
	f("X-Real-IP", "10.0.0.1", "1.1.1.1", "[10.0.0.1 1.1.1.1]", "1.1.1.1, 10.0.0.1", "1.1.1.1", "X-Real-Ip: 1.1.1.1")
	f("x-forwarded-for", "10.0.0.1", "1.1.1.1", "[10.0.0.1 1.1.1.1]", "1.1.1.1, 10.0.0.1", "1.1.1.1, 10.0.0.1", "X-Forwarded-For: 1.1.1.1")
}

func TestCheckTrustedHeader(t *testing.T) {
	for name, ok := range map[string]bool{
		"": true, "Client-IP": true, "X-Forwarded-For": true, "True-Client-IP": true,
		"two words": false, "Forwarded": false, "Host": false, "Cookie": false, "Authorization": false, "Keep-Alive": false, "X-Lb-Hops": false, "content_length": false,
	} {
		if err := CheckTrustedHeader(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestChainDoesNotAllocate(t *testing.T) {
	c, h, peer := headersCore(), Header{"X-Forwarded-For": {"1.1.1.1, 10.0.0.3", "10.0.0.2"}}, netip.MustParseAddr("10.0.0.1")
	buf := make([]netip.Addr, 0, 8)
	if n := testing.AllocsPerRun(100, func() { c.Chain(h, peer, buf) }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func TestSecure(t *testing.T) {
	c := headersCore()
	f := func(remote, proto string, tls, want bool) {
		t.Helper()
		h := Header{}
		if proto != "" {
			h["X-Forwarded-Proto"] = []string{proto}
		}
		if got := c.Secure(h, netip.MustParseAddr(remote), tls); got != want {
			t.Errorf("peer %s over TLS %v with X-Forwarded-Proto %q: %v, want %v", remote, tls, proto, got, want)
		}
	}
	f("203.0.113.7", "", false, false)
	f("203.0.113.7", "", true, true)
	f("203.0.113.7", "https", false, false) // not trusted: not believed
	f("203.0.113.7", "http", true, true)
	f("10.0.0.1", "", true, true)
	f("10.0.0.1", "https", false, true)
	f("10.0.0.1", "HTTPS", false, true)
	f("10.0.0.1", "wss", false, true)
	f("10.0.0.1", "https, http", false, true)
	f("10.0.0.1", "http,https", false, false)
	f("10.0.0.1", "http", true, false)
	f("10.0.0.1", "junk", false, false)
}
