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

// spot is all that is claimed at one host and path, and what came of it. Nearly
// always that is one claim and one route, and then it is small.
type spot struct {
	claim   [1]standing // the only one; the zero value is none
	route   [1]*Route   // the only one in force; nil is none
	more    *crowd      // where that is not enough, it has everything
	touched bool        // it is among those that the build resolves
}

// crowd is what a spot has no room for.
type crowd struct {
	claims []standing // by place, then by service
	routes []*Route   // in force
	hits   []int32    // commands that met something here
}

// standing is a claim that nothing refuses.
type standing struct {
	svc   *service
	claim *claim
}

// content returns what the spot has. The next put overwrites it.
func (s *spot) content() crowd {
	if s.more != nil {
		return *s.more
	}
	c := crowd{claims: s.claim[:], routes: s.route[:]}
	if s.claim[0].svc == nil {
		c.claims = nil
	}
	if s.route[0] == nil {
		c.routes = nil
	}
	return c
}

// put gives the spot its content. It keeps the claims and the hits.
func (s *spot) put(c crowd) {
	if len(c.claims) > 1 || len(c.routes) > 1 || len(c.hits) > 0 {
		if c.routes = slices.Clone(c.routes); s.more == nil {
			c.claims = slices.Clone(c.claims) // they may be s.claim
		}
		s.claim, s.route, s.more = [1]standing{}, [1]*Route{}, &c
		return
	}
	var one spot
	copy(one.claim[:], c.claims)
	copy(one.route[:], c.routes)
	s.claim, s.route, s.more = one.claim, one.route, nil
}

func (s *spot) add(svc *service, c *claim) {
	now := s.content()
	i, _ := slices.BinarySearchFunc(now.claims, standing{svc, c}, func(a, b standing) int {
		return cmp.Or(a.claim.place().compare(b.claim.place()), strings.Compare(a.svc.name, b.svc.name))
	})
	now.claims = slices.Insert(now.claims, i, standing{svc, c})
	s.put(now)
}

func (s *spot) remove(name string, c *claim) {
	now := s.content()
	now.claims = slices.DeleteFunc(now.claims, func(x standing) bool { return x.svc.name == name && x.claim == c })
	s.put(now)
}

// lot is what one service has in one route.
type lot struct {
	svc     *service
	place   place
	path    string
	options *Options
	when    *Condition
	targets []*Target
}

// resolver gives spots their routes, one after the other. It keeps the memory
// that it needs meanwhile. It is for one goroutine.
type resolver struct {
	*Builder
	lots    []lot
	targets []*Target
	routes  []*Route
}

// resolve returns the routes of a spot: those of the claims, changed by the
// commands that concern them. hits are the commands that met something. The
// next call overwrites the list of routes.
func (b *resolver) resolve(k spotKey, claims []standing) (routes []*Route, hits []int32) {
	lots, targets := b.lots[:0], b.targets[:0]
	for _, st := range claims {
		c, from := st.claim, len(targets)
		for i := range c.targets {
			targets = append(targets, &c.targets[i])
		}
		lots = append(lots, lot{st.svc, c.place(), c.path, c.options, c.options.Condition, b.once(targets[from:len(targets):len(targets)])})
	}
	b.lots, b.targets = lots, targets
	if commands := b.over.about(b.Builder, k, claims); len(commands) > 0 {
		lots, hits = b.replay(lots, commands)
	}
	routes = b.routes[:0]
	for i := 0; i < len(lots); {
		n := i + 1
		for n < len(lots) && lots[n].place == lots[i].place {
			n++
		}
		routes = append(routes, b.route(lots[i:n]))
		i = n
	}
	b.routes = routes
	return routes, hits
}

// once leaves out what Fabio has once: a target of the same service, address,
// protocol, weight and tags. Of two the one that is ready counts.
func (b *Builder) once(targets []*Target) []*Target {
	if len(targets) < 2 {
		return targets
	}
	if len(targets) <= 8 {
		for i := range targets {
			for k := range i {
				if b.same(targets[i], targets[k]) {
					return b.dropTwice(targets)
				}
			}
		}
		return targets
	}
	seen := make(map[string]bool, len(targets))
	for _, t := range targets {
		if seen[t.Addr] {
			return b.dropTwice(targets)
		}
		seen[t.Addr] = true
	}
	return targets
}

func (b *Builder) dropTwice(targets []*Target) (out []*Target) {
	for _, t := range targets {
		i := slices.IndexFunc(out, func(u *Target) bool { return b.same(u, t) })
		switch {
		case i < 0:
			out = append(out, t)
		case out[i].state() != ready && t.state() == ready:
			out[i] = t
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

// alone is a route of one service with one arm, as nearly all are, in one piece
// of memory.
type alone struct {
	route Route
	part  Part
	parts [1]*Part
	arm   Arm
}

// noArm is every arm without targets.
var noArm = &Arm{pools: &noPools}

// route makes the route of what services have in one place.
func (b *Builder) route(lots []lot) *Route {
	var route *Route
	var parts []*Part
	if len(lots) == 1 {
		mem := new(alone)
		route, parts = &mem.route, mem.parts[:]
		parts[0] = b.part(&mem.part, &mem.arm, &lots[0])
	} else {
		route, parts = new(Route), make([]*Part, len(lots))
		for i := range lots {
			parts[i] = b.part(new(Part), new(Arm), &lots[i])
		}
	}
	weigh(parts)
	for _, p := range parts {
		for _, arm := range p.Arms {
			if arm != noArm {
				arm.prepare()
			}
		}
	}
	first := &lots[0]
	*route = Route{
		Host: first.place.host, Path: first.path, Parts: parts, key: first.place.key,
		Priority: first.place.priority, When: first.when, silent: first.place.silent,
	}
	for i := range lots {
		route.guarded = route.guarded || lots[i].guarded()
	}
	return route
}

// part makes a service's part of a route. first is the memory of its first arm.
func (b *Builder) part(p *Part, first *Arm, l *lot) *Part {
	svc := l.svc
	*p = Part{Service: svc.name, Split: svc.split, Arms: [len(armNames)]*Arm{noArm, noArm, noArm}}
	open := func(a ArmName) *Arm {
		if p.Arms[a] == noArm {
			if p.Arms[a] = first; first == nil {
				p.Arms[a] = new(Arm)
			}
			first = nil
			p.Arms[a].sequence = svc.turn(a)
		}
		return p.Arms[a]
	}
	for _, t := range l.targets {
		if a, ok := svc.split.armOf(t.Tags, t.Meta); ok && t.counts() {
			arm := open(a)
			if arm.Ready == nil && t.state() == ready {
				arm.Ready = make([]*Target, 0, len(l.targets))
			}
			arm.put(t)
		}
	}
	for a, other := range svc.rare.joined {
		if other == nil {
			continue
		}
		sel, _ := svc.split.selector(ArmName(a))
		options := *l.options
		options.Weight = -1
		for i := range other.Instances {
			in := &other.Instances[i]
			if sel.holds(in.Tags, in.Meta) && b.checkAddr(in.Addr) == nil {
				t := &Target{
					Instance: in, Weight: options.Weight, Options: &options, Source: "document",
					idHash: hashNames(in.ID, in.Node), nodeHash: hashNames(in.Node),
				}
				if t.counts() {
					open(ArmName(a)).put(t)
				}
			}
		}
	}
	p.Split = svc.split.capped(len(p.Arms[Stable].Ready), len(p.Arms[Canary].Ready))
	return p
}

// counts reports whether a target's weight and the instance's health allow it
// in an arm.
func (t *Target) counts() bool { return t.Weight != 0 && t.state() != away }

// put adds a target that counts.
func (a *Arm) put(t *Target) {
	if t.state() == ready {
		a.Ready = append(a.Ready, t)
	} else {
		a.Critical = append(a.Critical, t)
	}
}

// place returns the place of the route.
func (r *Route) place() place {
	return place{spotKey{r.Host, r.key}, r.Priority, r.When.String(), r.silent}
}
