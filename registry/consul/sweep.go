package consul

import "time"

const (
	// sweepShare is the part of a core of the agent that a sweep may take.
	sweepShare = 0.05
	// sweepFloor is the least time between two reads of a sweep.
	sweepFloor = 2 * time.Millisecond
)

// sweep reads every service again and again, one at a time, the one not heard of
// for longest first.
type sweep struct {
	cost   time.Duration // of a read: what it took, on average; no less than what it costs the agent
	next   time.Time
	busy   bool
	hurry  int // so many reads need not wait for the period
	period time.Duration
}

// sweepPause is the time between the starts of two reads of a sweep over n
// services: the period is kept unless reads cost too much. In a hurry the cost
// alone counts.
func sweepPause(n int, period, cost time.Duration, hurry bool) time.Duration {
	pause := max(sweepFloor, time.Duration(float64(cost)/sweepShare))
	if !hurry && n > 0 {
		pause = max(pause, period/time.Duration(n))
	}
	return pause
}

// done notes that a read took so long.
func (s *sweep) done(took time.Duration, _ time.Time) {
	s.busy = false
	if s.cost == 0 {
		s.cost = took
	}
	s.cost += (took - s.cost) / 8
}

// due tells whether a service is to be read now, out of n; when not, again is
// when it will be.
func (s *sweep) due(n int, now time.Time) (read bool, again time.Time) {
	if s.busy || n == 0 {
		return false, time.Time{}
	}
	if s.next.IsZero() {
		s.next = now.Add(sweepPause(n, s.period, s.cost, s.hurry > 0))
	}
	if now.Before(s.next) {
		return false, s.next
	}
	s.busy, s.hurry = true, max(0, s.hurry-1)
	s.next = now.Add(sweepPause(n, s.period, s.cost, s.hurry > 0))
	return true, time.Time{}
}

// rush has the next n reads follow each other as fast as the agent may be asked.
func (s *sweep) rush(n int) {
	if s.hurry == 0 {
		s.next = time.Time{}
	}
	s.hurry = n
}
