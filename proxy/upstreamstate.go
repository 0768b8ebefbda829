package proxy

import (
	"slices"
	"strings"
)

// UpstreamState is the live state of one instance, for people.
type UpstreamState struct {
	Addr      string   `json:"addr"`
	Services  []string `json:"services"` // that sent it requests
	InFlight  int      `json:"in_flight"`
	State     string   `json:"state"`             // ok, warming, ejected or probing
	Until     float64  `json:"until,omitempty"`   // ejected: seconds until it is probed
	Because   string   `json:"because,omitempty"` // ejected: class of the failure
	Ejections int      `json:"ejections,omitempty"`
	Answers   int      `json:"answers"`  // in the last 10 s
	Failures  int      `json:"failures"` // of these
}

// Snapshot returns the state of all instances, ordered by address.
func (u *Upstreams) Snapshot() []UpstreamState {
	now := u.now()
	var all []UpstreamState
	for addr, in := range u.byAddr.all() {
		s := UpstreamState{Addr: addr, InFlight: int(in.inFlight.Load()), Services: []string{}}
		for _, c := range in.allClaims() {
			s.Services = append(s.Services, c.plain.service.name)
		}
		in.mu.Lock()
		c := in.condition
		in.mu.Unlock()
		c.w.roll(now)
		s.State, s.Ejections = phaseNames[c.phase], c.ejections
		s.Answers, s.Failures = int(c.w.sum[answers]), int(c.w.sum[failures])
		if c.phase == ejected {
			s.Until, s.Because = max(c.until-now, 0).Seconds(), c.because.String()
			if c.probed > 0 {
				s.State = "probing"
			}
		}
		if c.phase == warming && now-c.since >= rampTime {
			s.State = phaseNames[steady]
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b UpstreamState) int { return strings.Compare(a.Addr, b.Addr) })
	return all
}
