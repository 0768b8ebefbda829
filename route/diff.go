package route

import (
	"iter"
	"slices"
)

// Changes is what a table has that another has not, and the other way round.
type Changes struct {
	RoutesAdded, RoutesGone     []*Route  // in matching order
	TargetsAdded, TargetsGone   []*Target // each instance at its address once, ready or not; by service, ID, node
	TargetsReady, TargetsFailed []*Target // in both tables, but ready only in the new, or only in the old
	ProblemsAdded, ProblemsGone []Problem
}

// Empty reports whether there is nothing to tell.
func (c *Changes) Empty() bool {
	return len(c.RoutesAdded)+len(c.RoutesGone)+len(c.TargetsAdded)+len(c.TargetsGone)+
		len(c.TargetsReady)+len(c.TargetsFailed)+len(c.ProblemsAdded)+len(c.ProblemsGone) == 0
}

// Diff compares two tables; either may be nil. Of a table and the next one that
// the same Builder built it costs in proportion to what changed, of others in
// proportion to all that they have.
func Diff(old, new *Table) Changes {
	var c Changes
	out, in := Replaced(old, new)
	places := func(routes []*Route) map[place]bool {
		m := make(map[place]bool, len(routes))
		for _, r := range routes {
			m[r.place()] = true
		}
		return m
	}
	was, is := places(out), places(in)
	for _, r := range out {
		if !is[r.place()] {
			c.RoutesGone = append(c.RoutesGone, r)
		}
	}
	for _, r := range in {
		if !was[r.place()] {
			c.RoutesAdded = append(c.RoutesAdded, r)
		}
	}
	s := new.after(old)
	if s == nil {
		s = compare(old, new)
	}
	c.TargetsAdded, c.TargetsGone, c.TargetsReady, c.TargetsFailed = s.added, s.gone, s.ready, s.failed
	c.ProblemsGone, c.ProblemsAdded = problemsWithout(s.problemsOut, s.problemsIn), problemsWithout(s.problemsIn, s.problemsOut)
	return c
}

// Replaced returns the routes of old that are not the same value in new, and
// those of new that are not the same value in old, both in matching order. Its
// cost is that of [Diff].
func Replaced(old, new *Table) (out, in []*Route) {
	if s := new.after(old); s != nil {
		return s.out, s.in
	}
	return without(old, new), without(new, old)
}

func without(t, other *Table) (left []*Route) {
	has := make(map[*Route]bool, other.Len())
	for r := range other.Routes() {
		has[r] = true
	}
	for r := range t.Routes() {
		if !has[r] {
			left = append(left, r)
		}
	}
	return left
}

// compare finds out what is different between any two tables, but for routes.
func compare(old, new *Table) *step {
	s := &step{problemsOut: old.Problems(), problemsIn: new.Problems()}
	was, is := instances(old), instances(new)
	for k, a := range was {
		switch b, ok := is[k]; {
		case !ok:
			s.gone = append(s.gone, a.target)
		case !a.ready && b.ready:
			s.ready = append(s.ready, b.target)
		case a.ready && !b.ready:
			s.failed = append(s.failed, b.target)
		}
	}
	for k, b := range is {
		if _, ok := was[k]; !ok {
			s.added = append(s.added, b.target)
		}
	}
	for _, list := range [...][]*Target{s.gone, s.added, s.ready, s.failed} {
		sortTargets(list)
	}
	return s
}

// known is an instance of a table, at its address.
type known struct {
	target *Target
	ready  bool
}

func instances(t *Table) map[liveKey]known {
	all := make(map[liveKey]known)
	for t, ready := range t.targets() {
		k := t.live()
		all[k] = known{t, ready || all[k].ready}
	}
	return all
}

// targets yields all targets and whether they are ready.
func (t *Table) targets() iter.Seq2[*Target, bool] {
	return func(yield func(*Target, bool) bool) {
		for r := range t.Routes() {
			for _, p := range r.Parts {
				for a := range p.Arms {
					for _, t := range p.Arms[a].Ready {
						if !yield(t, true) {
							return
						}
					}
					for _, t := range p.Arms[a].Critical {
						if !yield(t, false) {
							return
						}
					}
				}
			}
		}
	}
}

// problemsWithout returns the problems of a that b lacks.
func problemsWithout(a, b []Problem) (left []Problem) {
	type key struct{ where, service, instance, node, tag, err string }
	of := func(p Problem) key { return key{p.Where, p.Service, p.Instance, p.Node, p.Tag, p.Error} }
	has := make(map[key]bool, len(b))
	for _, p := range b {
		has[of(p)] = true
	}
	return slices.DeleteFunc(slices.Clone(a), func(p Problem) bool { return has[of(p)] })
}
