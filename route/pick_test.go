package route

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"serin/registry"
)

// fakeLive is a state of instances: all usable and idle but for what is set.
type fakeLive struct {
	load map[string]int
	down map[string]bool
	cold map[string]bool // usable for draw 0 only
	turn *uint64
}

func (l fakeLive) Load(addr string) int { return l.load[addr] }
func (l fakeLive) Usable(addr string, draw uint64) bool {
	return !l.down[addr] && (draw == 0 || !l.cold[addr])
}

func (l fakeLive) Turn(string) uint64 {
	*l.turn++
	return *l.turn - 1
}

// armOf is the stable arm of a catalog of one service, made from instances
// "name capacity weight", weight "-" for none.
func armOf(t testing.TB, instances ...string) *Arm {
	var b strings.Builder
	b.WriteString("service web\n")
	for _, in := range instances {
		f := strings.Fields(in)
		fmt.Fprintf(&b, "%s addr=%s:80 node=n-%s weight=%s | urlprefix-/", f[0], f[0], f[0], f[1])
		if f[2] != "-" {
			b.WriteString(" weight=" + f[2])
		}
		b.WriteString("\n")
	}
	table := mustBuild(t, b.String())
	if p := table.Problems(); len(p) > 0 {
		t.Fatal(p)
	}
	return table.Match("", "/", false).Parts[0].Arms[Stable]
}

// sweep picks at n draws that divide the line evenly and counts the targets.
func sweep(a *Arm, p Pick, n int) string {
	count := map[string]int{}
	for i := range n {
		p.Draw, _ = bits.Div64(uint64(i), 1<<63, uint64(n)) // the middle of the i-th piece
		id := "none"
		if t := a.Pick(p); t != nil {
			id = t.ID
		}
		count[id]++
	}
	var s []string
	for id, c := range count {
		s = append(s, fmt.Sprintf("%s:%d", id, c))
	}
	slices.Sort(s)
	return strings.Join(s, " ")
}

func TestPickShares(t *testing.T) {
	f := func(balance Balance, want string, instances ...string) {
		t.Helper()
		a := armOf(t, instances...)
		if got := sweep(a, Pick{Balance: balance, Live: fakeLive{turn: new(uint64)}}, 10000); got != want {
			t.Errorf("%v, balance %d\n got %s\nwant %s", instances, balance, got, want)
		}
	}
	for _, b := range []Balance{P2C, LeastConn, RoundRobinBalance, RandomBalance} {
		f(b, "a:10000", "a 1 -")
		f(b, "a:5000 b:5000", "a 1 -", "b 1 -")
		f(b, "a:2500 b:2500 c:2500 d:2500", "a 1 -", "b 1 -", "c 1 -", "d 1 -")
		f(b, "a:2000 b:4000 c:4000", "a 1 0.2", "b 1 -", "c 1 -")
		f(b, "a:2500 b:7500", "a 1 0.1", "b 1 0.3")
		f(b, "a:2500 b:7500", "a 1 1", "b 1 3", "c 1 -")
		f(b, "b:10000", "a 1 0", "b 1 -")
	}
	for _, b := range []Balance{P2C, LeastConn, RandomBalance} {
		f(b, "a:7500 b:2500", "a 3 -", "b 1 -")
		f(b, "a:5000 b:3000 c:2000", "a 1 0.5", "b 3 -", "c 2 -")
	}
	f(RoundRobinBalance, "a:7502 b:2498", "a 3 -", "b 1 -") // even at any length, exact at none
}

// Many instances and small weights get exactly their shares: Fabio's ring of
// 10,000 slots makes 21.3 % of these 20 %, and ten times as much of 0.001 %.
func TestSharesOfMany(t *testing.T) {
	const auto = 1234
	instances := make([]string, 0, auto+2)
	for i := range auto {
		instances = append(instances, fmt.Sprintf("auto-%04d 1 -", i))
	}
	a := armOf(t, append(instances, "fixed 1 0.2", "tiny 1 0.00001")...)
	want := map[string]float64{"fixed": 0.2, "tiny": 0.00001}
	const rest = (1 - 0.2 - 0.00001) / auto
	sum := 0.0
	for i, target := range a.Ready {
		share, fixed := want[target.ID]
		if !fixed {
			share = rest
		}
		if got := a.Share(i); math.Abs(got-share) > 1e-12 {
			t.Errorf("%s: share %v, want %v", target.ID, got, share)
		}
		sum += a.Share(i)
	}
	if len(a.Ready) != auto+2 || math.Abs(sum-1) > 1e-9 {
		t.Errorf("%d instances share %v", len(a.Ready), sum)
	}
	const draws = 1_000_000
	count := map[string]int{}
	for i := range draws {
		draw, _ := bits.Div64(uint64(i), 1<<63, draws)
		count[a.Pick(Pick{Balance: RandomBalance, Draw: draw, Live: fakeLive{turn: new(uint64)}}).ID]++
	}
	if count["fixed"] != draws/5 || count["tiny"] != draws/100_000 {
		t.Errorf("of %d requests fixed had %d, want %d, and tiny %d, want %d", draws, count["fixed"], draws/5, count["tiny"], draws/100_000)
	}
}

func TestPickSkipsUnusable(t *testing.T) {
	a := armOf(t, "a 1 -", "b 1 -", "c 1 -", "d 1 -")
	fixed := armOf(t, "a 1 0.5", "b 1 0.25", "c 1 -", "d 2 -")
	f := func(a *Arm, p Pick, live fakeLive, want string) {
		t.Helper()
		live.turn = new(uint64)
		p.Live = live
		if got := sweep(a, p, 1200); got != want {
			t.Errorf("balance %d, %+v, tried %v\n got %s\nwant %s", p.Balance, live, p.Tried, got, want)
		}
	}
	is := func(addrs ...string) map[string]bool {
		m := map[string]bool{}
		for _, s := range addrs {
			m[s+":80"] = true
		}
		return m
	}
	for _, b := range []Balance{P2C, LeastConn, RoundRobinBalance, RandomBalance} {
		p := Pick{Balance: b}
		f(a, p, fakeLive{down: is("a", "b", "c")}, "d:1200")
		f(a, p, fakeLive{down: is("a", "b", "c", "d")}, "none:1200")
		f(a, Pick{Balance: b, Tried: []string{"a:80", "c:80"}}, fakeLive{down: is("d")}, "b:1200")
		f(a, p, fakeLive{cold: is("a", "c", "d")}, "b:1200")                // warm before cold
		f(a, p, fakeLive{down: is("a", "b", "c"), cold: is("d")}, "d:1200") // cold before none
		f(fixed, p, fakeLive{down: is("a", "c", "d")}, "b:1200")            // nothing free: the fixed
		f(fixed, p, fakeLive{down: is("a", "b", "c")}, "d:1200")            // no fixed: the free
		f(fixed, Pick{Balance: b, Tried: []string{"a:80", "b:80", "c:80", "d:80"}}, fakeLive{}, "none:1200")
		f(&Arm{}, p, fakeLive{}, "none:1200")
	}
	// The turns of an instance that is down go to the others in turn.
	f(a, Pick{Balance: RoundRobinBalance}, fakeLive{down: is("a")}, "b:400 c:400 d:400")
	f(a, Pick{Balance: LeastConn}, fakeLive{load: map[string]int{"a:80": 1, "b:80": 2, "d:80": 1}}, "c:1200")
	// Load counts per capacity.
	tall := armOf(t, "a 3 -", "b 1 -")
	f(tall, Pick{Balance: LeastConn}, fakeLive{load: map[string]int{"a:80": 2, "b:80": 1}}, "a:1200")
	f(tall, Pick{Balance: LeastConn}, fakeLive{load: map[string]int{"a:80": 4, "b:80": 1}}, "b:1200")
	f(tall, Pick{Balance: P2C}, fakeLive{load: map[string]int{"a:80": 2, "b:80": 1}}, "a:1200")
	// Of two choices among four, the worst is never taken and the best in half
	// of the pairs: 6 of 12.
	loads := map[string]int{"a:80": 0, "b:80": 1, "c:80": 2, "d:80": 3}
	f(a, Pick{Balance: P2C}, fakeLive{load: loads}, "a:600 b:400 c:200")
}

func TestPickNeverFailsWhileOneIsUsable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := &Arm{Fixed: rapid.Float64Range(0, 1).Draw(t, "fixed")}
		live := fakeLive{down: map[string]bool{}, cold: map[string]bool{}, load: map[string]int{}, turn: new(uint64)}
		var tried []string
		usable := map[string]bool{}
		free := false
		for i := range rapid.IntRange(0, 8).Draw(t, "n") {
			addr := fmt.Sprint("i", i)
			x := &Target{
				Instance: &registry.Instance{ID: addr, Node: fmt.Sprint("n", i/2), Addr: addr, Weight: rapid.IntRange(0, 4).Draw(t, "capacity")},
				Weight:   rapid.SampledFrom([]float64{-1, 0.2, 3}).Draw(t, "weight"),
			}
			a.Ready = append(a.Ready, x)
			free = free || x.Weight < 0
			live.down[addr], live.cold[addr] = rapid.Bool().Draw(t, "down"), rapid.Bool().Draw(t, "cold")
			live.load[addr] = rapid.IntRange(0, 5).Draw(t, "load")
			if rapid.IntRange(0, 3).Draw(t, "tried") == 0 {
				tried = append(tried, addr)
			} else if !live.down[addr] {
				usable[addr] = true
			}
		}
		if !free {
			a.Fixed = 1
		}
		*live.turn = rapid.Uint64().Draw(t, "turn")
		p := Pick{
			Balance: Balance(rapid.IntRange(0, 3).Draw(t, "balance")), Draw: rapid.Uint64().Draw(t, "draw"), Live: live, Tried: tried,
			Sticky: InstanceSticky(rapid.IntRange(0, 2).Draw(t, "sticky")), Key: rapid.Uint64().Draw(t, "key"),
		}
		switch got := a.Pick(p); {
		case got == nil && len(usable) > 0:
			t.Fatalf("nothing picked, although %v are usable", usable)
		case got != nil && !usable[got.Addr]:
			t.Fatalf("picked %s, which is not usable", got.Addr)
		}
	})
}

func TestPickSticky(t *testing.T) {
	a := armOf(t, "a 1 -", "b 1 -", "c 1 -", "d 1 -")
	fewer := armOf(t, "a 1 -", "b 1 -", "d 1 -")
	live := fakeLive{turn: new(uint64)}
	count := map[string]int{}
	for key := range uint64(10000) {
		p := Pick{Live: live, Sticky: InstanceSticks, Key: Mix(key), Draw: key}
		first := a.Pick(p)
		count[first.ID]++
		if again := a.Pick(Pick{Live: live, Sticky: InstanceSticks, Key: Mix(key), Draw: ^key}); again != first {
			t.Fatalf("key %d: %s, then %s", key, first.ID, again.ID)
		}
		if got := fewer.Pick(p); first.ID != "c" && got.ID != first.ID {
			t.Fatalf("key %d moves from %s to %s when c goes", key, first.ID, got.ID)
		}
		if down := a.Pick(Pick{Live: fakeLive{down: map[string]bool{"c:80": true}}, Sticky: InstanceSticks, Key: Mix(key)}); first.ID == "c" && down.ID != fewer.Pick(p).ID {
			t.Fatalf("key %d: away from c to %s", key, down.ID)
		}
	}
	for id, n := range count {
		if n < 2300 || n > 2700 {
			t.Errorf("%s has %d of 10000 clients", id, n)
		}
	}
	// In proportion to capacity and to fixed weights.
	for _, c := range []struct{ a *Arm }{{armOf(t, "a 3 -", "b 1 -")}, {armOf(t, "a 1 0.75", "b 1 -")}} {
		n := 0
		for key := range uint64(10000) {
			if c.a.Pick(Pick{Live: live, Sticky: InstanceSticks, Key: Mix(key)}).ID == "a" {
				n++
			}
		}
		if n < 7300 || n > 7700 {
			t.Errorf("a has %d of 10000 clients, want about 7500", n)
		}
	}
}

func TestPickNodeSticky(t *testing.T) {
	table := mustBuild(t, `service web
blue-1 node=n1 | urlprefix-/
blue-2 node=n2 | urlprefix-/
blue-3 node=n3 | urlprefix-/
blue-3b node=n3 | urlprefix-/
green-1 node=n1 | urlprefix-/ | canary
green-2 node=n2 | urlprefix-/ | canary
green-3 node=n3 | urlprefix-/ | canary
`)
	arms := table.Match("", "/", false).Parts[0].Arms
	nodes, instances := map[string]int{}, map[string]int{}
	for key := range uint64(9000) {
		p := Pick{Live: fakeLive{}, Sticky: NodeSticks, Key: Mix(key)}
		blue, green := arms[Stable].Pick(p), arms[Canary].Pick(p)
		if blue.Node != green.Node {
			t.Fatalf("key %d: %s in one arm, %s in the other", key, blue.Node, green.Node)
		}
		nodes[blue.Node]++
		instances[blue.ID]++
	}
	for _, n := range nodes {
		if n < 2800 || n > 3200 {
			t.Errorf("clients per node: %v", nodes)
		}
	}
	if instances["blue-3"] < 1300 || instances["blue-3b"] < 1300 {
		t.Errorf("clients per instance: %v", instances)
	}
}

func TestPickCritical(t *testing.T) {
	table := mustBuild(t, "service web\na health=critical | urlprefix-/\nb health=maintenance | urlprefix-/\n")
	a := table.Match("", "/", false).Parts[0].Arms[Stable]
	if got := a.Pick(Pick{Live: fakeLive{}}); got != nil {
		t.Errorf("picked %s, which is critical", got.ID)
	}
	if got := a.Pick(Pick{Live: fakeLive{}, Critical: true}); got == nil || got.ID != "a" {
		t.Errorf("picked %v, want a", got)
	}
}

func TestPickDoesNotAllocate(t *testing.T) {
	live := fakeLive{turn: new(uint64), down: map[string]bool{"b:80": true}}
	var l Live = live
	for _, a := range []*Arm{armOf(t, "a 1 -", "b 1 -", "c 1 -"), armOf(t, "a 1 0.5", "b 3 -", "c 1 -")} {
		for b := range Balance(4) {
			for s := range InstanceSticky(3) {
				if n := testing.AllocsPerRun(50, func() { a.Pick(Pick{Balance: b, Draw: 1 << 62, Live: l, Sticky: s}) }); n != 0 {
					t.Errorf("balance %d, sticky %d: %v allocations", b, s, n)
				}
			}
		}
	}
}

func BenchmarkPick(b *testing.B) {
	var many []string
	for i := range 100 {
		many = append(many, fmt.Sprintf("i%d 1 -", i))
	}
	var live Live = fakeLive{turn: new(uint64)}
	for name, a := range map[string]*Arm{"targets=3": armOf(b, many[:3]...), "targets=100": armOf(b, many...)} {
		for balance, what := range map[Balance]string{P2C: "p2c", LeastConn: "least_conn", RoundRobinBalance: "round_robin"} {
			b.Run(name+"/"+what, func(b *testing.B) {
				b.ReportAllocs()
				p := Pick{Balance: balance, Live: live}
				for b.Loop() {
					p.Draw += 0x9e3779b97f4a7c15
					a.Pick(p)
				}
			})
		}
	}
}
