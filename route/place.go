package route

import (
	"cmp"
	"slices"
	"strings"
)

// spotKey is a host and a path in the form of CleanPath: the src of a command.
type spotKey struct{ host, key string }

// place is what the claims of one route have in common.
type place struct {
	spotKey
	priority  int
	condition string // in the form of a tag; "" is none
	silent    bool   // its traffic is not carried
}

// compare orders the places of one host and path as they are tried.
func (p place) compare(o place) int {
	bit := func(v bool) int {
		if v {
			return 1
		}
		return 0
	}
	return cmp.Or(bit(p.silent)-bit(o.silent), cmp.Compare(o.priority, p.priority),
		bit(p.condition == "")-bit(o.condition == ""), strings.Compare(p.condition, o.condition))
}

func (b *Builder) placeOf(r *Rule) (place, error) {
	k, err := b.spotOf(r)
	return place{k, r.Options.Priority, r.Options.Condition.String(), !r.Options.Proto.Carried()}, err
}

func (b *Builder) spotOf(r *Rule) (spotKey, error) {
	key, err := b.Matcher.key(r.Path)
	return spotKey{r.Host, key}, err
}

// spot is all that is claimed at one host and path, and what came of it.
type spot struct {
	claims []standing // by place, then by service
	routes []*Route   // in force
	hits   []int32    // commands that met something here
}

// standing is a claim that nothing refuses.
type standing struct {
	svc   *service
	claim *claim
}

func (s *spot) add(svc *service, c *claim) {
	i, _ := slices.BinarySearchFunc(s.claims, standing{svc, c}, func(a, b standing) int {
		return cmp.Or(a.claim.place.compare(b.claim.place), strings.Compare(a.svc.name, b.svc.name))
	})
	s.claims = slices.Insert(s.claims, i, standing{svc, c})
}

func (s *spot) remove(name string, c *claim) {
	s.claims = slices.DeleteFunc(s.claims, func(x standing) bool { return x.svc.name == name && x.claim == c })
}

// lot is what one service has in one route.
type lot struct {
	svc     *service
	place   place
	path    string
	options *Options
	when    *Condition
	targets []entry
}

// resolve returns the routes of a spot: those of the claims, changed by the
// commands that concern them. hits are the commands that met something.
func (b *Builder) resolve(k spotKey, s *spot) (routes []*Route, hits []int32) {
	var few [4]lot
	lots := few[:0]
	for _, st := range s.claims {
		c := st.claim
		lots = append(lots, lot{st.svc, c.place, c.path, c.options, c.options.Condition, b.once(c.targets)})
	}
	if commands := b.over.about(b, k, s); len(commands) > 0 {
		lots, hits = b.replay(lots, commands)
	}
	for i := 0; i < len(lots); {
		n := i + 1
		for n < len(lots) && lots[n].place == lots[i].place {
			n++
		}
		routes = append(routes, b.route(lots[i:n]))
		i = n
	}
	return routes, hits
}

// once leaves out what Fabio has once: a target of the same service, address,
// protocol, weight and tags. Of two the one that is ready counts.
func (b *Builder) once(targets []entry) []entry {
	if len(targets) < 2 {
		return targets
	}
	if len(targets) <= 8 {
		for i := range targets {
			for k := range i {
				if b.same(targets[i].target, targets[k].target) {
					return b.dropTwice(targets)
				}
			}
		}
		return targets
	}
	seen := make(map[string]bool, len(targets))
	for _, e := range targets {
		if seen[e.target.Addr] {
			return b.dropTwice(targets)
		}
		seen[e.target.Addr] = true
	}
	return targets
}

func (b *Builder) dropTwice(targets []entry) (out []entry) {
	for _, e := range targets {
		i := slices.IndexFunc(out, func(x entry) bool { return b.same(x.target, e.target) })
		switch {
		case i < 0:
			out = append(out, e)
		case out[i].state != ready && e.state == ready:
			out[i] = e
		}
	}
	return out
}

// same is Fabio's equality of targets: it ignores the other options, and the
// tags that are routes.
func (b *Builder) same(t, u *Target) bool {
	return t.Service == u.Service && t.Addr == u.Addr && t.Weight == u.Weight && t.Options.Proto == u.Options.Proto &&
		(slices.Equal(t.Tags, u.Tags) || slices.Equal(plainTags(t.Tags, b.prefix()), plainTags(u.Tags, b.prefix())))
}

// plainTags returns the tags that are no routes.
func plainTags(all []string, prefix string) (tags []string) {
	for _, tag := range all {
		if !strings.HasPrefix(strings.TrimSpace(tag), prefix) {
			tags = append(tags, tag)
		}
	}
	return tags
}

// route makes the route of what services have in one place.
func (b *Builder) route(lots []lot) *Route {
	// A route of one service, as nearly all are, is one piece of memory.
	type alone struct {
		route Route
		part  Part
		parts [1]*Part
	}
	var route *Route
	var parts []*Part
	if len(lots) == 1 {
		mem := new(alone)
		route, parts = &mem.route, mem.parts[:]
		parts[0] = b.part(&mem.part, &lots[0])
	} else {
		route, parts = new(Route), make([]*Part, len(lots))
		for i := range lots {
			parts[i] = b.part(new(Part), &lots[i])
		}
	}
	weigh(parts)
	for _, p := range parts {
		for a := range p.Arms {
			arm := &p.Arms[a]
			arm.ready, arm.critical = newPool(arm.Ready, arm.Fixed), newPool(arm.Critical, 0)
		}
	}
	first := &lots[0]
	*route = Route{
		Host: first.place.host, Path: first.path, Parts: parts, key: first.place.key,
		Priority: first.place.priority, When: first.when, condition: first.place.condition, silent: first.place.silent,
	}
	for i := range lots {
		route.guarded = route.guarded || lots[i].guarded()
	}
	return route
}

func (b *Builder) part(p *Part, l *lot) *Part {
	svc := l.svc
	*p = Part{Service: svc.name, Split: svc.split}
	for a := range p.Arms {
		p.Arms[a].sequence = svc.turns[a]
	}
	for _, e := range l.targets {
		if a, ok := svc.split.armOf(e.target.Tags, e.target.Meta); ok {
			if arm := &p.Arms[a]; arm.Ready == nil && e.state == ready {
				arm.Ready = make([]*Target, 0, len(l.targets))
			}
			p.Arms[a].put(e)
		}
	}
	for a, other := range svc.joined {
		if other == nil {
			continue
		}
		sel, _ := svc.split.selector(ArmName(a))
		options := *l.options
		options.Weight = -1
		for i := range other.Instances {
			in := &other.Instances[i]
			if sel.holds(in.Tags, in.Meta) && b.checkAddr(in.Addr) == nil {
				t := newTarget(in, &options, "")
				t.Source = "document"
				p.Arms[a].put(entry{t, stateOf(in)})
			}
		}
	}
	return p
}

// put adds a target where its weight and the instance's health allow.
func (a *Arm) put(e entry) {
	switch {
	case e.target.Weight == 0:
	case e.state == ready:
		a.Ready = append(a.Ready, e.target)
	case e.state == unready:
		a.Critical = append(a.Critical, e.target)
	}
}

// place returns the place of the route.
func (r *Route) place() place {
	return place{spotKey{r.Host, r.key}, r.Priority, r.condition, r.silent}
}
