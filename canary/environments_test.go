package canary

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var new2026 = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// versionOf reads a document of web.
func versionOf(t testing.TB, text string) *version {
	t.Helper()
	raw := Raw{Key: "lb/canary/web", Value: []byte(text), Index: 1}
	d, err := Parse(raw.Key, raw.Value)
	if err != nil {
		t.Fatal(err)
	}
	v, err := newVersion("web", raw, d)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// of is how resolve asks where nothing is kept.
func (a Addresses) of(env *Environment) *networks {
	clients, unknown := env.When.networks(a)
	return &networks{clients: clients, unknown: unknown}
}

func TestResolveEnvironments(t *testing.T) {
	v := versionOf(t, `{"ratio": 0.1, "environments": [
		{"name": "office", "when": {"cidr": ["10.0.0.0/8", "::ffff:192.168.0.0/112"]}, "ratio": 1},
		{"name": "here", "when": {"node": ["n1", "n2"], "datacenter": "dc1"}, "canary": "v2", "ratio": 0.5},
		{"name": "edge", "when": {"tag": "edge"}, "ratio": 0.6},
		{"name": "callers", "when": {"host": "a.example", "service": "batch", "cidr": "10.1.0.0/16"}, "ratio": 0.7}]}`)
	addresses := Addresses{
		Hosts:    map[string][]netip.Addr{"a.example": {netip.MustParseAddr("10.1.0.1"), netip.MustParseAddr("10.1.0.2"), netip.MustParseAddr("10.2.0.1")}},
		Services: map[string][]netip.Addr{"batch": {netip.MustParseAddr("10.1.0.2"), netip.MustParseAddr("10.2.0.1"), netip.MustParseAddr("10.1.0.9")}},
	}
	f := func(self Self, a Addresses, want string) {
		t.Helper()
		r := resolve(v.doc, v.patched, self, a.of, func(string) uint64 { return 0 }, new2026)
		got := fmt.Sprintf("%q %v", r.environment, *r.doc.Ratio)
		for _, one := range r.variants {
			got += fmt.Sprintf(" | %s %v %v", one.name, one.of.clients, *one.doc.Ratio)
		}
		if len(r.unknown) > 0 {
			got += " unknown " + strings.Join(r.unknown, ", ")
		}
		if got != want {
			t.Errorf("%+v\n got %s\nwant %s", self, got, want)
		}
	}
	const office = " | office [10.0.0.0/8 192.168.0.0/16] 1"
	f(Self{}, Addresses{}, `"" 0.1`+office+` | callers [] 0.7`)
	f(Self{}, addresses, `"" 0.1`+office+` | callers [10.1.0.2/32] 0.7`)
	f(Self{}, Addresses{Hosts: map[string][]netip.Addr{"a.example": nil}}, `"" 0.1`+office+` | callers [] 0.7 unknown host a.example`)
	f(Self{Node: "n1", Datacenter: "dc1", Tags: []string{"edge"}}, addresses, `"here" 0.5`+office)
	f(Self{Node: "n1", Datacenter: "dc2", Tags: []string{"a", "edge"}}, addresses, `"edge" 0.6`+office)
	f(Self{Node: "n3", Datacenter: "dc1"}, addresses, `"" 0.1`+office+` | callers [10.1.0.2/32] 0.7`)
}

func TestIntersect(t *testing.T) {
	f := func(a, b, want string) {
		t.Helper()
		read := func(s string) (out []netip.Prefix) {
			for _, w := range strings.Fields(s) {
				out = append(out, netip.MustParsePrefix(w))
			}
			return out
		}
		for _, got := range [][]netip.Prefix{intersect(read(a), read(b)), intersect(read(b), read(a))} {
			slices.SortFunc(got, func(a, b netip.Prefix) int { return strings.Compare(a.String(), b.String()) })
			if text := strings.Trim(fmt.Sprint(got), "[]"); text != want {
				t.Errorf("%s and %s\n got %s\nwant %s", a, b, text, want)
			}
		}
	}
	f("", "10.0.0.0/8", "")
	f("10.0.0.0/8", "10.1.0.0/16 11.0.0.0/8", "10.1.0.0/16")
	f("10.0.0.1/32 10.0.0.2/32", "10.0.0.2/32 10.0.0.3/32", "10.0.0.2/32")
	f("10.0.0.1/32 11.0.0.2/32", "10.0.0.0/8", "10.0.0.1/32")
	f("2001:db8::/32", "10.0.0.0/8 2001:db8:1::/48", "2001:db8:1::/48")
	f("10.0.0.0/8 12.0.0.0/8", "10.0.0.0/8", "10.0.0.0/8")
}

func TestRollAt(t *testing.T) {
	r := &Roll{Start: new2026, End: new2026.Add(10*time.Second + time.Second/2)}
	f := func(after time.Duration, want float64, wantAgain time.Duration) {
		t.Helper()
		share, again := r.at(new2026.Add(after))
		if wantTime := new2026.Add(wantAgain); share != want || wantAgain == 0 && !again.IsZero() || wantAgain != 0 && !again.Equal(wantTime) {
			t.Errorf("at +%v: %v, again %v; want %v, +%v", after, share, again, want, wantAgain)
		}
	}
	if share, again := r.at(new2026.Add(-time.Hour)); share != 0 || !again.Equal(new2026) {
		t.Errorf("before its start: %v, again %v", share, again)
	}
	f(time.Second/2, 0, time.Second)
	f(time.Second, 1/10.5, 2*time.Second)
	f(1999*time.Millisecond, 1/10.5, 2*time.Second)
	f(10*time.Second, 10/10.5, 10*time.Second+time.Second/2)
	f(11*time.Second, 1, 0)
}

// A balancer that has an environment keeps it while the roll goes on, and of many
// about as many have it as the roll says.
func TestRollIsMonotone(t *testing.T) {
	v := versionOf(t, `{"environments": [{"name": "all", "when": {"datacenter": "dc1"}, "roll": {"start": "2026-01-01T00:00:00Z", "end": "2026-01-01T01:00:00Z"}, "ratio": 1}]}`)
	secret := [2]uint64{1, 2}
	in := func(node string, now time.Time) bool {
		roll := func(name string) uint64 { return rollPosition(secret, "web", v.doc.ID, name, node) }
		return resolve(v.doc, v.patched, Self{Node: node, Datacenter: "dc1"}, (Addresses{}).of, roll, now).environment == "all"
	}
	rapid.Check(t, func(t *rapid.T) {
		node := rapid.StringMatching(`[a-z0-9.-]{1,20}`).Draw(t, "node")
		a, b := rapid.IntRange(-10, 3700).Draw(t, "a"), rapid.IntRange(-10, 3700).Draw(t, "b")
		if in(node, new2026.Add(time.Duration(min(a, b))*time.Second)) && !in(node, new2026.Add(time.Duration(max(a, b))*time.Second)) {
			t.Fatalf("%s left the environment between %d and %d s", node, min(a, b), max(a, b))
		}
	})
	n := 0
	for i := range 2000 {
		if in(fmt.Sprintf("node-%d", i), new2026.Add(15*time.Minute)) {
			n++
		}
	}
	if n < 425 || n > 575 { // a quarter of them: 500, and four standard deviations
		t.Errorf("after a quarter of the time %d of 2000 balancers are in the environment", n)
	}
}
