package canary

import (
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
	Rollout string   // see [route.Split]
	Wanted  *float64 // what the document asks for at this moment; nil: as it is written
	Mirror  *float64 // share of stable's requests that are mirrored; nil: as it is written

	rules []route.MatchRule // compileRules of the document's; nil: not known
}

// Compile turns a document into the split of a service, without environments. It
// cannot fail: what could is refused by Parse.
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
		ID:         d.ID,
		Mirror:     d.Mirror.compile(a.Mirror),
		Rollout:    a.Rollout,
		Index:      a.Index,
		DocHash:    a.Hash,
		Wanted:     d.wanted(),
		Because:    a.Because,
	}
	if a.Wanted != nil {
		s.Wanted = *a.Wanted
	}
	if l := d.Limits; l != nil {
		if l.MinHealthy != nil {
			s.MinHealthy = *l.MinHealthy
		}
		if l.Overload != nil {
			s.Overload = *l.Overload
		}
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
	if s.Match = a.rules; s.Match == nil {
		s.Match = compileRules(d.Match)
	}
	return s
}

var (
	methods  = map[string]route.Method{"random": route.Random, "round_robin": route.RoundRobin, "hash": route.Hash}
	balances = map[string]route.Balance{"p2c": route.P2C, "least_conn": route.LeastConn, "round_robin": route.RoundRobinBalance, "random": route.RandomBalance, "hash": route.HashBalance}
)

func (s *Selector) compile() route.Selector {
	if s == nil {
		return route.Selector{}
	}
	return route.Selector{Tag: s.Tag, Meta: s.Meta, Service: s.Service}
}

// compile fills the defaults in. ratio, of a step, goes before the mirror's own;
// nil is returned where nothing is mirrored.
func (m *Mirror) compile(ratio *float64) *route.Mirror {
	if m == nil {
		m = &Mirror{}
	}
	out := &route.Mirror{
		Ratio: m.Ratio, Methods: m.Methods, MaxBody: DefaultMirrorBody, Timeout: m.Timeout.or(DefaultMirrorTimeout),
		MaxInFlight: DefaultMirrorInflight, Shadow: m.Shadow,
	}
	if ratio != nil {
		out.Ratio = *ratio
	}
	if !(out.Ratio > 0) {
		return nil
	}
	if m.MaxBody != nil {
		out.MaxBody = *m.MaxBody
	}
	if m.MaxInflight != nil {
		out.MaxInFlight = *m.MaxInflight
	}
	if m.Methods == nil {
		out.Methods = []string{"GET", "HEAD", "OPTIONS"}
	}
	return out
}
