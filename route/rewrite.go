package route

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Limits of what rewrite= can make of a path.
const (
	maxReplacement = 256     // bytes
	maxGroups      = 9       // uses of groups in the replacement
	maxRewritten   = 8 << 10 // bytes of the path that comes out
	maxReplaced    = 16      // matches in one path: each may cost a look at all that follows
)

var errRewriteAndStrip = errors.New("rewrite stands in place of strip and prepend: say it all with one of them")

// parseRewrite reads regex,replacement. The last comma separates them: one in
// the replacement is written %2C.
func parseRewrite(o *Options, v string) error {
	if o.Strip != "" || o.Prepend != "" {
		return errRewriteAndStrip
	}
	i := strings.LastIndexByte(v, ',')
	if i < 0 {
		return fmt.Errorf("rewrite %s: want regex,replacement", brief(v))
	}
	text, to := v[:i], writable(v[i+1:])
	if strings.ContainsAny(text, `" `) {
		return errors.New(`rewrite: write a blank in the expression as \x20, a quote as \x22: a clean path has neither, they are %20 and %22 there`)
	}
	if err := checkRegexp(text); err != nil {
		return fmt.Errorf("rewrite: %w", err)
	}
	re, err := regexp.Compile(text)
	if err != nil {
		return fmt.Errorf("rewrite: %s is not a regular expression: %w", brief(text), err)
	}
	if err := checkReplacement(re, to); err != nil {
		return fmt.Errorf("rewrite: replacement %s: %w", brief(to), err)
	}
	o.PathRewrite = &PathRewrite{RE: re, To: to, longest: longestFor(re)}
	return nil
}

// checkReplacement says what would surprise in what regexp's Expand makes of
// to: a group that does not exist is nothing, and $1x is a group named 1x.
func checkReplacement(re *regexp.Regexp, to string) error {
	if len(to) > maxReplacement {
		return fmt.Errorf("it has %d bytes, at most %d are read", len(to), maxReplacement)
	}
	groups := 0
	for {
		_, rest, ok := strings.Cut(to, "$")
		if !ok {
			return nil
		}
		if to = rest; strings.HasPrefix(to, "$") { // a literal one
			to = to[1:]
			continue
		}
		if groups++; groups > maxGroups {
			return fmt.Errorf("it uses groups %d times at most", maxGroups)
		}
		name, after, closed := to, "", false
		if strings.HasPrefix(to, "{") {
			name, after, closed = strings.Cut(to[1:], "}")
		} else {
			n := 0
			for n < len(to) && (isAlnum(to[n]) || to[n] == '_') {
				n++
			}
			name, after, closed = to[:n], to[n:], n > 0
		}
		if n, err := strconv.Atoi(name); !closed || re.SubexpIndex(name) < 0 && (err != nil || n < 0 || n > re.NumSubexp() || strconv.Itoa(n) != name) {
			return fmt.Errorf("the expression has no group %s: $1 is the first, ${1} the same in front of a letter, $$ a literal $", brief(name))
		}
		to = after
	}
}

// String returns the rewrite as it stands in a tag.
func (p *PathRewrite) String() string { return p.RE.String() + "," + p.To }

// rewrite returns what is forwarded for a path: see [Options.Rewrite].
func (p *PathRewrite) rewrite(raw string) string {
	clean, ok := cleanPath(raw)
	if !ok {
		return raw // matched nothing: never forwarded
	}
	// As ReplaceAllString, but bounded.
	if p.longest > 0 && len(clean) > p.longest {
		return clean
	}
	matches := p.RE.FindAllStringSubmatchIndex(clean, maxReplaced+1)
	if len(matches) > maxReplaced {
		return clean
	}
	var out []byte
	last := 0
	for _, m := range matches {
		out = append(out, clean[last:m[0]]...)
		out = p.RE.ExpandString(out, p.To, clean, m)
		if last = m[1]; len(out) > maxRewritten {
			return clean
		}
	}
	if out == nil && last == 0 {
		return raw
	}
	out = append(out, clean[last:]...)
	if to, ok := cleanPath(string(out)); ok && len(to) <= maxRewritten {
		return to
	}
	return clean
}
