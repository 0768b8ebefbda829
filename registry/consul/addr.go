package consul

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// UsableAddr returns the address under which other machines most likely reach
// this one: the first private address, else the first public one, IPv4 before
// IPv6, of an interface that is up and has a link (a bridge without containers
// has none); the loopback address when there is no other.
// Link-local, multicast and unspecified addresses are never returned.
func UsableAddr() (netip.Addr, error) {
	ifaces, err := net.Interfaces()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("list network interfaces: %w", err)
	}
	var all []netip.Addr
	for _, iface := range ifaces {
		if iface.Flags&(net.FlagUp|net.FlagRunning) != net.FlagUp|net.FlagRunning {
			continue
		}
		addrs, err := iface.Addrs()
		if err != nil {
			continue // the interface has just gone
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				all = append(all, p.Addr())
			}
		}
	}
	return usable(all)
}

// usable chooses among addrs as UsableAddr promises.
func usable(addrs []netip.Addr) (best netip.Addr, err error) {
	rank := 0
	for _, a := range addrs {
		a = a.Unmap()
		r := 0
		switch {
		case a.IsLoopback():
			r = 1
		case a.IsPrivate():
			r = 5
		case a.IsGlobalUnicast():
			r = 3
		}
		if r > 0 && a.Is4() {
			r++
		}
		if r > rank {
			best, rank = a, r
		}
	}
	if rank == 0 {
		return best, errors.New("this machine has no usable address: give one explicitly")
	}
	return best, nil
}
