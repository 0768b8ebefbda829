package proxy

import (
	"net/url"
	"slices"
	"strings"

	"serin/route"
)

// matches reports whether every part of a document's rule holds for r.
func matches(m *route.MatchRule, r Request) bool {
	for i := range m.Headers {
		if v, ok := r.Header(m.Headers[i].Name); !holds(&m.Headers[i].Pattern, v, ok) {
			return false
		}
	}
	for i := range m.Cookies {
		if v, ok := r.Cookie(m.Cookies[i].Name); !holds(&m.Cookies[i].Pattern, v, ok) {
			return false
		}
	}
	for i := range m.Query {
		if v, ok := queryValue(r.RawQuery(), m.Query[i].Name); !holds(&m.Query[i].Pattern, v, ok) {
			return false
		}
	}
	if m.Path != nil && !holds(m.Path, r.Path(), true) {
		return false
	}
	if len(m.Methods) > 0 && !slices.Contains(m.Methods, r.Method()) {
		return false
	}
	if len(m.CIDRs) == 0 {
		return true
	}
	client := r.Client()
	for _, c := range m.CIDRs {
		if c.Contains(client) {
			return true
		}
	}
	return false
}

func holds(p *route.Pattern, value string, present bool) bool {
	switch {
	case !present:
		return false
	case p.Kind == route.Exact:
		return value == p.Text
	case p.Kind == route.Prefix:
		return strings.HasPrefix(value, p.Text)
	case p.Kind == route.Regexp:
		return p.RE.MatchString(value)
	}
	return true
}

// queryValue returns the first value of a query parameter, decoded; one that
// cannot be decoded counts as it stands.
func queryValue(query, name string) (string, bool) {
	for query != "" {
		var part string
		part, query, _ = strings.Cut(query, "&")
		k, v, _ := strings.Cut(part, "=")
		if unescape(k) == name {
			return unescape(v), true
		}
	}
	return "", false
}

func unescape(s string) string {
	if u, err := url.QueryUnescape(s); err == nil {
		return u
	}
	return s
}
