package route

// maxAuthority is how many bytes a request's host may have for globs to look at it:
// no name is longer, with its port.
const maxAuthority = 253 + len(":65535")

// Search walks the routes that match a request, best first. It does not
// allocate, where the conditions of the routes do not (see [Condition.Holds]).
// The zero value has no route. It is for one goroutine.
type Search struct {
	index      *index
	host, path string // in the forms of CleanHost and CleanPath
	request    ConditionRequest
	usual      uint8 // in hostPaths.usual

	// Where it is among the hosts.
	kind  hostKind
	tried bool       // the first of kind was looked up
	names *hostPaths // nil when all of them were tried
	turn  uint8
	long  int // no longer suffix is left
	globs globCursor[hostPaths]

	// Where it is among the routes of one host.
	paths    *paths
	level    int
	left     int // no longer key is left
	patterns globCursor[atKey]
	routes   []*Route // that are left of one place
}

// Search begins a search for the routes of a request: host is its authority,
// path its raw path; tls tells whether it came over TLS (for Fabio's rules
// about the ports 80 and 443). Without r, routes with a condition do not match.
//
// The order is Fabio's: exact hosts, suffixes ("*.suffix", the longer first),
// globs (the greater one when read backwards first), "*", routes without a host. A
// host with the usual port of the request comes before the same without. Within
// a host a higher priority goes first, then the longest path (among globs, the
// greater pattern), then a route with a condition before one without. Where no
// path of a host matches, the next host is tried.
func (t *Table) Search(host, path string, tls bool, r ConditionRequest) Search {
	if t == nil {
		return Search{}
	}
	return t.index.search(host, path, tls, r)
}

// Match returns the best route of a request, as a [Table.Search] without a
// condition's request finds it first, or nil. It does not allocate in the usual
// case and is safe for concurrent use.
func (t *Table) Match(host, path string, tls bool) *Route {
	s := t.Search(host, path, tls, nil)
	return s.Next()
}

func (x *index) search(host, path string, tls bool, r ConditionRequest) (s Search) {
	path, ok := cleanPath(path)
	if !ok || x == nil {
		return s
	}
	s.index, s.path, s.request = x, path, r
	s.host = CleanHost(host, tls)
	if tls {
		s.usual = 1
	}
	s.long = len(s.host)
	return s
}

// Next returns the next route; nil when there is no more.
func (s *Search) Next() *Route {
	for s.index != nil {
		for len(s.routes) > 0 {
			r := s.routes[0]
			s.routes = s.routes[1:]
			if r.When == nil || s.request != nil && r.When.Holds(s.request) {
				return r
			}
		}
		if s.paths == nil {
			if !s.nextHost() {
				s.index = nil
			}
			continue
		}
		if r := s.paths.only; r != nil {
			s.paths = nil
			return r
		}
		if at := s.nextPlace(); at == nil {
			s.paths = nil
		} else if at.plain != nil {
			return at.plain
		} else {
			s.routes = at.routes
		}
	}
	return nil
}

// nextPlace returns the next place of the host that matches the path; nil when
// there is no more.
func (s *Search) nextPlace() *atKey {
	for ; s.level < len(s.paths.levels); s.level++ {
		t := text{s: s.path, n: s.left, fold: s.index.matcher == IPrefixMatcher}
		if l := &s.paths.levels[s.level]; l.globs != nil {
			t.n = len(s.path)
			if found := l.globs.next(&s.patterns, t, s.path); found != nil {
				return &found.value
			}
			s.patterns = globCursor[atKey]{}
		} else if s.left >= 0 {
			if found := l.prefixes.longest(t); found != nil {
				s.left = len(found.key) - 1
				return &found.value
			}
		}
		s.left = len(s.path)
	}
	return nil
}

// nextHost goes to the next host that matches.
func (s *Search) nextHost() bool {
	for {
		for s.names != nil {
			h := s.names
			if s.turn++; s.turn == 1 {
				s.paths = h.usual[s.usual]
			} else {
				s.paths, s.names = h.self, nil
				if s.paths != nil && s.kind == exactHost && s.paths.kind != exactHost {
					s.paths = nil // the request asks for "*.a", by that name
				}
			}
			if s.paths != nil {
				s.level, s.left = 0, len(s.path)
				return true
			}
		}
		s.turn = 0
		switch s.kind {
		case exactHost:
			if !s.tried && s.host != "" {
				s.tried = true
				if found := s.index.names.get(s.host); found != nil {
					s.names = &found.value
				}
				continue
			}
		case suffixHost:
			if s.long >= 0 && !s.index.suffix.empty() {
				if found := s.index.suffix.longest(text{s: s.host, n: s.long, back: true}); found != nil && found.key != "" {
					s.names, s.long = &found.value, len(found.key)-1
					continue
				}
			}
		case globHost:
			if len(s.host) <= maxAuthority && !s.index.globs.empty() {
				if found := s.index.globs.next(&s.globs, text{s: s.host, n: len(s.host), back: true}, s.host); found != nil {
					s.names = &found.value
					continue
				}
			}
		case everyHost:
			if !s.tried {
				s.tried = true
				if found := s.index.suffix.get(""); found != nil {
					s.names = &found.value
				}
				continue
			}
		default:
			if s.tried {
				s.tried = false
				s.paths = s.index.none
				s.level, s.left = 0, len(s.path)
				return s.paths != nil
			}
			return false
		}
		s.kind++
		s.tried = s.kind == anyHost
	}
}
