package route

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"serin/registry"
)

// Effect is what a table makes of a split. It goes by what Consul says of the
// instances; what is ejected or full meanwhile is not in it.
type Effect struct {
	Ratio    float64  // the canary's share after the guards
	Because  string   // why a guard changed it; "" when the split's Ratio holds on every route
	Warnings []string // a sentence for each arm that is asked for and that no instance is meant for
	Routed   bool     // the service has a route, whose instances the guards count
}

// Effect returns what the table makes of the split of a service or, for the
// service "", of the split of all without one of their own: the ratio it says,
// and the warnings of all these services. Where only some routes of a service
// are without enough instances Ratio is that of the others.
func (t *Table) Effect(service string) (e Effect) {
	if t == nil {
		return e
	}
	e.Ratio = t.split.For(service).Ratio
	if service == "" {
		for _, svc := range t.services {
			if !svc.own {
				e.Warnings = append(e.Warnings, svc.warnings()...)
			}
		}
		return e
	}
	svc := find(t.services, service)
	if svc == nil {
		e.Because = noRoute
		return e
	}
	e.Warnings = svc.warnings()
	type difference struct {
		route  *Route
		effect Effect
	}
	all, differ := 0, []difference(nil)
	for r, p := range t.partsOf(svc) {
		if p.redirects() {
			continue // answered without an instance
		}
		all++
		if one := p.Effect(); one.Because != "" {
			differ = append(differ, difference{r, one})
		}
	}
	e.Routed = all > 0
	switch {
	case all == 0:
		e.Because = noRoute
	case len(differ) == all:
		e.Ratio, e.Because = differ[0].effect.Ratio, differ[0].effect.Because
	case len(differ) > 0:
		first := differ[0]
		e.Because = fmt.Sprintf("%d of %d routes, %s%s: %s", len(differ), all, first.route.Host, first.route.Path, first.effect.Because)
	}
	return e
}

const noRoute = "catalog: the service has no route"

// partsOf yields the service's parts of all routes, in order of its claims.
func (t *Table) partsOf(svc *service) iter.Seq2[*Route, *Part] {
	return func(yield func(*Route, *Part) bool) {
		seen := make(map[spotKey]bool, len(svc.claims))
		for _, k := range svc.spots() {
			if seen[k] {
				continue
			}
			seen[k] = true
			for _, r := range t.index.place(k.host, k.key) {
				for _, p := range r.Parts {
					if p.Service == svc.name && !yield(r, p) {
						return
					}
				}
			}
		}
	}
}

// spots returns where the service has claims, and what commands add to it.
func (svc *service) spots() []spotKey {
	list := make([]spotKey, 0, len(svc.claims)+len(svc.rare.added))
	for i := range svc.claims {
		list = append(list, svc.claims[i].spotKey)
	}
	for _, l := range svc.rare.added {
		list = append(list, l.place.spotKey)
	}
	return list
}

// redirects reports whether no instance of the part is ever asked.
func (p *Part) redirects() bool {
	n := 0
	for a := range p.Arms {
		for _, list := range [...][]*Target{p.Arms[a].Ready, p.Arms[a].Critical} {
			for _, t := range list {
				if t.Options.Redirect == nil {
					return false
				}
				n++
			}
		}
	}
	return n > 0
}

// warnings are the problems that the split has with the service.
func (svc *service) warnings() (out []string) {
	for _, p := range svc.rare.unfit {
		out = append(out, p.Service+": "+p.Error)
	}
	return out
}

// mismatch says why arm a, which the split asks for, can have no instance. A
// split for all services may name a canary and a backup that not all have.
func (b *Builder) mismatch(svc *service, a ArmName) error {
	s := svc.split
	sel, set := s.selector(a)
	to := func(r MatchRule) bool { return r.To == a }
	asked := set && svc.own
	switch a {
	case Stable:
		asked = set && (s.Ratio < 1 || slices.ContainsFunc(s.Match, to))
	case Canary:
		asked = svc.own && (max(s.Ratio, s.Wanted) > 0 || slices.ContainsFunc(s.Match, to))
	}
	holds := func(in registry.Instance) bool { return sel.holds(in.Tags, in.Meta) }
	adds := func(l *lot) bool { return sel.holds(l.targets[0].Tags, nil) }
	name, other := s.joins(a), svc.rare.joined[a]
	switch {
	case len(svc.claims)+len(svc.rare.added) == 0:
	case name != "" && other == nil:
		return fmt.Errorf("the %s arm is service %q, which is not in the catalog", a, name)
	case !asked:
	case name != "":
		if !slices.ContainsFunc(other.Instances, holds) {
			return fmt.Errorf("the %s arm is empty: no instance of service %q has %s", a, name, sel)
		}
	case slices.ContainsFunc(svc.rare.added, adds):
	case svc.from == nil || !slices.ContainsFunc(svc.from.Instances, holds):
		return fmt.Errorf("the %s arm is empty: no instance of the service has %s", a, sel)
	case !svc.routed(a):
		return fmt.Errorf("the %s arm is empty: the instances that have %s have no route tag, or are in another arm", a, sel)
	}
	return nil
}

// routed reports whether an instance of the service that has a route is in arm a.
func (svc *service) routed(a ArmName) bool {
	for i := range svc.claims {
		for k := range svc.claims[i].targets {
			t := &svc.claims[i].targets[k]
			if arm, ok := svc.split.armOf(t.Tags, t.Meta); ok && arm == a {
				return true
			}
		}
	}
	return false
}

// String is what an instance must have, for people.
func (s Selector) String() string {
	var all []string
	if s.Tag != "" {
		all = append(all, fmt.Sprintf("tag %q", s.Tag))
	}
	for _, k := range slices.Sorted(maps.Keys(s.Meta)) {
		all = append(all, fmt.Sprintf("meta %s=%q", k, s.Meta[k]))
	}
	if all == nil {
		return "been registered"
	}
	return strings.Join(all, " and ")
}
