package route

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// Access says which clients a route lets in. The zero value lets nobody in
// (an allow list without an element): what allow= or deny= could not be read is
// that, so that a mistake never opens a route.
type Access struct {
	Deny     bool // Networks are those kept out; otherwise those let in
	Networks []netip.Prefix
}

// Permits reports whether a client is let in that came over the given chain of
// believed addresses: the peer's, those of the trusted proxies, the client's.
// As in Fabio each of them must be allowed, and none denied. An empty chain is
// not let in.
//
// What is asked for is decided on the path that the route was found by, so
// there is no second reading of a path that access would not see: see
// [CleanPath].
func (a *Access) Permits(chain []netip.Addr) bool {
	if a == nil {
		return true
	}
	for _, addr := range chain {
		if a.contains(addr) == a.Deny {
			return false
		}
	}
	return len(chain) > 0
}

func (a *Access) contains(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	for _, p := range a.Networks {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// String returns the list as it stands behind allow= or deny=. One that lets
// nobody in is "none".
func (a *Access) String() string {
	if len(a.Networks) == 0 && !a.Deny {
		return "none"
	}
	var b strings.Builder
	for i, p := range a.Networks {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString("ip:")
		if p.IsSingleIP() {
			b.WriteString(p.Addr().String())
		} else {
			b.WriteString(p.String())
		}
	}
	return b.String()
}

// parseAccess reads ip:network,…, or "none", which lets nobody in. Whatever is
// wrong with it lets nobody in either, and so does a second list.
func parseAccess(o *Options, deny bool, v string) error {
	had := o.Access != nil
	o.Access = new(Access)
	switch {
	case had:
		return errors.New("allow= and deny= stand together: only one of them can be meant")
	case v == "none" && !deny:
		return nil
	}
	a := Access{Deny: deny}
	for item := range strings.SplitSeq(v, ",") {
		kind, text, ok := strings.Cut(item, ":")
		if !ok || !strings.EqualFold(kind, "ip") {
			return fmt.Errorf("%s is not ip:network: write ip:10.0.0.0/8, ip:2001:db8::/32 or one address", brief(item))
		}
		p, err := ParseNetwork(text)
		if err != nil {
			return err
		}
		a.Networks = append(a.Networks, p)
	}
	o.Access = &a
	return nil
}

// ParseNetwork reads a network or a single address. Bits behind the mask are
// dropped, and an IPv4 network that is written as IPv6 becomes IPv4; one that
// holds more than IPv4 addresses in that form is refused, and so is a zone.
func ParseNetwork(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return netip.Prefix{}, fmt.Errorf("%s is not a network: write 10.0.0.0/8, 2001:db8::/32 or one address", brief(s))
	case !p.Addr().Is4In6():
	case p.Bits() < 96:
		return netip.Prefix{}, fmt.Errorf("network %s holds IPv4 addresses and others: write it as IPv4", brief(s))
	default:
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), nil
}
