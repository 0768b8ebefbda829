package main

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
)

func TestDenied(t *testing.T) {
	ap := netip.MustParseAddrPort
	for _, c := range []struct {
		what              string
		listeners, consul []netip.AddrPort
		want              []string // network:port
	}{
		{"nothing", nil, nil, nil},
		{"one address", []netip.AddrPort{ap("10.0.0.5:9999")}, nil, []string{"10.0.0.5/32 9999"}},
		{"loopback is one machine", []netip.AddrPort{ap("127.0.0.1:9998")}, nil, []string{"127.0.0.0/8 9998", "::1/128 9998"}},
		{"every address", []netip.AddrPort{ap("[::]:9999")}, nil, []string{"127.0.0.0/8 9999", "::1/128 9999", "10.0.0.5/32 9999", "fd00::5/128 9999"}},
		{"Consul", nil, []netip.AddrPort{ap("[::ffff:10.0.0.9]:8500")}, []string{"10.0.0.9/32 8500"}},
	} {
		local := []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("10.0.0.5"), netip.MustParseAddr("fd00::5")}
		var out []string
		for _, r := range denied(c.listeners, c.consul, local) {
			out = append(out, fmt.Sprintf("%s %d", r.Network, r.Port))
		}
		if !slices.Equal(out, c.want) {
			t.Errorf("%s: %q, want %q", c.what, out, c.want)
		}
	}
}
