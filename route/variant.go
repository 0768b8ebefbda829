package route

import (
	"net/netip"
	"slices"
)

// Clients are those that a variant is for, prepared for looking up: single
// addresses by hash, networks one by one. It does not change.
type Clients struct {
	hosts    map[netip.Addr]struct{}
	networks []netip.Prefix
}

// NewClients prepares addresses and networks.
func NewClients(all []netip.Prefix) *Clients {
	c := &Clients{hosts: make(map[netip.Addr]struct{})}
	for _, p := range all {
		switch p = asIPv4(p); {
		case p.IsSingleIP():
			c.hosts[p.Addr()] = struct{}{}
		case p.IsValid():
			c.networks = append(c.networks, p)
		}
	}
	return c
}

// VariantFor returns the split of a client, and the name of the environment
// that it is for: the first variant that has the client's address and, where
// that is only for a share of them, its hash below the share; without one the
// split itself and "". The hash is SipHash-2-4 of "roll", the service, ID, the
// variant's name and the address as for KeyIP, so a client that has the variant
// keeps it while the share grows. It does not allocate.
func (s *Split) VariantFor(client netip.Addr) (sp *Split, environment string) {
	if len(s.Variants) == 0 || !client.IsValid() {
		return s, ""
	}
	client = client.Unmap().WithZone("")
	for i := range s.Variants {
		v := &s.Variants[i]
		if v.has(client) && (v.Share >= 1 || Below(s.roll(v.Name, client), v.Share)) {
			return v.Split, v.Name
		}
	}
	return s, ""
}

// roll is where a client stands among those that a variant is for.
func (s *Split) roll(name string, client netip.Addr) uint64 {
	var buf [256]byte
	b := buf[:0]
	for _, field := range [...]string{"roll", s.Service, s.ID, name} {
		b = append(append(b, field...), 0)
	}
	return s.hash(keyAddr(client).AppendTo(b))
}

// has reports whether the variant is for an address, which is no IPv4 address
// in IPv6 and has no zone.
func (v *Variant) has(client netip.Addr) bool {
	if v.Prepared == nil { // made by hand
		return slices.ContainsFunc(v.Clients, func(p netip.Prefix) bool { return asIPv4(p).Contains(client) })
	}
	if _, ok := v.Prepared.hosts[client]; ok {
		return true
	}
	for _, p := range v.Prepared.networks {
		if p.Contains(client) {
			return true
		}
	}
	return false
}

// asIPv4 writes a network of IPv4 addresses in IPv6 as the IPv4 network.
func asIPv4(p netip.Prefix) netip.Prefix {
	if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
		return netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	return p
}

// prepared returns the split with its variants ready to be looked up. Of one
// without variants it is the same value.
func (s *Split) prepared() *Split {
	if s == nil || len(s.Variants) == 0 {
		return s
	}
	own := *s
	own.Variants = slices.Clone(s.Variants)
	for i := range own.Variants {
		v := &own.Variants[i]
		if v.Prepared == nil {
			v.Prepared = NewClients(v.Clients)
		}
	}
	own.nameVariants()
	return &own
}

// nameVariants makes the splits of s.Variants, which are its own, ones of its
// service, each with turns of its own.
func (s *Split) nameVariants() {
	for i := range s.Variants {
		v := &s.Variants[i]
		if v.Split == nil {
			v.Split = s.withoutVariants()
		}
		sp := *v.Split
		sp.Service, sp.Variants, sp.sequence = s.Service, nil, s.Service+"\x00in\x00"+v.Name
		v.Split = &sp
	}
}

func (s *Split) withoutVariants() *Split {
	own := *s
	own.Variants = nil
	return &own
}

// Sequence names the turns of RoundRobin (see [Live.Turn]): variants have turns
// of their own, or a client in step with others would always have the same arm.
func (s *Split) Sequence() string {
	if s.sequence == "" {
		return s.Service
	}
	return s.sequence
}
