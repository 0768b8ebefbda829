package main

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"time"

	"serin/route"
)

// denied are the addresses that nothing registered in Consul may lead to: our
// own listeners (a request would go round for ever, or reach the admin API) and
// Consul's agent. A listener on every address is denied on all of them, and on
// the whole loopback network.
func denied(listeners, consul []netip.AddrPort, local []netip.Addr) route.Addresses {
	var out route.Addresses
	add := func(p netip.Prefix, port uint16) {
		out = append(out, route.AddressRange{Network: p, Port: port})
	}
	one := func(a netip.Addr, port uint16) {
		a = a.Unmap().WithZone("")
		if a.IsLoopback() {
			add(netip.MustParsePrefix("127.0.0.0/8"), port)
			add(netip.MustParsePrefix("::1/128"), port)
			return
		}
		add(netip.PrefixFrom(a, a.BitLen()), port)
	}
	for _, l := range listeners {
		if !l.Addr().IsUnspecified() {
			one(l.Addr(), l.Port())
			continue
		}
		one(netip.IPv6Loopback(), l.Port())
		for _, a := range local {
			if !a.IsLoopback() {
				one(a, l.Port())
			}
		}
	}
	for _, c := range consul {
		one(c.Addr(), c.Port())
	}
	return out
}

// denied returns those of b. Consul's name is looked up once: what cannot be
// resolved within a second is left out, and said.
func (b *balancer) denied() route.Addresses {
	var listeners []netip.AddrPort
	for _, ln := range append(b.traffic[:len(b.traffic):len(b.traffic)], b.looking) {
		if a, ok := ln.Addr().(*net.TCPAddr); ok {
			listeners = append(listeners, a.AddrPort())
		}
	}
	var local []netip.Addr
	if addrs, err := net.InterfaceAddrs(); err == nil {
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				local = append(local, p.Addr())
			}
		}
	}
	consul, err := resolve(b.client.Addr())
	if err != nil {
		b.log.Warn("Consul's address cannot be kept from being a target", "consul", b.client.Addr(), "error", err)
	}
	return denied(listeners, consul, local)
}

// resolve returns the addresses of Consul's agent; one on a Unix socket has none.
func resolve(agent string) (out []netip.AddrPort, err error) {
	if strings.HasPrefix(agent, "unix:") || strings.HasPrefix(agent, "/") {
		return nil, nil
	}
	_, hostport, ok := strings.Cut(agent, "://")
	if !ok {
		hostport = agent
	}
	hostport, _, _ = strings.Cut(hostport, "/")
	host, service, err := net.SplitHostPort(hostport)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	port, err := net.DefaultResolver.LookupPort(ctx, "tcp", service)
	if err != nil {
		return nil, err
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	for _, a := range addrs {
		out = append(out, netip.AddrPortFrom(a, uint16(port)))
	}
	return out, err
}
