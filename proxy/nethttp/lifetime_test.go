package nethttp

import (
	"testing"
	"time"
)

func TestLifetime(t *testing.T) {
	type does = func(*lifetime)
	hint := func(d time.Duration) does { return func(l *lifetime) { l.hint = d } }
	survived := func(d time.Duration) does { return func(l *lifetime) { l.survived(d) } }
	closed := func(d time.Duration) does { return func(l *lifetime) { l.closed(d) } }
	f := func(name string, idle time.Duration, safe bool, keep time.Duration, all ...does) {
		t.Helper()
		var l lifetime
		for _, do := range all {
			do(&l)
		}
		if l.safe(idle) != safe || l.keep(4*time.Second) != keep {
			t.Errorf("%s: after %v safe %t keep %v, want %t %v", name, idle, l.safe(idle), l.keep(4*time.Second), safe, keep)
		}
	}
	const ms, s = time.Millisecond, time.Second
	f("nothing known", 0, false, 4*s)
	f("hint of 5 s", 2400*ms, true, 4*s, hint(5*s))
	f("half of the hint is over", 2500*ms, false, 4*s, hint(5*s))
	f("long hint", 20*s, true, 59*s, hint(60*s))
	f("short hint", 0, true, 500*ms, hint(1*s))
	f("a survivor", 900*ms, true, 4*s, survived(2*s))
	f("half of what survived is over", 1*s, false, 4*s, survived(2*s))
	f("too short to rely on", 0, false, 4*s, survived(999*ms))
	f("closed early", 0, false, 4*s, closed(5*ms))
	f("closed early, against its hint", 0, false, 4*s, hint(5*s), closed(5*ms))
	f("closed late", 900*ms, true, 4*s, hint(5*s), closed(2*s))
	f("closed at once", 0, false, 4*s, hint(5*s), closed(0))
	f("a close that was no time-out", 900*ms, true, 4*s, closed(5*ms), survived(2*s))
	f("a new, shorter time-out", 0, false, 4*s, survived(3*s), closed(5*ms))
}

func TestDeadlineMovesSeldom(t *testing.T) {
	var d deadline
	now := time.Unix(1000, 0)
	f := func(after, limit time.Duration, due bool, at time.Duration) {
		t.Helper()
		if got := d.due(now.Add(after), limit); got != due || !d.at.IsZero() && d.at.Sub(now) != at {
			t.Errorf("after %v: due %t at %v, want %t %v", after, got, d.at.Sub(now), due, at)
		}
	}
	f(0, 8*time.Second, true, 9*time.Second)
	f(time.Second, 8*time.Second, false, 9*time.Second)
	f(1001*time.Millisecond, 8*time.Second, true, 10001*time.Millisecond)
	f(1002*time.Millisecond, 4*time.Second, true, 5502*time.Millisecond)
	f(1003*time.Millisecond, 0, true, 0)
	f(1004*time.Millisecond, 0, false, 0)
}
