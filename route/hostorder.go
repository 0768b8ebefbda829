package route

import (
	"cmp"
	"net/netip"
	"strings"
)

// hostKind is how the host of a route is compared with that of a request, in
// the order in which they are tried.
type hostKind uint8

const (
	exactHost hostKind = iota
	suffixHost
	globHost
	everyHost // "*"
	anyHost
)

// kindOf returns the kind of a route's host. A host that starts with "*" and
// has no other special character matches by its suffix. Without globs only "*"
// and "*.suffix" are special.
func kindOf(host string, noGlobs bool) hostKind {
	rest, star := strings.CutPrefix(host, "*")
	switch {
	case host == "":
		return anyHost
	case star && literal(rest) == len(rest):
		if noGlobs && rest != "" && rest[0] != '.' && rest[0] != ':' {
			return exactHost
		}
		if rest == "" || rest == usualPorts[0] || rest == usualPorts[1] {
			return everyHost
		}
		return suffixHost
	case noGlobs, literal(host) == len(host), isIPv6(host):
		return exactHost
	}
	return globHost
}

// isIPv6 reports whether host is an IPv6 address in brackets, which are no
// class of a glob.
func isIPv6(host string) bool {
	name, _ := splitPort(host)
	if len(name) < 2 || name[0] != '[' || name[len(name)-1] != ']' {
		return false
	}
	addr, err := netip.ParseAddr(name[1 : len(name)-1])
	return err == nil && addr.Is6()
}

// usualPorts are left out where they are usual: ":80" of plain requests, ":443"
// of those over TLS.
var usualPorts = [2]string{":80", ":443"}

// compareHosts orders hosts as they are tried: exact ones; suffixes, the longer
// first; globs by their bytes from the end, the greater first (Fabio's order);
// "*"; no host. The same host with a usual port comes before the one without.
func compareHosts(a, b string, noGlobs bool) int {
	rank := func(h string) (kind hostKind, name, port string) {
		kind = kindOf(h, noGlobs)
		name, port = splitPort(h)
		if kind == globHost && port != usualPorts[0] && port != usualPorts[1] {
			name, port = h, "" // where requests find it
		}
		return kind, name, port
	}
	ka, na, pa := rank(a)
	kb, nb, pb := rank(b)
	switch {
	case ka != kb:
		return cmp.Compare(ka, kb)
	case ka == suffixHost:
		return cmp.Or(cmp.Compare(len(nb), len(na)), strings.Compare(na, nb), strings.Compare(pb, pa))
	case ka == globHost:
		return cmp.Or(strings.Compare(backwards(nb), backwards(na)), strings.Compare(pb, pa))
	}
	return cmp.Or(strings.Compare(na, nb), strings.Compare(pb, pa))
}

// backwards returns s from its last byte to its first.
func backwards(s string) string {
	b := []byte(s)
	for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
		b[i], b[j] = b[j], b[i]
	}
	return string(b)
}
