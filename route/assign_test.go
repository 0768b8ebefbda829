package route

import (
	"encoding/csv"
	"fmt"
	"math"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

// TestPositionGolden holds the positions of all balancers and versions
// together: a change of any of them moves clients between arms.
func TestPositionGolden(t *testing.T) {
	const file = "testdata/positions.csv"
	r, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	rows, err := csv.NewReader(r).ReadAll()
	if err != nil || len(rows) < 10 {
		t.Fatal(len(rows), err)
	}
	for i, row := range rows[1:] {
		k0, _ := strconv.ParseUint(row[0], 16, 64)
		k1, _ := strconv.ParseUint(row[1], 16, 64)
		s := &Split{Secret: [2]uint64{k0, k1}, Service: row[2], ID: row[3]}
		var arm, instance uint64
		switch kind, value := row[4], row[5]; kind {
		case "ip":
			a := netip.MustParseAddr(value)
			arm, instance = s.PositionAddr(a), s.InstancePositionAddr(a)
			if cut := keyAddr(a).String(); s.Position(KeyIP, cut) != arm {
				t.Errorf("%s: PositionAddr is not Position of %q", value, cut)
			}
		default:
			k := KeyCookie
			if kind == "header" {
				k = KeyHeader
			}
			arm, instance = s.Position(k, value), s.InstancePosition(k, value)
		}
		got := []string{fmt.Sprintf("%016x", arm), fmt.Sprintf("%016x", instance)}
		if got[0] != row[6] || got[1] != row[7] {
			t.Errorf("%s:%d: %q\n got %s\nwant %s", file, i+2, row[:6], got, row[6:])
		}
	}
}

func TestPositionFields(t *testing.T) {
	// Every field counts, none runs into the next.
	seen := map[uint64]string{}
	for _, s := range []Split{{Service: "a", ID: "b"}, {Service: "ab"}, {ID: "ab"}, {Service: "a"}, {Service: "a", ID: "b", Secret: [2]uint64{1, 0}}, {Service: "a", ID: "b", Secret: [2]uint64{0, 1}}} {
		for kind := range KeyKind(3) {
			for _, v := range []string{"", "x", "ip\x00x"} {
				for domain, u := range map[string]uint64{"arm": s.Position(kind, v), "instance": s.InstancePosition(kind, v)} {
					what := fmt.Sprint(domain, s, kind, v)
					if other, ok := seen[u]; ok {
						t.Errorf("%s and %s have the same position", what, other)
					}
					seen[u] = what
				}
			}
		}
	}
	s := &Split{Service: "web"}
	same := func(a, b string, want bool) {
		t.Helper()
		if got := s.PositionAddr(netip.MustParseAddr(a)) == s.PositionAddr(netip.MustParseAddr(b)); got != want {
			t.Errorf("%s and %s at one position: %v, want %v", a, b, got, want)
		}
	}
	same("2001:db8:1:2::1", "2001:db8:1:2:ffff::2", true)
	same("2001:db8:1:2::1", "2001:db8:1:3::1", false)
	same("10.0.0.1", "::ffff:10.0.0.1", true)
	same("10.0.0.1", "10.0.0.2", false)
	same("fe80::1%eth0", "fe80::2%eth1", true)
}

func TestArmEdges(t *testing.T) {
	for _, c := range []struct {
		ratio float64
		u     uint64
		want  ArmName
	}{
		{0, 0, Stable},
		{math.NaN(), 0, Stable},
		{-1, 0, Stable},
		{1, math.MaxUint64, Canary},
		{2, math.MaxUint64, Canary},
		{0.5, 1<<63 - 1, Canary},
		{0.5, 1 << 63, Stable},
		{0x1p-64, 0, Canary},
		{0x1p-64, 1, Stable},
		{math.Nextafter(1, 0), math.MaxUint64, Stable},
		{math.Nextafter(1, 0), math.MaxUint64 - 1<<11, Canary},
	} {
		if got := (&Split{Ratio: c.ratio}).Arm(c.u); got != c.want {
			t.Errorf("ratio %v, u %x: got %s, want %s", c.ratio, c.u, got, c.want)
		}
	}
}

func TestArmIsMonotone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		u := rapid.Uint64().Draw(t, "u")
		a, b := rapid.Float64Range(0, 1).Draw(t, "a"), rapid.Float64Range(0, 1).Draw(t, "b")
		if a > b {
			a, b = b, a
		}
		if (&Split{Ratio: a}).Arm(u) == Canary && (&Split{Ratio: b}).Arm(u) == Stable {
			t.Fatalf("key %x moves back to stable from %v to %v", u, a, b)
		}
	})
}

func TestStickyShareAndMonotony(t *testing.T) {
	const n = 10000
	s := &Split{Service: "web", Secret: [2]uint64{7, 11}}
	canary := make([]bool, n)
	for _, ratio := range []float64{0, 0.01, 0.1, 0.25, 0.5, 0.9, 1} {
		s.Ratio = ratio
		count := 0
		for i := range n {
			is := s.Arm(s.Position(KeyHeader, fmt.Sprint("user-", i))) == Canary
			if canary[i] && !is {
				t.Fatalf("user-%d goes back at %v", i, ratio)
			}
			if canary[i] = is; is {
				count++
			}
		}
		if d := math.Abs(float64(count) - n*ratio); d > 4.5*math.Sqrt(n*ratio*(1-ratio)) {
			t.Errorf("ratio %v: %d of %d", ratio, count, n)
		}
	}
}

func TestTurn(t *testing.T) {
	for _, ratio := range []float64{0, 0.01, 0.1, 0.125, 0.2, 0.25, 0.3, 1.0 / 3, 0.5, 0.7, 0.9, 0.999, 1, 1e-12} {
		s := &Split{Ratio: ratio}
		for _, start := range []uint64{0, 1, 17, 1 << 40, math.MaxUint64 - 500} {
			count := 0
			for i := range uint64(1000) {
				if s.Turn(start+i) == Canary {
					count++
				}
				n := float64(i + 1)
				if low := math.Floor(n*ratio + 1e-9); float64(count) < low || float64(count) > low+1 {
					t.Fatalf("ratio %v: %d of the %v requests from %d, want %v or one more", ratio, count, n, start, low)
				}
			}
		}
	}
	// From the first request on it is exactly the floor.
	count := 0
	for n := range uint64(10000) {
		if (&Split{Ratio: 0.3}).Turn(n) == Canary {
			count++
		}
	}
	if count != 3000 {
		t.Errorf("%d of 10000 at 0.3", count)
	}
}

// fakeRequest is a request made of its parts.
type fakeRequest struct {
	method, path, query, client string
	headers, cookies            map[string]string
}

func (r *fakeRequest) Method() string                    { return r.method }
func (r *fakeRequest) Path() string                      { return r.path }
func (r *fakeRequest) RawQuery() string                  { return r.query }
func (r *fakeRequest) Header(name string) (string, bool) { v, ok := r.headers[name]; return v, ok }

func (r *fakeRequest) Cookie(name string) (v string, ok bool) { v, ok = r.cookies[name]; return v, ok }

func (r *fakeRequest) Client() netip.Addr {
	a, _ := netip.ParseAddr(r.client)
	return a
}

func TestRule(t *testing.T) {
	present, exact := Pattern{Kind: Present}, Pattern{Kind: Exact, Text: "yes"}
	re := Pattern{Kind: Regexp, RE: regexp.MustCompile("^v[0-9]+$")}
	s := &Split{Match: []MatchRule{
		{Headers: []FieldMatch{{"X-Opt-Out", present}}, To: Stable},
		{Headers: []FieldMatch{{"X-Canary", exact}}, Cookies: []FieldMatch{{"c", re}}, To: Canary},
		{Query: []FieldMatch{{"a b", exact}}, Methods: []string{"GET", "HEAD"}, To: Canary},
		{Path: &Pattern{Kind: Prefix, Text: "/beta/"}, To: Canary},
		{Path: &Pattern{Kind: Exact, Text: "/x y"}, To: Canary},
		{CIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}, To: Canary},
	}}
	f := func(r fakeRequest, want string) {
		t.Helper()
		got := "none"
		if a, ok := s.Rule(&r); ok {
			got = a.String()
		}
		if got != want {
			t.Errorf("%+v\n got %s\nwant %s", r, got, want)
		}
	}
	yes := map[string]string{"X-Canary": "yes"}
	f(fakeRequest{path: "/"}, "none")
	f(fakeRequest{headers: map[string]string{"X-Opt-Out": "", "X-Canary": "yes"}, cookies: map[string]string{"c": "v2"}}, "stable")
	f(fakeRequest{headers: yes, cookies: map[string]string{"c": "v2"}}, "canary")
	f(fakeRequest{headers: yes}, "none")
	f(fakeRequest{headers: yes, cookies: map[string]string{"c": "w2"}}, "none")
	f(fakeRequest{method: "GET", query: "x=1&a%20b=yes&a+b=no"}, "canary")
	f(fakeRequest{method: "GET", query: "a+b=no&a+b=yes"}, "none")
	f(fakeRequest{method: "POST", query: "a+b=yes"}, "none")
	f(fakeRequest{method: "GET", query: "&&%zz=1&a+b"}, "none")
	f(fakeRequest{path: "/beta/x"}, "canary")
	f(fakeRequest{path: "/%62eta//x"}, "canary")
	f(fakeRequest{path: "/beta/../x"}, "none")
	f(fakeRequest{path: "/beta/%00"}, "none")
	f(fakeRequest{path: "/x y"}, "canary")
	f(fakeRequest{client: "10.1.2.3"}, "canary")
	f(fakeRequest{client: "::ffff:10.1.2.3"}, "canary")
	f(fakeRequest{client: "2001:db8::1%eth0"}, "canary")
	f(fakeRequest{client: "11.1.2.3"}, "none")
	f(fakeRequest{client: ""}, "none")
}

func TestAssignDoesNotAllocate(t *testing.T) {
	s := &Split{Service: "web", ID: "2026-11", Ratio: 0.5, Match: []MatchRule{{Query: []FieldMatch{{"v", Pattern{Kind: Exact, Text: "2"}}}}, {Path: &Pattern{Kind: Exact, Text: "/"}}}}
	a6, a4 := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("::ffff:10.0.0.1")
	r := &fakeRequest{path: "/x", query: "a=b&c=d&v=1"}
	if n := testing.AllocsPerRun(100, func() {
		s.Arm(s.Position(KeyCookie, "0123456789abcdef0123456789abcdef"))
		s.Arm(s.PositionAddr(a6))
		s.InstancePositionAddr(a4)
		s.Turn(7)
		s.Rule(r)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkPosition(b *testing.B) {
	s := &Split{Service: "web", ID: "2026-11", Ratio: 0.5}
	a := netip.MustParseAddr("2001:db8::1")
	b.Run("cookie", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.Arm(s.Position(KeyCookie, "0123456789abcdef0123456789abcdef"))
		}
	})
	b.Run("ip", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.Arm(s.PositionAddr(a))
		}
	})
}
