package canary

import (
	"cmp"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"serin/route"
)

// ownCookie is the name of the balancer's cookie unless the document gives one.
const ownCookie = "lb_canary"

func (p *parser) sticky(n node) *Sticky {
	const want = `true, false, "cookie:NAME", "header:NAME", "ip" or an object`
	usual := []string{"cookie", "ip"}
	switch n.kind {
	case 'f':
		return &Sticky{}
	case 't':
		return &Sticky{By: usual}
	case '"':
		return &Sticky{By: []string{p.keySource(n)}}
	}
	s := &Sticky{By: usual}
	p.object(n, want, fields{
		"by":     func(n node) { s.By = p.list(n, "a list of key sources", p.keySource) },
		"cookie": func(n node) { s.Cookie = p.cookie(n) },
		"instance": func(n node) {
			switch {
			case n.kind == 't':
				s.Instance = route.InstanceSticks
			case n.kind == '"' && n.text == "node":
				s.Instance = route.NodeSticks
			case n.kind != 'f':
				p.wrong(n, `true, false or "node"`)
			}
		},
	})
	if cookie, ok := n.member("cookie"); ok && !slices.ContainsFunc(s.keySources(), func(k route.KeySource) bool { return k.Mint }) {
		p.fail(cookie, `add "cookie" to by`, "%s describes the balancer's own cookie, which by does not name", cookie.path)
	}
	return s
}

func (p *parser) keySource(n node) string {
	kind, name, named := strings.Cut(n.text, ":")
	switch {
	case n.text == "cookie" || n.text == "ip":
	case named && (kind == "cookie" || kind == "header"):
		if !isToken(name) {
			p.fail(n, "", `%s "%s": "%s" is not the name of a %s`, n.path, short(n.text), short(name), kind)
		}
	default:
		p.fail(n, didYouMean(n.text, []string{"cookie", "ip"}), `%s must be "cookie:NAME", "header:NAME" or "ip", not "%s"`, n.path, short(n.text))
	}
	return n.text
}

func (p *parser) cookie(n node) *Cookie {
	c := &Cookie{}
	p.object(n, "an object with name, max_age, domain or same_site", fields{
		"name": func(n node) {
			if c.Name = p.string(n, "the name of a cookie"); n.kind == '"' && !isToken(c.Name) {
				p.fail(n, "", `%s "%s" is not the name of a cookie`, n.path, short(c.Name))
			}
		},
		"max_age": func(n node) {
			c.MaxAge = p.duration(n)
			if d := c.MaxAge.or(0); d%time.Second != 0 || d/time.Second > math.MaxInt32 {
				p.fail(n, "", "%s must be whole seconds, and at most 68 years", n.path)
			}
		},
		"domain": func(n node) {
			c.Domain = p.string(n, "a domain")
			if n.kind == '"' && !domainRE.MatchString(c.Domain) {
				p.fail(n, "", `%s "%s" is not a domain`, n.path, short(c.Domain))
			}
		},
		"same_site": func(n node) { c.SameSite = p.word(n, "Lax", "Strict", "None") },
	})
	return c
}

var domainRE = regexp.MustCompile(`^[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$`)

// isToken tells whether s is a token of RFC 9110, section 5.6.2, as the names
// of headers, cookies and methods are.
func isToken(s string) bool {
	return s != "" && len(s) <= 256 && strings.Trim(s, "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
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
