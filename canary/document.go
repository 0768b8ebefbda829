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
	Balance string   `json:"balance,omitzero"` // "p2c", "least_conn", "round_robin", "random" or "hash"; absent: the operator's default

	Canary *Selector `json:"canary,omitzero"` // absent: the tag "canary"
	Stable *Selector `json:"stable,omitzero"` // absent: the rest
	Backup *Selector `json:"backup,omitzero"` // absent: no such arm

	Match  []Rule  `json:"match,omitzero"`
	Limits *Limits `json:"limits,omitzero"`

	ID       string     `json:"id,omitzero"`       // identity of the rollout
	Ramp     *Ramp      `json:"ramp,omitzero"`     // excludes ratio and steps
	Steps    []Step     `json:"steps,omitzero"`    // excludes ratio and ramp
	Analysis *Analysis  `json:"analysis,omitzero"` // absent: nothing is judged
	Control  string     `json:"control,omitzero"`  // "run", "pause", "promote" or "abort"
	Mirror   *Mirror    `json:"mirror,omitzero"`
	Notify   []Notify   `json:"notify,omitzero"`
	Expires  *time.Time `json:"expires,omitzero"` // ratio 0 from then on

	Environments []Environment `json:"environments,omitzero"`

	OnStale      string    `json:"on_stale,omitzero"`      // "stable" (absent) or "hold": what to do when the source is lost
	StaleAfter   *Duration `json:"stale_after,omitzero"`   // absent: DefaultStaleAfter
	UpdateRate   *Duration `json:"update_rate,omitzero"`   // minimum spacing of applied changes; absent: none
	ConfigServer string    `json:"config_server,omitzero"` // where the document is read from instead: consul://host:port/key, http(s)://host/path or file:/path
}

// Limits bound what a document may do.
type Limits struct {
	MaxRatio   *float64 `json:"max_ratio,omitzero"`   // 0..1; absent: 1
	MinHealthy *int     `json:"min_healthy,omitzero"` // canaries below which everyone goes to stable, >= 1; absent: 1
	// Overload o > 0 caps the ratio so that a canary instance gets at most o
	// times a stable instance's load: r <= o·nc/(o·nc+ns). Absent: no cap.
	Overload *float64 `json:"overload,omitzero"`
}

// Ramp is a share that moves in a straight line: from Start to End, or Over a
// time from the first application on.
type Ramp struct {
	From  *float64   `json:"from,omitzero"` // absent: 0
	To    *float64   `json:"to,omitzero"`   // absent: 1
	Start *time.Time `json:"start,omitzero"`
	End   *time.Time `json:"end,omitzero"`
	Over  *Duration  `json:"over,omitzero"`
}

// Step is one step of a plan: ratio or mirror to stay at, or a pause.
type Step struct {
	Ratio  *float64  `json:"ratio,omitzero"`
	Mirror *float64  `json:"mirror,omitzero"`
	For    *Duration `json:"for,omitzero"`
	Pause  *Pausing  `json:"pause,omitzero"`
}

// Pausing is a pause until the operator says run, or for a time: true or "1h".
type Pausing struct {
	For Duration // 0: until the operator says so
}

// Analysis says how a rollout is judged; absent fields have the defaults of
// package evidence.
type Analysis struct {
	Alpha          *float64  `json:"alpha,omitzero"`
	Beta           *float64  `json:"beta,omitzero"`
	Margin         *float64  `json:"margin,omitzero"`
	MaxErrorRate   *float64  `json:"max_error_rate,omitzero"`
	Slow           string    `json:"slow,omitzero"` // a duration, or "auto"
	MinRequests    *int      `json:"min_requests,omitzero"`
	Warmup         *Duration `json:"warmup,omitzero"`          // absent: 30 s
	Failures       []string  `json:"failures,omitzero"`        // "5xx", "connect", "timeout", "reset", "truncated", "grpc"; absent: all
	OnFail         string    `json:"on_fail,omitzero"`         // "rollback" (absent) or "pause"
	OnInconclusive string    `json:"on_inconclusive,omitzero"` // "wait" (absent), "pause" or "promote"
	MaxWait        *Duration `json:"max_wait,omitzero"`        // absent: 1 h
}

// Mirror sends copies of stable's requests to the canary, whose answers nobody gets.
type Mirror struct {
	Ratio       float64   `json:"ratio"`                 // share of stable's requests
	Methods     []string  `json:"methods,omitzero"`      // absent: GET, HEAD, OPTIONS
	MaxBody     *int      `json:"max_body,omitzero"`     // bytes; requests with a longer body are not mirrored; absent: 64 KiB
	Timeout     *Duration `json:"timeout,omitzero"`      // absent: 5 s
	MaxInflight *int      `json:"max_inflight,omitzero"` // absent: 100
	Shadow      bool      `json:"shadow,omitzero"`       // add "-shadow" to the Host
}

// Environment is a JSON merge patch (RFC 7396) of the document for the balancers
// or clients that match; the first that matches counts.
type Environment struct {
	Name  string          `json:"name"`
	When  When            `json:"when"`
	Roll  *Roll           `json:"roll,omitzero"`
	Patch json.RawMessage `json:"-"` // the environment's other fields, an object
}

// When says whom an environment is for: all that is named must hold, of a list
// any one. Node, Datacenter and Tag are of the balancer, the others of the client.
type When struct {
	Node       []string `json:"node,omitzero"`
	Datacenter []string `json:"datacenter,omitzero"`
	Tag        []string `json:"tag,omitzero"`
	CIDR       []string `json:"cidr,omitzero"`
	Host       []string `json:"host,omitzero"`    // DNS names
	Service    []string `json:"service,omitzero"` // the instances of Consul services
}

// Roll gives the patch to a share of those that match, chosen by a hash, that
// grows from none at Start to all at End.
type Roll struct {
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`
}

// Notify is an address that is told of events.
type Notify struct {
	URL     string            `json:"url"` // or env:NAME or file:PATH that hold it
	On      []string          `json:"on,omitzero"`
	Headers map[string]string `json:"headers,omitzero"` // values may be env:NAME or file:PATH
}

// Sticky says which clients are the same client; without By none are.
type Sticky struct {
	// By lists where the client's key is looked for, the first one present
	// wins: "cookie:NAME", "header:NAME", "ip" (IPv6 by its /64), or "cookie",
	// the balancer's own, which is set where the client has none.
	By       []string             `json:"by"`
	Cookie   *Cookie              `json:"cookie"`   // the balancer's own; absent: its defaults
	Instance route.InstanceSticky `json:"instance"` // keep the client on its instance, or on its Consul node, in both arms
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
