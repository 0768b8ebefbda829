package route

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ErrNotRoute says that a tag lacks the prefix and so means something else.
var ErrNotRoute = errors.New("tag is not a route: it lacks the prefix")

// Limits of what a registrant may send us.
const (
	maxTag  = 2 << 10 // bytes in one tag
	maxTags = 64      // route tags of one instance

	maxGlobHosts = 64 // routes of one service whose hosts are globs
)

// Rule is one parsed tag.
type Rule struct {
	Host    string // lower case; "" is any host; "*" and "*.suffix" are wildcards; may end in ":port"
	Path    string // as written, but for quotes, which are encoded; starts with "/", valid for [CleanPath], without empty and dot segments
	Options Options
	// Refused is what was wrong with the tag although it is a rule: it asked
	// for protection in a way that cannot be read, so that it lets nobody in.
	Refused []error
}

// ParseTag parses a Consul tag into a Rule:
//
//	PREFIX[host][/path][ option=value]...
//	PREFIX:port proto=tcp[ option=value]...
//
// where
//
//   - blanks around the tag and after the prefix are ignored; blanks and tabs
//     separate options, so that no value can hold one;
//   - host is a DNS name (an international one is turned into punycode), an
//     IPv4 address or an IPv6 address in brackets, any of them with a :port, and
//     is lowered; "*.suffix" matches any labels in front of suffix, "*" and no
//     host match every host; any other *, ?, [abc], [a-z], [!abc] and {a,b} make
//     it a glob;
//   - path is a prefix of the paths it matches, byte by byte ("/foo" matches
//     "/foobar"), compared as [CleanPath] sees both; no path is "/";
//   - options are those that [TagOptions] explains; those that edit headers or
//     look at them or at the query may stand several times, the others once;
//   - $DC and ${DC} in host and path stand for the datacenter; here it is not
//     known, so they are refused, and a [Builder] fills them in; a literal $ is
//     written %24.
//
// A tag that lacks the prefix is [ErrNotRoute]. Any other error names the byte
// offset in tag: at offset 22: weight "1o" is not a number. A tag that protects
// its route by allow=, deny= or auth= and has a mistake in its options is no
// error: it lets nobody in, see [Rule.Refused].
func ParseTag(prefix, tag string) (Rule, error) { return parseTag(prefix, "", tag) }

// String returns the rule as a tag without its prefix, in normal form:
// ParseTag("", r.String()) is r for every r that ParseTag returned, but for
// Refused.
func (r Rule) String() string {
	if strings.HasPrefix(r.Host, ":") {
		return r.Host + r.Options.String()
	}
	return r.Host + r.Path + r.Options.String()
}

func at(offset int, format string, args ...any) error {
	return &offsetError{offset, fmt.Errorf(format, args...)}
}

func parseTag(prefix, dc, tag string) (Rule, error) { return parseRule(prefix, dc, tag, Defaults{}) }

// parseRule is ParseTag for a datacenter, and for an instance whose meta gives
// the defaults.
func parseRule(prefix, dc, tag string, d Defaults) (Rule, error) {
	s := strings.Trim(tag, " \t\r\n")
	if !strings.HasPrefix(s, prefix) {
		return Rule{}, ErrNotRoute
	}
	if len(tag) > maxTag {
		return Rule{}, at(maxTag, "the tag is %d bytes long: at most %d are read", len(tag), maxTag)
	}
	pos := strings.Index(tag, s)
	if err := checkText("tag", s, pos); err != nil {
		return Rule{}, err
	}
	end := pos + len(s)
	pos += len(prefix)
	for pos < end && isBlank(tag[pos]) {
		pos++
	}
	src, _, _, _ := nextWord(tag[:end], pos)
	host, path := src, "/"
	if i := strings.IndexByte(src, '/'); i >= 0 {
		host, path = src[:i], src[i:]
	}

	var r Rule
	name, off, err := expand(host, dc)
	switch {
	case err != nil:
		return Rule{}, at(pos+off, "%w", err)
	case src == "":
		return Rule{}, at(pos, "nothing after the prefix: write %s/ to serve every host and path", prefix)
	case strings.HasPrefix(host, ":") && path != "/":
		return Rule{}, at(pos+len(host), "%s: a TCP port has no path", brief(src))
	case strings.HasPrefix(host, ":"):
		r.Host = name
		err = checkPort(name)
	case name != "":
		r.Host, off, err = parseHost(name, true)
	}
	if err != nil {
		return Rule{}, at(pos+min(off, len(host)), "%w", err)
	}
	if r.Path, off, err = expand(path, dc); err == nil {
		off, err = checkPath(r.Path)
	}
	if err != nil {
		return Rule{}, at(pos+len(host)+min(off, len(path)), "%w", err)
	}
	r.Path = writable(r.Path)
	if r.Options, r.Refused, err = parseOptions(tag[:end], pos+len(src), d); err != nil {
		return Rule{}, err
	}
	switch {
	case !strings.HasPrefix(host, ":") || r.Options.Proto == TCP:
	case r.Refused != nil && r.Options.Access != nil:
		r.Options.Proto = TCP // what the mistake hides; nobody is let in
	default:
		return Rule{}, at(pos, "%s is a port and no host: write %s proto=tcp for TCP, or host%s/ for HTTP", brief(src), host, host)
	}
	return r, nil
}

// checkText says what cannot stand in a tag or the like, and where; s begins at
// offset pos.
func checkText(what, s string, pos int) error {
	for i, r := range s {
		if r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD") {
			return at(pos+i, "the %s is not valid UTF-8", what)
		}
		if unicode.IsControl(r) && r != '\t' {
			return at(pos+i, "control character %q in a %s", r, what)
		}
	}
	return nil
}

// expand replaces $DC and ${DC}.
func expand(s, dc string) (string, int, error) {
	if strings.IndexByte(s, '$') < 0 {
		return s, 0, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '$' {
			b.WriteByte(s[i])
			continue
		}
		n := len("$DC")
		switch rest := s[i:]; {
		case strings.HasPrefix(rest, "${DC}"):
			n = len("${DC}")
		case !strings.HasPrefix(rest, "$DC"), len(rest) > n && (rest[n] == '_' || isAlnum(rest[n])):
			return "", i, errors.New("only the variables $DC and ${DC} exist: write a literal $ as %24")
		}
		if dc == "" {
			return "", i, errors.New("$DC: the datacenter is not known here")
		}
		b.WriteString(dc)
		i += n - 1
	}
	return b.String(), 0, nil
}

func isAlnum(c byte) bool { return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z' }

// checkPath says what is wrong with a path of a tag, and where.
func checkPath(p string) (int, error) {
	if i := strings.IndexAny(p, "?#"); i >= 0 {
		return i, fmt.Errorf("%q in a path: a route matches the path only; write the character as %%%02X if it is part of it", p[i], p[i])
	}
	if isClean(p) {
		return 0, nil
	}
	b, ok := encode(p)
	if !ok {
		return max(0, strings.IndexByte(p, '%')), fmt.Errorf(`path %q: "%%" must be followed by two hexadecimal digits and not encode NUL, CR or LF`, p)
	}
	if n := len(b); len(resolve(b)) != n {
		return 0, fmt.Errorf("path %q has an empty segment or one of dots: no request has them when it is matched", p)
	}
	return 0, nil
}
