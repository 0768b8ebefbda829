package canary

import (
	"net/netip"
	"reflect"
	"slices"
	"time"

	"serin/canary/rollout"
	"serin/route"
)

// version is one valid document.
type version struct {
	raw      Raw
	doc      *Document
	patched  []*Document   // doc with the patch of each environment
	plan     *rollout.Plan // of doc; nil: it is no rollout
	hash     string
	restored bool // from disk, not confirmed by its source since
	deleted  bool // its key was deleted at the config_server: canary off

	// plans has what moves the share of doc and of each patched one: plan itself,
	// one of their own where the patch says how the share moves, or nil.
	plans map[*Document]*rollout.Plan

	// What is kept between two settles, because it costs much more than the rest
	// of one. Only Run's goroutine touches it.
	clients map[*Environment]*networks
	rules   map[*Document][]route.MatchRule
}

// networks are the clients of an environment, as of Addresses of that number.
type networks struct {
	of       uint64
	clients  []netip.Prefix
	prepared *route.Clients
	unknown  []string
}

// networksOf is env.When.networks, which is not asked again before the addresses
// are others, and once where several environments are for the same clients: a
// service may have tens of thousands.
func (v *version) networksOf(env *Environment, a Addresses, number uint64) *networks {
	n := v.clients[env]
	if n != nil && n.of == number {
		return n
	}
	n = nil
	for i := range v.doc.Environments {
		e := &v.doc.Environments[i]
		if is := v.clients[e]; is != nil && is.of == number && e.When.sameClients(env.When) {
			n = is
			break
		}
	}
	if n == nil {
		n = &networks{of: number}
		n.clients, n.unknown = env.When.networks(a)
		if was := v.clients[env]; was != nil && slices.Equal(was.clients, n.clients) {
			n.clients, n.prepared = was.clients, was.prepared
		} else {
			n.prepared = route.NewClients(n.clients)
		}
	}
	if v.clients == nil {
		v.clients = map[*Environment]*networks{}
	}
	v.clients[env] = n
	return n
}

func (w When) sameClients(o When) bool {
	return slices.Equal(w.CIDR, o.CIDR) && slices.Equal(w.Host, o.Host) && slices.Equal(w.Service, o.Service)
}

// rulesOf are the compiled rules of doc, or of one that an environment made.
func (v *version) rulesOf(doc *Document) []route.MatchRule {
	rules, ok := v.rules[doc]
	if ok {
		return rules
	}
	if doc != v.doc && reflect.DeepEqual(doc.Match, v.doc.Match) {
		rules = v.rulesOf(v.doc)
	} else {
		rules = compileRules(doc.Match)
	}
	if v.rules == nil {
		v.rules = map[*Document][]route.MatchRule{}
	}
	v.rules[doc] = rules
	return rules
}

// newVersion makes a version of a text that Parse made doc of. An environment
// that makes an invalid document is an error, which Parse tells better.
func newVersion(service string, raw Raw, doc *Document) (*version, error) {
	v := &version{raw: raw, doc: doc, hash: Hash(raw.Value), plans: map[*Document]*rollout.Plan{}}
	v.plan = doc.Plan(service, raw.Key, raw.SharedIndex(), v.hash)
	v.plans[doc] = v.plan
	if len(doc.Environments) == 0 {
		return v, nil
	}
	bare, err := patchedText(raw.Value, Environment{})
	if err != nil {
		return nil, err
	}
	for _, env := range doc.Environments {
		text, err := Merge(bare, env.Patch)
		if err != nil {
			return nil, err
		}
		patched, err := Parse(raw.Key, text)
		if err != nil {
			return nil, err
		}
		v.patched = append(v.patched, patched)
		v.plans[patched] = v.plan
		if !patched.movesAs(doc) {
			v.plans[patched] = patched.Plan(service, raw.Key, raw.SharedIndex(), v.hash)
		}
	}
	return v, nil
}

// patchedText is the document as an environment has it, without environments.
func patchedText(text []byte, env Environment) ([]byte, error) {
	bare, err := Merge(text, []byte(`{"environments":null}`))
	if err != nil || len(env.Patch) == 0 {
		return bare, err
	}
	return Merge(bare, env.Patch)
}

// movesAs reports whether two documents say the same of how the share moves.
func (d *Document) movesAs(o *Document) bool {
	return reflect.DeepEqual(d.Ratio, o.Ratio) && reflect.DeepEqual(d.Ramp, o.Ramp) && reflect.DeepEqual(d.Steps, o.Steps)
}

// slot is what is known of one key: the newest text, and the last valid one.
type slot struct {
	raw  Raw
	seen bool // raw was read from the source, not restored
	at   time.Time
	good *version
	err  *Error // why raw is not good
}

// read takes a text of a service in. It reports whether it is new, which an
// unchanged index with unchanged text is not.
func (s *slot) read(service string, raw Raw, now time.Time, parse func(string, []byte) (*Document, error)) bool {
	if s.seen && s.raw.Index == raw.Index && string(s.raw.Value) == string(raw.Value) {
		return false
	}
	s.raw, s.seen, s.at, s.err = raw, true, now, nil
	var v *version
	doc, err := parse(raw.Key, raw.Value)
	if err == nil {
		v, err = newVersion(service, raw, doc)
	}
	if err != nil {
		s.err = err.(*Error)
		if s.good != nil { // its source answers, so that it is the last good one, not a restored one
			s.good = new(*s.good)
			s.good.restored = false
		}
		return true
	}
	s.good = v
	return true
}

// entry is one service's document: its own key, where that sends us, and what
// is in force.
type entry struct {
	service string
	own     slot
	remote  *remote // while the own document has a config_server
	// inherits is set when the first document of its own is refused while the
	// one for all services is in force: that changes nothing, so it stays.
	inherits bool

	lostSince time.Time // since when the own key alone cannot be read; zero: it can
	lostErr   error

	inForce   *version
	from      *feed // whose loss makes inForce stale
	appliedAt time.Time
	pending   time.Time // when the next version may be applied (update_rate)
	asked     asked
	made      made
	split     *route.Split // of made
}

// asked is what the plan of a version asked for last, as far as update_rate let
// it, and since when.
type asked struct {
	of    *version
	ratio float64
	phase rollout.Phase
	step  int
	waits bool // for its first step, which update_rate does not hold back
	at    time.Time
}

// made is all that a split is made of.
type made struct {
	service, rollout, hash string
	index                  uint64
	secret                 [2]uint64
	part
	parts   []part // of clients
	unknown []string
}

// part is the share of those who have the same document.
type part struct {
	environment   string
	doc           *Document
	ratio, wanted float64
	because       string
	mirror        float64 // of the step, where mirrors is set
	mirrors       bool
	clients       []netip.Prefix // see variant
	share         float64

	// Made of the above, and kept from one split to the next.
	prepared *route.Clients    // of clients
	rules    []route.MatchRule // of doc
}

func (m made) equal(o made) bool {
	return m.service == o.service && m.rollout == o.rollout && m.hash == o.hash && m.index == o.index && m.secret == o.secret &&
		m.part.equal(o.part) && slices.EqualFunc(m.parts, o.parts, part.equal) && slices.Equal(m.unknown, o.unknown)
}

func (p part) equal(o part) bool {
	return p.environment == o.environment && p.doc == o.doc && p.ratio == o.ratio && p.wanted == o.wanted && p.because == o.because &&
		p.mirror == o.mirror && p.mirrors == o.mirrors && p.share == o.share && sameNetworks(p.clients, o.clients)
}

// sameNetworks is slices.Equal, for lists that mostly are the same one.
func sameNetworks(a, b []netip.Prefix) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0] || slices.Equal(a, b))
}

// compile makes the split.
func (m made) compile() *route.Split {
	s := m.part.compile(m)
	for _, p := range m.parts {
		one := p.compile(m)
		one.Canary, one.Stable, one.Backup = s.Canary, s.Stable, s.Backup
		s.Variants = append(s.Variants, route.Variant{Name: p.environment, Clients: p.clients, Prepared: p.prepared, Share: p.share, Split: one})
	}
	return s
}

func (p part) compile(m made) *route.Split {
	a := Applied{
		rules: p.rules, Service: m.service, Index: m.index, Hash: m.hash, Secret: m.secret, Rollout: m.rollout,
		Ratio: p.ratio, Wanted: &p.wanted, Because: p.because,
	}
	if p.mirrors {
		a.Mirror = &p.mirror
	}
	return Compile(p.doc, a)
}

// remote is the source that a config_server names.
type remote struct {
	address string
	every   time.Duration // update_rate of the document that names it
	feed    *feed
	slot    slot
}

// parse is Parse, and refuses to be sent on: two documents that name each other
// would never come to rest.
func (rem *remote) parse(key string, value []byte) (*Document, error) {
	d, err := Parse(key, value)
	if err == nil && d.ConfigServer != "" && d.ConfigServer != rem.address {
		err = &Error{
			Key: key, Path: "config_server", Line: 1, Column: 1,
			Msg:  "a document that was read through config_server cannot name another one",
			Hint: "change config_server where " + rem.address + " is named",
		}
	}
	return d, err
}

// choose returns the version that should be in force, and whose loss would make
// it stale. Nil: none was ever valid.
func (e *entry) choose(main *feed) (*version, *feed) {
	switch own := e.own.good; {
	case e.remote != nil && e.remote.slot.good != nil:
		return e.remote.slot.good, e.remote.feed
	case own == nil:
		return nil, main
	case e.remote != nil && own.doc.Ratio == nil && own.doc.Ramp == nil && own.doc.Steps == nil && e.inForce != nil:
		// Not switched yet: a document that only says where to look moves
		// nothing before something was read there.
		return e.inForce, main
	default:
		return own, main
	}
}

// hear notes whether the own key can be read while the others can.
func (e *entry) hear(err error, now time.Time) {
	switch {
	case err == nil:
		e.lostSince = time.Time{}
	case e.lostSince.IsZero():
		e.lostSince = now
	}
	e.lostErr = err
}

// sinceLost is since when what is in force cannot be confirmed, from being
// where it came from; zero while it can.
func (e *entry) sinceLost(from *feed) time.Time {
	switch {
	case from == nil:
		return time.Time{}
	case from.lostSince.IsZero() && (e.remote == nil || from != e.remote.feed):
		return e.lostSince
	}
	return from.lostSince
}
