package route

import (
	"cmp"
	"iter"
	"slices"
	"strings"
)

// index finds the routes of a request at a cost that depends neither on the
// number of hosts nor on that of paths. It is immutable and safe for concurrent
// use; an edit makes a new one that shares all that did not change. The zero
// value has no routes, compares paths by prefix and hosts with globs.
//
// Exact hosts are hashed whole; suffixes, and what globs end with, as prefixes
// of the host read backwards; the paths of a host as prefixes of the path.
type index struct {
	matcher Matcher
	noGlobs bool
	size    int // number of routes
	guarded int // number of those with access rules

	names  prefixes[hostPaths] // every host as it is written, and exact ones without a usual port
	suffix prefixes[hostPaths] // what follows the "*", backwards; "" of "*" itself
	globs  globs[hostPaths]    // backwards
	none   *paths              // of the routes without a host
}

// hostPaths is what a name stands for.
type hostPaths struct {
	self  *paths    // of the host that is written so
	usual [2]*paths // of the host that is written so with usualPorts[i] behind it
}

// paths are the routes of one host.
type paths struct {
	kind    hostKind
	size    int    // number of routes
	guarded int    // number of those with access rules
	only    *Route // the route of "/", when that is all and has no condition
	levels  []level
}

// level is the routes of one host with the same priority.
type level struct {
	priority int
	prefixes prefixes[atKey] // of the prefix matchers
	globs    *globs[atKey]   // of GlobMatcher
}

// atKey is the routes of one host, key and priority: one without a condition,
// which is the usual case, or several in matching order.
type atKey struct {
	plain  *Route
	routes []*Route
}

func newAtKey(routes []*Route) atKey {
	if len(routes) == 1 && routes[0].When == nil {
		return atKey{plain: routes[0]}
	}
	return atKey{routes: slices.Clone(routes)}
}

func (p *atKey) size() int {
	if p.plain != nil {
		return 1
	}
	return len(p.routes)
}

// guarded returns how many of the routes have access rules.
func (p *atKey) guarded() (n int) {
	if p.plain != nil && p.plain.guarded {
		n++
	}
	for _, r := range p.routes {
		if r.guarded {
			n++
		}
	}
	return n
}

// appendTo appends the place's routes to list.
func (p *atKey) appendTo(list []*Route) []*Route {
	if p.plain != nil {
		return append(list, p.plain)
	}
	return append(list, p.routes...)
}

// newIndex returns an index without routes. noGlobs takes hosts with glob
// characters as they are written, but for "*" and "*.suffix".
func newIndex(m Matcher, noGlobs bool) *index { return &index{matcher: m, noGlobs: noGlobs} }

// paths returns what the index has of a host; nil when it has nothing.
func (x *index) paths(host string) *paths {
	if x == nil {
		return nil
	}
	if h := x.names.get(host); h != nil {
		return h.value.self
	}
	return nil
}

// host returns the routes of one host, as it is written in them, in matching
// order.
func (x *index) host(host string) (routes []*Route) {
	p := x.paths(host)
	if p == nil {
		return nil
	}
	routes = make([]*Route, 0, p.size)
	for i := range p.levels {
		routes = p.levels[i].appendTo(routes)
	}
	return routes
}

// place returns the routes of one host and key, in matching order.
func (x *index) place(host, key string) (routes []*Route) {
	p := x.paths(host)
	if p == nil {
		return nil
	}
	for i := range p.levels {
		at := p.levels[i].get(key)
		routes = at.appendTo(routes)
	}
	return routes
}

// hosts returns the hosts as they are written in routes, in no order.
func (x *index) hosts() iter.Seq[string] {
	return func(yield func(string) bool) {
		if x != nil {
			x.names.all(func(l *leaf[hostPaths]) bool { return l.value.self == nil || yield(l.key) })
		}
	}
}

// all returns every route in matching order.
func (x *index) all() iter.Seq[*Route] {
	return func(yield func(*Route) bool) {
		hosts := slices.SortedFunc(x.hosts(), func(a, b string) int { return compareHosts(a, b, x.noGlobs) })
		for _, host := range hosts {
			for _, r := range x.host(host) {
				if !yield(r) {
					return
				}
			}
		}
	}
}

// edit begins an edit. x stays as it is.
func (x *index) edit() *indexEdit {
	return &indexEdit{index: *x, owned: x.size == 0, changed: make(map[string]*editedPaths)}
}

// indexEdit is a new index in the making. It costs in proportion to what is
// set. It is for one goroutine.
type indexEdit struct {
	index
	owned   bool // nobody else has seen anything of the index
	changed map[string]*editedPaths
}

type editedPaths struct {
	paths
	owned bool // nobody else has seen the levels
}

// open returns the paths of a host for writing.
func (e *indexEdit) open(host string) *editedPaths {
	p := e.changed[host]
	if p == nil {
		p = &editedPaths{paths: paths{kind: kindOf(host, e.noGlobs)}, owned: true}
		if old := e.paths(host); old != nil {
			p.paths, p.owned = *old, false
			p.levels = slices.Clone(old.levels)
			for i := range p.levels {
				if g := p.levels[i].globs; g != nil {
					own := *g
					p.levels[i].globs = &own
				}
			}
		}
		e.changed[host] = p
	}
	return p
}

// set gives a host all its routes, in any order; without routes the host goes.
// Routes are unique by key, Priority and When. Where only some of many routes
// change, setPlace costs less.
func (e *indexEdit) set(host string, routes []*Route) {
	e.changed[host] = &editedPaths{paths: paths{kind: kindOf(host, e.noGlobs)}, owned: true}
	routes = slices.Clone(routes)
	slices.SortFunc(routes, func(a, b *Route) int { return strings.Compare(a.key, b.key) })
	for len(routes) > 0 {
		n := 1
		for n < len(routes) && routes[n].key == routes[0].key {
			n++
		}
		e.setPlace(host, routes[0].key, routes[:n])
		routes = routes[n:]
	}
}

// setPlace replaces the routes of one host and key (Matcher.key of their path),
// of all priorities; without routes the place goes. It is what to call for a
// change: its cost depends neither on the number of hosts nor on that of the
// host's routes.
func (e *indexEdit) setPlace(host, key string, routes []*Route) {
	p := e.open(host)
	routes = slices.Clone(routes)
	slices.SortFunc(routes, compareInPlace)
	for i := 0; i < len(p.levels); {
		l := &p.levels[i]
		if slices.ContainsFunc(routes, func(r *Route) bool { return r.Priority == l.priority }) {
			i++ // replaced below
			continue
		}
		if at := l.get(key); at.size() > 0 {
			p.size -= at.size()
			p.guarded -= at.guarded()
			l.delete(key, p.owned)
		}
		if l.empty() {
			p.levels = slices.Delete(p.levels, i, i+1)
		} else {
			i++
		}
	}
	for len(routes) > 0 {
		n := 1
		for n < len(routes) && routes[n].Priority == routes[0].Priority {
			n++
		}
		i, ok := slices.BinarySearchFunc(p.levels, routes[0].Priority, func(l level, priority int) int { return cmp.Compare(priority, l.priority) })
		if !ok {
			l := level{priority: routes[0].Priority}
			if e.matcher == GlobMatcher {
				l.globs = new(globs[atKey])
			}
			p.levels = slices.Insert(p.levels, i, l)
		}
		was := p.levels[i].get(key)
		is := newAtKey(routes[:n])
		p.size += n - was.size()
		p.guarded += is.guarded() - was.guarded()
		p.levels[i].set(key, is, p.owned)
		routes = routes[n:]
	}
}

// compareInPlace orders the routes of one place as they are tried: by priority;
// with a condition before without; a condition of more terms before one of
// fewer, then by their text, because the order must not depend on the catalog's.
func compareInPlace(a, b *Route) int {
	terms := func(c *Condition) int {
		if c == nil {
			return -1
		}
		return min(1, len(c.Methods)) + len(c.Headers) + len(c.Query)
	}
	if c := cmp.Or(cmp.Compare(b.Priority, a.Priority), cmp.Compare(terms(b.When), terms(a.When))); c != 0 || a.When == b.When {
		return c
	}
	return strings.Compare(a.When.String(), b.When.String())
}

// done returns the new index; the edit must not be used afterwards.
func (e *indexEdit) done() *index {
	for host, p := range e.changed {
		e.install(host, &p.paths)
	}
	x := e.index
	return &x
}

// install puts the paths of one host where requests find them.
func (e *indexEdit) install(host string, p *paths) {
	if old := e.paths(host); old != nil {
		e.size -= old.size
		e.guarded -= old.guarded
	}
	e.size += p.size
	e.guarded += p.guarded
	if p.size == 0 {
		p = nil
	} else {
		p.only = nil
		if root := p.levels[0].get("/"); p.size == 1 && e.matcher != GlobMatcher {
			p.only = root.plain
		}
	}
	kind := kindOf(host, e.noGlobs)
	e.name(host, func(h *hostPaths) { h.self = p })
	if kind == anyHost {
		e.none = p
		return
	}
	put := func(name string, change func(h *hostPaths)) {
		switch kind {
		case exactHost:
			e.name(name, change)
		case suffixHost, everyHost:
			key := backwards(name[1:])
			h := hostPaths{}
			if old := e.suffix.get(key); old != nil {
				h = old.value
			}
			if change(&h); h == (hostPaths{}) {
				e.suffix.delete(key, e.owned)
			} else {
				e.suffix.set(key, h, e.owned)
			}
		case globHost:
			key := backwards(name)
			h := hostPaths{}
			if old := e.globs.get(key); old != nil {
				h = *old
			}
			if change(&h); h == (hostPaths{}) {
				e.globs.delete(key, e.owned)
			} else {
				e.globs.set(key, name, h, e.owned)
			}
		}
	}
	if kind != exactHost {
		put(host, func(h *hostPaths) { h.self = p })
	}
	for i, port := range usualPorts {
		if name, ok := strings.CutSuffix(host, port); ok {
			put(name, func(h *hostPaths) { h.usual[i] = p })
		}
	}
}

// name changes what is hashed under a name.
func (e *indexEdit) name(name string, change func(h *hostPaths)) {
	h := hostPaths{}
	if old := e.names.get(name); old != nil {
		h = old.value
	}
	if change(&h); h == (hostPaths{}) {
		e.names.delete(name, e.owned)
	} else {
		e.names.set(name, h, e.owned)
	}
}

func (l *level) empty() bool {
	if l.globs != nil {
		return l.globs.empty()
	}
	return l.prefixes.empty()
}

func (l *level) get(key string) (p atKey) {
	if l.globs != nil {
		if at := l.globs.get(key); at != nil {
			p = *at
		}
	} else if at := l.prefixes.get(key); at != nil {
		p = at.value
	}
	return p
}

func (l *level) set(key string, p atKey, owned bool) {
	if l.globs != nil {
		l.globs.set(key, key, p, owned)
	} else {
		l.prefixes.set(key, p, owned)
	}
}

func (l *level) delete(key string, owned bool) {
	if l.globs != nil {
		l.globs.delete(key, owned)
	} else {
		l.prefixes.delete(key, owned)
	}
}

// appendTo appends the level's routes to list in matching order: descending
// keys, so that a longer one comes before its prefixes.
func (l *level) appendTo(list []*Route) []*Route {
	var leaves []leaf[atKey]
	l.prefixes.all(func(at *leaf[atKey]) bool { leaves = append(leaves, *at); return true })
	if l.globs != nil {
		l.globs.prefixes.all(func(at *leaf[[]globEntry[atKey]]) bool {
			for _, e := range at.value {
				leaves = append(leaves, leaf[atKey]{e.text, e.value})
			}
			return true
		})
	}
	slices.SortFunc(leaves, func(a, b leaf[atKey]) int { return strings.Compare(b.key, a.key) })
	for i := range leaves {
		list = leaves[i].value.appendTo(list)
	}
	return list
}
