package route

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// CleanHost returns the form of a request's authority that matching uses:
// lower case, without one trailing dot, and without the port that is usual for
// the request (80, or 443 over TLS), as Fabio does. Any other port stays and
// must match. It is for matching only, accepts anything, and does not allocate
// when there is nothing to lower.
func CleanHost(host string, tls bool) string {
	usual := ":80"
	if tls {
		usual = ":443"
	}
	name, port := splitPort(host)
	if port == usual {
		port = ""
	}
	dotless := strings.TrimSuffix(name, ".")
	switch {
	case port == "":
		host = dotless
	case len(dotless) != len(name):
		host = dotless + port
	}
	for i := range len(host) {
		if c := host[i]; 'A' <= c && c <= 'Z' {
			return strings.ToLower(host)
		}
	}
	return host
}

// splitPort cuts ":port" off; brackets of IPv6 stay with the name.
func splitPort(host string) (name, port string) {
	for i := len(host) - 1; i >= 0; i-- {
		switch c := host[i]; {
		case c == ':':
			return host[:i], host[i:]
		case c < '0' || c > '9':
			return host, ""
		}
	}
	return host, ""
}

// parseHost returns s as it stands in a Rule, or what is wrong with it and at
// which offset in s. A wildcard is "*" or "*.suffix".
func parseHost(s string, wildcard bool) (host string, at int, err error) {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return "", i, fmt.Errorf("host %q is not ASCII: write international names in punycode (xn--…)", s)
		}
	}
	name, port := splitPort(strings.ToLower(s))
	if port != "" {
		n, err := strconv.ParseUint(port[1:], 10, 16)
		if err != nil || n == 0 || strconv.FormatUint(n, 10) != port[1:] {
			return "", len(name), fmt.Errorf("port %q is not a number from 1 to 65535", port[1:])
		}
	}
	if strings.HasPrefix(name, "[") {
		ip, err := netip.ParseAddr(strings.TrimSuffix(name[1:], "]"))
		if err != nil || !ip.Is6() || ip.Zone() != "" || !strings.HasSuffix(name, "]") {
			return "", 0, fmt.Errorf("host %q: brackets hold an IPv6 address", s)
		}
		return name + port, 0, nil
	}
	name = strings.TrimSuffix(name, ".")
	if wildcard && name == "*" {
		return name + port, 0, nil
	}
	at = 0
	labels := name
	if wildcard && strings.HasPrefix(name, "*.") {
		at, labels = 2, name[2:]
	}
	if len(name) > 253 {
		return "", 253, errors.New("host is longer than 253 bytes")
	}
	for label := range strings.SplitSeq(labels, ".") {
		if label == "" || len(label) > 63 {
			return "", at, fmt.Errorf("host %q: a label has 1 to 63 letters", s)
		}
		for i := range len(label) {
			switch c := label[i]; {
			case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
			case strings.IndexByte("*?[]{}!", c) >= 0:
				return "", at + i, fmt.Errorf("host %q: globs other than *.suffix are not supported yet", s)
			default:
				return "", at + i, fmt.Errorf("host %q: %q cannot be part of a host", s, c)
			}
		}
		at += len(label) + 1
	}
	return name + port, 0, nil
}
