package route

import (
	"net/netip"
	"strings"
	"testing"
)

func TestAccess(t *testing.T) {
	f := func(options, chain string, want bool) {
		t.Helper()
		o, _, err := ParseOptions(options)
		if err != nil {
			t.Fatalf("%s: %v", options, err)
		}
		var addrs []netip.Addr
		for _, a := range strings.Fields(chain) {
			addrs = append(addrs, netip.MustParseAddr(a))
		}
		if got := o.Access.Permits(addrs); got != want {
			t.Errorf("%s: Permits(%s) = %v, want %v", options, chain, got, want)
		}
	}
	f("", "192.0.2.1", true)
	f("", "", true)

	f("allow=ip:10.0.0.0/8", "10.255.255.255", true)
	f("allow=ip:10.0.0.0/8", "11.0.0.0", false)
	f("allow=ip:10.0.0.0/8", "::ffff:10.0.0.1", true)
	f("allow=ip:10.0.0.0/8", "fd00::1", false)
	f("allow=ip:10.0.0.0/8", "", false)
	f("allow=ip:10.0.0.0/8,ip:fd00::/8", "fd00::1%eth0", true)
	f("allow=ip:10.1.2.3", "10.1.2.3", true)
	f("allow=ip:10.1.2.3", "10.1.2.4", false)
	f("allow=ip:0.0.0.0/0", "192.0.2.1", true)
	f("allow=ip:0.0.0.0/0", "2001:db8::1", false)
	f("allow=none", "127.0.0.1", false)

	f("deny=ip:10.0.0.0/8", "10.0.0.1", false)
	f("deny=ip:10.0.0.0/8", "::ffff:10.0.0.1", false)
	f("deny=ip:10.0.0.0/8", "11.0.0.1", true)
	f("deny=ip:10.0.0.0/8", "", false)
	f("deny=ip:2001:db8::1", "2001:db8::1", false)
	f("deny=ip:2001:db8::1", "2001:db8::2", true)

	// All of the chain: a proxy of ours may be allowed and its client not.
	f("allow=ip:10.0.0.0/8", "10.0.0.1 10.0.0.2 10.0.0.3", true)
	f("allow=ip:10.0.0.0/8", "10.0.0.1 10.0.0.2 192.0.2.1", false)
	f("allow=ip:10.0.0.0/8", "192.0.2.1 10.0.0.2", false)
	f("deny=ip:192.0.2.1", "10.0.0.1 192.0.2.1", false)
	f("deny=ip:192.0.2.1", "192.0.2.1 10.0.0.1", false)
	f("deny=ip:192.0.2.1", "10.0.0.1 10.0.0.2", true)

	if new(Access).Permits([]netip.Addr{netip.MustParseAddr("127.0.0.1")}) {
		t.Error("the zero value lets somebody in")
	}
}

func TestParseNetwork(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		p, err := ParseNetwork(text)
		got := p.String()
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("ParseNetwork(%q)\n got %s\nwant %s", text, got, want)
		}
	}
	f("10.1.2.3", "10.1.2.3/32")
	f("10.1.2.3/8", "10.0.0.0/8")
	f("10.1.2.3/32", "10.1.2.3/32")
	f("0.0.0.0/0", "0.0.0.0/0")
	f("2001:DB8::1", "2001:db8::1/128")
	f("2001:db8::1/32", "2001:db8::/32")
	f("::/0", "::/0")
	f("::ffff:10.0.0.1", "10.0.0.1/32")
	f("::ffff:10.0.0.1/104", "10.0.0.0/8")
	f("::ffff:10.0.0.1/96", "0.0.0.0/0")
	f("::ffff:10.0.0.1/95", `network "::ffff:10.0.0.1/95" holds IPv4 addresses and others: write it as IPv4`)
	for _, bad := range []string{"", "/", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/08", "10.0.0", "010.0.0.1", "10.0.0.256", "::/129", "fe80::1%eth0", "fe80::%eth0/64", "localhost", " 10.0.0.1", "10.0.0.1 ", "10.0.0.0/255.0.0.0", "0x0a.0.0.1"} {
		f(bad, `"`+bad+`" is not a network: write 10.0.0.0/8, 2001:db8::/32 or one address`)
	}
}

// Whatever the list is, it lets in who it says, or nobody.
func FuzzAccess(f *testing.F) {
	f.Add("ip:10.0.0.0/8,ip:fd00::/8", false, []byte{10, 0, 0, 1})
	f.Add("ip:::ffff:10.0.0.0/104", true, []byte{10, 0, 0, 1})
	f.Add("none", false, []byte{127, 0, 0, 1})
	f.Add("ip:", true, []byte{1, 2, 3, 4})
	f.Add("IP:2001:db8::1,ip:0.0.0.0/0", false, make([]byte, 16))
	f.Add("ip:::/0", false, []byte{10, 0, 0, 1})
	f.Add("ip:::/0", true, netip.MustParseAddr("::ffff:10.0.0.1").AsSlice())
	f.Fuzz(func(t *testing.T, list string, deny bool, client []byte) {
		addr, ok := netip.AddrFromSlice(client)
		if !ok {
			return
		}
		var o Options
		err := parseAccess(&o, deny, list)
		if o.Access == nil {
			t.Fatalf("%q: no rule at all", list)
		}
		got := o.Access.Permits([]netip.Addr{addr})
		if err != nil {
			if got || o.Access.Permits(nil) {
				t.Fatalf("%q: %v, and %s is let in", list, err, addr)
			}
			return
		}
		in := false
		for _, item := range strings.Split(list, ",") {
			_, text, _ := strings.Cut(item, ":")
			if p, err := netip.ParsePrefix(text); err == nil {
				v4 := p.Addr().Is4In6() && addr.Unmap().Is4() // IPv4 as IPv6 is IPv4, on both sides: ::/0 holds none
				in = in || p.Contains(addr.Unmap()) || v4 && p.Contains(netip.AddrFrom16(addr.As16()))
			} else if a, err := netip.ParseAddr(text); err == nil {
				in = in || a.Unmap() == addr.Unmap()
			}
		}
		if got != (in != deny) {
			t.Fatalf("%q deny=%v: %s is let in: %v", list, deny, addr, got)
		}
		var again Options
		if err := parseAccess(&again, o.Access.Deny, o.Access.String()); err != nil || again.Access.String() != o.Access.String() {
			t.Fatalf("%q is printed as %q: %v", list, o.Access, err)
		}
	})
}
