package proxy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"serin/route"
)

func TestMayRetry(t *testing.T) {
	const sent, idem, replay = 1, 2, 4
	f := func(c Class, is int, tried int, want string) {
		t.Helper()
		a := Attempt{Class: c, Sent: is&sent > 0, Idempotent: is&idem > 0, Replayable: is&replay > 0}
		may, costs := mayRetry(a, tried, 3)
		if got := fmt.Sprint(may, " ", costs); got != want {
			t.Errorf("%v %+v after %d tried\n got %s\nwant %s", c, a, tried, got, want)
		}
	}
	// Nothing was sent: any method, and it costs nothing.
	f(ConnectError, 0, 1, "true false")
	f(ConnectError, 0, 2, "true false")
	f(ConnectError, 0, 3, "false false") // two others at most
	f(Reset, 0, 1, "true false")
	f(Timeout, 0, 1, "true false")
	// Something was: only what may be repeated, with its whole body.
	f(Reset, sent, 1, "false true")
	f(Reset, sent|idem, 1, "false true")
	f(Reset, sent|replay, 1, "false true")
	f(Reset, sent|idem|replay, 1, "true true")
	f(Timeout, sent|idem|replay, 2, "true true")
	// An answer is an answer, and what the client did is not retried.
	for _, c := range []Class{OK, ServerError, Unavailable, Truncated, ClientGone, ClientError, NoTarget, Answered} {
		f(c, sent|idem|replay, 1, "false false")
	}
}

func testCore(clk *clock, t *route.Table) *Core {
	u := upstreams(clk)
	u.Swap(t)
	n := uint64(0)
	return &Core{
		Table: func() *route.Table { return t }, Upstreams: u, Budget: new(Budget), Now: clk.now,
		Rand: func() uint64 { n += 0x9e3779b97f4a7c15; return n },
	}
}

func TestRetry(t *testing.T) {
	// f tries until it may not, and prints the arms tried.
	f := func(lines string, ratio float64, start route.ArmName, attempts int, eject, want string) {
		t.Helper()
		tab := table(t, lines, &route.Split{Service: "web", Explicit: true, Ratio: ratio})
		c := testCore(newClock(), tab)
		c.Settings.Attempts = attempts
		for addr := range strings.FieldsSeq(eject) {
			fail(c.Upstreams, target(tab, addr), ConnectError, 5)
		}
		d := c.Decide(req("POST a.test/"))
		d.Arm, d.serving = start, start
		d.Target = d.Part.Arms[start].Ready[0]
		got := d.Target.ID
		seen := map[string]bool{d.Target.ID: true}
		for c.Retry(&d, Attempt{Class: ConnectError}) {
			got += " " + d.Target.ID[:1]
			if seen[d.Target.ID] {
				t.Errorf("%s was tried twice", d.Target.ID)
			}
			seen[d.Target.ID] = true
		}
		if got != want {
			t.Errorf("from %v\n got %s\nwant %s", start, got, want)
		}
		if d.Arm != start {
			t.Errorf("the failure moved from %v to %v", start, d.Arm)
		}
	}
	stable3 := "web s1 s1:1 passing /\nweb s2 s2:1 passing /\nweb s3 s3:1 passing /\n"
	canary2 := "web c1 c1:1 passing / canary\nweb c2 c2:1 passing / canary\n"
	f(stable3, 0, route.Stable, 0, "", "s1 s s")
	f(stable3, 0, route.Stable, 1, "", "s1")
	f(stable3, 0, route.Stable, 9, "", "s1 s s")
	f("web s1 s1:1 passing /", 0, route.Stable, 0, "", "s1")      // a single instance
	f(stable3+canary2, 0.5, route.Stable, 0, "", "s1 s c")        // the last one leaves the arm
	f(stable3+canary2, 0.5, route.Canary, 0, "", "c1 c s")        //
	f(stable3+canary2, 0, route.Stable, 0, "", "s1 s s")          // an aborted canary gets nothing
	f(stable3, 0, route.Stable, 0, "s2:1", "s1 s s")              // ejected ones come last
	f(stable3+canary2, 0.5, route.Stable, 2, "s2:1 s3:1", "s1 c") //
	f("web s1 s1:1 passing /\nweb x b1:1 passing / spare", 0, route.Stable, 0, "", "s1 x")
}

func TestRetryPrefersUsable(t *testing.T) {
	tab := table(t, "web s1 s1:1 passing /\nweb s2 s2:1 passing /\nweb s3 s3:1 passing /")
	c := testCore(newClock(), tab)
	fail(c.Upstreams, target(tab, "s2:1"), ConnectError, 5)
	for range 50 {
		d := c.Decide(req("GET a.test/"))
		d.Target = target(tab, "s1:1")
		if !c.Retry(&d, Attempt{Class: ConnectError}) || d.Target.ID != "s3" {
			t.Fatalf("retried on %s, want the one that is not ejected", d.Target.ID)
		}
	}
}

// TestRetryStorm: where every instance resets, the load on them is bounded (F41).
func TestRetryStorm(t *testing.T) {
	clk := newClock()
	c := testCore(clk, table(t, "web s1 s1:1 passing /\nweb s2 s2:1 passing /\nweb s3 s3:1 passing /"))
	const seconds, rate = 30, 1000
	sent := 0
	for range seconds * rate {
		d := c.Decide(req("GET a.test/"))
		for ok := true; ok; ok = c.Retry(&d, Attempt{Class: Reset, Sent: true, Idempotent: true, Replayable: true}) {
			sent++
		}
		clk.advance(time.Second / rate)
	}
	if most := seconds*rate*12/10 + seconds*10 + 100; sent > most || sent < seconds*rate*11/10 {
		t.Errorf("%d requests became %d, want at most %d", seconds*rate, sent, most)
	}
}

func TestBudget(t *testing.T) {
	clk := newClock()
	b := new(Budget)
	f := func(requests int, after time.Duration, want int) {
		t.Helper()
		clk.advance(after)
		for range requests {
			b.Request("web", clk.now())
		}
		got := 0
		for b.Spend("web", clk.now()) {
			got++
		}
		if got != want {
			t.Errorf("%d requests more after %v: %d retries, want %d", requests, after, got, want)
		}
	}
	f(0, 0, 100)
	f(50, time.Second, 10)
	f(1000, time.Second, 200)
	f(0, 8*time.Second, 100) // the first hundred are older than 10 s
	f(0, time.Hour, 100)
	if !b.Spend("other", clk.now()) {
		t.Error("one service spends the budget of another")
	}
	b.Forget("web")
	f(0, 0, 100)
	if var0 := (*Budget)(nil); !var0.Spend("web", clk.now()) {
		t.Error("no budget must bound nothing")
	}
}

func TestIdempotent(t *testing.T) {
	for _, m := range strings.Fields("GET HEAD OPTIONS TRACE PUT DELETE") {
		if !Idempotent(m) {
			t.Errorf("%s is idempotent", m)
		}
	}
	for _, m := range strings.Fields("POST PATCH CONNECT get X") {
		if Idempotent(m) {
			t.Errorf("%s is not idempotent", m)
		}
	}
}
