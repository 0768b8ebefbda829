package rollout

import "time"

const (
	// ledEvery is how often the leader notes in the state that somebody leads.
	ledEvery = 5 * time.Second
	// ledGap is what must lie between two notes for the time between them to be
	// time in which nobody led: another leader, or Consul's return, takes longer.
	ledGap = 2 * ledEvery
)

// led is the state as a leader finds it at now. The time in which nobody led does
// not count for a step: without a leader it is held, and where Consul was away the
// canary's share may have been 0. So a step that had a minute of its ten has nine
// to go. It is noted only while time may move the rollout, and is pure.
func led(p *Plan, s State, now time.Time) State {
	if s.Phase != Running || p.form() != bySteps || p.ends(s, now).IsZero() && p.ends(s, s.Led).IsZero() {
		return s
	}
	gap := now.Sub(s.Led)
	switch {
	case s.Led.IsZero() || s.Led.Before(s.Entered) && gap <= ledGap:
		s.Led = now.UTC().Round(0)
	case gap > ledGap:
		// What lies before the step began was not held from it.
		s.Entered = later(s.Entered, min(gap, now.Sub(s.Entered)))
		fallthrough
	case gap >= ledEvery:
		s.Led = now.UTC().Round(0)
	}
	return s
}
