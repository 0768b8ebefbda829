package proxy

import (
	"fmt"
	"math"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"serin/registry"
	"serin/route"
)

func TestBucket(t *testing.T) {
	const s = int64(time.Second)
	now := newClock().t.UnixNano()
	// f takes tokens at the given times, in milliseconds, and prints which were
	// refused and for how many milliseconds.
	f := func(perSecond float64, burst int, want string, at ...int64) {
		t.Helper()
		var due int64
		got := ""
		for _, ms := range at {
			next, wait := bucket(&route.RateLimit{PerSecond: perSecond, Burst: burst}, due, now+ms*s/1000)
			if wait > 0 {
				got += fmt.Sprintf("%d:%d ", ms, wait/int64(time.Millisecond))
				continue
			}
			due = next
		}
		if got != want {
			t.Errorf("%v/s, %d at once\n got %s\nwant %s", perSecond, burst, got, want)
		}
	}
	f(1, 1, "0:1000 ", 0, 0, 1000)
	f(1, 1, "999:1 ", 0, 999, 1000)
	f(1, 3, "0:1000 1500:500 ", 0, 0, 0, 0, 1500, 1500, 2000)
	f(10, 2, "0:100 50:50 ", 0, 0, 0, 50, 100)
	f(1, 2, "", 0, 0, 5000, 5000)                    // it is full again
	f(1, 2, "5000:1000 ", 0, 0, 5000, 5000, 5000)    // and no more than full
	f(1./60, 1, "0:60000 30000:30000 ", 0, 0, 30000) // one a minute
	f(3, 0, "0:333 ", 0, 0, 0, 0)                    // without a burst: that of a second
	f(.5, 0, "0:2000 ", 0, 0)                        //
	f(1e9, math.MaxInt, "", 0, 0, 0)                 // whatever a tag may say
	f(1e-300, 1, "", 0)                              //
	f(1e300, 1, "", 0, 1)                            //
}

// A limit that changes holds from then on: what was used under the old one is
// at most all of the new one.
func TestBucketWithANewLimit(t *testing.T) {
	now := newClock().t.UnixNano()
	slow, fast := &route.RateLimit{PerSecond: 1. / 3600, Burst: 5}, &route.RateLimit{PerSecond: 10, Burst: 10}
	due := int64(0)
	for range 5 {
		due, _ = bucket(slow, due, now)
	}
	if _, wait := bucket(fast, due, now); wait != int64(time.Second/10) {
		t.Errorf("the fast one waits %v, want the time of a token", time.Duration(wait))
	}
	if _, wait := bucket(slow, due, now); wait < int64(59*time.Minute) {
		t.Errorf("the slow one waits %v", time.Duration(wait))
	}
}

// TestBucketNeverLetsInMore: over any time, at most the burst and what the rate
// gives; and who waits as long as he is told gets in.
func TestBucketNeverLetsInMore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := &route.RateLimit{PerSecond: rapid.Float64Range(0.01, 5000).Draw(t, "rate"), Burst: rapid.IntRange(1, 200).Draw(t, "burst")}
		start := newClock().t.UnixNano()
		now, due, in := start, int64(0), 0
		for range rapid.IntRange(1, 300).Draw(t, "requests") {
			now += rapid.Int64Range(0, int64(time.Second)).Draw(t, "pause") * int64(rapid.IntRange(0, 1).Draw(t, "pauses"))
			next, wait := bucket(limit, due, now)
			if wait > 0 {
				if _, again := bucket(limit, due, now+wait); again > 0 {
					t.Fatalf("told to wait %v, then %v more", time.Duration(wait), time.Duration(again))
				}
				continue
			}
			due = next
			in++
			// A nanosecond may be lost of each token's time.
			if most := float64(limit.Burst) + 1.001*limit.PerSecond*float64(now-start)/1e9 + 1; float64(in) > most {
				t.Fatalf("%d let in within %v at %v/s and %d at once", in, time.Duration(now-start), limit.PerSecond, limit.Burst)
			}
		}
	})
}

// quotaRoute is a route and a target with limits.
func quotaRoute(host string, perSecond float64, maxConn int) (*route.Route, *route.Target) {
	o := &route.Options{MaxConn: maxConn}
	if perSecond > 0 {
		o.RateLimit = &route.RateLimit{PerSecond: perSecond, Burst: 1}
	}
	return &route.Route{Host: host, Path: "/"}, &route.Target{Instance: &registry.Instance{Service: "web"}, Options: o}
}

func TestQuotas(t *testing.T) {
	var q Quotas
	clk := newClock()
	f := func(rt *route.Route, target *route.Target, want Reason) *Quota {
		t.Helper()
		in, because, _ := q.Enter(rt, target, clk.now())
		if because != want || (in == nil) != (want != NoReason) {
			t.Fatalf("got %v and quota %v, want %v", because, in, want)
		}
		return in
	}
	leave := func(p *Quota) { (&Decision{in: p}).Leave() }

	rt, target := quotaRoute("a.test", 0, 2)
	first := f(rt, target, NoReason)
	f(rt, target, NoReason)
	f(rt, target, ReasonMaxConn)
	again, target := quotaRoute("a.test", 0, 2) // of the next table
	f(again, target, ReasonMaxConn)
	leave(first)
	f(again, target, NoReason)
	f(again, target, ReasonMaxConn)

	// Others of the same place or service have limits of their own.
	other, _ := quotaRoute("b.test", 0, 2)
	f(other, target, NoReason)
	f(&route.Route{Host: "a.test", Path: "/", Priority: 1}, target, NoReason)
	conditions := []*route.Condition{
		{Methods: []string{"GET"}},
		{Methods: []string{"GET", "POST"}},
		{Headers: []route.FieldMatch{{Name: "X", Pattern: route.Pattern{Text: "a"}}}},
		{Headers: []route.FieldMatch{{Name: "X", Pattern: route.Pattern{Text: "a", Kind: route.Prefix}}}},
		{Query: []route.FieldMatch{{Name: "X", Pattern: route.Pattern{Text: "a"}}}},
	}
	_, single := quotaRoute("", 0, 1)
	for _, c := range conditions {
		when := &route.Route{Host: "a.test", Path: "/", When: c}
		f(when, single, NoReason)
		f(when, single, ReasonMaxConn)
	}
	f(rt, &route.Target{Instance: &registry.Instance{Service: "api"}, Options: target.Options}, NoReason)

	// The rate refuses without holding a place; a full route does not use up
	// the rate.
	rt, target = quotaRoute("c.test", 1, 1)
	leave(f(rt, target, NoReason))
	f(rt, target, ReasonRateLimit)
	f(rt, target, ReasonRateLimit)
	clk.advance(time.Second)
	held := f(rt, target, NoReason)
	clk.advance(time.Second)
	f(rt, target, ReasonMaxConn)
	f(rt, target, ReasonMaxConn)
	leave(held)
	leave(f(rt, target, NoReason))
}

func TestLeaveOnce(t *testing.T) {
	var q Quotas
	rt, target := quotaRoute("a.test", 0, 1)
	pass, _, _ := q.Enter(rt, target, newClock().t)
	d := Decision{in: pass}
	d.Leave()
	d.Leave()
	(&Decision{}).Leave()
	if n := pass.inFlight.Load(); n != 0 {
		t.Errorf("%d in flight after the last has left, want 0", n)
	}
}

// What nothing is used of is forgotten; what is in use stays.
func TestQuotasAreForgotten(t *testing.T) {
	var q Quotas
	clk := newClock()
	held, target := quotaRoute("held.test", 0, 1)
	if pass, _, _ := q.Enter(held, target, clk.now()); pass == nil {
		t.Fatal("the first is refused")
	}
	_, hourly := quotaRoute("", 1./3600, 0)
	spent := &route.Route{Host: "spent.test", Path: "/"}
	q.Enter(spent, hourly, clk.now())
	_, quick := quotaRoute("", 10, 0)
	for i := range 10_000 {
		clk.advance(10 * time.Millisecond)
		d := Decision{}
		d.in, _, _ = q.Enter(&route.Route{Host: fmt.Sprint(i, ".test"), Path: "/"}, quick, clk.now())
		d.Leave()
	}
	if n := q.Len(); n > 2*minSweep+20 {
		t.Errorf("%d quotas are kept of 10,000 routes, of which 12 are in use at once", n)
	}
	if _, because, _ := q.Enter(held, target, clk.now()); because != ReasonMaxConn {
		t.Errorf("a route with a request in flight was forgotten: %v", because)
	}
	if _, because, after := q.Enter(spent, hourly, clk.now()); because != ReasonRateLimit || after < 50*time.Minute {
		t.Errorf("a route without tokens was forgotten: %v, %v", because, after)
	}
}

// However many come at once, no more than maxconn are in, and none is lost.
func TestQuotasAtOnce(t *testing.T) {
	var q Quotas
	var all sync.WaitGroup
	var in, most sync.Map
	now := newClock().t
	for w := range 8 {
		all.Go(func() {
			for i := range 2000 {
				rt, target := quotaRoute(fmt.Sprint(i%200), 0, 3)
				d := Decision{}
				if d.in, _, _ = q.Enter(rt, target, now); d.in != nil {
					if n := d.in.inFlight.Load(); n > 3 {
						most.Store(n, w)
					}
					in.Store(d.in, true)
					d.Leave()
				}
			}
		})
	}
	all.Wait()
	most.Range(func(n, _ any) bool { t.Errorf("%v in flight where 3 may be", n); return false })
	in.Range(func(k, _ any) bool {
		if n := k.(*Quota).inFlight.Load(); n != 0 {
			t.Errorf("%d in flight after all have left", n)
			return false
		}
		return true
	})
}

func TestQuotasDoNotAllocate(t *testing.T) {
	var q Quotas
	rt, target := quotaRoute("a.test", 0, 1)
	now := newClock().t
	n := testing.AllocsPerRun(100, func() {
		d := Decision{}
		d.in, _, _ = q.Enter(rt, target, now)
		d.Leave()
	})
	if n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}
