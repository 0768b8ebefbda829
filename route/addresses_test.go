package route

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

func TestParseAddresses(t *testing.T) {
	f := func(list, want string) {
		t.Helper()
		a, err := ParseAddresses(strings.Split(list, " "))
		got := strings.Trim(fmt.Sprint(a), "[]")
		if err != nil {
			got = err.Error()
		}
		if got != strings.Trim(want, "[]") {
			t.Errorf("%s\n got %s\nwant %s", list, got, want)
		}
	}
	f("", "")
	f("10.0.0.0/8 10.1.2.3/8 ::1 ::ffff:10.0.0.1 [::1] [::1]:80 127.0.0.1:8500 Consul.Internal consul.internal:8500",
		"10.0.0.0/8 10.0.0.0/8 ::1 10.0.0.1 ::1 [::1]:80 127.0.0.1:8500 consul.internal consul.internal:8500")
	f("ok 10.0.0.0/33", `address "10.0.0.0/33": want a network such as 10.0.0.0/8`)
	f("::ffff:10.0.0.0/104", `address "::ffff:10.0.0.0/104": write the network as IPv4`)
	f(":80", `address ":80": it has no host: name each address`)
	f("10.0.0.1:0", `address "10.0.0.1:0": port "0" is not a number from 1 to 65535`)
	f("a..b", `address "a..b": host "a..b": a label has 1 to 63 letters`)
}

func TestAddressesFind(t *testing.T) {
	a, err := ParseAddresses([]string{"10.0.0.0/8", "127.0.0.1:8500", "[::1]:9998", "consul.internal:8500", "own.test"})
	if err != nil {
		t.Fatal(err)
	}
	f := func(addr, want string) {
		t.Helper()
		got := ""
		if r, ok := a.find(addr); ok {
			got = r.String()
		}
		if got != want {
			t.Errorf("%s is in %q, want %q", addr, got, want)
		}
	}
	f("10.1.2.3:80", "10.0.0.0/8")
	f("[::ffff:10.1.2.3]:80", "10.0.0.0/8")
	f("11.1.2.3:80", "")
	f("127.0.0.1:8500", "127.0.0.1:8500")
	f("127.0.0.1:8501", "")
	f("localhost:8500", "127.0.0.1:8500")
	f("LOCALHOST.:8500", "127.0.0.1:8500")
	f("x.localhost:9998", "[::1]:9998")
	f("localhost:80", "")
	f("[::1%lo]:9998", "[::1]:9998")
	f("consul.internal.:8500", "consul.internal:8500")
	f("consul.internal:8501", "")
	f("OWN.test:1", "own.test")
	f("not an address", "")
	f("10.0.0.1", "")
}

// FuzzParseAddresses: what is read is read again from its text, and holds itself.
func FuzzParseAddresses(f *testing.F) {
	for _, s := range []string{"10.0.0.0/8", "127.0.0.1:8500", "[::1]:80", "::1", "fe80::1%eth0", "consul.internal:8500", "0.0.0.0/0", ":80"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := ParseAddresses([]string{text})
		if err != nil || len(a) == 0 {
			return
		}
		again, err := ParseAddresses([]string{a[0].String()})
		if err != nil || len(again) != 1 || again[0] != a[0] {
			t.Fatalf("%q is %v, which is read as %v, %v", text, a[0], again, err)
		}
	})
}

func TestCheckResolved(t *testing.T) {
	list := func(texts ...string) Addresses {
		a, err := ParseAddresses(texts)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	denied := list("127.0.0.0/8", "10.0.0.1:8500", "[::1]:9998")
	f := func(name, addr string, allowed Addresses, want string) {
		t.Helper()
		got := ""
		if err := CheckResolved(name, netip.MustParseAddrPort(addr), denied, allowed); err != nil {
			got = err.Error()
		}
		if !strings.HasPrefix(got, want) || (got == "") != (want == "") {
			t.Errorf("%s, %s\n got %s\nwant %s", name, addr, got, want)
		}
	}
	f("a.test:80", "10.0.0.1:80", nil, "")
	f("a.test:80", "127.0.0.2:80", nil, `address "a.test:80" stands for 127.0.0.2:80, which is denied (127.0.0.0/8)`)
	f("a.test:80", "[::ffff:127.0.0.1]:80", nil, `address "a.test:80" stands for 127.0.0.1:80, which is denied`)
	f("a.test:8500", "10.0.0.1:8500", nil, `address "a.test:8500" stands for 10.0.0.1:8500, which is denied`)
	f("a.test:9998", "[::1%lo]:9998", nil, `address "a.test:9998" stands for [::1]:9998, which is denied`)
	f("a.test:80", "169.254.169.254:80", nil, `address "a.test:80" stands for 169.254.169.254:80, which is unspecified, multicast or link-local`)
	f("a.test:80", "[fe80::1%eth0]:80", nil, `address "a.test:80" stands for [fe80::1]:80, which is unspecified`)
	f("a.test:80", "0.0.0.0:80", nil, `address "a.test:80" stands for 0.0.0.0:80, which is unspecified`)
	f("a.test:80", "127.0.0.2:80", list("a.test"), "")
	f("a.test:80", "127.0.0.2:80", list("127.0.0.2"), "")
	f("a.test:80", "169.254.169.254:80", list("169.254.0.0/16"), "")
	f("b.test:80", "127.0.0.2:80", list("a.test", "a.test:81", "127.0.0.3"), "address")
}
