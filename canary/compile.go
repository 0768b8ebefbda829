package canary

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"serin/route"
)

// Applied is what a document is applied with.
type Applied struct {
	Service string // "" for the document of all services without their own
	Index   uint64
	Hash    string
	Secret  [2]uint64
	Ratio   float64 // as Effective says
	Because string
}

// Compile turns a document into the split of a service. It cannot fail: what
// could is refused by Parse.
func Compile(d *Document, a Applied) *route.Split {
	s := &route.Split{
		Service:    a.Service,
		Explicit:   true,
		Ratio:      a.Ratio,
		Method:     methods[d.Method],
		Balance:    balances[d.Balance],
		HasBalance: d.Balance != "",
		Canary:     d.Canary.compile(),
		Stable:     d.Stable.compile(),
		Backup:     d.Backup.compile(),
		MinHealthy: 1,
		Secret:     a.Secret,
		Index:      a.Index,
		DocHash:    a.Hash,
		Wanted:     d.wanted(),
		Because:    a.Because,
	}
	if d.Limits != nil && d.Limits.MinHealthy != nil {
		s.MinHealthy = *d.Limits.MinHealthy
	}
	if d.Sticky != nil {
		s.Sticky = d.Sticky.compile()
	}
	switch {
	case len(s.Sticky.By) > 0:
		s.Method = route.Hash
	case s.Method == route.Hash: // of whom nothing else is said: the client's address
		s.Sticky.By = []route.KeySource{{Kind: route.KeyIP}}
	}
	for _, r := range d.Match {
		s.Match = append(s.Match, r.compile())
	}
	return s
}

var (
	methods  = map[string]route.Method{"random": route.Random, "round_robin": route.RoundRobin, "hash": route.Hash}
	balances = map[string]route.Balance{"p2c": route.P2C, "least_conn": route.LeastConn, "round_robin": route.RoundRobinBalance, "random": route.RandomBalance}
)

func (s *Selector) compile() route.Selector {
	if s == nil {
		return route.Selector{}
	}
	return route.Selector{Tag: s.Tag, Meta: s.Meta, Service: s.Service}
}

func (s *Sticky) compile() route.Sticky {
	if len(s.By) == 0 {
		return route.Sticky{}
	}
	c := cmp.Or(s.Cookie, &Cookie{})
	return route.Sticky{
		By:       s.keySources(),
		Instance: s.Instance,
		Cookie: route.Cookie{
			Name:     cmp.Or(c.Name, ownCookie),
			MaxAge:   int(c.MaxAge.or(0) / time.Second),
			Domain:   c.Domain,
			SameSite: cmp.Or(c.SameSite, "Lax"),
		},
	}
}

// keySources reads By. A cookie is minted when it is the balancer's own, by
// word ("cookie") or by name.
func (s *Sticky) keySources() (out []route.KeySource) {
	own := ownCookie
	if s.Cookie != nil {
		own = cmp.Or(s.Cookie.Name, own)
	}
	for _, by := range s.By {
		kind, name, _ := strings.Cut(by, ":")
		switch kind {
		case "ip":
			out = append(out, route.KeySource{Kind: route.KeyIP})
		case "header":
			out = append(out, route.KeySource{Kind: route.KeyHeader, Name: name})
		case "cookie":
			name = cmp.Or(name, own)
			out = append(out, route.KeySource{Kind: route.KeyCookie, Name: name, Mint: name == own})
		}
	}
	return out
}

func (r Rule) compile() route.MatchRule {
	m := route.MatchRule{
		Headers: fieldMatches(r.Header),
		Cookies: fieldMatches(r.Cookie),
		Query:   fieldMatches(r.Query),
		Methods: r.Method,
	}
	if r.To == "canary" {
		m.To = route.Canary
	}
	if r.Path != "" {
		m.Path = new(mustPattern(r.Path))
	}
	for _, c := range r.CIDR {
		prefix, err := parsePrefix(c)
		if err != nil {
			panic("BUG: Parse let a network pass that cannot be read: " + c)
		}
		m.CIDRs = append(m.CIDRs, prefix)
	}
	return m
}

func fieldMatches(m map[string]string) (out []route.FieldMatch) {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		out = append(out, route.FieldMatch{Name: name, Pattern: mustPattern(m[name])})
	}
	return out
}

func mustPattern(s string) route.Pattern {
	p, err := parsePattern(s)
	if err != nil {
		panic("BUG: Parse let a pattern pass that cannot be read: " + s)
	}
	return p
}
