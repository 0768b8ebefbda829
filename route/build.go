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
	touched  []touched // in this build, in order
	live     map[liveKey]liveCount
	policy   *policy
	estates  *estates
	over     *overriding
	owners   map[string]string // of the tables before
	before   map[string]string // owners that a build from nothing begins with
	common   common
}

// service is the compiled form of a service: all that a build needs of it as
// long as nothing it was made from has changed.
type service struct {
	name   string
	from   *registry.Service     // nil when only commands name it
	own    bool                  // split is the service's own, not made of
	whole  *Split                // the default
	given  *Split                // its own, as it was given; nil where it has none
	split  *Split                // never nil; see Split.prepared
	turns  [len(armNames)]string // see turn
	claims []claim
	titles []title // of claims; nil when the policy says nothing
	rare   *rarely // never nil
}

// rarely is what few services have.
type rarely struct {
	joined [len(armNames)]*registry.Service // other services that make an arm
	added  []*lot                           // by commands
	tagged []int32                          // commands for tags that may concern it

	broken  []Problem // of its tags and instances
	unowned []Problem // of its titles
	unfit   []Problem // of its split
}

// nothingRare is shared by the services that have nothing of it.
var nothingRare rarely

// ownRare returns what is rare of a service that is being made, to write to.
func (svc *service) ownRare() *rarely {
	if svc.rare == &nothingRare {
		svc.rare = new(rarely)
	}
	return svc.rare
}

// turn returns the name of an arm's round robin. Only a Builder calls it.
func (svc *service) turn(a ArmName) string {
	if svc.turns[a] == "" {
		svc.turns[a] = svc.name + "\x00" + armNames[a]
	}
	return svc.turns[a]
}

// touched is a spot that a build resolves.
type touched struct {
	spotKey
	spot *spot
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
	var names []string
	r := b.reader()
	for _, name := range b.changed(in) {
		old := b.service(name)
		if svc := r.compile(old, name, in); svc != old {
			changes[name] = &change{old, svc}
			names = append(names, name)
		}
	}
	b.in = in
	names = b.entitle(names, changes)
	return b.finish(names, changes, &step{from: b.last.generation})
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
	names := make([]string, 0, in.Snapshot.Len())
	for from := range in.Snapshot.All() {
		names = append(names, from.Name)
	}
	names = append(names, b.over.services()...)
	slices.Sort(names)
	names = slices.Compact(names)
	changes := make(map[string]*change, len(names))
	services := make([]*service, len(names))
	all := make([]change, len(names))
	r := b.reader()
	for i, name := range names {
		services[i] = r.compile(find(last.services, name), name, in)
		all[i].new = services[i]
		changes[name] = &all[i]
	}
	b.beginOwnership(services, last.in.Ownership == in.Ownership && (last.last != nil || last.owners != nil))
	names = b.entitle(names, changes)
	b.before = nil
	return b.finish(names, changes, nil)
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

// finish puts the changed services in place and makes the table. names are
// those of changes, in order. s takes note of what is different from the last
// table; nil when that is all.
func (b *Builder) finish(names []string, changes map[string]*change, s *step) *Table {
	b.put(names, changes)
	for _, name := range names {
		c := changes[name]
		if c.old != nil {
			b.withdraw(c.old)
		}
	}
	for _, name := range names {
		c := changes[name]
		if c.new != nil {
			b.place(c.new)
		}
	}
	if s == nil {
		for i, added := range b.over.added {
			if added != nil {
				b.touch(b.over.spots[i])
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
	b.resolveAll(t, s)
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
func (b *Builder) withdraw(svc *service) {
	for i := range svc.claims {
		if svc.titles == nil || svc.titles[i].kind != refused {
			c := &svc.claims[i]
			b.touch(c.spotKey).remove(svc.name, c)
		}
	}
	for _, n := range b.over.adds[svc.name] {
		b.touch(b.over.spots[n])
	}
}

// place puts the claims of a service that nothing refuses into their spots.
func (b *Builder) place(svc *service) {
	for i := range svc.claims {
		if svc.titles == nil || svc.titles[i].kind != refused {
			c := &svc.claims[i]
			b.touch(c.spotKey).add(svc, c)
		}
	}
}

// touch returns the spot, which the build will resolve.
func (b *Builder) touch(k spotKey) *spot {
	s := b.spots[k]
	if s == nil {
		s = new(spot)
		b.spots[k] = s
	}
	if !s.touched {
		s.touched = true
		b.touched = append(b.touched, touched{k, s})
	}
	return s
}

// resolveAll gives every spot that was touched its routes.
func (b *Builder) resolveAll(t *Table, s *step) {
	edit := b.index.edit()
	var moves *moves
	if s != nil {
		moves = newMoves()
	}
	silent := false
	r := resolver{Builder: b}
	for _, at := range b.touched {
		old := at.spot.content()
		routes, hits := r.resolve(at.spotKey, old.claims)
		b.over.count(old.hits, -1)
		b.over.count(hits, 1)
		moves.out(b, old.routes)
		moves.in(b, routes)
		was, is := heard(old.routes), heard(routes)
		silent = silent || len(was) < len(old.routes) || len(is) < len(routes)
		if len(old.routes) > 0 || len(routes) > 0 {
			edit.setPlace(at.host, at.key, is)
		}
		at.spot.put(crowd{old.claims, routes, hits})
		if len(routes) == 0 && len(old.claims) == 0 {
			delete(b.spots, at.spotKey)
		}
	}
	b.index = edit.done()
	t.index = b.index
	if silent {
		t.silent = b.silent(t.silent)
	}
	for _, at := range b.touched {
		at.spot.touched = false
	}
	b.touched = nil
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
func (b *Builder) silent(old []*Route) (list []*Route) {
	for _, r := range old {
		if s := b.spots[spotKey{r.Host, r.key}]; s != nil && !s.touched {
			list = append(list, r)
		}
	}
	for _, at := range b.touched {
		routes := at.spot.content().routes
		list = append(list, routes[len(heard(routes)):]...)
	}
	sortRoutes(list, b.NoGlobs)
	return list
}

func (b *Builder) prefix() string { return cmp.Or(b.TagPrefix, "urlprefix-") }

// compile returns the service as it is now; nil when neither the catalog nor a
// command has it. last is its form before, or nil.
func (r *reader) compile(last *service, name string, in Inputs) *service {
	from := in.Snapshot.Service(name)
	if from == nil && r.over.adds[name] == nil {
		return nil
	}
	splits := in.Splits
	svc := &service{name: name, from: from, given: splits.ByService[name], whole: splits.Default, rare: &nothingRare}
	svc.own = svc.given != nil
	if last != nil && last.given == svc.given && (svc.own || last.whole == svc.whole) {
		svc.split = last.split // the same copy: what is unchanged must be found so by its pointer
	} else {
		splits.Default = r.preparedDefault(splits.Default)
		svc.split = splits.of(name)
		if svc.own {
			svc.split = svc.split.prepared()
		}
	}
	var joined [len(armNames)]*registry.Service
	for a := range joined {
		if other := svc.split.joins(ArmName(a)); other != "" {
			joined[a] = in.Snapshot.Service(other)
			svc.ownRare().joined = joined
		}
	}
	if last != nil && last.from == from {
		if r.last != nil && last.own == svc.own && last.split == svc.split && last.rare.joined == joined {
			return last
		}
		svc.claims = last.claims
		if len(last.rare.broken) > 0 {
			svc.ownRare().broken = last.rare.broken
		}
	} else if from != nil {
		r.claim(svc)
		sortProblems(svc.rare.broken)
	}
	for _, n := range r.over.adds[name] {
		svc.ownRare().added = append(svc.ownRare().added, r.over.added[n])
	}
	if tagged := r.over.taggedBy(svc); len(tagged) > 0 {
		svc.ownRare().tagged = tagged
	}
	for a := range joined {
		if err := r.mismatch(svc, ArmName(a)); err != nil {
			svc.ownRare().unfit = append(svc.ownRare().unfit, svc.problem(nil, "", err))
		}
	}
	if last != nil {
		svc.turns = last.turns
	}
	return svc
}

// preparedDefault returns the default split prepared: once for all services,
// whose copies share what is looked up in.
func (b *Builder) preparedDefault(sp *Split) *Split {
	if b.common.from != sp {
		b.common = common{sp, sp.prepared()}
	}
	return b.common.ready
}

// common is the default split as it was given, and prepared.
type common struct{ from, ready *Split }

// refuse takes note of what is wrong with a tag or an instance.
func (svc *service) refuse(in *registry.Instance, tag string, err error) {
	svc.ownRare().broken = append(svc.ownRare().broken, svc.problem(in, tag, err))
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

func (svc *service) problemCount() int {
	return len(svc.rare.broken) + len(svc.rare.unowned) + len(svc.rare.unfit)
}

func (svc *service) appendProblems(to []Problem) []Problem {
	return append(append(append(to, svc.rare.broken...), svc.rare.unowned...), svc.rare.unfit...)
}

func sortProblems(list []Problem) {
	slices.SortStableFunc(list, func(a, b Problem) int {
		return cmp.Or(strings.Compare(a.Service, b.Service), strings.Compare(a.Instance, b.Instance),
			strings.Compare(a.Node, b.Node), strings.Compare(a.Tag, b.Tag))
	})
}
