package rollout

import (
	"testing"
	"time"
)

// The time in which nobody led does not count for the step.
func TestLed(t *testing.T) {
	p := stepsPlan(1)
	p.Steps[0].For = time.Minute
	start := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	at := func(d time.Duration) time.Time { return start.Add(d) }
	for _, c := range []struct {
		what               string
		phase              Phase
		step               int
		entered, led, now  time.Duration // led < 0: never
		wantEntered, noted time.Duration // noted < 0: no new note
	}{
		{"a first note", Running, 0, 0, -1, 3 * time.Second, 0, 3 * time.Second},
		{"noted lately", Running, 0, 0, 10 * time.Second, 14 * time.Second, 0, -1},
		{"due", Running, 0, 0, 10 * time.Second, 15 * time.Second, 0, 15 * time.Second},
		{"a short absence", Running, 0, 0, 10 * time.Second, 20 * time.Second, 0, 20 * time.Second},
		{"an hour without a leader", Running, 0, 0, 10 * time.Second, time.Hour, time.Hour - 10*time.Second, time.Hour},
		{"the step began after the last note", Running, 0, 12 * time.Second, 10 * time.Second, 13 * time.Second, 12 * time.Second, 13 * time.Second},
		{"and then nobody led", Running, 0, 12 * time.Second, 10 * time.Second, time.Hour, time.Hour, time.Hour},
		{"the clock went back", Running, 0, 0, 30 * time.Second, 20 * time.Second, 0, -1},
		{"paused", Paused, 0, 0, 10 * time.Second, time.Hour, 0, -1},
		{"promoted", Promoted, 0, 0, 10 * time.Second, time.Hour, 0, -1},
	} {
		s := State{V: Version, Phase: c.phase, Step: c.step, Entered: at(c.entered)}
		if c.led >= 0 {
			s.Led = at(c.led)
		}
		want := s
		want.Entered = at(c.wantEntered)
		if c.noted >= 0 {
			want.Led = at(c.noted)
		}
		if got := led(p, s, at(c.now)); got != want {
			t.Errorf("%s: entered %s, led %s; want %s, %s", c.what, got.Entered.Sub(start), got.Led.Sub(start), want.Entered.Sub(start), want.Led.Sub(start))
		}
	}
	ramp := &Plan{Service: "web", Ramp: &Ramp{To: 1, Over: time.Hour}}
	if s := (State{Phase: Running, Led: start}); led(ramp, s, at(time.Hour)) != s {
		t.Error("a ramp is a function of time: nobody has to lead it")
	}
}
