package route

import (
	"iter"
	"slices"
	"sync"

	"serin/registry"
)

// Table is the compiled routing table: which requests go to which instances,
// and in which proportions. It is immutable and safe for concurrent use.
// A nil Table has no routes.
type Table struct {
	table
}

type table struct {
	index      *index   // nil has no routes
	silent     []*Route // whose traffic is not carried, in order
	prefix     string
	split      Splits
	catalog    *registry.Snapshot
	services   []*service // by name
	generation *generation
	from       *step // how it came of another table; nil is unknown

	owning bool              // services own places
	held   map[string]string // for services that claim them no more

	problems     int // number of all
	overProblems []Problem
	missed       []Problem // of commands that met nothing
	once         sync.Once
	collected    []Problem
}

// Route is one [host]/path and everything that may serve it.
type Route struct {
	Host string // lower case, as in the tag; "" is any host
	Path string // as in the tag; always starts with "/"
	// Priority and When are the options priority= and methods=, header=,
	// query= of the rule: within a host a higher priority is tried first, and
	// a route serves only requests for which When holds; nil is all.
	Priority int
	When     *Condition
	// Parts divide the route among the services that claim it (Fabio: they
	// share one route and one 100 %), in order of their names. A Part whose
	// service has no ready instance has Share 0; when that is so for all of
	// them the request is answered 503, not 404.
	Parts []*Part

	key     string // Path in the form of CleanPath
	silent  bool   // its traffic is not carried: no request is matched
	guarded bool   // some target has access rules, or needs credentials
}

// Carried reports whether requests are matched with the route. Those that are
// not carried (proto=tcp, grpc, grpcs) are in the table for people to see.
func (r *Route) Carried() bool { return !r.silent }

// Part is one service's part of a route.
type Part struct {
	Service string
	// Share is what Fabio's weights give this service's targets, 0..1. The
	// shares of a route sum to 1, or all are 0 when nothing is ready.
	Share float64
	// Split divides the part between the arms; never nil. Where no document
	// says anything it is one zero Split for all services, without a name.
	Split *Split
	// Arms by ArmName; none is nil in a table. All arms without targets are
	// one value.
	Arms [3]*Arm
}

// Arm is one side of a canary split, as far as this route is concerned.
type Arm struct {
	// Ready are the targets that Consul and the operator's policy allow.
	Ready []*Target
	// Critical are the targets that are neither ready nor in maintenance: what
	// proxy.panic.critical may fall back to.
	Critical []*Target
	// Fixed is the share (0..1) of this arm's traffic that targets with a
	// fixed weight take in proportion to it; the rest goes to the others by
	// balance. 1 when all ready targets have one, 0 when none has.
	Fixed float64

	pools    *pools // nil: not prepared, as in an arm made by hand
	sequence string // of round robin: the service's arm
}

// Target is one instance as one route sees it. It is a fact and never written
// after Build; live state is found by Addr.
type Target struct {
	// Instance is what Consul says of the instance, or a route command. All
	// routes of the instance share it: nobody may change it. Its Weight is
	// that of Consul, see Capacity.
	*registry.Instance
	// Weight is the fixed share that the tag asks for (weight=), < 0 when it
	// asks for none. 0 excludes the target: it is then in no arm.
	Weight float64
	// Options are the tag's options, shared between targets.
	Options *Options
	// Tag is the tag this target comes from, as it was registered; "" when it
	// comes from an override or a document.
	Tag string
	// Source is where the target comes from: "tag", the override's source and
	// line ("lb/routes/10-web:3"), or "document" where a split has the service
	// as an arm.
	Source string

	idHash, nodeHash uint64 // see hashes
}

// Capacity is Consul's service weight, >= 1: an instance of capacity 2 takes
// twice the load of one of capacity 1 when balance chooses.
func (t *Target) Capacity() int { return max(1, t.Instance.Weight) }

// Builder builds tables. Its zero value uses Fabio's defaults. A Builder keeps
// the parsed form of services between builds (keyed by *registry.Service), so
// that one changed service costs in proportion to that service; it is
// therefore not safe for concurrent use, unlike the tables it returns, and its
// fields must not change after the first build.
type Builder struct {
	// TagPrefix marks a tag as a route; "" means "urlprefix-".
	TagPrefix string
	// Datacenter replaces $DC and ${DC} in hosts and paths.
	Datacenter string
	// Matcher is how the paths of routes are compared.
	Matcher Matcher
	// NoGlobs takes hosts with glob characters, but for a leading "*.", as
	// they are written (Fabio's glob.matching.disabled).
	NoGlobs bool
	// Denied are addresses ("host:port") and networks that no target may have:
	// the balancer's own listeners, Consul. Link-local, multicast and
	// unspecified ones are always denied. Allowed are the exceptions.
	Denied  Addresses
	Allowed Addresses
	// Schemes are the names that auth= may have; another one is a Problem. Nil
	// does not look.
	Schemes []string

	builder
}

// Reset forgets what was kept between builds, but for who owns what.
func (b *Builder) Reset() {
	owners := b.owners
	if b.last != nil {
		owners = b.last.Owners()
	}
	b.builder = builder{owners: owners, in: Inputs{Ownership: b.in.Ownership}}
}

// Routes yields all routes in matching order: within a host the longer path
// before its prefixes; at the end those whose traffic is not carried.
func (t *Table) Routes() iter.Seq[*Route] {
	return func(yield func(*Route) bool) {
		if t == nil || t.index == nil {
			return
		}
		for r := range t.index.all() {
			if !yield(r) {
				return
			}
		}
		for _, r := range t.silent {
			if !yield(r) {
				return
			}
		}
	}
}

// Len returns the number of routes.
func (t *Table) Len() int {
	if t == nil {
		return 0
	}
	n := len(t.silent)
	if t.index != nil {
		n += t.index.size
	}
	return n
}

// Problems returns what was refused in this table and why: of route commands
// in their order, then of services, ordered by service, instance and tag. The
// caller must not change it. The first call of a table costs in proportion to
// the number of services.
func (t *Table) Problems() []Problem {
	if t == nil || t.problems == 0 {
		return nil
	}
	t.once.Do(func() {
		t.collected = append(slices.Clip(t.overProblems), t.missed...)
		for _, svc := range t.services {
			from := len(t.collected)
			t.collected = svc.appendProblems(t.collected)
			sortProblems(t.collected[from:])
		}
	})
	return t.collected
}

// NumProblems returns the number of Problems, at no cost.
func (t *Table) NumProblems() int {
	if t == nil {
		return 0
	}
	return t.problems
}

// Targets yields every target of the table, ready or critical; an instance that
// several routes name is yielded once per route.
func (t *Table) Targets() iter.Seq[*Target] {
	return func(yield func(*Target) bool) {
		for r := range t.Routes() {
			for target := range r.Targets() {
				if !yield(target) {
					return
				}
			}
		}
	}
}

// Targets yields the route's targets, ready or critical.
func (r *Route) Targets() iter.Seq[*Target] {
	return func(yield func(*Target) bool) {
		for _, p := range r.Parts {
			for a := range p.Arms {
				for _, list := range [...][]*Target{p.Arms[a].Ready, p.Arms[a].Critical} {
					for _, t := range list {
						if !yield(t) {
							return
						}
					}
				}
			}
		}
	}
}

// Splits returns the splits the table was built with.
func (t *Table) Splits() Splits {
	if t == nil {
		return Splits{}
	}
	return t.split
}

// Snapshot returns the catalog the table was built from.
func (t *Table) Snapshot() *registry.Snapshot {
	if t == nil {
		return nil
	}
	return t.catalog
}

// Problem is one thing the builder refused, and why. It never affects anything
// else than what it names.
type Problem struct {
	// Where is the place of what was refused, for people: "web-1: urlprefix-/foo["
	// or, of an override, source:line:column.
	Where    string `json:"where,omitempty"`
	Service  string `json:"service,omitempty"`
	Instance string `json:"instance,omitempty"`
	Node     string `json:"node,omitempty"`
	Tag      string `json:"tag,omitempty"`
	Err      error  `json:"-"`
	Error    string `json:"error"` // Err.Error(), a sentence with the byte offset where there is one
}
