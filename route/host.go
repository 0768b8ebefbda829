package route

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/net/idna"
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

// globChars make a host a glob, but for the star of "*" and "*.suffix".
const globChars = "*?[]{}"

// parseHost returns s as it stands in a Rule, or what is wrong with it and at
// which offset in s. With pattern it may be a wildcard ("*", "*.suffix"), a
// glob, or an international name, which is turned into punycode.
func parseHost(s string, pattern bool) (host string, at int, err error) {
	if i := strings.IndexFunc(s, func(r rune) bool { return r >= 0x80 }); i >= 0 && !pattern {
		return "", i, fmt.Errorf("host %s is not ASCII: write international names in punycode (xn--…)", brief(s))
	} else if i >= 0 {
		ascii, err := toASCII(s)
		if err != nil {
			return "", i, err
		}
		host, at, err := parseHost(ascii, pattern) // ASCII: comes here once
		return host, min(at, len(s)), err
	}
	name, port := splitPort(strings.ToLower(s))
	if port == "" {
		// none: the usual case
	} else if err := checkPort(port); err != nil {
		return "", len(name), err
	}
	name = strings.TrimSuffix(name, ".")
	labels := name
	switch {
	case strings.HasPrefix(name, "[") && (!pattern || strings.IndexByte(name, ':') > 0 || strings.IndexByte(name, ']')+1 == len(name) || strings.IndexByte(name, ']') < 0):
		ip, err := netip.ParseAddr(strings.TrimSuffix(name[1:], "]"))
		if err != nil || !ip.Is6() || ip.Zone() != "" || !strings.HasSuffix(name, "]") {
			return "", 0, fmt.Errorf("host %s: brackets hold an IPv6 address", brief(s))
		}
		return name + port, 0, nil
	case len(name) > maxHost:
		return "", maxHost, fmt.Errorf("host is longer than %d bytes", maxHost)
	case pattern && name == "*":
		return name + port, 0, nil
	case pattern && strings.ContainsAny(strings.TrimPrefix(name, "*."), globChars):
		return parseGlobHost(name, port)
	case pattern && strings.HasPrefix(name, "*."):
		at, labels = 2, name[2:]
	}
	for label := range strings.SplitSeq(labels, ".") {
		if label == "" || len(label) > 63 {
			return "", at, fmt.Errorf("host %s: a label has 1 to 63 letters", brief(s))
		}
		for i := range len(label) {
			if c := label[i]; !isAlnum(c) && c != '-' && c != '_' {
				return "", at + i, fmt.Errorf("host %s: %q cannot be part of a host", brief(s), c)
			}
		}
		at += len(label) + 1
	}
	return name + port, 0, nil
}

// maxHost is how long a host can be without its port (RFC 1035, 2.3.4).
const maxHost = 253

// parseGlobHost is parseHost for a lower-case glob.
func parseGlobHost(name, port string) (host string, at int, err error) {
	for i := range len(name) {
		if c := name[i]; !isAlnum(c) && strings.IndexByte("-_.,!"+globChars, c) < 0 {
			return "", i, fmt.Errorf("host %s: %q cannot be part of a host", brief(name), c)
		}
	}
	if i := strings.Index(name+".", ".."); i >= 0 {
		return "", i, fmt.Errorf("host %s: a label has 1 to 63 letters", brief(name))
	}
	if err := checkGlob(name); err != nil {
		return "", 0, fmt.Errorf("host: %w", err)
	}
	return name + port, 0, nil
}

// parseOptionHost is parseHost for a host that is not matched but sent: an
// exact one, which may be international.
func parseOptionHost(s string) (host string, at int, err error) {
	ascii, err := toASCII(s)
	if err != nil {
		return "", 0, err
	}
	host, at, err = parseHost(ascii, false)
	return host, min(at, len(s)), err
}

// toASCII turns the labels of an international name into punycode as a browser
// does (UTS #46), and leaves a leading "*." and the port as they are. What is
// ASCII stays as it is.
func toASCII(s string) (string, error) {
	if strings.IndexFunc(s, func(r rune) bool { return r >= 0x80 }) < 0 {
		return s, nil
	}
	name, port := splitPort(s)
	star := ""
	if rest, ok := strings.CutPrefix(name, "*."); ok {
		star, name = "*.", rest
	}
	if strings.ContainsAny(name, globChars) {
		return "", fmt.Errorf("host %s: a glob is written in ASCII, international names in punycode (xn--…)", brief(s))
	}
	ascii, err := idna.Lookup.ToASCII(name)
	if err != nil {
		return "", fmt.Errorf("host %s is no international name: %w", brief(s), err)
	}
	if strings.IndexFunc(ascii, func(r rune) bool { return r >= 0x80 }) >= 0 {
		return "", fmt.Errorf("host %s is no international name", brief(s))
	}
	return star + ascii + port, nil
}

// checkPort says what is wrong with ":port".
func checkPort(port string) error {
	n, err := strconv.ParseUint(strings.TrimPrefix(port, ":"), 10, 16)
	if err != nil || n == 0 || port != ":"+strconv.FormatUint(n, 10) {
		return fmt.Errorf("port %s is not a number from 1 to 65535", brief(strings.TrimPrefix(port, ":")))
	}
	return nil
}
