package proxy

import (
	"net/netip"
	"strings"
)

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
// X-Forwarded-For that is not. Behind something that is no address nothing is
// believed.
func (c *Core) ClientAddr(h Header, remote netip.Addr) netip.Addr {
	client, t := remote.Unmap().WithZone(""), trail{lines: h["X-Forwarded-For"]}
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
// X-Forwarded-For from the right, and last the client's. It is nil where a
// trusted proxy names a client that is no address: that one cannot be judged.
func (c *Core) Chain(h Header, remote netip.Addr, buf []netip.Addr) []netip.Addr {
	client, t := remote.Unmap().WithZone(""), trail{lines: h["X-Forwarded-For"]}
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

// trail reads the addresses of X-Forwarded-For from the right: the way back to
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
