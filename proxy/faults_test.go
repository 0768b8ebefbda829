package proxy

import (
	"testing"
	"time"

	"serin/route"
)

// play sends 1,000 GET requests a second, one after the other, through a Core
// to instances that answer as answer says, and returns how many each was sent,
// and how many requests had no good end.
func play(c *Core, clk *clock, d time.Duration, answer func(addr string, at time.Duration) Class) (sent map[string]int, failed int) {
	sent = map[string]int{}
	r := req("GET a.test/")
	for at := time.Duration(0); at < d; at += time.Millisecond {
		dec := c.Decide(r)
		for {
			if dec.Answer != nil {
				failed++
				break
			}
			up := c.Upstreams.Claim(dec.Target)
			class := answer(dec.Target.Addr, at)
			sent[dec.Target.Addr]++
			up.Release(class)
			if class == OK {
				break
			}
			if !c.Retry(&dec, Attempt{Class: class, Sent: class != ConnectError, Idempotent: true, Replayable: true}) {
				failed++
				break
			}
		}
		clk.advance(time.Millisecond)
	}
	return sent, failed
}

func failing(class Class, addrs ...string) func(string, time.Duration) Class {
	return func(addr string, _ time.Duration) Class {
		for _, a := range addrs {
			if a == addr {
				return class
			}
		}
		return OK
	}
}

const (
	five      = "web a a:1 passing /\nweb b b:1 passing /\nweb c c:1 passing /\nweb d d:1 passing /\nweb e e:1 passing /\n"
	threeEach = "web s1 s1:1 passing /\nweb s2 s2:1 passing /\nweb s3 s3:1 passing /\nweb c1 c1:1 passing / canary\nweb c2 c2:1 passing / canary\nweb c3 c3:1 passing / canary\n"
)

// TestFaults is the part of the failure matrix that needs no sockets: 15 s
// under load with instances that fail.
func TestFaults(t *testing.T) {
	f := func(name, lines string, ratio float64, class Class, bad ...string) {
		t.Helper()
		clk := newClock()
		c := testCore(clk, table(t, lines, &route.Split{Service: "web", Explicit: true, Ratio: ratio}))
		c.Settings.PanicPercent = 50
		sent, failed := play(c, clk, 15*time.Second, failing(class, bad...))
		if failed > 0 {
			t.Errorf("%s: %d requests failed", name, failed)
		}
		for _, addr := range bad {
			if sent[addr] > 30 {
				t.Errorf("%s: %s was sent %d requests", name, addr, sent[addr])
			}
		}
	}
	f("one of five hangs (F18)", five, 0, Timeout, "a:1")
	f("one of five is dead (F23)", five, 0, ConnectError, "a:1")
	f("every canary is dead (F15)", threeEach, 0.5, ConnectError, "c1:1", "c2:1", "c3:1")
	f("every canary resets", threeEach, 0.5, Reset, "c1:1", "c2:1", "c3:1")
	f("every stable one is dead", threeEach, 0.5, ConnectError, "s1:1", "s2:1", "s3:1")
	f("the only canary hangs", "web s1 s1:1 passing /\nweb s2 s2:1 passing /\nweb c1 c1:1 passing / canary", 0.1, Timeout, "c1:1")
}

// TestFaultsMostDead: once it is known who is dead no request fails, although
// panic spreads them over the dead too.
func TestFaultsMostDead(t *testing.T) {
	clk := newClock()
	c := testCore(clk, table(t, five))
	c.Settings.PanicPercent = 50
	dead := failing(ConnectError, "a:1", "b:1", "c:1", "d:1")
	play(c, clk, time.Second, dead)
	if _, failed := play(c, clk, 15*time.Second, dead); failed > 0 {
		t.Errorf("%d requests failed", failed)
	}
}

// TestFastFailing: an instance that fails at once does not draw the load to
// itself (F24).
func TestFastFailing(t *testing.T) {
	clk := newClock()
	c := testCore(clk, table(t, five))
	c.Settings.Balance = route.LeastConn
	sent, _ := play(c, clk, 500*time.Millisecond, failing(ServerError, "a:1"))
	if sent["a:1"] > 100 {
		t.Errorf("%d of 500 before it was ejected", sent["a:1"])
	}
	sent, _ = play(c, clk, 15*time.Second, failing(ServerError, "a:1"))
	if sent["a:1"] > 150 {
		t.Errorf("%d of 15,000 after it was ejected", sent["a:1"])
	}
}

// TestRecovery: three of five return at once, and each gets no more than its
// ramp ±20 % (F28).
func TestRecovery(t *testing.T) {
	clk := newClock()
	c := testCore(clk, table(t, five))
	dead := failing(ConnectError, "a:1", "b:1", "c:1")
	play(c, clk, 5*time.Second, dead)
	all := func(string, time.Duration) Class { return OK }
	for c.Upstreams.Ejected("a:1") || c.Upstreams.Ejected("b:1") || c.Upstreams.Ejected("c:1") {
		clk.advance(time.Second)
	}
	sent, failed := play(c, clk, 2*time.Second, all)
	if failed > 0 {
		t.Errorf("%d requests failed", failed)
	}
	// From 10 % to 28 % in the first two seconds: 19 % of a fair share of the
	// 2,000 among the two that are warm and these three.
	for _, addr := range []string{"a:1", "b:1", "c:1"} {
		if share := float64(sent[addr]) / (float64(sent["d:1"]+sent["e:1"]) / 2); share > 0.28*1.2 || share < 0.10*0.8 {
			t.Errorf("%s got %.2f of a warm instance's load in its first 2 s: %v", addr, share, sent)
		}
	}
	play(c, clk, 10*time.Second, all)
	sent, _ = play(c, clk, 10*time.Second, all)
	for addr, n := range sent {
		if n < 1600 || n > 2400 {
			t.Errorf("%s got %d of 10,000 when all are warm", addr, n)
		}
	}
}
