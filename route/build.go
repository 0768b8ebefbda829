package route

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"strings"

	"serin/registry"
)

// builder is what a Builder keeps between builds. What it shares with tables is
// never written again; the rest only Build sees.
type builder struct {
	last     *Table // the one that what follows stands for
	in       Inputs // of it
	index    *index
	services []*service
	joiners  map[string]map[string]bool // by service: those that have it as an arm
	spots    map[spotKey]*spot
	live     map[liveKey]liveCount
	policy   *policy
	estates  *estates
	over     *overriding
	owners   map[string]string // of the tables before
	before   map[string]string // owners that a build from nothing begins with
}

// service is the compiled form of a service: all that a build needs of it as
// long as nothing it was made from has changed.
type service struct {
	name   string
	from   *registry.Service                // nil when only commands name it
	own    bool                             // split is the service's own, not a copy of
	whole  *Split                           // the default
	split  *Split                           // never nil
	joined [len(armNames)]*registry.Service // other services that make an arm

	turns  [len(armNames)]string // names of the arms' round robin
	claims []claim
	titles []title // of claims; nil when the policy says nothing
	added  []*lot  // by commands
	tagged []int32 // commands for tags that may concern it

	broken  []Problem // of its tags and instances
	unowned []Problem // of its titles
	unfit   []Problem // of its split
}

// change is one service before and after; nil is none.
type change struct{ old, new *service }

// Build compiles the table. It never fails: what is wrong becomes a Problem.
// What the last build was made from and has not changed costs nothing but a
// comparison of pointers.
func (b *Builder) Build(in Inputs) *Table {
	if b.last == nil || b.in.Overrides != in.Overrides || b.in.Ownership != in.Ownership {
		return b.rebuild(in)
	}
	changes := make(map[string]*change)
	for _, name := range b.changed(in) {
		old := b.service(name)
		if svc := b.compile(old, name, in); svc != old {
			changes[name] = &change{old, svc}
		}
	}
	b.in = in
	b.entitle(changes)
	return b.finish(changes, &step{from: b.last.generation})
}

// rebuild builds from nothing but the parsed tags of services.
func (b *Builder) rebuild(in Inputs) *Table {
	last := b.builder
	var size int
	if last.last != nil {
		size = len(last.spots)
		b.owners = last.last.Owners()
	}
	b.builder = builder{
		in: in, owners: b.owners, index: newIndex(b.Matcher, b.NoGlobs), joiners: map[string]map[string]bool{}, spots: make(map[spotKey]*spot, size),
		live: map[liveKey]liveCount{}, policy: newPolicy(in.Ownership),
	}
	b.over = b.overriding(in.Overrides)
	changes := make(map[string]*change, in.Snapshot.Len())
	services := make([]*service, 0, in.Snapshot.Len())
	compile := func(name string) {
		svc := b.compile(find(last.services, name), name, in)
		services = append(services, svc)
		changes[name] = &change{new: svc}
	}
	for from := range in.Snapshot.All() {
		compile(from.Name)
	}
	for _, name := range b.over.services() {
		if changes[name] == nil {
			compile(name)
		}
	}
	b.beginOwnership(services, last.in.Ownership == in.Ownership && (last.last != nil || last.owners != nil))
	b.entitle(changes)
	b.before = nil
	return b.finish(changes, nil)
}

// changed returns the names of the services that must be compiled again.
func (b *Builder) changed(in Inputs) []string {
	names := make(map[string]bool)
	for was, is := range registry.Changed(b.in.Snapshot, in.Snapshot) {
		name := ""
		if was != nil {
			name = was.Name
		} else {
			name = is.Name
		}
		names[name] = true
		for other := range b.joiners[name] {
			names[other] = true
		}
	}
	was, is := b.in.Splits, in.Splits
	if !sameMap(was.ByService, is.ByService) {
		for name, split := range is.ByService {
			if was.ByService[name] != split {
				names[name] = true
			}
		}
		for name := range was.ByService {
			if is.ByService[name] == nil {
				names[name] = true
			}
		}
	}
	if was.Default != is.Default {
		for _, svc := range b.services {
			names[svc.name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// sameMap reports whether two maps that nobody writes are one in memory.
func sameMap[K comparable, V any](a, b map[K]V) bool {
	return reflect.ValueOf(a).UnsafePointer() == reflect.ValueOf(b).UnsafePointer()
}

// finish puts the changed services in place and makes the table. s takes note
// of what is different from the last one; nil when that is all.
func (b *Builder) finish(changes map[string]*change, s *step) *Table {
	names := slices.Sorted(maps.Keys(changes))
	b.put(names, changes)
	dirty := make(map[spotKey]*spot)
	for _, name := range names {
		c := changes[name]
		if c.old != nil {
			b.withdraw(c.old, dirty)
		}
	}
	for _, name := range names {
		c := changes[name]
		if c.new != nil {
			b.place(c.new, dirty)
		}
	}
	if s == nil {
		for i, added := range b.over.added {
			if added != nil {
				b.touch(b.over.spots[i], dirty)
			}
		}
	}
	t := &Table{table{
		prefix: b.prefix(), split: b.in.Splits, catalog: b.in.Snapshot, generation: new(generation), from: s,
		services: b.services, overProblems: b.over.problems,
	}}
	if b.last != nil {
		t.silent, t.problems = b.last.silent, b.last.problems
	}
	b.resolveAll(t, dirty, s)
	for _, name := range names {
		c := changes[name]
		if c.old != nil {
			t.problems -= c.old.problemCount()
			s.problemsOut = c.old.appendProblems(s.problemsOut)
		}
		if c.new != nil {
			t.problems += c.new.problemCount()
			if s != nil {
				s.problemsIn = c.new.appendProblems(s.problemsIn)
			}
		}
	}
	t.missed = b.missed(t, s)
	t.held, t.owning = b.held(), b.policy.mode == FirstOwner
	if s != nil && len(s.out) > max(1000, t.Len()/2) {
		t.from = nil // it would keep more in memory than it saves
	}
	b.last = t
	return t
}

// missed returns the problems of commands that met nothing.
func (b *Builder) missed(t *Table, s *step) []Problem {
	if s == nil {
		missed := b.over.nothing()
		t.problems = len(b.over.problems) + len(missed)
		for _, svc := range b.services {
			t.problems += svc.problemCount()
		}
		return missed
	}
	if !b.over.moved {
		return b.last.missed
	}
	b.over.moved = false
	missed := b.over.nothing()
	t.problems += len(missed) - len(b.last.missed)
	s.problemsOut = append(s.problemsOut, b.last.missed...)
	s.problemsIn = append(s.problemsIn, missed...)
	return missed
}

// put makes the list of services: the last one with the changes.
func (b *Builder) put(names []string, changes map[string]*change) {
	if len(names) == 0 {
		return
	}
	old := b.services
	list := make([]*service, 0, len(old)+len(names))
	for _, name := range names {
		i, found := findAt(old, name)
		list = append(list, old[:i]...)
		if old = old[i:]; found {
			old = old[1:]
		}
		if svc := changes[name].new; svc != nil {
			list = append(list, svc)
		}
	}
	b.services = append(list, old...)
	for _, name := range names {
		c := changes[name]
		for _, other := range c.old.joins() {
			if delete(b.joiners[other], name); len(b.joiners[other]) == 0 {
				delete(b.joiners, other)
			}
		}
		for _, other := range c.new.joins() {
			if b.joiners[other] == nil {
				b.joiners[other] = make(map[string]bool)
			}
			b.joiners[other][name] = true
		}
	}
}

func find(list []*service, name string) *service {
	if i, ok := findAt(list, name); ok {
		return list[i]
	}
	return nil
}

func findAt(list []*service, name string) (int, bool) {
	return slices.BinarySearchFunc(list, name, func(s *service, n string) int { return strings.Compare(s.name, n) })
}

// service returns the compiled service; nil when there is none.
func (b *Builder) service(name string) *service { return find(b.services, name) }

// joins returns the other services that the split of svc names.
func (svc *service) joins() (names []string) {
	if svc == nil {
		return nil
	}
	for a := range armNames {
		if name := svc.split.joins(ArmName(a)); name != "" {
			names = append(names, name)
		}
	}
	return names
}

// withdraw takes the claims of a service out of their spots.
func (b *Builder) withdraw(svc *service, dirty map[spotKey]*spot) {
	for i := range svc.claims {
		if svc.titles == nil || svc.titles[i].kind != refused {
			c := &svc.claims[i]
			b.touch(c.spotKey, dirty).remove(svc.name, c)
		}
	}
	for _, n := range b.over.adds[svc.name] {
		b.touch(b.over.spots[n], dirty)
	}
}

// place puts the claims of a service that nothing refuses into their spots.
func (b *Builder) place(svc *service, dirty map[spotKey]*spot) {
	for i := range svc.claims {
		if svc.titles == nil || svc.titles[i].kind != refused {
			c := &svc.claims[i]
			b.touch(c.spotKey, dirty).add(svc, c)
		}
	}
}

func (b *Builder) touch(k spotKey, dirty map[spotKey]*spot) *spot {
	s := dirty[k]
	if s == nil {
		if s = b.spots[k]; s == nil {
			s = new(spot)
			b.spots[k] = s
		}
		dirty[k] = s
	}
	return s
}

// resolveAll gives every spot that was touched its routes.
func (b *Builder) resolveAll(t *Table, dirty map[spotKey]*spot, s *step) {
	edit := b.index.edit()
	var moves *moves
	if s != nil {
		moves = newMoves()
	}
	silent := false
	for k, spot := range dirty {
		old := spot.routes
		routes, hits := b.resolve(k, spot)
		b.over.count(spot.hits, -1)
		b.over.count(hits, 1)
		spot.routes, spot.hits = routes, hits
		if len(routes) == 0 && len(spot.claims) == 0 {
			delete(b.spots, k)
		}
		if len(old) == 0 && len(routes) == 0 {
			continue
		}
		moves.out(b, old)
		moves.in(b, routes)
		was, is := heard(old), heard(routes)
		silent = silent || len(was) < len(old) || len(is) < len(routes)
		edit.setPlace(k.host, k.key, is)
	}
	b.index = edit.done()
	t.index = b.index
	if silent {
		t.silent = b.silent(t.silent, dirty)
	}
	if s != nil {
		moves.into(s, b)
	}
}

// heard returns the routes whose traffic is carried.
func heard(routes []*Route) []*Route {
	for i, r := range routes { // silent ones are last
		if r.silent {
			return routes[:i]
		}
	}
	return routes
}

// silent returns the routes whose traffic is not carried, in order.
func (b *Builder) silent(old []*Route, dirty map[spotKey]*spot) (list []*Route) {
	for _, r := range old {
		if dirty[spotKey{r.Host, r.key}] == nil {
			list = append(list, r)
		}
	}
	for _, s := range dirty {
		list = append(list, s.routes[len(heard(s.routes)):]...)
	}
	sortRoutes(list, b.NoGlobs)
	return list
}

func (b *Builder) prefix() string { return cmp.Or(b.TagPrefix, "urlprefix-") }

// compile returns the service as it is now; nil when neither the catalog nor a
// command has it. last is its form before, or nil.
func (b *Builder) compile(last *service, name string, in Inputs) *service {
	from := in.Snapshot.Service(name)
	if from == nil && b.over.adds[name] == nil {
		return nil
	}
	splits := in.Splits
	svc := &service{name: name, from: from, own: splits.ByService[name] != nil, whole: splits.Default}
	if last != nil && !svc.own && !last.own && last.whole == svc.whole {
		svc.split = last.split // the same copy: what is unchanged must be found so by its pointer
	} else {
		svc.split = splits.For(name)
	}
	for a := range svc.joined {
		if other := svc.split.joins(ArmName(a)); other != "" {
			svc.joined[a] = in.Snapshot.Service(other)
		}
	}
	if last != nil && last.from == from {
		if b.last != nil && last.own == svc.own && last.split == svc.split && last.joined == svc.joined {
			return last
		}
		svc.claims, svc.broken = last.claims, last.broken
	} else if from != nil {
		b.claim(svc)
		sortProblems(svc.broken)
	}
	for _, n := range b.over.adds[name] {
		svc.added = append(svc.added, b.over.added[n])
	}
	svc.tagged = b.over.taggedBy(svc)
	for a := range svc.joined {
		if err := b.mismatch(svc, ArmName(a)); err != nil {
			svc.unfit = append(svc.unfit, svc.problem(nil, "", err))
		}
	}
	if last != nil {
		svc.turns = last.turns
		return svc
	}
	for a := range svc.turns {
		svc.turns[a] = name + "\x00" + armNames[a]
	}
	return svc
}

// refuse takes note of what is wrong with a tag or an instance.
func (svc *service) refuse(in *registry.Instance, tag string, err error) {
	svc.broken = append(svc.broken, svc.problem(in, tag, err))
}

func (svc *service) problem(in *registry.Instance, tag string, err error) Problem {
	p := Problem{Where: svc.name, Service: svc.name, Tag: tag, Err: err, Error: err.Error()}
	if in != nil {
		p.Where, p.Instance, p.Node = in.ID, in.ID, in.Node
	}
	if len(p.Tag) > maxTag {
		p.Tag = strings.ToValidUTF8(p.Tag[:64], "") + "…"
	}
	if p.Tag != "" {
		p.Where += ": " + p.Tag
	}
	return p
}

func (svc *service) problemCount() int { return len(svc.broken) + len(svc.unowned) + len(svc.unfit) }

func (svc *service) appendProblems(to []Problem) []Problem {
	return append(append(append(to, svc.broken...), svc.unowned...), svc.unfit...)
}

func sortProblems(list []Problem) {
	slices.SortStableFunc(list, func(a, b Problem) int {
		return cmp.Or(strings.Compare(a.Service, b.Service), strings.Compare(a.Instance, b.Instance),
			strings.Compare(a.Node, b.Node), strings.Compare(a.Tag, b.Tag))
	})
}
