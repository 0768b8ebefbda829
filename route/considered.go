package route

import "strings"

// Considered is a route and which of its own terms a request meets, whatever
// other routes there are. Where all are met the route matches.
type Considered struct {
	Route            *Route
	Host, Path, When bool
}

// Considered compares every route with a request, in matching order: the routes
// that meet it are those of a [Table.Search] with the same arguments. It is for
// people who ask why, and costs in proportion to the table.
func (t *Table) Considered(host, path string, tls bool, r ConditionRequest) (all []Considered) {
	if t == nil {
		return nil
	}
	clean, ok := cleanPath(path)
	host = CleanHost(host, tls)
	for route := range t.index.all() {
		all = append(all, Considered{
			Route: route,
			Host:  fits(route.Host, host, tls, t.index.noGlobs),
			Path:  ok && t.index.matcher.fits(route.key, clean),
			When:  route.When == nil || r != nil && route.When.Holds(r),
		})
	}
	return all
}

// fits reports whether a route's host is that of a request, which is clean.
func fits(pattern, host string, tls, noGlobs bool) bool {
	usual := usualPorts[0]
	if tls {
		usual = usualPorts[1]
	}
	kind := kindOf(pattern, noGlobs)
	for _, p := range []string{pattern, strings.TrimSuffix(pattern, usual)} {
		switch kind {
		case exactHost:
			if p == host {
				return true
			}
		case suffixHost, everyHost:
			if strings.HasSuffix(host, p[1:]) {
				return true
			}
		case globHost:
			if g, err := compileGlob(p); err == nil && len(host) <= maxAuthority && g.match(host) {
				return true
			}
		default:
			return true
		}
	}
	return false
}

// fits reports whether a route with the key serves the clean path.
func (m Matcher) fits(key, path string) bool {
	switch m {
	case IPrefixMatcher:
		return strings.HasPrefix(strings.ToLower(path), key)
	case GlobMatcher:
		g, err := compileGlob(key)
		return err == nil && g.match(path)
	}
	return strings.HasPrefix(path, key)
}
