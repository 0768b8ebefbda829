package route

import (
	"fmt"
	"math"
	"net/netip"
	"sync"
	"testing"
)

// chiLimit is what a chi-square statistic of so many degrees of freedom exceeds
// once in 1,000 times (Wilson and Hilferty's approximation, 1931). The secrets
// of these tests are fixed, so each passes always or never.
func chiLimit(freedom int) float64 {
	const z = 3.090 // of the normal distribution, one-sided
	v := float64(freedom)
	return v * math.Pow(1-2/(9*v)+z*math.Sqrt(2/(9*v)), 3)
}

func TestChiLimit(t *testing.T) { // tables
	for freedom, want := range map[int]float64{10: 29.588, 14: 36.123, 80: 124.839, 100: 149.449} {
		if got := chiLimit(freedom); math.Abs(got-want) > want/100 {
			t.Errorf("%d degrees of freedom: %.2f, want %.2f", freedom, got, want)
		}
	}
}

// keys are the clients of these tests: ids as the balancer mints them, names,
// numbers in a row.
var keys = sync.OnceValue(func() []string {
	list := make([]string, clientsTold)
	for i := range list {
		switch i % 3 {
		case 0:
			list[i] = fmt.Sprintf("%016x", sip24(1, 2, []byte(fmt.Sprint(i))))
		case 1:
			list[i] = fmt.Sprintf("user-%d@example.com", i)
		case 2:
			list[i] = fmt.Sprint(i)
		}
	}
	return list
})

const (
	clientsTold = 64_000
	cells       = 16 // of each side
)

// cell is the part of the line that a position lies in.
func cell(u uint64) int { return int(u >> 60) }

// failer is the part of testing.T that a check needs.
type failer interface {
	Helper()
	Errorf(format string, args ...any)
}

// uniform fails unless the positions fall evenly into 256 cells, by their
// highest and by their lowest bits.
func uniform(t failer, what string, position func(key string) uint64) {
	t.Helper()
	for _, shift := range []int{56, 0} {
		var seen [256]int
		for _, k := range keys() {
			seen[position(k)>>shift&255]++
		}
		chi, want := 0.0, float64(clientsTold)/256
		for _, n := range seen {
			chi += (float64(n) - want) * (float64(n) - want) / want
		}
		if limit := chiLimit(255); chi > limit {
			t.Errorf("%s, bits from %d: chi-square %.1f, limit %.1f: not uniform", what, shift, chi, limit)
		}
	}
}

// independent fails if the one position of a client tells of the other.
func independent(t failer, what string, a, b func(key string) uint64) {
	t.Helper()
	var seen [cells][cells]int
	var rows, columns [cells]int
	for _, k := range keys() {
		i, j := cell(a(k)), cell(b(k))
		seen[i][j]++
		rows[i]++
		columns[j]++
	}
	chi := 0.0
	for i := range cells {
		for j := range cells {
			want := float64(rows[i]) * float64(columns[j]) / clientsTold
			chi += (float64(seen[i][j]) - want) * (float64(seen[i][j]) - want) / want
		}
	}
	if limit := chiLimit((cells - 1) * (cells - 1)); chi > limit {
		t.Errorf("%s: chi-square %.1f, limit %.1f: not independent", what, chi, limit)
	}
}

func TestAssignmentsAreIndependent(t *testing.T) {
	for _, secret := range [][2]uint64{{0, 0}, {1, 0}, {0x0123456789abcdef, 0xfedcba9876543210}} {
		at := func(service, id string) *Split { return &Split{Service: service, ID: id, Secret: secret} }
		arm := func(s *Split) func(string) uint64 {
			return func(k string) uint64 { return s.Position(KeyCookie, k) }
		}
		instance := func(s *Split) func(string) uint64 {
			return func(k string) uint64 { return s.InstancePosition(KeyCookie, k) }
		}
		web := at("web", "1")
		uniform(t, "the arm", arm(web))
		uniform(t, "the instance", instance(web))
		independent(t, "two services", arm(web), arm(at("api", "1")))
		independent(t, "two services whose names differ in a digit", arm(at("web-1", "")), arm(at("web-2", "")))
		independent(t, "two rollouts", arm(web), arm(at("web", "2")))
		independent(t, "a rollout and none", arm(web), arm(at("web", "")))
		independent(t, "arm and instance", arm(web), instance(web))
		independent(t, "the instances of two services", instance(web), instance(at("api", "1")))
		independent(t, "two kinds of key", arm(web), func(k string) uint64 { return web.Position(KeyHeader, k) })
		independent(t, "two secrets", arm(web), arm(&Split{Service: "web", ID: "1", Secret: [2]uint64{secret[0], secret[1] + 1}}))

		// By address, and the share of an environment's clients.
		address := func(k string) netip.Addr {
			u := sip24(3, 4, []byte(k))
			return netip.AddrFrom4([4]byte{byte(u >> 24), byte(u >> 16), byte(u >> 8), byte(u)})
		}
		byAddress := func(k string) uint64 { return web.PositionAddr(address(k)) }
		uniform(t, "the arm by address", byAddress)
		independent(t, "arm and instance by address", byAddress, func(k string) uint64 { return web.InstancePositionAddr(address(k)) })
		independent(t, "arm and environment", byAddress, func(k string) uint64 { return web.roll("eu", address(k)) })
		independent(t, "two environments", func(k string) uint64 { return web.roll("us", address(k)) }, func(k string) uint64 { return web.roll("eu", address(k)) })
	}
}

// TestDependenceIsFound: the tests above would fail if there was something.
func TestDependenceIsFound(t *testing.T) {
	web := &Split{Service: "web"}
	arm := func(k string) uint64 { return web.Position(KeyCookie, k) }
	weak := func(k string) uint64 { // one client in ten has the same cell for both
		if u := web.InstancePosition(KeyCookie, k); u%10 > 0 {
			return u
		}
		return arm(k)
	}
	skewed := func(k string) uint64 { return uint64(float64(arm(k)) * 0.95) }
	var found failures
	if independent(&found, "weak", arm, weak); found != 1 {
		t.Error("a dependence of one client in ten is not found")
	}
	if uniform(&found, "skewed", skewed); found == 1 {
		t.Error("a line of which a twentieth is empty counts as uniform")
	}
}

// failures counts them.
type failures int

func (*failures) Helper()                 {}
func (f *failures) Errorf(string, ...any) { *f++ }

// TestInstancesAreIndependentOfArms: which instance a client is kept on inside
// an arm says nothing of the arm, and the clients of an arm are spread evenly.
func TestInstancesAreIndependentOfArms(t *testing.T) {
	s := &Split{Service: "web", ID: "1", Ratio: 0.5, Secret: [2]uint64{5, 6}}
	const instances = 8
	list := make([]string, instances)
	for i := range list {
		list[i] = fmt.Sprintf("i%d 1 -", i)
	}
	arm := armOf(t, list...)
	live := fakeLive{}
	var seen [2][instances]int
	for _, k := range keys() {
		side := s.Arm(s.Position(KeyCookie, k))
		target := arm.Pick(Pick{Live: live, Balance: HashBalance, Key: s.InstancePosition(KeyCookie, k)})
		for i, other := range arm.Ready {
			if other == target {
				seen[side][i]++
			}
		}
	}
	chi := 0.0
	for i := range instances {
		for side := range 2 {
			total := 0
			for k := range instances {
				total += seen[side][k]
			}
			want := float64(total) / instances
			chi += (float64(seen[side][i]) - want) * (float64(seen[side][i]) - want) / want
		}
	}
	if limit := chiLimit(2 * (instances - 1)); chi > limit {
		t.Errorf("chi-square %.1f, limit %.1f: %v", chi, limit, seen)
	}
}
