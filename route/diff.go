package route

import (
	"cmp"
	"slices"
	"strings"
)

// Changes is what a table has that another has not, and the other way round.
type Changes struct {
	RoutesAdded, RoutesGone     []*Route
	TargetsAdded, TargetsGone   []*Target // each instance at its address once, ready or not
	TargetsReady, TargetsFailed []*Target // in both tables, but ready only in the new, or only in the old
	ProblemsAdded, ProblemsGone []Problem
	// AddrsGone are addresses that no target has any more: their live state
	// can be retired.
	AddrsGone []string
}

// Empty reports whether there is nothing to tell.
func (c *Changes) Empty() bool {
	return len(c.RoutesAdded)+len(c.RoutesGone)+len(c.TargetsAdded)+len(c.TargetsGone)+
		len(c.TargetsReady)+len(c.TargetsFailed)+len(c.ProblemsAdded)+len(c.ProblemsGone)+len(c.AddrsGone) == 0
}

// Diff compares two tables; either may be nil. What both tables share, because
// one Builder made them and the catalog said nothing new, costs next to
// nothing. Orders are those of the tables.
func Diff(old, new *Table) Changes {
	var c Changes
	before, after := changed(old, new), changed(new, old)
	for _, r := range before {
		if new.lookup(r) == nil {
			c.RoutesGone = append(c.RoutesGone, r)
		}
	}
	for _, r := range after {
		if old.lookup(r) == nil {
			c.RoutesAdded = append(c.RoutesAdded, r)
		}
	}
	was, is := instances(before), instances(after)
	gone, added := was.without(is, new), is.without(was, old)
	c.TargetsGone, c.TargetsAdded = gone.list, added.list
	for _, t := range is.list {
		k := t.identity()
		if _, ok := was.ready[k]; ok && !was.ready[k] && is.ready[k] {
			c.TargetsReady = append(c.TargetsReady, t)
		} else if ok && was.ready[k] && !is.ready[k] {
			c.TargetsFailed = append(c.TargetsFailed, t)
		}
	}
	if len(gone.list) > 0 {
		addrs := make(map[string]bool)
		for _, t := range gone.list {
			addrs[t.Addr] = true
		}
		for t := range new.Targets() {
			delete(addrs, t.Addr)
		}
		for _, t := range gone.list {
			if addrs[t.Addr] {
				c.AddrsGone = append(c.AddrsGone, t.Addr)
				delete(addrs, t.Addr)
			}
		}
	}
	c.ProblemsGone, c.ProblemsAdded = problemsWithout(old.Problems(), new.Problems()), problemsWithout(new.Problems(), old.Problems())
	return c
}

// changed returns the routes of t that other does not share, in matching order.
func changed(t, other *Table) (routes []*Route) {
	if t == nil {
		return nil
	}
	for host := range t.index.hosts() {
		if other != nil && other.index.paths(host) == t.index.paths(host) {
			continue
		}
		for _, r := range t.index.host(host) {
			if other.lookup(r) != r {
				routes = append(routes, r)
			}
		}
	}
	slices.SortFunc(routes, func(a, b *Route) int {
		return cmp.Or(compareHosts(a.Host, b.Host, t.index.noGlobs), cmp.Compare(b.Priority, a.Priority), strings.Compare(b.key, a.key), compareInPlace(a, b))
	})
	return routes
}

// lookup returns t's route of the same host, path, priority and condition as r.
func (t *Table) lookup(r *Route) *Route {
	if t == nil {
		return nil
	}
	for _, found := range t.index.place(r.Host, r.key) {
		if compareInPlace(found, r) == 0 {
			return found
		}
	}
	return nil
}

type identity struct{ service, id, node, addr string }

func (t *Target) identity() identity { return identity{t.Service, t.ID, t.Node, t.Addr} }

// instanceSet is the targets of some routes, each instance once.
type instanceSet struct {
	list  []*Target
	ready map[identity]bool
}

func instances(routes []*Route) instanceSet {
	s := instanceSet{ready: make(map[identity]bool)}
	for _, r := range routes {
		for _, p := range r.Parts {
			for a := range p.Arms {
				for i, list := range [...][]*Target{p.Arms[a].Ready, p.Arms[a].Critical} {
					for _, t := range list {
						k := t.identity()
						ready, seen := s.ready[k]
						if !seen {
							s.list = append(s.list, t)
						}
						s.ready[k] = ready || i == 0
					}
				}
			}
		}
	}
	return s
}

// without returns what s has and neither other nor, in routes that were not
// compared, the table.
func (s instanceSet) without(other instanceSet, table *Table) instanceSet {
	left := instanceSet{ready: make(map[identity]bool)}
	for k := range s.ready {
		if _, ok := other.ready[k]; !ok {
			left.ready[k] = true
		}
	}
	if len(left.ready) == 0 {
		return left
	}
	for t := range table.Targets() {
		delete(left.ready, t.identity())
	}
	for _, t := range s.list {
		if left.ready[t.identity()] {
			left.list = append(left.list, t)
		}
	}
	return left
}

// problemsWithout returns the problems of a that b lacks.
func problemsWithout(a, b []Problem) (left []Problem) {
	type key struct{ service, instance, node, tag, err string }
	of := func(p Problem) key { return key{p.Service, p.Instance, p.Node, p.Tag, p.Error} }
	has := make(map[key]bool, len(b))
	for _, p := range b {
		has[of(p)] = true
	}
	for _, p := range a {
		if !has[of(p)] {
			left = append(left, p)
		}
	}
	return left
}
