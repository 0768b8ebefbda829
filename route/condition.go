package route

import (
	"fmt"
	"net/textproto"
	"regexp"
	"slices"
	"strings"
)

// ConditionRequest is what a [Condition] looks at. The first value of a header
// or query parameter counts. A [Request] is one.
type ConditionRequest interface {
	Method() string
	RawQuery() string // without "?"
	Header(name string) (string, bool)
}

// Holds reports whether a route under the condition serves r. A nil condition
// holds for all requests. It does not allocate where r does not, except for
// query parameters that have to be decoded.
func (c *Condition) Holds(r ConditionRequest) bool {
	if c == nil {
		return true
	}
	if len(c.Methods) > 0 && !slices.Contains(c.Methods, r.Method()) {
		return false
	}
	for i := range c.Headers {
		if v, ok := r.Header(c.Headers[i].Name); !c.Headers[i].Pattern.holds(v, ok) {
			return false
		}
	}
	for i := range c.Query {
		if v, ok := queryValue(r.RawQuery(), c.Query[i].Name); !c.Query[i].Pattern.holds(v, ok) {
			return false
		}
	}
	return true
}

// String returns the condition as options of a tag, "" for nil. Conditions
// that a tag can say are the same when their strings are.
func (c *Condition) String() string {
	if c == nil {
		return ""
	}
	return strings.TrimPrefix((&Options{Weight: -1, Retries: -1, Condition: c}).String(), " ")
}

// ParsePattern reads a compared value: "abc" is exact, "abc*" a prefix, "~re" a
// regular expression (RE2), "*" any value. A regular expression is compiled
// whatever it costs: see [RegexpCost]. The more it costs, the shorter are the
// values that it is matched with; longer ones do not match.
func ParsePattern(s string) (Pattern, error) {
	if text, ok := strings.CutPrefix(s, "~"); ok {
		re, err := regexp.Compile(text)
		if err != nil {
			return Pattern{}, err
		}
		return Pattern{Kind: Regexp, Text: text, RE: re, longest: longestFor(re)}, nil
	}
	switch star := strings.IndexByte(s, '*'); {
	case s == "*":
		return Pattern{Kind: Present}, nil
	case star < 0:
		return Pattern{Kind: Exact, Text: s}, nil
	case star < len(s)-1:
		return Pattern{}, fmt.Errorf(`%s: "*" is understood at the end only; a regular expression begins with "~"`, brief(s))
	}
	return Pattern{Kind: Prefix, Text: s[:len(s)-1]}, nil
}

// String returns what ParsePattern reads p from.
func (p Pattern) String() string {
	switch p.Kind {
	case Prefix:
		return p.Text + "*"
	case Regexp:
		return "~" + p.Text
	case Present:
		return "*"
	}
	return p.Text
}

func parseMethods(o *Options, v string) error {
	var methods []string
	for m := range strings.SplitSeq(v, ",") {
		if !isToken(m) {
			return fmt.Errorf("methods: %s is not a method", brief(m))
		}
		methods = append(methods, strings.ToUpper(m))
	}
	slices.Sort(methods)
	if methods = slices.Compact(methods); len(methods) > maxMethods {
		return fmt.Errorf("methods: %d are named, at most %d are read", len(methods), maxMethods)
	}
	o.condition().Methods = methods
	return nil
}

func parseHeaderMatch(o *Options, v string) error {
	name, pattern, ok := strings.Cut(v, ":")
	switch {
	case !isToken(name):
		return fmt.Errorf("header: %s is not the name of a header", brief(name))
	case !ok:
		return fmt.Errorf("header %s has no pattern: write %s:value, %s:value* or %s:*", brief(v), name, name, name)
	}
	return addMatch(o, &o.condition().Headers, textproto.CanonicalMIMEHeaderKey(name), pattern)
}

func parseQueryMatch(o *Options, v string) error {
	name, pattern, ok := strings.Cut(v, ":")
	if !ok {
		return fmt.Errorf("query %s has no pattern: write %s:value, %s:value* or %s:*", brief(v), name, name, name)
	}
	name, err := decodeValue(name)
	switch {
	case err != nil:
		return err
	case name == "":
		return fmt.Errorf("query %s has no name", brief(v))
	}
	return addMatch(o, &o.condition().Query, name, pattern)
}

// condition returns the condition of o, which it makes when there is none.
func (o *Options) condition() *Condition {
	if o.Condition == nil {
		o.Condition = new(Condition)
	}
	return o.Condition
}

func addMatch(o *Options, to *[]FieldMatch, name, pattern string) error {
	text, err := decodeValue(pattern)
	if err != nil {
		return err
	}
	if re, ok := strings.CutPrefix(text, "~"); ok {
		if err := checkRegexp(re); err != nil {
			return err
		}
	}
	p, err := ParsePattern(text)
	if err != nil {
		return err
	}
	if c := o.condition(); len(c.Headers)+len(c.Query) == maxConditions {
		return fmt.Errorf("a route looks at %d headers and query parameters at most", maxConditions)
	}
	*to = append(*to, FieldMatch{Name: name, Pattern: p})
	// All must hold, so their order means nothing.
	slices.SortStableFunc(*to, func(a, b FieldMatch) int {
		return strings.Compare(a.Name+"\x00"+a.Pattern.String(), b.Name+"\x00"+b.Pattern.String())
	})
	return nil
}
