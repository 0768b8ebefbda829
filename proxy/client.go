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
	client := remote.Unmap().WithZone("")
	lines := h["X-Forwarded-For"]
	for i := len(lines) - 1; i >= 0; i-- {
		for rest, more := lines[i], true; more; {
			if !c.trusts(client) {
				return client
			}
			var last string
			if at := strings.LastIndexByte(rest, ','); at >= 0 {
				rest, last = rest[:at], rest[at+1:]
			} else {
				last, more = rest, false
			}
			addr, ok := parseClient(last)
			if !ok {
				return client
			}
			client = addr
		}
	}
	return client
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
