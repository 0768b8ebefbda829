package proxy

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"serin/route"
)

func target(t *route.Table, addr string) *route.Target {
	for x := range t.Targets() {
		if x.Addr == addr {
			return x
		}
	}
	panic("BUG: no target " + addr)
}

func states(u *Upstreams) string {
	var s []string
	for _, i := range u.Snapshot() {
		s = append(s, i.Addr+":"+i.State)
	}
	return strings.Join(s, " ")
}

func fail(u *Upstreams, t *route.Target, c Class, n int) {
	for range n {
		u.Claim(t).Release(c)
	}
}

func TestUpstreamsLoad(t *testing.T) {
	clk := newClock()
	u := NewUpstreams(UpstreamsConfig{Now: clk.now, Limits: Limits{InFlightTarget: 2, InFlightTotal: 3}})
	tab := table(t, "web a a:1 passing /\nweb b b:1 passing /")
	u.Swap(tab)
	a, b := target(tab, "a:1"), target(tab, "b:1")
	f := func(want string) {
		t.Helper()
		got := fmt.Sprint(u.Load("a:1"), u.Load("b:1"), u.Usable("a:1", 0), u.Usable("b:1", 0), u.Room("web"))
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	f("0 0 true true true")
	a1, a2 := u.Claim(a), u.Claim(a)
	f("2 0 false true true")
	b1 := u.Claim(b)
	f("2 1 false true false")
	a1.Release(OK)
	f("1 1 true true true")
	a2.Release(Reset)
	b1.Release(ClientGone)
	f("0 0 true true true")
	if u.Load("nobody:1") != 0 || !u.Usable("nobody:1", 0) || !u.Room("nobody") || u.Ejected("nobody:1") {
		t.Error("an unknown instance must be usable")
	}
}

// TestUpstreamsShared is about two services on one address: one load, two totals.
func TestUpstreamsShared(t *testing.T) {
	u := NewUpstreams(UpstreamsConfig{Limits: Limits{InFlightTotal: 1}})
	tab := table(t, "api a x:1 passing /api\nweb a x:1 passing /")
	u.Swap(tab)
	var web *route.Target
	for x := range tab.Targets() {
		if x.Service == "web" {
			web = x
		}
	}
	up := u.Claim(web)
	if u.Load("x:1") != 1 || u.Room("web") || !u.Room("api") {
		t.Errorf("load %d, room for web %v, for api %v; want 1 false true", u.Load("x:1"), u.Room("web"), u.Room("api"))
	}
	up.Release(OK)
}

func TestUpstreamsEjectAndReadmit(t *testing.T) {
	clk := newClock()
	var events []string
	u := NewUpstreams(UpstreamsConfig{Now: clk.now, Rand: fixed(1 << 63), Ejected: func(s, a string, d time.Duration, c Class) {
		events = append(events, fmt.Sprint(s, " ", a, " ", d, " ", c))
	}})
	tab := table(t, "web a a:1 passing /\nweb b b:1 passing /")
	u.Swap(tab)
	a := target(tab, "a:1")
	f := func(want string) {
		t.Helper()
		got := fmt.Sprint(states(u), " calm:", u.Calm(), " a:", u.Usable("a:1", 0), u.Ejected("a:1"))
		if got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	fail(u, a, ConnectError, 4)
	f("a:1:ok b:1:ok calm:true a:true false")
	straggler := u.Claim(a)
	fail(u, a, ConnectError, 1)
	f("a:1:ejected b:1:ok calm:false a:false true")

	clk.advance(10 * time.Second)
	f("a:1:ejected b:1:ok calm:false a:true false") // due for a probe
	probe := u.Claim(a)
	f("a:1:probing b:1:ok calm:false a:false true") // only one
	straggler.Release(OK)                           // was sent before: proves nothing
	f("a:1:probing b:1:ok calm:false a:false true")
	probe.Release(OK)
	f("a:1:warming b:1:ok calm:true a:true false")
	if u.Usable("a:1", at(1, 2)) {
		t.Error("half of its traffic already")
	}
	clk.advance(10 * time.Second)
	if !u.Usable("a:1", 1<<64-1) {
		t.Error("not warm after 10 s")
	}
	f("a:1:ok b:1:ok calm:true a:true false")

	fail(u, a, Unavailable, 5)
	clk.advance(20 * time.Second)
	fail(u, a, Timeout, 1)
	f("a:1:ejected b:1:ok calm:false a:false true")
	want := "web a:1 10s connect_error; web a:1 0s ok; web a:1 20s unavailable; web a:1 40s timeout"
	if got := strings.Join(events, "; "); got != want {
		t.Errorf("events\n got %s\nwant %s", got, want)
	}
}

// TestUpstreamsClientFaults: no client can eject an instance (G6).
func TestUpstreamsClientFaults(t *testing.T) {
	u := upstreams(newClock())
	tab := table(t, "web a a:1 passing /\nweb b b:1 passing /")
	u.Swap(tab)
	for _, c := range []Class{ClientGone, ClientError, NoTarget, Answered, OK} {
		fail(u, target(tab, "a:1"), c, 1000)
	}
	if !u.Calm() {
		t.Error(states(u))
	}
}

// TestUpstreamsAllFail: however everything fails, half stays, and one (F26).
func TestUpstreamsAllFail(t *testing.T) {
	f := func(n int, class Class, want int) {
		t.Helper()
		u := upstreams(newClock())
		var lines strings.Builder
		for i := range n {
			fmt.Fprintf(&lines, "web i%d i%d:1 passing /\n", i, i)
		}
		tab := table(t, lines.String())
		u.Swap(tab)
		for range 10 {
			for x := range tab.Targets() {
				fail(u, x, class, 5)
			}
		}
		left := 0
		for x := range tab.Targets() {
			if !u.Ejected(x.Addr) {
				left++
			}
		}
		if left != want {
			t.Errorf("%d instances, all %v: %d left, want %d", n, class, left, want)
		}
	}
	f(1, ServerError, 1)
	f(1, ConnectError, 1)
	f(2, Timeout, 1)
	f(5, ServerError, 3)
	f(5, Reset, 3)
	f(5, ConnectError, 1)
}

// TestUpstreamsArms: an arm whose instances all fail goes when another stands
// in for it.
func TestUpstreamsArms(t *testing.T) {
	f := func(class Class, fails, want string) {
		t.Helper()
		u := upstreams(newClock())
		tab := table(t, "web s1 s1:1 passing /\nweb s2 s2:1 passing /\nweb c1 c1:1 passing / canary",
			&route.Split{Service: "web", Explicit: true, Ratio: 0.5})
		u.Swap(tab)
		for range 3 {
			for addr := range strings.FieldsSeq(fails) {
				fail(u, target(tab, addr), class, 20)
			}
		}
		if got := states(u); got != want {
			t.Errorf("%v of %s\n got %s\nwant %s", class, fails, got, want)
		}
	}
	f(Timeout, "c1:1", "c1:1:ejected s1:1:ok s2:1:ok")
	f(ServerError, "c1:1", "c1:1:ejected s1:1:ok s2:1:ok")
	f(ConnectError, "s1:1 s2:1", "c1:1:ok s1:1:ejected s2:1:ejected")
	f(Timeout, "s1:1 s2:1", "c1:1:ok s1:1:ejected s2:1:ok")
	f(ConnectError, "s1:1 s2:1 c1:1", "c1:1:ok s1:1:ejected s2:1:ejected")
}

func TestUpstreamsSlowStart(t *testing.T) {
	clk := newClock()
	u := upstreams(clk)
	a := "web a a:1 passing /\n"
	u.Swap(new(route.Table)) // nothing is known yet
	u.Swap(table(t, a))
	f := func(want string) {
		t.Helper()
		if got := states(u); got != want {
			t.Errorf("got %s\nwant %s", got, want)
		}
	}
	f("a:1:ok") // it was there when we came
	u.Swap(table(t, a+"web b b:1 passing /"))
	f("a:1:ok b:1:warming")
	if u.Usable("b:1", at(1, 2)) || !u.Usable("b:1", at(1, 20)) || !u.Usable("b:1", 0) {
		t.Error("a new instance gets 10 % at first")
	}
	clk.advance(5 * time.Second)
	u.Swap(table(t, a+"web b b:1 passing /\nweb c c:1 passing /"))
	if u.Usable("b:1", at(3, 5)) || !u.Usable("b:1", at(1, 2)) {
		t.Error("a swap must not restart the ramp")
	}
	clk.advance(5 * time.Second)
	f("a:1:ok b:1:ok c:1:warming")

	// Flapping at 2 Hz, in Consul's eyes or out of the catalog, restarts nothing.
	clk.advance(time.Minute)
	for range 5 {
		u.Swap(table(t, a+"web b b:1 critical /\n"))
		clk.advance(500 * time.Millisecond)
		u.Swap(table(t, a+"web b b:1 passing /\nweb c c:1 passing /"))
		clk.advance(500 * time.Millisecond)
	}
	f("a:1:ok b:1:ok c:1:ok")

	// Away for longer, it is a new one.
	u.Swap(table(t, a+"web b b:1 critical /\n"))
	clk.advance(31 * time.Second)
	u.Swap(table(t, a+"web b b:1 passing /"))
	f("a:1:ok b:1:warming")
}

func TestUpstreamsForget(t *testing.T) {
	clk := newClock()
	u := upstreams(clk)
	both := table(t, "old x x:1 passing /x\nweb a a:1 passing /\nweb b b:1 passing /")
	web := table(t, "web a a:1 passing /\nweb b b:1 passing /")
	f := func(tab *route.Table, want string) {
		t.Helper()
		if got := fmt.Sprint(u.Swap(tab), " ", states(u)); got != want {
			t.Errorf("got %s\nwant %s", got, want)
		}
	}
	f(both, "[] a:1:ok b:1:ok x:1:ok")
	up := u.Claim(target(both, "x:1"))
	f(web, "[] a:1:ok b:1:ok x:1:ok")
	clk.advance(31 * time.Second)
	f(web, "[] a:1:ok b:1:ok x:1:ok") // has a request in flight
	up.Release(OK)
	f(web, "[x:1] a:1:ok b:1:ok")
	f(web, "[] a:1:ok b:1:ok")
	u.Claim(target(both, "x:1")).Release(OK) // decided on the old table
	f(web, "[x:1] a:1:ok b:1:ok")

	// An ejected one that left counts no longer; one that returns is probed.
	fail(u, target(web, "b:1"), Reset, 5)
	a := table(t, "web a a:1 passing /")
	f(a, "[] a:1:ok b:1:ejected")
	clk.advance(time.Second)
	f(web, "[] a:1:ok b:1:ejected")
	if u.Ejected("b:1") {
		t.Error("Consul says that it is back: it is to be probed")
	}
	f(a, "[] a:1:ok b:1:ejected")
	clk.advance(30 * time.Second)
	f(a, "[b:1] a:1:ok")
	if !u.Calm() {
		t.Error("a forgotten instance still counts as ejected")
	}
}

// An instance that flaps finds its state again for 30 s.
func TestUpstreamsKeepsWhatFlaps(t *testing.T) {
	clk := newClock()
	u := upstreams(clk)
	both, a := table(t, "web a a:1 passing /\nweb b b:1 passing /"), table(t, "web a a:1 passing /")
	f := func(tab *route.Table, want string) {
		t.Helper()
		if got := fmt.Sprint(u.Swap(tab), " ", states(u)); got != want {
			t.Errorf("got %s\nwant %s", got, want)
		}
	}
	f(both, "[] a:1:ok b:1:ok")
	f(a, "[] a:1:ok b:1:ok")
	clk.advance(29 * time.Second)
	f(both, "[] a:1:ok b:1:ok") // no slow start: it was not away for long
	f(a, "[] a:1:ok b:1:ok")
	clk.advance(29 * time.Second)
	f(a, "[] a:1:ok b:1:ok")
	clk.advance(2 * time.Second)
	f(a, "[b:1] a:1:ok")
	f(both, "[] a:1:ok b:1:warming")
}

func TestUpstreamsTurn(t *testing.T) {
	u := upstreams(newClock())
	u.Swap(table(t, "web a a:1 passing /"))
	for want := range uint64(3) {
		if got := u.Turn("web"); got != want {
			t.Errorf("turn %d, want %d", got, want)
		}
		u.Swap(table(t, "web a a:1 passing /"))
	}
}

// TestUpstreamsTurnsForgotten: the turns of services that left do not pile up.
func TestUpstreamsTurnsForgotten(t *testing.T) {
	u := upstreams(newClock())
	tab := table(t, "web a a:1 passing /")
	for i := range 1000 {
		u.Turn(fmt.Sprint("gone", i))
		u.Swap(tab)
	}
	if n := u.turns.len(); n > 200 {
		t.Errorf("%d sequences kept for one service", n)
	}
	if got := u.Turn("gone999"); got > 1 {
		t.Errorf("turn %d, want a small one", got)
	}
}

func TestUpstreamsConcurrent(t *testing.T) {
	u := NewUpstreams(UpstreamsConfig{Ejected: func(string, string, time.Duration, Class) {}})
	one := table(t, "web a a:1 passing /\nweb b b:1 passing /")
	two := table(t, "web b b:1 passing /\nweb c c:1 passing /\napi a a:1 passing /api")
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 500 {
				for x := range one.Targets() {
					up := u.Claim(x)
					u.Usable(x.Addr, uint64(i))
					u.Ejected(x.Addr)
					up.Release(Class((i / 50 * g) % 5))
				}
				u.Turn(fmt.Sprint(i % 7))
			}
		})
	}
	for i := range 50 {
		u.Swap([]*route.Table{one, two}[i%2])
		u.Snapshot()
	}
	wg.Wait()
	for _, s := range u.Snapshot() {
		if s.InFlight != 0 {
			t.Errorf("%s: %d in flight after all have ended", s.Addr, s.InFlight)
		}
	}
	out := 0
	for _, s := range u.Snapshot() {
		if s.State == "ejected" || s.State == "probing" {
			out++
		}
	}
	if got := int(u.troubled.Load()); got != out {
		t.Errorf("%d ejected by the count, %d by the states", got, out)
	}
}

func BenchmarkUpstreams(b *testing.B) {
	u := NewUpstreams(UpstreamsConfig{})
	tab := table(b, "web a 10.0.0.1:20001 passing /\nweb b 10.0.0.2:20002 passing /")
	u.Swap(tab)
	t := target(tab, "10.0.0.1:20001")
	b.Run("Load", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			u.Load(t.Addr)
		}
	})
	b.Run("Usable", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			u.Usable(t.Addr, 1<<63)
		}
	})
	b.Run("Turn", func(b *testing.B) {
		b.ReportAllocs()
		u.Turn("web")
		for b.Loop() {
			u.Turn("web")
		}
	})
	b.Run("ClaimRelease", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			u.Claim(t).Release(OK)
		}
	})
}

// BenchmarkSwap is a table of 10,000 services with five instances each, one of
// which changes.
func BenchmarkSwap(b *testing.B) {
	var lines strings.Builder
	for s := range 10_000 {
		for i := range 5 {
			fmt.Fprintf(&lines, "s%d i%d 10.%d.%d.%d:80 passing urlprefix-h%d.test/\n", s, i, s/256, s%256, i, s)
		}
	}
	tab := table(b, lines.String())
	u := NewUpstreams(UpstreamsConfig{})
	b.ReportAllocs()
	for b.Loop() {
		u.Swap(tab)
	}
}
