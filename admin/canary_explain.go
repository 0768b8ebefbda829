package admin

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"

	"serin/canary"
	"serin/route"
)

// CanaryExplanation is the arm of one client, and why.
type CanaryExplanation struct {
	Service string `json:"service"`
	ID      string `json:"id,omitempty"` // of the rollout
	// Arm is "" where only a request can tell: it is drawn. The guards, which
	// count healthy instances, are not in it.
	Arm  string `json:"arm"`
	Why  string `json:"why"`            // "rule", "sticky", "chance", "turn", or "ratio" where 0 or 1 leaves no choice
	Rule *int   `json:"rule,omitempty"` // element of match, from 0
	Key  string `json:"key,omitempty"`  // what is hashed, such as cookie:uid
	// U is where the client stands on the line from 0 to 2⁶⁴, in hex; Fraction
	// the same as a part of it. The canary has what is below Threshold.
	U           string  `json:"u,omitempty"`
	Fraction    float64 `json:"fraction,omitempty"`
	Threshold   float64 `json:"threshold"` // the ratio in force, before the guards
	Environment string  `json:"environment,omitempty"`
	Because     string  `json:"because"` // a sentence
}

// canaryExplain answers the arm of the client that the query describes.
func (s *Server) canaryExplain(w http.ResponseWriter, r *http.Request) {
	service, t := r.PathValue("service"), s.table()
	known := false
	if s.Canary != nil {
		_, known = s.Canary.ServiceStatus(canary.Unlabel(service))
	}
	if !known || t == nil {
		s.noDocument(w, service)
		return
	}
	c, err := askedClient(r)
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error(), "such as ?cookie=uid=7&header=X-User:ann&ip=10.1.2.3, or ?key=7&kind=cookie")
		return
	}
	answer(w, explainArm(t.Splits().For(canary.Unlabel(service)), c))
}

// client is what is said of a client whose arm is asked for.
type client struct {
	key, kind string // the value of a key alone, and its kind
	method    string
	path      string
	query     string
	headers   map[string]string // by name in lower case
	cookies   map[string]string
	ip        netip.Addr
}

func (c *client) Method() string     { return c.method }
func (c *client) Path() string       { return c.path }
func (c *client) RawQuery() string   { return c.query }
func (c *client) Client() netip.Addr { return c.ip }

func (c *client) Header(name string) (string, bool) {
	v, ok := c.headers[strings.ToLower(name)]
	return v, ok
}

func (c *client) Cookie(name string) (string, bool) {
	v, ok := c.cookies[name]
	return v, ok
}

// askedClient reads the query of a request for an explanation.
func askedClient(r *http.Request) (*client, error) {
	q := r.URL.Query()
	c := &client{key: q.Get("key"), kind: q.Get("kind"), method: http.MethodGet, path: "/", headers: map[string]string{}, cookies: map[string]string{}}
	if m := q.Get("method"); m != "" {
		c.method = strings.ToUpper(m)
	}
	if p := q.Get("path"); p != "" {
		c.path, c.query, _ = strings.Cut(p, "?")
	}
	for _, text := range q["header"] {
		name, value, ok := strings.Cut(text, ":")
		if !ok {
			return nil, fmt.Errorf("header %q is not NAME:VALUE", text)
		}
		c.headers[strings.ToLower(strings.TrimSpace(name))] = strings.TrimSpace(value)
	}
	for _, text := range q["cookie"] {
		name, value, ok := strings.Cut(text, "=")
		if !ok {
			return nil, fmt.Errorf("cookie %q is not NAME=VALUE", text)
		}
		c.cookies[name] = value
	}
	if ip := q.Get("ip"); ip != "" {
		var err error
		if c.ip, err = netip.ParseAddr(ip); err != nil {
			return nil, err
		}
	}
	if c.kind != "" && c.kind != "cookie" && c.kind != "header" && c.kind != "ip" {
		return nil, fmt.Errorf("kind is cookie, header or ip, not %q", c.kind)
	}
	if c.kind != "" && c.key == "" {
		return nil, errors.New("kind says what key is, and there is no key")
	}
	if c.kind == "ip" {
		if _, err := netip.ParseAddr(c.key); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// explainArm tells the arm of a client. It is pure.
func explainArm(sp *route.Split, c *client) CanaryExplanation {
	sp, environment := sp.VariantFor(c.ip)
	e := CanaryExplanation{Service: canary.Label(sp.Service), ID: sp.ID, Threshold: sp.Ratio, Environment: environment}
	for i := range sp.Match {
		one := *sp
		one.Match = sp.Match[i : i+1]
		if arm, ok := one.Rule(c); ok {
			e.Arm, e.Why, e.Rule = arm.String(), "rule", &i
			e.Because = fmt.Sprintf("match[%d] holds, and sends it to %s", i, arm)
			return e
		}
	}
	name, u, ok := c.position(sp)
	switch {
	case sp.Ratio <= 0 || sp.Ratio >= 1:
		e.Arm, e.Why = sp.Arm(0).String(), "ratio"
		e.Because = fmt.Sprintf("the ratio in force is %g", sp.Ratio)
		if sp.Because != "" {
			e.Because += ": " + sp.Because
		}
	case sp.Method == route.RoundRobin:
		e.Why, e.Because = "turn", "requests go to the arms in turn, whoever sends them"
	case ok:
		e.Arm, e.Why = sp.Arm(u).String(), "sticky"
		is := "is not below"
		if e.Arm == route.Canary.String() {
			is = "is below"
		}
		e.Because = fmt.Sprintf("%s gives u = %.6f, which %s the ratio %g", name, part(u), is, sp.Ratio)
	case sp.Method == route.Hash || len(sp.Sticky.By) > 0:
		e.Why, e.Because = "chance", "the client has none of the keys that sticky names, so that each request is drawn"
	default:
		e.Why, e.Because = "chance", "each request is drawn: the document is not sticky"
	}
	if ok {
		e.Key, e.U, e.Fraction = name, fmt.Sprintf("%016x", u), part(u)
	}
	return e
}

// part is a place on the line from 0 to 2⁶⁴ as a part of it.
func part(u uint64) float64 { return float64(u) / (1 << 64) }

// position returns the key of the client that counts, and where it stands.
func (c *client) position(sp *route.Split) (name string, u uint64, ok bool) {
	by := sp.Sticky.By
	if len(by) == 0 && sp.Method == route.Hash {
		by = []route.KeySource{{Kind: route.KeyIP}}
	}
	if c.key != "" {
		kind := route.KeyCookie
		if len(by) > 0 {
			kind = by[0].Kind
		}
		for _, k := range []route.KeyKind{route.KeyCookie, route.KeyHeader, route.KeyIP} {
			if k.String() == c.kind {
				kind = k
			}
		}
		if kind == route.KeyIP {
			a, err := netip.ParseAddr(c.key)
			return "ip", sp.PositionAddr(a), err == nil
		}
		return kind.String(), sp.Position(kind, c.key), true
	}
	for _, src := range by {
		switch src.Kind {
		case route.KeyIP:
			if c.ip.IsValid() {
				return "ip", sp.PositionAddr(c.ip), true
			}
		case route.KeyHeader:
			if v, _ := c.Header(src.Name); v != "" {
				return "header:" + src.Name, sp.Position(src.Kind, v), true
			}
		case route.KeyCookie:
			if v := c.cookies[src.Name]; v != "" {
				return "cookie:" + src.Name, sp.Position(src.Kind, v), true
			}
		}
	}
	return "", 0, false
}
