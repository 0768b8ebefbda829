package route

import (
	"errors"
	"fmt"
	"math"
	"strconv"
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
)

// Bounds of weight=: far enough apart for any use, near enough that no sum or
// quotient of weights leaves the range of a float64.
const (
	minWeight = 1e-9
	maxWeight = 1e9
)

// Rule is one parsed tag.
type Rule struct {
	Host    string // lower case; "" is any host; "*" and "*.suffix" are wildcards; may end in ":port"
	Path    string // as written; starts with "/", valid for [CleanPath], without empty and dot segments
	Options Options
}

// ParseTag parses a Consul tag into a Rule:
//
//	PREFIX[host][/path][ option=value]...
//
// where
//
//   - blanks around the tag and after the prefix are ignored; blanks separate
//     options, so that no value can hold one;
//   - host is a DNS name (international ones in punycode), an IPv4 address or
//     an IPv6 address in brackets, any of them with a :port, and is lowered;
//     "*.suffix" matches any labels in front of suffix, "*" and no host match
//     every host;
//   - path is a prefix of the paths it matches, byte by byte ("/foo" matches
//     "/foobar"), compared as [CleanPath] sees both; no path is "/";
//   - options are those that [TagOptions] explains, each at most once;
//   - $DC and ${DC} in host and path stand for the datacenter; here it is not
//     known, so they are refused, and a [Builder] fills them in; a literal $ is
//     written %24.
//
// A tag that lacks the prefix is [ErrNotRoute]. Any other error names the byte
// offset in tag: at offset 22: weight "1o" is not a number.
func ParseTag(prefix, tag string) (Rule, error) { return parseTag(prefix, "", tag) }

// String returns the rule as a tag without its prefix, in normal form:
// ParseTag("", r.String()) is r for every r that ParseTag returned.
func (r Rule) String() string { return r.Host + r.Path + r.Options.String() }

func at(offset int, format string, args ...any) error {
	return &offsetError{offset, fmt.Errorf(format, args...)}
}

func parseTag(prefix, dc, tag string) (Rule, error) {
	s := strings.Trim(tag, " \t\r\n")
	if !strings.HasPrefix(s, prefix) {
		return Rule{}, ErrNotRoute
	}
	if len(tag) > maxTag {
		return Rule{}, at(maxTag, "the tag is %d bytes long: at most %d are read", len(tag), maxTag)
	}
	pos := strings.Index(tag, s)
	for i, r := range s {
		if r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD") {
			return Rule{}, at(pos+i, "the tag is not valid UTF-8")
		}
		if unicode.IsControl(r) {
			return Rule{}, at(pos+i, "control character %q in a tag", r)
		}
	}
	end := pos + len(s)
	pos += len(prefix)
	for pos < end && tag[pos] == ' ' {
		pos++
	}
	src, _, _ := strings.Cut(tag[pos:end], " ")
	host, path := src, "/"
	if i := strings.IndexByte(src, '/'); i >= 0 {
		host, path = src[:i], src[i:]
	}

	r := Rule{Options: Options{Weight: -1, Retries: -1}}
	switch name, off, err := expand(host, dc); {
	case err != nil:
		return Rule{}, at(pos+off, "%w", err)
	case src == "":
		return Rule{}, at(pos, "nothing after the prefix: write %s/ to serve every host and path", prefix)
	case strings.HasPrefix(host, ":"):
		return Rule{}, at(pos, "%q: TCP routes are not supported yet", src)
	case name != "":
		if r.Host, off, err = parseHost(name, true); err != nil {
			return Rule{}, at(pos+min(off, len(host)), "%w", err)
		}
	}
	var off int
	var err error
	if r.Path, off, err = expand(path, dc); err == nil {
		off, err = checkPath(r.Path)
	}
	if err != nil {
		return Rule{}, at(pos+len(host)+min(off, len(path)), "%w", err)
	}
	if err := parseOptions(&r.Options, tag[:end], pos+len(src)); err != nil {
		return Rule{}, err
	}
	return r, nil
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
	b, ok := encode(p)
	if !ok {
		return max(0, strings.IndexByte(p, '%')), fmt.Errorf(`path %q: "%%" must be followed by two hexadecimal digits and not encode NUL, CR or LF`, p)
	}
	if n := len(b); len(resolve(b)) != n {
		return 0, fmt.Errorf("path %q has an empty segment or one of dots: no request has them when it is matched", p)
	}
	return 0, nil
}

// option is one row of the grammar of options. To support another one is to
// fill in its parse and print.
type option struct {
	name, value, doc string
	parse            func(*Options, string) error // nil: Fabio has it, we do not yet
	print            func(*Options) string        // "" when unset
}

var tagOptions = [...]option{
	{"strip", "/path", "remove this prefix from the path before it is forwarded; it is sent as X-Forwarded-Prefix", func(o *Options, v string) (err error) {
		o.Strip, err = optionPath(v)
		return err
	}, func(o *Options) string { return o.Strip }},
	{"prepend", "/path", "add this prefix to the path, after strip", func(o *Options, v string) (err error) {
		o.Prepend, err = optionPath(v)
		return err
	}, func(o *Options) string { return o.Prepend }},
	{"host", "name|dst", "send this Host header; dst is the instance's own host:port", func(o *Options, v string) (err error) {
		o.Host, _, err = parseHost(v, false)
		return err
	}, func(o *Options) string { return o.Host }},
	{"proto", "http|https", "how the instance is spoken to", parseProto, func(o *Options) string {
		if o.Proto == HTTPS {
			return "https"
		}
		return ""
	}},
	{"tlsskipverify", "true|false", "do not verify the instance's certificate", func(o *Options, v string) error {
		if o.TLSSkipVerify = v == "true"; !o.TLSSkipVerify && v != "false" {
			return fmt.Errorf("tlsskipverify %q: want true or false", v)
		}
		return nil
	}, func(o *Options) string {
		if o.TLSSkipVerify {
			return "true"
		}
		return ""
	}},
	{"weight", "number", "fixed share of the route's requests, 0.2 is 20 %; 0 is none; without it an even part of what is left", parseWeight, func(o *Options) string {
		if o.Weight < 0 {
			return ""
		}
		return strconv.FormatFloat(o.Weight, 'g', -1, 64)
	}},
	{"redirect", "code,url", "answer with a redirect; $path is the path after strip and prepend, $host the request's host", parseRedirect, func(o *Options) string {
		if o.Redirect == nil {
			return ""
		}
		return strconv.Itoa(o.Redirect.Code) + "," + o.Redirect.URL
	}},
	{name: "allow"},
	{name: "auth"},
	{name: "deny"},
	{name: "grpcservername"},
	{name: "pxyproto"},
	{name: "register"},
}

// String returns the options as they stand in a tag, each after a blank, in
// the order of [TagOptions].
func (o *Options) String() string {
	s := ""
	for _, row := range tagOptions {
		if row.print == nil {
			continue
		}
		if v := row.print(o); v != "" {
			s += " " + row.name + "=" + v
		}
	}
	return s
}

// TagOptions yields the supported options of a tag as usage ("strip=/path")
// and meaning, for documentation.
func TagOptions(yield func(usage, doc string) bool) {
	for _, row := range tagOptions {
		if row.parse != nil && !yield(row.name+"="+row.value, row.doc) {
			return
		}
	}
}

// parseOptions reads the options of s from pos on.
func parseOptions(o *Options, s string, pos int) error {
	var seen [len(tagOptions)]bool
	for pos < len(s) {
		if s[pos] == ' ' {
			pos++
			continue
		}
		word, _, _ := strings.Cut(s[pos:], " ")
		name, value, ok := strings.Cut(word, "=")
		row := -1
		for i := range tagOptions {
			if tagOptions[i].name == name {
				row = i
			}
		}
		switch {
		case row < 0:
			return at(pos, "unknown option %q%s", name, didYouMean(name))
		case tagOptions[row].parse == nil:
			return at(pos, "option %q is not supported yet", name)
		case seen[row]:
			return at(pos, "option %q is given twice", name)
		case !ok || value == "":
			return at(pos+len(name), "option %q has no value: write %s=%s", name, name, tagOptions[row].value)
		}
		if err := tagOptions[row].parse(o, value); err != nil {
			return at(pos+len(name)+1, "%w", err)
		}
		seen[row] = true
		pos += len(word)
	}
	return nil
}

func optionPath(v string) (string, error) {
	v = rooted(v)
	_, err := checkPath(v)
	return v, err
}

func parseProto(o *Options, v string) error {
	switch v {
	case "http":
		o.Proto = HTTP
	case "https":
		o.Proto = HTTPS
	case "tcp", "grpc", "grpcs":
		return fmt.Errorf("proto %q is not supported yet", v)
	default:
		return fmt.Errorf("proto %q: want http or https", v)
	}
	return nil
}

func parseWeight(o *Options, v string) error {
	w, err := strconv.ParseFloat(v, 64)
	switch {
	case math.IsNaN(w), err != nil && !errors.Is(err, strconv.ErrRange):
		return fmt.Errorf("weight %q is not a number", v)
	case w == 0 && err == nil:
		w = 0 // also for -0
	case !(w >= minWeight && w <= maxWeight):
		return fmt.Errorf("weight %q: want 0, or a number from %g to %g", v, minWeight, maxWeight)
	}
	o.Weight = w
	return nil
}

// didYouMean returns a hint when name is close to a known option.
func didYouMean(name string) string {
	best, hint := 3, ""
	for _, row := range tagOptions {
		if d := distance(strings.ToLower(name), row.name); d < best && d < len(row.name) {
			best, hint = d, fmt.Sprintf(": did you mean %q?", row.name)
		}
	}
	return hint
}

// distance is the Levenshtein distance of a and b, or 3 and more when their
// lengths alone are that far apart.
func distance(a, b string) int {
	if len(a) > len(b)+2 || len(b) > len(a)+2 {
		return 3
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0]++
		for j := range len(b) {
			cost := diag
			if a[i] != b[j] {
				cost = 1 + min(diag, row[j], row[j+1])
			}
			diag, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
