package canary

import (
	"encoding/json"
	"time"

	"serin/route"
)

// Limits of a document, see [Parse].
const (
	MaxSize  = 64 << 10 // bytes of a document
	MaxRules = 256      // elements of match
)

// DefaultStaleAfter is how long the last known share is kept when the source is
// lost and the document does not say.
const DefaultStaleAfter = 30 * time.Second

// Document is what an operator writes about one service's canary, checked by
// [Parse]. Every field may be absent, and absent is never the same as 0: the
// zero Document is `{}` and means ratio 0. It is immutable once parsed. Its JSON
// form parses to an equal Document; comment, $schema and x-* fields are not kept.
type Document struct {
	Ratio   *float64 `json:"ratio,omitzero"`   // share of requests for the canary, 0..1
	Method  string   `json:"method,omitzero"`  // "random", "round_robin" or "hash"; absent: "hash" when sticky, else "random"
	Sticky  *Sticky  `json:"sticky,omitzero"`  // same client, same arm
	Balance string   `json:"balance,omitzero"` // "p2c", "least_conn", "round_robin" or "random"; absent: the operator's default

	Canary *Selector `json:"canary,omitzero"` // absent: the tag "canary"
	Stable *Selector `json:"stable,omitzero"` // absent: the rest
	Backup *Selector `json:"backup,omitzero"` // absent: no such arm

	Match  []Rule  `json:"match,omitzero"`
	Limits *Limits `json:"limits,omitzero"`

	OnStale      string    `json:"on_stale,omitzero"`      // "stable" (absent) or "hold": what to do when the source is lost
	StaleAfter   *Duration `json:"stale_after,omitzero"`   // absent: DefaultStaleAfter
	UpdateRate   *Duration `json:"update_rate,omitzero"`   // minimum spacing of applied changes; absent: none
	ConfigServer string    `json:"config_server,omitzero"` // where the document is read from instead: consul://host:port/key
}

// Limits bound what a document may do.
type Limits struct {
	MinHealthy *int `json:"min_healthy,omitzero"` // canaries below which everyone goes to stable, >= 1; absent: 1
}

// Sticky says which clients are the same client; without By none are.
type Sticky struct {
	// By lists where the client's key is looked for, the first one present
	// wins: "cookie:NAME", "header:NAME", "ip" (IPv6 by its /64), or "cookie",
	// the balancer's own, which is set where the client has none.
	By       []string
	Cookie   *Cookie // the balancer's own; absent: its defaults
	Instance route.InstanceSticky
}

// Cookie describes the balancer's own cookie. Zero fields mean the defaults.
type Cookie struct {
	Name     string    `json:"name,omitzero"`      // "lb_canary"
	MaxAge   *Duration `json:"max_age,omitzero"`   // absent or 0: until the browser closes
	Domain   string    `json:"domain,omitzero"`    // the host that set it
	SameSite string    `json:"same_site,omitzero"` // "Lax", "Strict" or "None"
}

// MarshalJSON writes false, or the object form.
func (s Sticky) MarshalJSON() ([]byte, error) {
	if len(s.By) == 0 {
		return []byte("false"), nil
	}
	var instance any
	switch s.Instance {
	case route.InstanceSticks:
		instance = true
	case route.NodeSticks:
		instance = "node"
	}
	return json.Marshal(struct {
		By       []string `json:"by"`
		Cookie   *Cookie  `json:"cookie,omitzero"`
		Instance any      `json:"instance,omitzero"`
	}{s.By, s.Cookie, instance})
}

// Selector chooses instances; all that is set must hold, and something is.
type Selector struct {
	Tag     string            `json:"tag,omitzero"`
	Meta    map[string]string `json:"meta,omitzero"`
	Service string            `json:"service,omitzero"` // another Consul service that joins as this arm
}

// Rule sends requests to an arm before the split. Its fields AND; one element
// of a list is enough. Patterns are exact, "prefix*", "~re2" (not anchored) or
// "*", which means present.
type Rule struct {
	Header map[string]string `json:"header,omitzero"`
	Cookie map[string]string `json:"cookie,omitzero"`
	Query  map[string]string `json:"query,omitzero"`
	Path   string            `json:"path,omitzero"`
	Method []string          `json:"method,omitzero"` // upper case
	CIDR   []string          `json:"cidr,omitzero"`   // of the believed client address
	To     string            `json:"to"`              // "canary" or "stable"
}

// Duration is a span of time that is written with its unit: "30s".
type Duration time.Duration

// MarshalText writes d as time.Duration prints it.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// or returns the duration, or def when it is absent.
func (d *Duration) or(def time.Duration) time.Duration {
	if d == nil {
		return def
	}
	return time.Duration(*d)
}

// wanted is the share the document asks for.
func (d *Document) wanted() float64 {
	if d.Ratio == nil {
		return 0
	}
	return *d.Ratio
}
