package route

import (
	"net/netip"
	"regexp"
	"slices"
	"time"
)

// ArmName names one side of a canary split.
type ArmName uint8

const (
	Stable ArmName = iota
	Canary
	Backup
)

var armNames = [...]string{"stable", "canary", "backup"}

func (a ArmName) String() string { return armNames[a] }

// MarshalText writes the arm's name.
func (a ArmName) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// Method says how one request is assigned to an arm.
type Method uint8

const (
	Random     Method = iota // an independent draw per request
	RoundRobin               // exact interleaving: of n requests, floor(n·ratio) or one more go to the canary
	Hash                     // by the client's key: same client, same arm
)

// Balance says which instance inside an arm.
type Balance uint8

const (
	P2C               Balance = iota // the less loaded of two drawn at random (requests in flight per capacity)
	LeastConn                        // the least loaded of all
	RoundRobinBalance                // in turn, the turn surviving table swaps
	RandomBalance                    // an independent draw
	HashBalance                      // by the client's key: same client, same instance
)

// InstanceSticky says whether a client keeps its instance inside an arm.
type InstanceSticky uint8

const (
	InstanceFree   InstanceSticky = iota // balance chooses each time
	InstanceSticks                       // same client, same instance while it is ready (rendezvous hash of the IDs)
	NodeSticks                           // same client, same Consul node, also across arms (a blue/green flip keeps the node)
)

// KeyKind is where a client's key comes from.
type KeyKind uint8

const (
	KeyCookie KeyKind = iota
	KeyHeader
	KeyIP // IPv6 cut to its /64
)

// KeySource is one place to look for the client's key.
type KeySource struct {
	Kind KeyKind
	Name string // of the cookie or header
	// Mint is set on the balancer's own cookie: where the client has none an
	// id is derived (from address, user agent and hour) and set.
	Mint bool
}

// Cookie describes the balancer's own cookie.
type Cookie struct {
	Name     string // "lb_canary"
	MaxAge   int    // seconds; 0 is a session cookie
	Domain   string
	SameSite string // "Lax", "Strict" or "None"
}

// Sticky says which clients are the same client. The zero value: none.
type Sticky struct {
	By       []KeySource // first one present wins; empty is not sticky
	Cookie   Cookie
	Instance InstanceSticky
}

// Selector chooses instances. All that is set must hold; the zero Selector is
// unset, see [Split].
type Selector struct {
	Tag     string
	Meta    map[string]string
	Service string // another Consul service whose instances join as this arm
}

// IsZero reports whether nothing is set.
func (s Selector) IsZero() bool { return s.Tag == "" && s.Service == "" && len(s.Meta) == 0 }

// PatternKind is how a MatchRule compares a value.
type PatternKind uint8

const (
	Exact   PatternKind = iota
	Prefix              // "abc*"
	Regexp              // "~re2"
	Present             // "*"
)

// Pattern is one compared value.
type Pattern struct {
	Kind PatternKind
	Text string // without the mark
	RE   *regexp.Regexp

	longest int // bytes of a value that RE is matched with; longer ones do not match. 0 is any
}

// FieldMatch compares one named header, cookie or query parameter.
type FieldMatch struct {
	Name    string
	Pattern Pattern
}

// MatchRule sends the requests it matches to an arm, before the split. Its
// parts AND; inside Methods and CIDRs any element may hold.
type MatchRule struct {
	Headers []FieldMatch
	Cookies []FieldMatch
	Query   []FieldMatch
	Path    *Pattern
	Methods []string
	CIDRs   []netip.Prefix // of the believed client address
	To      ArmName        // Stable or Canary
}

// Mirror says which requests of stable are copied to the canary, whose answers
// nobody gets.
type Mirror struct {
	Ratio       float64 // share of stable's requests, 0..1
	Methods     []string
	MaxBody     int // bytes; a request with a longer body is not copied
	Timeout     time.Duration
	MaxInFlight int  // copies of one service under way; more are dropped
	Shadow      bool // add "-shadow" to the name in Host
}

// Variant is the split of some clients.
type Variant struct {
	Name    string         // of the environment
	Clients []netip.Prefix // that it is for; empty is nobody
	// Share < 1 gives it only to those of them whose hash is below: a client
	// that has it keeps it while the share grows.
	Share float64
	Split *Split
	// Prepared is NewClients of Clients, which may cost much and so can be kept
	// from one Split to the next; nil is made when the table is built.
	Prepared *Clients
}

// Split is how a service's traffic is divided between its arms: the compiled
// form of a canary document, made by package canary. It is immutable. The zero
// Split sends everything to stable.
type Split struct {
	Service string
	// Explicit is set when a document says so, also one that says ratio 0.
	Explicit bool
	// Ratio is the effective share of the canary, 0..1.
	Ratio      float64
	Method     Method
	Sticky     Sticky
	Balance    Balance
	HasBalance bool // the document names a balance; otherwise the operator's default holds

	// Canary chooses the canary arm among the service's instances; zero means
	// the tag "canary". Stable zero means the rest. Backup zero means no
	// backup arm.
	Canary, Stable, Backup Selector

	Match      []MatchRule
	MinHealthy int // canaries below which everyone goes to stable; < 1 means 1

	// Secret keys the hash of sticky assignment: two 64-bit halves shared by
	// all balancers. ID is the rollout's identity, "" until the document has one.
	Secret [2]uint64
	ID     string

	// Overload o > 0 caps Ratio in each part so that one of its nc canaries gets
	// at most o times the load of one of its ns stable instances:
	// r <= o·nc/(o·nc+ns). 0 is no cap.
	Overload float64
	// Mirror copies requests of stable to the canary; nil does not.
	Mirror *Mirror
	// Variants are for some clients, the first that matches counts. They have
	// no variants themselves, and the selectors of this split.
	Variants []Variant
	// Rollout names the rollout that its requests are evidence for: the service,
	// or "*" of the document for all others; "" where nothing is judged.
	Rollout string

	// Index and DocHash identify the document this came from, for logs and APIs.
	Index   uint64
	DocHash string
	// Wanted is the ratio the document asks for, Because why Ratio differs.
	Wanted  float64
	Because string

	sequence string // see Sequence
	capacity string // see Capacity
}

// Splits holds the splits by service, and the one for all others.
type Splits struct {
	ByService map[string]*Split
	// Default applies to services without one of their own; nil is everything
	// to stable. For gives each service its own copy (own Service name).
	Default *Split
}

// For returns the split of a service: its own, else its copy of the default,
// else one that sends everything to stable. It is never nil; a copy is made at
// each call, of its variants too.
func (s Splits) For(service string) *Split {
	sp := s.ByService[service]
	switch {
	case sp == nil && s.Default == nil:
		return &Split{Service: service}
	case sp == nil:
		sp = s.Default
	case sp.Service == service:
		return sp
	}
	own := *sp
	own.Service = service
	if len(sp.Variants) > 0 {
		own.Variants = slices.Clone(sp.Variants)
		own.nameVariants()
	}
	return &own
}

// allStable is the split of all services for which no document says anything:
// one value, because most services are such.
var allStable = &Split{}

// of is For, but for services without any document it is allStable.
func (s Splits) of(service string) *Split {
	if s.Default == nil && s.ByService[service] == nil {
		return allStable
	}
	return s.For(service)
}

// selector returns what chooses arm a, with the defaults filled in; ok is
// false where a has no selector (stable: the rest; backup: no such arm).
func (s *Split) selector(a ArmName) (sel Selector, ok bool) {
	switch a {
	case Backup:
		sel = s.Backup
	case Canary:
		if sel = s.Canary; sel.IsZero() {
			sel.Tag = "canary"
		}
	case Stable:
		sel = s.Stable
	}
	return sel, !sel.IsZero()
}

// joins returns the other service whose instances make arm a, "" when the arm
// is made of the service's own.
func (s *Split) joins(a ArmName) string {
	if sel, _ := s.selector(a); sel.Service != s.Service {
		return sel.Service
	}
	return ""
}

// armOf returns the arm of one of the service's own instances. The backup is
// taken out first, then the canary; ok is false when no selector wants it.
func (s *Split) armOf(tags []string, meta map[string]string) (a ArmName, ok bool) {
	for _, a := range [...]ArmName{Backup, Canary, Stable} {
		sel, set := s.selector(a)
		if a == Stable && !set || set && s.joins(a) == "" && sel.holds(tags, meta) {
			return a, true
		}
	}
	return Stable, false
}

// holds reports whether the tag and the meta that s asks for are there.
func (s Selector) holds(tags []string, meta map[string]string) bool {
	if s.Tag != "" && !slices.Contains(tags, s.Tag) {
		return false
	}
	for k, v := range s.Meta {
		if got, ok := meta[k]; !ok || got != v {
			return false
		}
	}
	return true
}
