package proxy

import (
	"net/netip"
	"slices"
)

// RequestID returns the id of a request for its log line and its instance: a
// new UUID, or the one a trusted peer sent; "" when Headers.RequestID is "".
func (c *Core) RequestID(h Header, remote netip.Addr) string {
	if c.Headers.RequestID == "" {
		return ""
	}
	if v := first(h, canonical(c.Headers.RequestID)); v != "" && len(v) <= 128 && c.trusts(remote) && printable(v) {
		return v
	}
	return newUUID(c.Rand(), c.Rand())
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// newUUID returns a version 4 UUID (RFC 9562) of two draws: ids are for
// finding a line in a log, and need not be unguessable.
func newUUID(hi, lo uint64) string {
	hi = hi&^0xf000 | 0x4000
	lo = lo&^(3<<62) | 2<<62
	b := appendHex64(appendHex64(make([]byte, 0, 36), hi), lo)
	for _, at := range [...]int{8, 13, 18, 23} {
		b = slices.Insert(b, at, '-')
	}
	return string(b)
}
