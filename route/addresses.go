package route

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Addresses is a set of networks, each with or without a port.
type Addresses []AddressRange

// AddressRange is a network or a name, and one port or all of them.
type AddressRange struct {
	Network netip.Prefix
	Host    string // a name, lower case, in place of a network
	Port    uint16 // 0 is any
}

// ParseAddresses reads a list of networks (10.0.0.0/8), addresses (10.0.0.1,
// ::1), names (consul.internal), and addresses and names with a port
// (127.0.0.1:8500, [::1]:8500). Elements that are blank are left out. The error
// names the first element that is none of them.
func ParseAddresses(list []string) (Addresses, error) {
	var out Addresses
	for _, text := range list {
		text = strings.TrimSpace(text)
		if text == "" {
			continue
		}
		r, err := parseAddress(text)
		if err != nil {
			return nil, fmt.Errorf("address %q: %w", text, err)
		}
		out = append(out, r)
	}
	return out, nil
}

func parseAddress(text string) (r AddressRange, err error) {
	if strings.Contains(text, "/") {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return r, errors.New("want a network such as 10.0.0.0/8")
		}
		if p.Addr().Is4In6() {
			return r, errors.New("write the network as IPv4")
		}
		return AddressRange{Network: p.Masked()}, nil
	}
	literal := text
	if strings.HasPrefix(text, "[") && strings.HasSuffix(text, "]") {
		literal = text[1 : len(text)-1]
	}
	if ip, err := netip.ParseAddr(literal); err == nil {
		return AddressRange{Network: single(ip)}, nil
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		host, port = text, ""
	} else {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return r, fmt.Errorf("port %q is not a number from 1 to 65535", port)
		}
		r.Port = uint16(n)
	}
	if host == "" {
		return r, errors.New("it has no host: name each address")
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		r.Network = single(ip)
		return r, nil
	}
	if r.Host, _, err = parseHost(host, false); strings.ContainsAny(r.Host, "[:") {
		return r, errors.New("want an IPv6 address in brackets with a port, such as [::1]:80, or one without either")
	}
	if name, _ := splitPort(r.Host); err == nil && isNumber(name[strings.LastIndexByte(name, '.')+1:]) {
		return r, fmt.Errorf("%q is neither a name nor an address in its usual form", host)
	}
	return r, err
}

func single(ip netip.Addr) netip.Prefix {
	ip = ip.Unmap().WithZone("")
	return netip.PrefixFrom(ip, ip.BitLen())
}

// String returns the range as [ParseAddresses] reads it.
func (r AddressRange) String() string {
	host := r.Host
	if host == "" {
		if host = r.Network.String(); r.Network.IsSingleIP() {
			host = r.Network.Addr().String()
		}
	}
	if r.Port == 0 {
		return host
	}
	return net.JoinHostPort(host, strconv.Itoa(int(r.Port)))
}

// loopback are the addresses that the name localhost stands for.
var loopback = [...]netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()}

// find returns the first range that holds addr, a host:port whose host is an
// address or a name. A name is in a range that has that name; localhost and
// what is below it are also the two loopback addresses. Nothing is resolved.
func (a Addresses) find(addr string) (r AddressRange, ok bool) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return r, false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return r, false
	}
	ip, err := netip.ParseAddr(host)
	name := ""
	if err != nil {
		name = strings.ToLower(strings.TrimSuffix(host, "."))
	}
	ip = ip.Unmap().WithZone("")
	local := name == "localhost" || strings.HasSuffix(name, ".localhost")
	for _, r := range a {
		if r.Port != 0 && uint64(r.Port) != n {
			continue
		}
		switch {
		case r.Host != "":
			ok = name == r.Host
		case local:
			ok = r.Network.Contains(loopback[0]) || r.Network.Contains(loopback[1])
		default:
			ok = r.Network.Contains(ip)
		}
		if ok {
			return r, true
		}
	}
	return AddressRange{}, false
}

// CheckResolved says why nothing may be sent to an address that a target's
// name (host:port) stands for: a name that was right when it was registered may
// lead anywhere later. It holds for names what a Builder with the same lists
// holds for addresses. An exception for the name is one for its addresses.
func CheckResolved(name string, addr netip.AddrPort, denied, allowed Addresses) error {
	if _, ok := allowed.find(name); ok {
		return nil
	}
	ip := addr.Addr().Unmap().WithZone("")
	text := netip.AddrPortFrom(ip, addr.Port()).String()
	if _, ok := allowed.find(text); ok {
		return nil
	}
	if ip.IsUnspecified() || ip.IsMulticast() || ip.IsLinkLocalUnicast() {
		return fmt.Errorf("address %q stands for %s, which is unspecified, multicast or link-local: such addresses are no targets", name, text)
	}
	if r, ok := denied.find(text); ok {
		return fmt.Errorf("address %q stands for %s, which is denied (%s): registry.targets.allow makes an exception", name, text, r)
	}
	return nil
}
