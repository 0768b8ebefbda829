package consul

import (
	"net/netip"
	"strings"
	"testing"
)

func TestUsable(t *testing.T) {
	for _, tt := range []struct{ addrs, want string }{
		{"", ""},
		{"169.254.1.1 fe80::1 0.0.0.0 224.0.0.1", ""},
		{"127.0.0.1 ::1", "127.0.0.1"},
		{"::1", "::1"},
		{"127.0.0.1 169.254.1.1", "127.0.0.1"},
		{"127.0.0.1 8.8.8.8", "8.8.8.8"},
		{"127.0.0.1 8.8.8.8 10.0.0.7", "10.0.0.7"},
		{"192.168.1.2 10.0.0.7", "192.168.1.2"},
		{"fd00::1 8.8.8.8", "fd00::1"},
		{"fd00::1 10.0.0.7", "10.0.0.7"},
		{"2001:4860::8 8.8.8.8", "8.8.8.8"},
		{"::ffff:10.0.0.7", "10.0.0.7"},
	} {
		var addrs []netip.Addr
		for a := range strings.FieldsSeq(tt.addrs) {
			addrs = append(addrs, netip.MustParseAddr(a))
		}
		got, err := usable(addrs)
		if (err != nil) != (tt.want == "") || err == nil && got.String() != tt.want {
			t.Errorf("%q: %v, %v; want %q", tt.addrs, got, err, tt.want)
		}
	}
}
