package route

import "strings"

// Ambiguous reports whether an instance could read the request's path as
// another one than it is matched by, and so serve what an access rule keeps from
// the client: allow=, deny= or auth= of a route that the request does not take.
// taken is the route that it takes, which Next returned.
//
// Some instances take for a slash what is encoded or written the other way
// round (%2F, %5C, "\"), decode twice, take bytes for letters that are none, or
// leave out what follows ";" in a segment. A path in which the former stand, or
// a segment of dots or of nothing in front of ";", is ambiguous where any
// guarded route serves the request's host, however its path is read: one of the
// host itself, or of a less exact one that is asked where no path of the host
// matches. Other segments with ";" are ambiguous where the path without what
// follows it has a guarded route, and another one than was taken. It costs next
// to nothing for other paths, and does not allocate for them.
func (s *Search) Ambiguous(taken *Route) bool {
	if s.index == nil || s.index.guarded == 0 {
		return false
	}
	encoded, parameters := strings.IndexByte(s.path, '%'), strings.IndexByte(s.path, ';') >= 0
	if encoded < 0 && !parameters {
		return false
	}
	again := Search{index: s.index, host: s.host, request: s.request, usual: s.usual, long: len(s.host)}
	plain, ok := s.path, encoded < 0 || !readTwoWays(s.path[encoded:])
	if ok && parameters {
		plain, ok = withoutParameters(s.path)
	}
	if !ok {
		again.path = "/"
		return again.guarded()
	}
	if plain == s.path {
		return false
	}
	again.path = plain
	other := again.Next()
	return other != nil && other.guarded && other != taken
}

// readTwoWays reports whether a part of a clean path has a slash to some, says
// something else when it is decoded twice, or has a byte that no UTF-8 has and
// that some take for the beginning of an ASCII character.
func readTwoWays(path string) bool {
	for {
		i := strings.IndexByte(path, '%')
		if i < 0 {
			return false
		}
		switch path = path[i+1:]; path[:2] {
		case "2F", "5C", "C0", "C1":
			return true
		case "25":
			if len(path) >= 4 && isHex(path[2]) && isHex(path[3]) {
				return true
			}
		}
	}
}

// withoutParameters returns a clean path without what follows ";" in its
// segments; ok is false where nothing or dots stand in front of one.
func withoutParameters(path string) (plain string, ok bool) {
	var b strings.Builder
	for segment := range strings.SplitSeq(path[1:], "/") {
		name, _, cut := strings.Cut(segment, ";")
		if cut && (name == "" || name == "." || name == "..") {
			return "", false
		}
		b.WriteByte('/')
		b.WriteString(name)
	}
	return b.String(), true
}

// guarded reports whether the request could reach a guarded route, whatever its
// path: the hosts of a search that has just begun are asked, up to one that
// serves every path.
func (s *Search) guarded() bool {
	for s.nextHost() {
		if s.paths.guarded > 0 {
			return true
		}
		if s.index.matcher != GlobMatcher && s.paths.servesAll() {
			return false
		}
		s.paths = nil
	}
	return false
}

// servesAll reports whether a host has a route for whatever nothing else of it
// serves. A redirect is none: where it would lead to what was asked for, less
// exact hosts are asked.
func (p *paths) servesAll() bool {
	for i := range p.levels {
		at := p.levels[i].get("/")
		last := at.plain
		if n := len(at.routes); n > 0 {
			last = at.routes[n-1] // one without a condition is last
		}
		if last != nil && last.When == nil && !last.redirects() {
			return true
		}
	}
	return false
}

func (r *Route) redirects() bool {
	for t := range r.Targets() {
		if t.Options != nil && t.Options.Redirect != nil {
			return true
		}
	}
	return false
}

// guards reports whether o keeps anybody out.
func (o *Options) guards() bool { return o != nil && (o.Access != nil || o.Auth != "") }

// guarded reports whether a lot keeps anybody out from any of its targets,
// whatever their health.
func (l *lot) guarded() bool {
	if l.options.guards() {
		return true
	}
	for i := range l.targets {
		if l.targets[i].Options.guards() {
			return true
		}
	}
	return false
}
