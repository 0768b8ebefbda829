package guard

import (
	"bytes"
	"net/netip"
)

// Classes of octets.
const (
	token  = 1 << iota // a method or a field's name: RFC 9110, 5.6.2
	value              // a field's value: HTAB, SP, VCHAR, obs-text
	target             // a request target: VCHAR without # and \, which no client may send
	host               // a registered name as used in practice: RFC 3986's without pct-encoded, sub-delims and ~
	hex                // a hexadecimal digit
	digit              // a decimal digit
	alnum              // a letter or a decimal digit
)

// octets holds the classes of each octet. It is never written.
var octets = func() (t [256]uint8) {
	set := func(class uint8, s string) {
		for i := range len(s) {
			t[s[i]] |= class
		}
	}
	for c := '0'; c <= '9'; c++ {
		t[c] |= token | host | hex | digit | alnum
	}
	for c := 'a'; c <= 'z'; c++ {
		t[c] |= token | host | alnum
		t[c-'a'+'A'] |= token | host | alnum
	}
	set(hex, "abcdefABCDEF")
	set(token, "!#$%&'*+-.^_`|~")
	set(host, "-._")
	for c := range 256 {
		if c == '\t' || c >= ' ' && c != 0x7f {
			t[c] |= value
		}
		if c > ' ' && c < 0x7f && c != '#' && c != '\\' {
			t[c] |= target
		}
	}
	return t
}()

// all reports whether every octet of b is of class.
func all(b []byte, class uint8) bool {
	for _, c := range b {
		if octets[c]&class == 0 {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// equal reports whether b is want, which is in lower case, whatever b's case.
func equal(b []byte, want string) bool {
	if len(b) != len(want) {
		return false
	}
	for i, c := range b {
		if lower(c) != want[i] {
			return false
		}
	}
	return true
}

// similar reports whether an instance might take the name b for want: equal,
// or equal once everything but letters and digits is "-", as CGI and its heirs
// make it "_".
func similar(b []byte, want string) bool {
	if len(b) != len(want) {
		return false
	}
	for i, c := range b {
		if c = lower(c); octets[c]&alnum == 0 {
			c = '-'
		}
		if c != want[i] {
			return false
		}
	}
	return true
}

// trim removes optional white space: SP and HTAB.
func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// authority reports whether b is host [":" port] without room for opinions:
// no user, no list, no zone, no empty host, a port of 1 to 5 digits up to
// 65535.
func authority(b []byte) bool {
	if len(b) > 0 && b[0] == '[' {
		end := bytes.IndexByte(b, ']')
		if end < 0 {
			return false
		}
		a, err := netip.ParseAddr(string(b[1:end]))
		if err != nil || !a.Is6() || a.Zone() != "" {
			return false
		}
		return end+1 == len(b) || b[end+1] == ':' && port(b[end+2:])
	}
	name, p, found := bytes.Cut(b, []byte(":"))
	return len(name) > 0 && len(name) <= 255 && all(name, host) && (!found || port(p))
}

func port(b []byte) bool {
	n, ok := decimal(b, 5)
	return ok && n <= 65535
}

// decimal returns the number that b's 1 to most digits say.
func decimal(b []byte, most int) (n int64, ok bool) {
	if len(b) == 0 || len(b) > most || !all(b, digit) {
		return 0, false
	}
	for _, c := range b {
		n = n*10 + int64(c-'0')
	}
	return n, true
}
