package proxy

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// clientHeader is the header in which trusted peers tell the client's address.
func (c *Core) clientHeader() string { return canonical(cmp.Or(c.Headers.Trusted, xff)) }

const xff = "X-Forwarded-For"

// CheckTrustedHeader says why a header cannot be Headers.Trusted; "" can.
func CheckTrustedHeader(name string) error {
	folded := fold(name)
	switch {
	case name == "":
	case !isToken(name):
		return fmt.Errorf("want the name of a header, such as Client-IP")
	case folded == "forwarded":
		return fmt.Errorf("Forwarded is not read as a list of addresses; want a header such as Client-IP or X-Forwarded-For")
	case isFraming([]byte(folded)), slices.Contains(kept[:], folded), slices.Contains(hopByHop[:], canonical(name)):
		return fmt.Errorf("%s says something else than the client's address; want a header such as Client-IP", name)
	}
	return nil
}

func (c *Core) trusts(peer netip.Addr) bool {
	peer = peer.Unmap().WithZone("")
	for _, p := range c.Trusted {
		if p.Contains(peer) {
			return true
		}
	}
	return false
}

// ClientAddr returns the address that is believed to be the client's: the
// peer's, or where the peer is trusted the rightmost address of
// X-Forwarded-For, or of the header that Headers.Trusted names, that is not.
// Behind something that is no address nothing is believed.
func (c *Core) ClientAddr(h Header, remote netip.Addr) netip.Addr {
	client, t := remote.Unmap().WithZone(""), trail{lines: h[c.clientHeader()]}
	for c.trusts(client) {
		addr, more, ok := t.next()
		if !more || !ok {
			break
		}
		client = addr
	}
	return client
}

// Chain appends to buf the addresses that a request is believed to have come
// over, for access rules: the peer's, those of the trusted proxies in
// X-Forwarded-For (or Headers.Trusted) from the right, and last the client's. It is nil where a
// trusted proxy names a client that is no address: that one cannot be judged.
func (c *Core) Chain(h Header, remote netip.Addr, buf []netip.Addr) []netip.Addr {
	client, t := remote.Unmap().WithZone(""), trail{lines: h[c.clientHeader()]}
	buf = append(buf, client)
	for c.trusts(client) {
		addr, more, ok := t.next()
		if !more {
			break
		}
		if !ok {
			return nil
		}
		client = addr
		buf = append(buf, client)
	}
	return buf
}

// Secure reports whether the client came over TLS: as the connection is, or as
// a trusted peer says in X-Forwarded-Proto.
func (c *Core) Secure(h Header, remote netip.Addr, tls bool) bool {
	lines := h["X-Forwarded-Proto"]
	if len(lines) == 0 || !c.trusts(remote) {
		return tls
	}
	proto, _, _ := strings.Cut(lines[0], ",")
	proto = strings.TrimSpace(proto)
	return strings.EqualFold(proto, "https") || strings.EqualFold(proto, "wss")
}

// trail reads a list of addresses such as X-Forwarded-For from the right: the way back to
// the client.
type trail struct {
	lines []string
	rest  string // of the line that is being read
	open  bool   // there is one
}

// next returns the next address; more is false at the end, and ok where what is
// there is no address.
func (t *trail) next() (addr netip.Addr, more, ok bool) {
	if !t.open {
		if len(t.lines) == 0 {
			return addr, false, true
		}
		last := len(t.lines) - 1
		t.lines, t.rest, t.open = t.lines[:last], t.lines[last], true
	}
	var s string
	if at := strings.LastIndexByte(t.rest, ','); at >= 0 {
		t.rest, s = t.rest[:at], t.rest[at+1:]
	} else {
		s, t.open = t.rest, false
	}
	addr, ok = parseClient(s)
	return addr, true, ok
}

// parseClient reads an address, with a port or brackets around it as some
// proxies write it.
func parseClient(s string) (netip.Addr, bool) {
	s = strings.TrimSpace(s)
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
	if err != nil {
		ap, err := netip.ParseAddrPort(s)
		if err != nil {
			return netip.Addr{}, false
		}
		a = ap.Addr()
	}
	return a.Unmap().WithZone(""), true
}
