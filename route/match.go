package route

import (
	"cmp"
	"slices"
	"strings"
)

// index finds the route of a request at a cost that does not grow with the
// number of hosts and hardly with that of paths.
type index struct {
	hosts map[string]*paths // by Route.Host, all of them
	// A rule for ":80" serves plain requests without a port, one for ":443"
	// those over TLS; it stands here without the port.
	usual [2]hostSet
	any   hostSet // all rules with a host, as they are written
}

// hostSet finds exact hosts and wildcards.
type hostSet struct {
	exact  map[string]*paths
	suffix map[string]*paths // ".suffix" of "*.suffix", "" of "*", with the port
	long   int               // length of the longest suffix
}

func (s *hostSet) add(host string, p *paths) {
	if s.exact == nil {
		s.exact, s.suffix = make(map[string]*paths), make(map[string]*paths)
	}
	if rest, ok := strings.CutPrefix(host, "*"); ok {
		s.suffix[rest] = p
		s.long = max(s.long, len(rest))
	} else {
		s.exact[host] = p
	}
}

func (x *index) add(host string, p *paths) {
	if x.hosts == nil {
		x.hosts = make(map[string]*paths)
	}
	x.hosts[host] = p
	if host == "" {
		return
	}
	x.any.add(host, p)
	for i, port := range [...]string{":80", ":443"} {
		if name, ok := strings.CutSuffix(host, port); ok {
			x.usual[i].add(name, p)
		}
	}
}

// Match returns the route that serves host and path, or nil. tls tells whether
// the request came over TLS (only for the :80 and :443 rules of Fabio). The
// path is the request's raw path; matching is done on one normalised copy.
// Match does not allocate in the usual case and is safe for concurrent use.
//
// The order is Fabio's: exact hosts before wildcards, a longer wildcard suffix
// before a shorter one, hosts before routes without a host, then the longest
// path prefix; and where no path of a host matches, the next host is tried.
func (t *Table) Match(host, path string, tls bool) *Route {
	if t == nil {
		return nil
	}
	path, ok := cleanPath(path)
	if !ok {
		return nil
	}
	host = CleanHost(host, tls)
	usual := &t.usual[0]
	if tls {
		usual = &t.usual[1]
	}
	if r := usual.exact[host].find(path); r != nil {
		return r
	}
	if r := t.any.exact[host].find(path); r != nil {
		return r
	}
	if long := max(usual.long, t.any.long); long > 0 {
		// No longer suffix is looked up than any rule has, so that a host of
		// nothing but dots costs no more than one of usual length.
		for i := max(0, len(host)-long); i < len(host); i++ {
			if host[i] != '.' && host[i] != ':' {
				continue
			}
			if r := usual.suffix[host[i:]].find(path); r != nil {
				return r
			}
			if r := t.any.suffix[host[i:]].find(path); r != nil {
				return r
			}
		}
	}
	if r := usual.suffix[""].find(path); r != nil {
		return r
	}
	if r := t.any.suffix[""].find(path); r != nil {
		return r
	}
	return t.hosts[""].find(path)
}

// paths are the routes of one host.
type paths struct {
	routes []*Route // by key, ascending
	keys   []string // of routes; side by side in memory, for the sake of find
	up     []int32  // the longest other key that is a prefix of this one; -1 is none
	root   *Route   // the route of "/", when that is the only one
	from   []*Route // what they were made of: a route per service
}

// newPaths indexes the routes of one host, merging those of the same path.
func newPaths(from []*Route) *paths {
	routes := slices.Clone(from)
	slices.SortFunc(routes, func(a, b *Route) int {
		return cmp.Or(strings.Compare(a.key, b.key), strings.Compare(a.Parts[0].Service, b.Parts[0].Service))
	})
	p := &paths{routes: make([]*Route, 0, len(routes)), from: from}
	size := 0
	for i := 0; i < len(routes); {
		n := i + 1
		for n < len(routes) && routes[n].key == routes[i].key {
			n++
		}
		p.routes = append(p.routes, merge(routes[i:n]))
		size += len(routes[i].key)
		i = n
	}
	if len(p.routes) == 1 && p.routes[0].key == "/" {
		p.root = p.routes[0]
	}
	p.keys, p.up = make([]string, len(p.routes)), make([]int32, len(p.routes))
	var all strings.Builder
	all.Grow(size) // never moves
	for i, r := range p.routes {
		from := all.Len()
		all.WriteString(r.key)
		p.keys[i] = all.String()[from:]
		up := int32(i) - 1
		for up >= 0 && !strings.HasPrefix(r.key, p.keys[up]) {
			up = p.up[up]
		}
		p.up[i] = up
	}
	return p
}

// find returns the route with the longest key that is a prefix of path. A nil
// p has none.
func (p *paths) find(path string) *Route {
	if p == nil {
		return nil
	}
	if p.root != nil {
		return p.root
	}
	// The greatest key that is not above path has every key that is a prefix
	// of path as its own prefix.
	low, high := 0, len(p.keys)
	for low < high {
		if mid := int(uint(low+high) >> 1); p.keys[mid] <= path {
			low = mid + 1
		} else {
			high = mid
		}
	}
	i := int32(low) - 1
	for i >= 0 && !strings.HasPrefix(path, p.keys[i]) {
		i = p.up[i]
	}
	if i < 0 {
		return nil
	}
	return p.routes[i]
}

// compareHosts orders hosts as they are tried: exact ones, wildcards by the
// length of their suffix, no host; with the usual ports first.
func compareHosts(a, b string) int {
	rank := func(h string) (kind, long int, name, port string) {
		switch name, port = splitPort(h); {
		case h == "":
			kind = 2
		case strings.HasPrefix(h, "*"):
			kind, long = 1, len(name)
		}
		return kind, long, name, port
	}
	ka, la, na, pa := rank(a)
	kb, lb, nb, pb := rank(b)
	return cmp.Or(cmp.Compare(ka, kb), cmp.Compare(lb, la), strings.Compare(na, nb), strings.Compare(pb, pa))
}
