package devconsul

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// Run probes the checks and lets TTLs expire until ctx ends. When it returns,
// every probe has ended; the error is ctx's.
func (s *Server) Run(ctx context.Context) error {
	var probes sync.WaitGroup
	defer probes.Wait()
	for {
		s.mu.Lock()
		before := s.index
		due, next := s.tick(time.Now())
		if s.index != before {
			s.broadcast()
		}
		s.mu.Unlock()
		for _, c := range due {
			probes.Go(func() { s.probe(ctx, c) })
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.kick:
		case <-time.After(time.Until(next)):
		}
	}
}

func (s *Server) probe(ctx context.Context, c *check) {
	status, output := probe(ctx, c.def)
	s.mu.Lock()
	defer s.mu.Unlock()
	c.probing = false
	c.due = time.Now().Add(time.Duration(c.def.Interval))
	if ctx.Err() == nil && s.checks[c.CheckID] == c {
		s.setCheck(c, c.settle(status), output, time.Now())
	}
	s.broadcast()
}

// graveTime is how long a deleted key keeps its index (Consul's TombstoneTTL).
const graveTime = 15 * time.Minute

// tick does what time has brought about: it expires TTLs of checks and
// sessions, removes services that were critical for too long, forgets deleted
// keys, and returns the checks to probe and the moment to come back. The
// caller holds mu.
func (st *state) tick(now time.Time) (due []*check, next time.Time) {
	next = now.Add(graveTime)
	passed := func(t time.Time) bool {
		if t.After(now) {
			next = earlier(next, t)
			return false
		}
		return true
	}
	for _, id := range slices.Sorted(maps.Keys(st.checks)) {
		c := st.checks[id]
		switch {
		case c == nil: // its service was removed on the way
			continue
		case c.due.IsZero() || c.probing || !passed(c.due):
		case c.def.TTL == 0:
			c.probing = true
			due = append(due, c)
		default:
			c.due = time.Time{}
			output := "TTL expired"
			if c.Output != "" {
				output += " (last output before timeout follows): " + c.Output
			}
			st.setCheck(c, critical, output, now)
		}
		after := time.Duration(c.def.DeregisterCriticalServiceAfter)
		if after > 0 && !c.criticalSince.IsZero() && passed(c.criticalSince.Add(after)) {
			st.removeService(c.ServiceID)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(st.sessions)) {
		if d := st.sessions[id].deadline; !d.IsZero() && passed(d) {
			st.endSession(id, now)
		}
	}
	maps.DeleteFunc(st.graves, func(_ string, g grave) bool { return passed(g.dug.Add(graveTime)) })
	maps.DeleteFunc(st.delays, func(_ string, t time.Time) bool { return passed(t) })
	return slices.DeleteFunc(due, func(c *check) bool { return st.checks[c.CheckID] != c }), next
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
