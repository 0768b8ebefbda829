package route

import "strings"

// Matcher is how the path of a route is compared with that of a request
// (Fabio's proxy.matcher).
type Matcher uint8

const (
	PrefixMatcher  Matcher = iota // byte by byte
	IPrefixMatcher                // without regard to case
	GlobMatcher                   // the whole path is matched by a glob; "*" crosses slashes
)

// key returns the form of a route's path that routes of one place share and
// that the index compares with the clean path of a request: for the prefix
// matchers the clean path, in lower case without regard to case; for
// GlobMatcher the pattern as it is written. The error says why no request could
// match, and is [ErrBadPath] or that of checkGlob.
func (m Matcher) key(path string) (string, error) {
	if m == GlobMatcher {
		return path, checkGlob(path)
	}
	key, err := CleanPath(path)
	if m == IPrefixMatcher {
		key = strings.ToLower(key)
	}
	return key, err
}
