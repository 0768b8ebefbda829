package route

import (
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/dchest/siphash"
)

var keyKinds = [...]string{"cookie", "header", "ip"}

// String returns the word that the kind has in documents and in hashes.
func (k KeyKind) String() string { return keyKinds[k] }

// Position is where a client's key stands on the line from 0 to 2⁶⁴ whose
// lower part, ratio long, is the canary's (see [Split.Arm]): SipHash-2-4 keyed
// by Secret, of "arm", the service, ID, the kind's word and value, joined by
// zero bytes. It depends on nothing else, so all balancers agree, no client
// can compute it, and it is independent between services and rollouts. For
// KeyIP use [Split.PositionAddr]. It does not allocate for usual lengths.
func (s *Split) Position(kind KeyKind, value string) uint64 {
	var buf [256]byte
	return s.hash(append(s.prefix(buf[:0], "arm", kind), value...))
}

// PositionAddr is Position for a client's address: its textual form, IPv6 cut
// to its /64, IPv4 in IPv6 as IPv4.
func (s *Split) PositionAddr(a netip.Addr) uint64 {
	var buf [256]byte
	return s.hash(keyAddr(a).AppendTo(s.prefix(buf[:0], "arm", KeyIP)))
}

// InstancePosition is like Position, and independent of it: the Key by which
// [Arm.Pick] keeps a client on its instance.
func (s *Split) InstancePosition(kind KeyKind, value string) uint64 {
	var buf [256]byte
	return s.hash(append(s.prefix(buf[:0], "instance", kind), value...))
}

// InstancePositionAddr is InstancePosition for a client's address.
func (s *Split) InstancePositionAddr(a netip.Addr) uint64 {
	var buf [256]byte
	return s.hash(keyAddr(a).AppendTo(s.prefix(buf[:0], "instance", KeyIP)))
}

func (s *Split) prefix(b []byte, domain string, kind KeyKind) []byte {
	for _, field := range [...]string{domain, s.Service, s.ID, keyKinds[kind]} {
		b = append(append(b, field...), 0)
	}
	return b
}

func (s *Split) hash(b []byte) uint64 { return siphash.Hash(s.Secret[0], s.Secret[1], b) }

func keyAddr(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		p, _ := a.Prefix(64)
		return p.Addr()
	}
	return a
}

// Below reports whether u lies in the first part, share long, of the line of all
// numbers. What lies there stays there while the share grows.
func Below(u uint64, share float64) bool {
	return share >= 1 || share > 0 && u < uint64(share*(1<<64))
}

// Arm returns the canary iff u lies in the first part, Ratio long, of the line:
// u < Ratio·2⁶⁴. A ratio of 1 is always canary, one of 0 never. u is a
// Position, or a uniform draw. While the ratio grows, no u moves back to stable.
func (s *Split) Arm(u uint64) ArmName {
	if Below(u, s.Ratio) {
		return Canary
	}
	return Stable
}

// Turn returns the arm of request number n under RoundRobin. Of any k requests
// in a row, floor(k·Ratio) or one more go to the canary, as evenly spread as
// can be; a change of the ratio holds from the next request on.
func (s *Split) Turn(n uint64) ArmName {
	switch {
	case s.Ratio >= 1:
		return Canary
	case !(s.Ratio > 0):
		return Stable
	}
	// n·step mod 2⁶⁴ is the accumulator; an overflow is the canary's turn. The
	// step is rounded up by 2⁻⁵³, so that ten times 0.3 is three.
	step := uint64(s.Ratio * (1 << 64))
	if up := step + 1<<11; up > step {
		step = up
	}
	acc := n * step
	if acc+step < acc {
		return Canary
	}
	return Stable
}

// Request is what match rules look at. The first value of a header, cookie or
// query parameter counts.
type Request interface {
	Method() string
	Path() string     // raw
	RawQuery() string // without "?"
	Header(name string) (string, bool)
	Cookie(name string) (string, bool)
	Client() netip.Addr // the believed client address
}

// Rule returns the arm of the first match rule that holds for r. Paths are
// compared in the form of [CleanPath], and so are exact ones and prefixes of
// the rule; a regular expression sees that form. It does not allocate where r does not,
// except for paths and query parameters that have to be decoded.
func (s *Split) Rule(r Request) (a ArmName, ok bool) {
	for i := range s.Match {
		if s.Match[i].holds(r) {
			return s.Match[i].To, true
		}
	}
	return Stable, false
}

func (m *MatchRule) holds(r Request) bool {
	if len(m.Methods) > 0 && !slices.Contains(m.Methods, r.Method()) {
		return false
	}
	if m.Path != nil {
		path, ok := cleanPath(r.Path())
		want := *m.Path
		if want.Kind <= Prefix && !isClean(want.Text) {
			if b, ok := encode(want.Text); ok {
				want.Text = string(b)
			}
		}
		if !want.holds(path, ok) {
			return false
		}
	}
	for i := range m.Headers {
		if v, ok := r.Header(m.Headers[i].Name); !m.Headers[i].Pattern.holds(v, ok) {
			return false
		}
	}
	for i := range m.Cookies {
		if v, ok := r.Cookie(m.Cookies[i].Name); !m.Cookies[i].Pattern.holds(v, ok) {
			return false
		}
	}
	for i := range m.Query {
		if v, ok := queryValue(r.RawQuery(), m.Query[i].Name); !m.Query[i].Pattern.holds(v, ok) {
			return false
		}
	}
	if len(m.CIDRs) == 0 {
		return true
	}
	client := r.Client().Unmap().WithZone("")
	for _, p := range m.CIDRs {
		if p.Contains(client) {
			return true
		}
	}
	return false
}

func (p *Pattern) holds(v string, present bool) bool {
	if !present {
		return false
	}
	switch p.Kind {
	case Exact:
		return v == p.Text
	case Prefix:
		return strings.HasPrefix(v, p.Text)
	case Regexp:
		return (p.longest == 0 || len(v) <= p.longest) && p.RE.MatchString(v)
	}
	return true
}

// queryValue returns the first value of a parameter in a raw query.
func queryValue(query, name string) (string, bool) {
	for query != "" {
		var field string
		field, query, _ = strings.Cut(query, "&")
		k, v, _ := strings.Cut(field, "=")
		if unescape(k) == name && field != "" {
			return unescape(v), true
		}
	}
	return "", false
}

func unescape(s string) string {
	if u, err := url.QueryUnescape(s); err == nil {
		return u
	}
	return s
}
