package route

import (
	"cmp"
	"hash/maphash"
	"slices"
	"strings"
)

// generation is the identity of a table: it does not keep the table itself in
// memory.
type generation struct{ _ byte }

// step is what is different between a table and the one that its Builder built
// before.
type step struct {
	from *generation // of the table before

	out, in                    []*Route // not the same value in both
	gone, added, ready, failed []*Target
	problemsOut, problemsIn    []Problem
}

// after returns how t came of old; nil when that is not known.
func (t *Table) after(old *Table) *step {
	if t == nil || old == nil || t.from == nil || old.generation == nil || t.from.from != old.generation {
		return nil
	}
	return t.from
}

// liveKey stands for an instance at its address: a hash of the service, the
// address, the ID and the node that nobody outside can choose. There is one
// for each instance, so its size counts.
type liveKey uint64

var liveSeed = maphash.MakeSeed()

func (t *Target) live() liveKey {
	return liveKey(maphash.Comparable(liveSeed, struct {
		service, addr string
		id            uint64
	}{t.Service, t.Addr, t.idHash}))
}

// liveCount is in how many routes an instance is a target.
type liveCount struct{ ready, critical int32 }

func (c liveCount) listed() bool { return c.ready+c.critical > 0 }

// moves follows which instances come and go while spots are resolved.
type moves struct {
	before  map[liveKey]liveCount
	targets map[liveKey]*Target // the newest that is known
	step    step
}

func newMoves() *moves {
	return &moves{before: map[liveKey]liveCount{}, targets: map[liveKey]*Target{}}
}

// out takes routes out of force; a nil m only counts.
func (m *moves) out(b *Builder, routes []*Route) { m.move(b, routes, -1) }

// in puts routes in force.
func (m *moves) in(b *Builder, routes []*Route) { m.move(b, routes, 1) }

func (m *moves) move(b *Builder, routes []*Route, by int32) {
	if m != nil && by < 0 {
		m.step.out = append(m.step.out, routes...)
	} else if m != nil {
		m.step.in = append(m.step.in, routes...)
	}
	for _, r := range routes {
		for _, p := range r.Parts {
			for a := range p.Arms {
				arm := p.Arms[a]
				for _, t := range arm.Ready {
					m.count(b, t, liveCount{ready: by}, by)
				}
				for _, t := range arm.Critical {
					m.count(b, t, liveCount{critical: by}, by)
				}
			}
		}
	}
}

func (m *moves) count(b *Builder, t *Target, add liveCount, by int32) {
	k := t.live()
	c := b.live[k]
	if m != nil {
		if _, ok := m.before[k]; !ok {
			m.before[k] = c
		}
		if m.targets[k] == nil || by > 0 {
			m.targets[k] = t
		}
	}
	c.ready += add.ready
	c.critical += add.critical
	if c.listed() {
		b.live[k] = c
	} else {
		delete(b.live, k)
	}
}

// into writes what moved into s.
func (m *moves) into(s *step, b *Builder) {
	s.out, s.in = m.step.out, m.step.in
	sortRoutes(s.out, b.NoGlobs)
	sortRoutes(s.in, b.NoGlobs)
	for k, was := range m.before {
		is, t := b.live[k], m.targets[k]
		switch {
		case was.listed() && !is.listed():
			s.gone = append(s.gone, t)
		case !was.listed() && is.listed():
			s.added = append(s.added, t)
		case was.ready == 0 && is.ready > 0:
			s.ready = append(s.ready, t)
		case was.ready > 0 && is.ready == 0:
			s.failed = append(s.failed, t)
		}
	}
	for _, list := range [...][]*Target{s.gone, s.added, s.ready, s.failed} {
		sortTargets(list)
	}
}

func sortTargets(list []*Target) {
	slices.SortFunc(list, func(a, b *Target) int {
		return cmp.Or(strings.Compare(a.Service, b.Service), strings.Compare(a.ID, b.ID), strings.Compare(a.Node, b.Node), strings.Compare(a.Addr, b.Addr))
	})
}

// sortRoutes orders routes as Table.Routes yields them.
func sortRoutes(list []*Route, noGlobs bool) {
	slices.SortFunc(list, func(a, b *Route) int {
		if a.silent != b.silent {
			if a.silent {
				return 1
			}
			return -1
		}
		return cmp.Or(compareHosts(a.Host, b.Host, noGlobs), cmp.Compare(b.Priority, a.Priority), strings.Compare(b.key, a.key), compareInPlace(a, b))
	})
}
