package route

import (
	"math"
	"net/netip"
	"strings"
	"testing"
)

// partOf returns a part with so many ready instances in its arms.
func partOf(t testing.TB, sp *Split, stable, canary int) *Part {
	t.Helper()
	var b strings.Builder
	b.WriteString("service web\n")
	for range stable {
		b.WriteString("s | urlprefix-/\n")
	}
	for range canary {
		b.WriteString("c | urlprefix-/ | canary\n")
	}
	_, in := parseCatalog(t, b.String())
	sp.Service = "web"
	in.Splits = Splits{ByService: map[string]*Split{"web": sp}}
	return new(Builder).Build(in).Match("x.test", "/", false).Parts[0]
}

func TestOverload(t *testing.T) {
	f := func(overload, ratio float64, stable, canary, minHealthy int, want float64, because string) {
		t.Helper()
		p := partOf(t, &Split{Explicit: true, Ratio: ratio, Overload: overload, MinHealthy: minHealthy, Wanted: 0.9, Because: "the document's reason"}, stable, canary)
		if e := p.Effect(); math.Abs(e.Ratio-want) > 1e-12 || e.Because != because {
			t.Errorf("overload %v, ratio %v, %d stable, %d canary: %v %q, want %v %q", overload, ratio, stable, canary, e.Ratio, e.Because, want, because)
		}
		if p.Split.Wanted != 0.9 || p.Split.Because != "the document's reason" || p.Split.Capacity() != "" && !strings.HasPrefix(because, p.Split.Capacity()) {
			t.Errorf("the part's split is %+v", p.Split)
		}
	}
	f(0, 0.5, 4, 1, 1, 0.5, "")
	f(1, 0.5, 4, 1, 1, 0.2, "capacity: 1 canary, 4 stable")
	f(2, 0.5, 4, 1, 1, 1.0/3, "capacity: 1 canary, 4 stable")
	f(4, 0.5, 4, 1, 1, 0.5, "")
	f(1, 0.2, 4, 1, 1, 0.2, "")
	f(1, 1, 2, 2, 1, 0.5, "capacity: 2 canary, 2 stable")
	f(math.Inf(1), 1, 2, 2, 1, 1, "")
	f(-1, 1, 2, 2, 1, 1, "")
	f(1, 0.5, 4, 1, 2, 0, "capacity: 1 canary, 4 stable; health: 1 canary instance ready, limits.min_healthy is 2")
	f(1, 0.5, 4, 0, 1, 0, "health: no canary instance is ready")
	f(1, 0.5, 0, 1, 1, 1, "health: no stable instance is ready")
	f(1, 0, 4, 1, 1, 0, "")
}

// TestOverloadHoldsInEachEnvironment: a variant is capped by its own limit, and
// no split that was given is written to.
func TestOverloadHoldsInEachEnvironment(t *testing.T) {
	sp := &Split{Explicit: true, Ratio: 0.1, Overload: 1, Variants: []Variant{
		{Name: "a", Clients: networks(t, "10.0.0.1"), Share: 1, Split: &Split{Ratio: 0.9, Overload: 1}},
		{Name: "b", Clients: networks(t, "10.0.0.2"), Share: 1, Split: &Split{Ratio: 0.9}},
	}}
	p := partOf(t, sp, 4, 1)
	for client, want := range map[string]float64{"10.0.0.1": 0.2, "10.0.0.2": 0.9, "10.0.0.3": 0.1} {
		if got, _ := p.Split.VariantFor(netip.MustParseAddr(client)); got.Ratio != want {
			t.Errorf("%s: %v, want %v", client, got.Ratio, want)
		}
	}
	if sp.Variants[0].Split.Ratio != 0.9 || p.Effect().Because != "" {
		t.Errorf("the split that was given has become %+v, and %q", sp.Variants[0].Split, p.Effect().Because)
	}
}
