package proxy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"serin/route"
)

// TestCondition plays scripts of "time events…": the names of classes are ends
// of attempts, with *n for n of them; what is printed is what became of the
// instance, where nothing speaks against ejecting it.
func TestCondition(t *testing.T) {
	names := map[string]Class{}
	for i, n := range classNames {
		names[n] = Class(i)
	}
	f := func(script, want string) {
		t.Helper()
		var c condition
		var got []string
		for step := range strings.SplitSeq(script, ";") {
			w := strings.Fields(step)
			now, err := time.ParseDuration(w[0])
			if err != nil {
				t.Fatal(err)
			}
			for _, event := range w[1:] {
				event, probe := strings.CutPrefix(event, "probe:")
				event, times, _ := strings.Cut(event, "*")
				n := 1
				fmt.Sscan(times, &n)
				class, ok := names[event]
				if !ok {
					t.Fatalf("no class %q", event)
				}
				for range n {
					fit := c.observe(class, now)
					if probe {
						if !c.mayProbe(now) {
							got = append(got, fmt.Sprintf("%v:no-probe", now))
							continue
						}
						c.probed = now
						fit = c.probeEnded(class, now)
					}
					if fit {
						got = append(got, fmt.Sprintf("%v:out-%v", now, c.eject(class, now, 1<<63)))
					}
				}
			}
		}
		got = append(got, phaseNames[c.phase])
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%s\n got %s\nwant %s", script, s, want)
		}
	}
	// Five in a row, of the kinds that say that the instance cannot work.
	f("1s connect_error*4", "ok")
	f("1s connect_error*5", "1s:out-10s ejected")
	f("1s connect_error reset timeout truncated unavailable", "1s:out-10s ejected")
	f("1s connect_error*4 ok connect_error*4", "ok")
	f("1s unavailable*4 server_error unavailable*4", "ok")
	f("1s timeout*3; 300s timeout*2", "5m0s:out-10s ejected") // in a row, however slowly
	// Half of at least twenty in 10 s; the application's 500s count here only.
	f("1s server_error*19", "ok")
	f("1s server_error*20", "1s:out-10s ejected")
	f("1s ok*10 server_error*9", "ok")
	f("1s ok*10 server_error*10", "1s:out-10s ejected")
	f("1s ok*11 server_error*10", "ok")
	f("1s server_error*10; 9s server_error*10", "9s:out-10s ejected")
	f("1s server_error*10; 11s server_error*10", "ok")
	// What clients do says nothing.
	f("1s client_gone*50 client_error*50 no_target*50 answered*50", "ok")
	f("1s connect_error*4 client_gone*9 connect_error", "1s:out-10s ejected")
	// An ejected one is not ejected again by stragglers, but by a failed probe.
	f("1s reset*5 reset*20", "1s:out-10s ejected")
	f("1s reset*5; 10s probe:ok", "1s:out-10s 10s:no-probe ejected")
	f("1s reset*5; 11s probe:ok", "1s:out-10s warming")
	f("1s reset*5; 11s probe:client_gone", "1s:out-10s ejected")
	f("1s reset*5; 11s probe:client_gone probe:ok", "1s:out-10s warming")
	f("1s reset*5; 11s probe:server_error", "1s:out-10s 11s:out-20s ejected")
	f("1s reset*5; 11s probe:reset; 31s probe:reset; 71s probe:reset; 151s probe:reset; 311s probe:reset; 611s probe:reset",
		"1s:out-10s 11s:out-20s 31s:out-40s 1m11s:out-1m20s 2m31s:out-2m40s 5m11s:out-5m0s 10m11s:out-5m0s ejected")
	// Back and failing again costs more, unless it was well for five minutes.
	f("1s reset*5; 11s probe:ok; 20s reset*5", "1s:out-10s 20s:out-20s ejected")
	f("1s reset*5; 11s probe:ok; 312s reset*5", "1s:out-10s 5m12s:out-10s ejected")
}

func TestEjectJitter(t *testing.T) {
	f := func(jitter uint64, want time.Duration) {
		t.Helper()
		var c condition
		if got := c.eject(Reset, time.Second, jitter).Round(time.Millisecond); got != want {
			t.Errorf("eject with jitter %#x: got %v, want %v", jitter, got, want)
		}
	}
	f(0, 7500*time.Millisecond)
	f(1<<63, 10*time.Second)
	f(1<<64-1, 12500*time.Millisecond)
}

func TestProbeLost(t *testing.T) {
	var c condition
	c.eject(Reset, time.Second, 1<<63)
	c.probed = 11 * time.Second
	f := func(now time.Duration, want bool) {
		t.Helper()
		if got := c.mayProbe(now); got != want {
			t.Errorf("mayProbe at %v: got %v, want %v", now, got, want)
		}
	}
	f(12*time.Second, false)
	f(21*time.Second, true) // the probe became a long stream, or hangs
}

func TestRamp(t *testing.T) {
	var c condition
	c.warm(100 * time.Second)
	f := func(age time.Duration, want float64) {
		t.Helper()
		n := 0
		for i := range 1000 {
			if c.usable(100*time.Second+age, at(2*i+1, 2000)) {
				n++
			}
		}
		if got := float64(n) / 1000; got != want {
			t.Errorf("share at %v: got %v, want %v", age, got, want)
		}
	}
	f(0, 0.1)
	f(time.Second, 0.19)
	f(5*time.Second, 0.55)
	f(10*time.Second, 1)
	f(time.Hour, 1)
}

func TestMayEject(t *testing.T) {
	f := func(arm route.ArmName, size, out, others int, class Class, want bool) {
		t.Helper()
		if got := mayEject(arm, size, out, others, class); got != want {
			t.Errorf("mayEject(%v, %d ready, %d out, %d beside, %v)\n got %v\nwant %v", arm, size, out, others, class, got, want)
		}
	}
	// Half of an arm, and one that stays.
	f(route.Stable, 1, 0, 0, Timeout, false)
	f(route.Stable, 2, 0, 0, Timeout, true)
	f(route.Stable, 2, 1, 0, Timeout, false)
	f(route.Stable, 3, 0, 0, Timeout, true)
	f(route.Stable, 3, 1, 0, Timeout, false)
	f(route.Stable, 4, 1, 0, Timeout, true)
	f(route.Stable, 5, 2, 0, Unavailable, false)
	// The whole canary arm may go while stable can serve, never the other way round…
	f(route.Canary, 1, 0, 1, Timeout, true)
	f(route.Canary, 3, 2, 1, ServerError, true)
	f(route.Canary, 1, 0, 0, Timeout, false)
	f(route.Stable, 1, 0, 1, Timeout, false)
	f(route.Stable, 4, 2, 2, Unavailable, false)
	// …but for instances that nobody can connect to.
	f(route.Stable, 1, 0, 1, ConnectError, true)
	f(route.Stable, 3, 2, 1, ConnectError, true)
	f(route.Stable, 3, 1, 0, ConnectError, true)
	f(route.Stable, 3, 2, 0, ConnectError, false)
	f(route.Stable, 1, 0, 0, ConnectError, false)
}

func TestWindow(t *testing.T) {
	var w window
	f := func(now time.Duration, kind int, want [2]uint32) {
		t.Helper()
		w.add(now, kind)
		if w.sum != want {
			t.Errorf("at %v: got %v, want %v", now, w.sum, want)
		}
	}
	f(0, 0, [2]uint32{1, 0})
	f(500*time.Millisecond, 1, [2]uint32{1, 1})
	f(5*time.Second, 0, [2]uint32{2, 1})
	f(9*time.Second, 0, [2]uint32{3, 1})
	f(10*time.Second, 0, [2]uint32{3, 0})
	f(9*time.Second, 0, [2]uint32{4, 0}) // a clock that stands back a little
	f(15*time.Second, 0, [2]uint32{4, 0})
	f(1000*time.Hour, 1, [2]uint32{0, 1})
}
