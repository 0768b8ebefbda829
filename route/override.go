package route

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"serin/registry"
)

// ErrNothingMatched says that a route command met nothing in this table. It is
// no mistake in the command: what it means may come later.
var ErrNothingMatched = errors.New("nothing matches it now: it applies as soon as something does")

// overriding is a list of commands, by what they concern.
type overriding struct {
	from     *Overrides
	commands []Command
	spots    []spotKey           // of each command; zero where it names none
	added    []*lot              // what each route add adds; nil for other commands and for what was refused
	at       map[spotKey][]int32 // commands that name the place
	of       map[string][]int32  // commands that name only a service
	tagged   map[string][]int32  // commands that name only tags, by the first
	adds     map[string][]int32  // route add, by service
	problems []Problem
	hits     []int32 // spots where the command met something
	missed   int     // commands that met nothing
	moved    bool    // which they are
}

func (b *Builder) overriding(from *Overrides) *overriding {
	o := &overriding{
		from: from, at: map[spotKey][]int32{}, of: map[string][]int32{}, tagged: map[string][]int32{}, adds: map[string][]int32{},
	}
	if from == nil {
		return o
	}
	o.commands = from.Commands
	o.problems = slices.Clip(from.Problems)
	o.spots, o.added, o.hits = make([]spotKey, len(o.commands)), make([]*lot, len(o.commands)), make([]int32, len(o.commands))
	for n := range o.commands {
		c, i := &o.commands[n], int32(n)
		if c.Rule.Path != "" || c.Rule.Host != "" {
			var err error
			if o.spots[i], err = b.spotOf(&c.Rule); err != nil {
				o.problems = append(o.problems, c.problem(err))
				continue
			}
		}
		switch {
		case c.Op == RouteAdd:
			lot, err := b.added(c)
			if err != nil {
				o.problems = append(o.problems, c.problem(err))
				continue
			}
			for _, err := range b.doubts(lot.options) {
				o.problems = append(o.problems, c.problem(err))
			}
			o.added[i] = lot
			o.adds[c.Service] = append(o.adds[c.Service], i)
			o.at[o.spots[i]] = append(o.at[o.spots[i]], i)
			continue
		case o.spots[i] != spotKey{}:
			o.at[o.spots[i]] = append(o.at[o.spots[i]], i)
		case c.Service != "":
			o.of[c.Service] = append(o.of[c.Service], i)
		case len(c.Tags) > 0:
			o.tagged[c.Tags[0]] = append(o.tagged[c.Tags[0]], i)
		default:
			o.problems = append(o.problems, c.problem(errors.New("it names neither a service, a route nor a tag")))
			continue
		}
		o.missed++
	}
	return o
}

// problem is one with a command.
func (c *Command) problem(err error) Problem {
	return Problem{Where: fmt.Sprintf("%s:%d:1", c.Source, c.Line), Service: c.Service, Err: err, Error: err.Error()}
}

// added returns what a route add adds.
func (b *Builder) added(c *Command) (*lot, error) {
	options := c.Rule.Options
	options.Weight = c.Weight
	if err := b.checkRedirect(&options); err != nil {
		return nil, err
	}
	addr := c.Addr
	if addr == "" && options.Redirect != nil {
		addr = c.Dst // no instance is ever asked
	} else if err := b.checkAddr(addr); err != nil {
		return nil, err
	}
	t := Target{
		Instance: &registry.Instance{Service: c.Service, ID: addr, Addr: addr, Tags: c.Tags, Weight: 1, Ready: true},
		Weight:   c.Weight, Options: &options,
		Source: fmt.Sprintf("%s:%d", c.Source, c.Line), idHash: hashNames(addr, ""), nodeHash: hashNames(""),
	}
	rule := c.Rule
	rule.Options = options
	where, err := b.placeOf(&rule)
	return &lot{place: where, path: rule.Path, options: &options, when: options.Condition, targets: []*Target{&t}}, err
}

// about returns the commands that concern a spot, in order.
func (o *overriding) about(b *Builder, k spotKey, claims []standing) []int32 {
	if len(o.commands) == 0 {
		return nil
	}
	at := o.at[k]
	all := at[:len(at):len(at)]
	add := func(svc *service) {
		all = append(all, o.of[svc.name]...)
		all = append(all, svc.rare.tagged...)
	}
	for _, st := range claims {
		add(st.svc)
	}
	for _, i := range at {
		if o.added[i] != nil {
			add(b.service(o.commands[i].Service))
		}
	}
	if len(all) > len(at) {
		slices.Sort(all)
		all = slices.Compact(all)
	}
	return all
}

// taggedBy returns the commands for tags alone that may concern a target of
// the service.
func (o *overriding) taggedBy(svc *service) (all []int32) {
	if len(o.tagged) == 0 {
		return nil
	}
	take := func(tags []string) {
		for _, tag := range tags {
			all = append(all, o.tagged[tag]...)
		}
	}
	if svc.from != nil {
		for i := range svc.from.Instances {
			take(svc.from.Instances[i].Tags)
		}
	}
	for _, i := range o.adds[svc.name] {
		take(o.commands[i].Tags)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// replay applies commands to what the catalog says of a spot, in order. What
// they leave nothing of is gone.
func (b *Builder) replay(lots []lot, commands []int32) (out []lot, hits []int32) {
	empty := make([]bool, len(lots)) // had no target to begin with
	for i := range lots {
		lots[i].targets = slices.Clone(lots[i].targets)
		empty[i] = len(lots[i].targets) == 0
	}
	for _, n := range commands {
		c := &b.over.commands[n]
		met := false
		switch c.Op {
		case RouteAdd:
			lots, empty = b.add(lots, empty, b.over.added[n], c)
			continue
		case RouteDel:
			whole := len(c.Tags) == 0 && c.Dst == ""
			for i := range lots {
				l := &lots[i]
				if c.Service != "" && l.svc.name != c.Service {
					continue
				}
				before := len(l.targets)
				l.targets = slices.DeleteFunc(l.targets, func(t *Target) bool { return c.names(t) })
				met = met || len(l.targets) < before || whole && empty[i]
				if whole {
					empty[i] = false
				}
			}
		case RouteWeight:
			var group []**Target
			fit := 0
			for i := range lots {
				for k := range lots[i].targets {
					if t := lots[i].targets[k]; c.names(t) {
						group = append(group, &lots[i].targets[k])
						if t.state() == ready {
							fit++
						}
					}
				}
			}
			for _, at := range group {
				t := **at
				t.Weight = c.Weight / float64(max(1, fit))
				*at = &t
			}
			met = len(group) > 0
		}
		if met {
			hits = append(hits, n)
		}
	}
	for i := range lots {
		if len(lots[i].targets) > 0 || empty[i] {
			lots[i].targets = b.once(lots[i].targets)
			out = append(out, lots[i])
		}
	}
	return out, hits
}

// add adds what a route add adds, unless it is there.
func (b *Builder) add(lots []lot, empty []bool, added *lot, c *Command) ([]lot, []bool) {
	i, ok := slices.BinarySearchFunc(lots, added, func(a lot, added *lot) int {
		return cmp.Or(a.place.compare(added.place), cmp.Compare(a.svc.name, c.Service))
	})
	if !ok {
		l := *added
		l.svc, l.targets = b.service(c.Service), nil
		lots, empty = slices.Insert(lots, i, l), slices.Insert(empty, i, false)
	}
	l := &lots[i]
	if !slices.ContainsFunc(l.targets, func(t *Target) bool { return t.state() == ready && b.same(t, added.targets[0]) }) {
		l.targets = append(l.targets, added.targets[0])
	}
	return lots, empty
}

// names reports whether the command is for the target.
func (c *Command) names(t *Target) bool {
	if c.Service != "" && t.Service != c.Service {
		return false
	}
	for _, tag := range c.Tags {
		if !slices.Contains(t.Tags, tag) {
			return false
		}
	}
	switch {
	case c.Dst == "":
		return true
	case c.Addr == "":
		return t.Options.Redirect != nil && t.Options.Redirect.URL == c.Dst
	}
	return t.Addr == c.Addr && t.Options.Proto == c.Rule.Options.Proto
}

// count takes note that commands meet something at one spot more (by 1) or less.
func (o *overriding) count(hits []int32, by int32) {
	for _, n := range hits {
		was := o.hits[n] > 0
		o.hits[n] += by
		switch is := o.hits[n] > 0; {
		case was && !is:
			o.missed++
			o.moved = true
		case is && !was:
			o.missed--
			o.moved = true
		}
	}
}

// nothing returns a problem for each command that met nothing.
func (o *overriding) nothing() (out []Problem) {
	if o.missed == 0 {
		return nil
	}
	for i := range o.commands {
		if c := &o.commands[i]; c.Op != RouteAdd && o.hits[i] == 0 && (o.spots[i] != spotKey{} || c.Service != "" || len(c.Tags) > 0) {
			out = append(out, c.problem(fmt.Errorf("%s: %w", c, ErrNothingMatched)))
		}
	}
	return out
}

// services returns the names of those that commands add to.
func (o *overriding) services() []string { return slices.Sorted(maps.Keys(o.adds)) }
