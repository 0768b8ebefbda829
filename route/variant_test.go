package route

import (
	"fmt"
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"serin/registry"
)

// networks parses addresses and networks.
func networks(t testing.TB, texts ...string) (out []netip.Prefix) {
	t.Helper()
	for _, s := range texts {
		if a, err := netip.ParseAddr(s); err == nil {
			out = append(out, netip.PrefixFrom(a, a.BitLen()))
		} else if p, err := netip.ParsePrefix(s); err == nil {
			out = append(out, p)
		} else {
			t.Fatal(err)
		}
	}
	return out
}

func TestVariantFor(t *testing.T) {
	sp := &Split{Service: "web", Ratio: 0.1, Secret: [2]uint64{1, 2}, Variants: []Variant{
		{Name: "nobody", Share: 1, Split: &Split{}},
		{Name: "closed", Clients: networks(t, "0.0.0.0/0", "::/0"), Split: &Split{}}, // to a share of 0
		{Name: "office", Clients: networks(t, "10.1.2.3", "::ffff:10.1.2.4", "192.0.2.0/24", "2001:db8::/32", "fe80::1"), Share: 1, Split: &Split{Ratio: 1}},
		{Name: "internal", Clients: networks(t, "10.0.0.0/8", "::ffff:172.16.0.0/108"), Share: 1, Split: &Split{Ratio: 0.5}},
	}}
	for _, sp := range []*Split{sp, sp.prepared()} {
		for client, want := range map[string]string{
			"10.1.2.3": "office", "10.1.2.4": "office", "::ffff:10.1.2.3": "office", "10.1.2.5": "internal", "192.0.2.255": "office", "192.0.3.1": "",
			"2001:db8:1::": "office", "2001:db9::": "", "fe80::1%eth0": "office", "fe80::2%eth0": "", "172.31.0.1": "internal", "172.32.0.1": "",
		} {
			got, name := sp.VariantFor(netip.MustParseAddr(client))
			if name != want || (name == "") != (got == sp) {
				t.Errorf("%s: got %q, want %q", client, name, want)
			}
		}
		if got, name := sp.VariantFor(netip.Addr{}); got != sp || name != "" {
			t.Errorf("a client without an address is in %q", name)
		}
	}
}

// TestVariantShare: a share of the clients has the variant, those who have it
// keep it while the share grows, and IPv6 clients are known by their /64.
func TestVariantShare(t *testing.T) {
	clients := networks(t, "10.0.0.0/8", "2001:db8::/32")
	in := func(share float64, a netip.Addr) bool {
		sp := &Split{Service: "web", ID: "1", Secret: [2]uint64{1, 2}, Variants: []Variant{{Name: "eu", Clients: clients, Share: share, Split: &Split{}}}}
		_, name := sp.VariantFor(a)
		return name != ""
	}
	const n = 20_000
	last := 0
	for _, share := range []float64{0, 0.01, 0.3, 0.7, 1} {
		count := 0
		for i := range n {
			a := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
			if in(share, a) {
				count++
			} else if share > 0.3 && in(0.3, a) {
				t.Fatalf("%v lost the variant as its share grew to %v", a, share)
			}
		}
		if got := float64(count) / n; got < share-0.02 || got > share+0.02 || count < last {
			t.Errorf("%v of the clients have it, want %v", got, share)
		}
		last = count
	}
	for i := range 1000 {
		a := netip.MustParseAddr(fmt.Sprintf("2001:db8:0:%x::1", i))
		b := netip.MustParseAddr(fmt.Sprintf("2001:db8:0:%x:ffff::2", i))
		if in(0.5, a) != in(0.5, b) {
			t.Fatalf("%v and %v are one client, of whom half has the variant", a, b)
		}
	}
}

// TestVariantIsOfItsService: of the split of all services each has variants of
// its own, whose clients are prepared once.
func TestVariantIsOfItsService(t *testing.T) {
	whole := &Split{Explicit: true, Ratio: 0.1, Variants: []Variant{{Name: "eu", Clients: networks(t, "10.0.0.1"), Share: 1, Split: &Split{Ratio: 1}}}}
	_, in := parseCatalog(t, "service a\na-1 | urlprefix-/a\nservice b\nb-1 | urlprefix-/b")
	in.Splits = Splits{Default: whole}
	builder := new(Builder)
	table := builder.Build(in)
	client := netip.MustParseAddr("10.0.0.1")
	part := func(table *Table, path string) *Part { return table.Match("x.test", path, false).Parts[0] }
	a, b := part(table, "/a"), part(table, "/b")
	for _, p := range []*Part{a, b} {
		sp, name := p.Split.VariantFor(client)
		if name != "eu" || sp.Service != p.Service || sp.Ratio != 1 || p.Split.Service != p.Service || p.Split.Ratio != 0.1 {
			t.Errorf("%s: environment %q, split %+v", p.Service, name, sp)
		}
		if sp.Sequence() == p.Split.Sequence() || p.Split.Sequence() != p.Service {
			t.Errorf("%s: turns %q and %q", p.Service, sp.Sequence(), p.Split.Sequence())
		}
	}
	if a.Split.Variants[0].Prepared == nil || a.Split.Variants[0].Prepared != b.Split.Variants[0].Prepared {
		t.Error("what is looked up in is made for each service")
	}
	if whole.Variants[0].Prepared != nil || whole.Variants[0].Split.Service != "" {
		t.Error("the split that was given is written to")
	}
	own := in.Splits.For("c")
	if sp, _ := own.VariantFor(client); sp.Service != "c" {
		t.Errorf("the copy's variant is of %q", sp.Service)
	}

	svc := in.Snapshot.Service("a")
	changed := &registry.Service{Name: "b", Instances: []registry.Instance{{Service: "b", ID: "b-2", Node: "n", Addr: "10.0.0.9:1", Weight: 1, Ready: true, Tags: []string{"urlprefix-/b"}}}}
	changed.Normalize()
	in.Snapshot = registry.New(svc, changed)
	next := builder.Build(in)
	if part(next, "/a") != a || part(next, "/b") == b || part(next, "/b").Split != b.Split {
		t.Error("what did not change is made anew")
	}
}

// TestVariantLookup: what is prepared finds what a walk over all finds.
func TestVariantLookup(t *testing.T) {
	prefix := rapid.Custom(func(t *rapid.T) netip.Prefix {
		v4 := netip.AddrFrom4([4]byte{10, 0, rapid.Byte().Draw(t, "c") & 1, rapid.Byte().Draw(t, "d") & 7})
		a := rapid.SampledFrom([]netip.Addr{v4, netip.AddrFrom16(v4.As16()), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")}).Draw(t, "address")
		return netip.PrefixFrom(a, a.BitLen()-rapid.IntRange(0, 12).Draw(t, "host bits"))
	})
	rapid.Check(t, func(t *rapid.T) {
		sp := &Split{Service: "web"}
		for i := range rapid.IntRange(0, 3).Draw(t, "variants") {
			sp.Variants = append(sp.Variants, Variant{
				Name: fmt.Sprint(i), Clients: rapid.SliceOf(prefix).Draw(t, "clients"), Share: rapid.SampledFrom([]float64{1, 0.5}).Draw(t, "share"), Split: &Split{},
			})
		}
		client := prefix.Draw(t, "client").Addr()
		_, want := sp.VariantFor(client)
		if _, got := sp.prepared().VariantFor(client); got != want {
			t.Fatalf("%v of %+v: %q, want %q", client, sp.Variants, got, want)
		}
	})
}

// manyClients is a split with a variant for so many addresses.
func manyClients(n int) *Split {
	v := Variant{Name: "fleet", Share: 0.5, Split: &Split{Ratio: 1}}
	for i := range n {
		v.Clients = append(v.Clients, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32))
	}
	return (&Split{Service: "web", Secret: [2]uint64{1, 2}, Variants: []Variant{v}}).prepared()
}

func TestVariantDoesNotAllocate(t *testing.T) {
	sp := manyClients(5000)
	client := netip.MustParseAddr("10.0.16.1")
	if n := testing.AllocsPerRun(100, func() { sp.VariantFor(client) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkVariantFor(b *testing.B) {
	sp := manyClients(5000)
	for name, client := range map[string]string{"in": "10.0.16.1", "out": "192.0.2.1"} {
		b.Run(name, func(b *testing.B) {
			a := netip.MustParseAddr(client)
			b.ReportAllocs()
			for b.Loop() {
				sp.VariantFor(a)
			}
		})
	}
}
