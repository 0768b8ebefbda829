package route

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"serin/registry"
)

type table struct {
	index   *index
	prefix  string
	refused []Problem
	split   Splits
	catalog *registry.Snapshot

	services map[string]*service
}

type builder struct {
	services map[string]*service // of the last build
	hosts    map[string][]*Route // of the last build: what claims the routes of each host
	index    *index              // of the last build
}

// service is the compiled form of a registry.Service: all that a build needs
// of it as long as nothing it was made from has changed.
type service struct {
	from   *registry.Service
	split  *Split
	own    bool                             // split is the service's own, not a copy of
	whole  *Split                           // the default
	joined [len(armNames)]*registry.Service // other services that make an arm

	turns    [len(armNames)]string // names of the arms' round robin
	claims   []claim
	refused  []Problem // by claims
	routes   []*Route  // as if no other service claimed them
	problems []Problem // refused, and what the split cannot have
}

// claim is one route that a service claims, with its own targets.
type claim struct {
	host, path, key string
	options         *Options // of the first tag
	targets         []claimed
}

type claimed struct {
	target *Target
	from   *registry.Instance
}

// Build compiles the table. It never fails: what is wrong becomes a Problem.
func (b *Builder) Build(in Inputs) *Table {
	s, splits := in.Snapshot, in.Splits
	t := &Table{table{prefix: b.prefix(), split: splits, catalog: s}}
	last := b.services
	b.services = make(map[string]*service, s.Len())
	t.services = b.services
	hosts := make(map[string][]*Route)
	for from := range s.All() {
		svc := b.compile(last[from.Name], from, splits, s)
		b.services[from.Name] = svc
		t.refused = append(t.refused, svc.problems...)
		for _, r := range svc.routes {
			hosts[r.Host] = append(hosts[r.Host], r)
		}
	}
	if b.index == nil {
		b.index = newIndex(b.Matcher, b.NoGlobs)
	}
	edit := b.index.edit()
	for host, routes := range hosts {
		if !slices.Equal(b.hosts[host], routes) {
			edit.set(host, mergeAll(routes))
		}
	}
	for host := range b.hosts {
		if hosts[host] == nil {
			edit.set(host, nil)
		}
	}
	b.hosts, b.index = hosts, edit.done()
	t.index = b.index
	slices.SortStableFunc(t.refused, func(a, b Problem) int {
		return cmp.Or(strings.Compare(a.Service, b.Service), strings.Compare(a.Instance, b.Instance),
			strings.Compare(a.Node, b.Node), strings.Compare(a.Tag, b.Tag))
	})
	return t
}

func (b *Builder) prefix() string { return cmp.Or(b.TagPrefix, "urlprefix-") }

func (b *Builder) compile(last *service, from *registry.Service, splits Splits, s *registry.Snapshot) *service {
	svc := &service{from: from, own: splits.ByService[from.Name] != nil, whole: splits.Default}
	if last != nil && !svc.own && !last.own && last.whole == svc.whole {
		svc.split = last.split // the same copy: what is unchanged must be found so by its pointer
	} else {
		svc.split = splits.For(from.Name)
	}
	split := svc.split
	for a := range svc.joined {
		if name := split.joins(ArmName(a)); name != "" {
			svc.joined[a] = s.Service(name)
		}
	}
	if last != nil && last.from == from {
		if last.split == split && last.joined == svc.joined {
			return last
		}
		svc.claims, svc.refused = last.claims, last.refused
	} else {
		b.claim(svc)
	}
	svc.problems = slices.Clip(svc.refused)
	for a := range svc.joined {
		if err := svc.mismatch(ArmName(a)); err != nil {
			svc.problem(nil, "", err)
		}
	}
	for a := range svc.turns {
		svc.turns[a] = from.Name + "\x00" + armNames[a]
	}
	svc.routes = make([]*Route, len(svc.claims))
	for i := range svc.claims {
		svc.routes[i] = svc.route(&svc.claims[i])
	}
	return svc
}

func (svc *service) problem(in *registry.Instance, tag string, err error) {
	p := Problem{Service: svc.from.Name, Tag: tag, Err: err, Error: err.Error()}
	if in != nil {
		p.Instance, p.Node = in.ID, in.Node
	}
	if len(p.Tag) > maxTag {
		p.Tag = strings.ToValidUTF8(p.Tag[:64], "") + "…"
	}
	svc.problems = append(svc.problems, p)
}

// claim parses the tags of the service's instances.
func (b *Builder) claim(svc *service) {
	type parsed struct {
		*Rule
		key string
		err error
	}
	type tagKey struct{ tag, dc string }
	tags := make(map[tagKey]parsed) // instances of a service mostly have the same ones
	parse := func(tag, dc string) parsed {
		k := tagKey{tag, dc}
		p, ok := tags[k]
		if !ok {
			rule, err := parseTag(b.prefix(), dc, tag)
			p = parsed{Rule: &rule, err: err}
			if key, err := b.Matcher.key(rule.Path); p.err == nil {
				p.key, p.err = key, err
			}
			tags[k] = p
		}
		return p
	}
	type place struct{ host, key string }
	places := make(map[place]int)
	for i := range svc.from.Instances {
		in := &svc.from.Instances[i]
		addrErr := checkAddr(in.Addr)
		routes := 0
		for _, tag := range in.Tags {
			p := parse(tag, cmp.Or(b.Datacenter, in.Datacenter))
			if errors.Is(p.err, ErrNotRoute) {
				continue
			}
			if routes++; routes > maxTags {
				svc.problem(in, tag, fmt.Errorf("the instance has more than %d route tags: this one and what follows is ignored", maxTags))
				break
			}
			if p.err != nil {
				svc.problem(in, tag, p.err)
				continue
			}
			n, ok := places[place{p.Host, p.key}]
			if !ok {
				n = len(svc.claims)
				places[place{p.Host, p.key}] = n
				svc.claims = append(svc.claims, claim{host: p.Host, path: p.Path, key: p.key, options: &p.Options})
			}
			c := &svc.claims[n]
			if k := len(c.targets) - 1; k >= 0 && c.targets[k].from == in {
				if first := c.targets[k].target; first.Options.String() != p.Options.String() {
					svc.problem(in, tag, fmt.Errorf("the instance claims this route a second time with other options: tag %q holds", first.Tag))
				}
			} else if addrErr == nil {
				c.targets = append(c.targets, claimed{newTarget(in, &p.Options, tag), in})
			}
		}
		if routes == 0 {
			continue
		}
		if addrErr != nil {
			svc.problem(in, "", addrErr)
		}
		if unchecked(in) {
			svc.problem(in, "", fmt.Errorf("the instance %s", in.Reason))
		}
	}
	svc.refused = svc.problems
}

// unchecked reports whether an instance gets nothing only because it lacks a
// health check: that does not pass by itself.
func unchecked(in *registry.Instance) bool {
	return !in.Ready && in.Health == registry.Passing && !slices.ContainsFunc(in.Checks, func(c registry.Check) bool {
		return !c.Node && !strings.HasPrefix(c.ID, "_service_maintenance:")
	})
}

// checkAddr says why an instance's address cannot be a target: it is not
// host:port, or it is one that reaches something else than that instance.
func checkAddr(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	switch {
	case addr == "":
		return errors.New("the instance has no address: register it with one")
	case err != nil:
		return fmt.Errorf("address %q is not host:port", addr)
	case host == "":
		return fmt.Errorf("address %q has no host: register the service or its node with one", addr)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("address %q has no port from 1 to 65535: register the service with the port it listens on", addr)
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip = ip.Unmap(); ip.IsUnspecified() || ip.IsMulticast() || ip.IsLinkLocalUnicast() {
			return fmt.Errorf("address %q is unspecified, multicast or link-local: such addresses are no targets", addr)
		}
	} else if _, _, err := parseHost(host, false); err != nil {
		return fmt.Errorf("address %q: %w", addr, err)
	}
	return nil
}

func newTarget(in *registry.Instance, o *Options, tag string) *Target {
	return &Target{
		Service: in.Service, ID: in.ID, Node: in.Node, Datacenter: in.Datacenter, Addr: in.Addr, Tags: in.Tags, Meta: in.Meta,
		Weight: o.Weight, Capacity: max(1, in.Weight), Options: o, Tag: tag,
		idHash: hashNames(in.ID, in.Node), nodeHash: hashNames(in.Node),
	}
}

// route returns the route that the service would have to itself.
func (svc *service) route(c *claim) *Route {
	p := &Part{Service: svc.from.Name, Split: svc.split}
	for a := range p.Arms {
		p.Arms[a].sequence = svc.turns[a]
	}
	for _, t := range c.targets {
		if a, ok := svc.split.armOf(t.from.Tags, t.from.Meta); ok {
			p.Arms[a].put(t.target, t.from)
		}
	}
	for a, other := range svc.joined {
		if other == nil {
			continue
		}
		sel, _ := svc.split.selector(ArmName(a))
		options := *c.options
		options.Weight = -1
		for i := range other.Instances {
			in := &other.Instances[i]
			if sel.holds(in.Tags, in.Meta) && checkAddr(in.Addr) == nil {
				p.Arms[a].put(newTarget(in, &options, ""), in)
			}
		}
	}
	return newRoute(c.host, c.path, c.key, []*Part{p})
}

// put adds t where its weight and the instance's health allow.
func (a *Arm) put(t *Target, in *registry.Instance) {
	switch {
	case t.Weight == 0:
	case in.Ready:
		a.Ready = append(a.Ready, t)
	case in.Health != registry.Maintenance:
		a.Critical = append(a.Critical, t)
	}
}

// mergeAll merges the routes of one host that have the same path.
func mergeAll(from []*Route) (merged []*Route) {
	routes := slices.Clone(from)
	slices.SortFunc(routes, func(a, b *Route) int {
		return cmp.Or(strings.Compare(a.key, b.key), strings.Compare(a.Parts[0].Service, b.Parts[0].Service))
	})
	for len(routes) > 0 {
		n := 1
		for n < len(routes) && routes[n].key == routes[0].key {
			n++
		}
		merged = append(merged, merge(routes[:n]))
		routes = routes[n:]
	}
	return merged
}

// merge returns the route of all services that claim one place.
func merge(routes []*Route) *Route {
	r := routes[0]
	if len(routes) == 1 {
		return r
	}
	parts := make([]*Part, len(routes))
	for i := range routes {
		own := *routes[i].Parts[0]
		parts[i] = &own
	}
	return newRoute(r.Host, r.Path, r.key, parts)
}

func newRoute(host, path, key string, parts []*Part) *Route {
	weigh(parts)
	for _, p := range parts {
		for a := range p.Arms {
			arm := &p.Arms[a]
			arm.ready, arm.critical = newPool(arm.Ready, arm.Fixed), newPool(arm.Critical, 0)
		}
	}
	return &Route{Host: host, Path: path, Parts: parts, key: key}
}
