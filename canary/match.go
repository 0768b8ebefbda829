package canary

import (
	"maps"
	"regexp/syntax"
	"slices"
	"strings"

	"serin/route"
)

func (p *parser) match(n node) []Rule {
	if n.kind != '[' {
		p.wrong(n, "a list of rules")
	}
	if len(n.elems) > MaxRules {
		p.fail(n, "", "%s has %d rules, more than %d", n.path, len(n.elems), MaxRules)
		return nil
	}
	var rules []Rule
	for _, e := range n.elems {
		rules = append(rules, p.rule(e))
	}
	return rules
}

func (p *parser) rule(n node) (r Rule) {
	token := func(what string) func(n node) map[string]string {
		return func(n node) map[string]string {
			m := p.strings(n, `an object like {"name": "value"}`, p.pattern)
			for _, f := range n.members {
				if what != "" && !isToken(f.name) {
					p.failAt(f.off, f.value.path, "", `"%s" is not the name of a %s`, short(f.name), what)
				}
			}
			if n.kind == '{' && len(n.members) == 0 {
				p.fail(n, "leave it out", "%s is empty", n.path)
			}
			return m
		}
	}
	p.object(n, "an object", fields{
		"header": func(n node) { r.Header = token("header")(n) },
		"cookie": func(n node) { r.Cookie = token("cookie")(n) },
		"query":  func(n node) { r.Query = token("")(n) },
		"path": func(n node) {
			r.Path = p.pattern(n, "a string")
			if n.kind == '"' && !strings.HasPrefix(r.Path, "/") && !strings.HasPrefix(r.Path, "~") && r.Path != "*" {
				p.fail(n, "", `%s "%s" must start with "/"`, n.path, short(r.Path))
			}
		},
		"method": func(n node) { r.Method = p.list(n, "a method or a list of them", p.method) },
		"cidr":   func(n node) { r.CIDR = p.list(n, "a network or a list of them", p.cidr) },
		"to":     func(n node) { r.To = p.word(n, "canary", "stable") },
	})
	if n.kind != '{' {
		return r
	}
	if _, ok := n.member("to"); !ok {
		p.fail(n, `add "to": "canary" or "to": "stable"`, "%s does not say where its requests go", n.path)
	} else if len(n.members) == 1 {
		p.fail(n, "add header, cookie, query, path, method or cidr", "%s matches everything", n.path)
	}
	return r
}

func (p *parser) method(n node) string {
	if !isToken(n.text) {
		p.fail(n, "", `%s "%s" is not a method`, n.path, short(n.text))
	}
	return strings.ToUpper(n.text)
}

func (p *parser) cidr(n node) string {
	if _, err := route.ParseNetwork(n.text); err != nil {
		p.fail(n, "write 10.0.0.0/8, 2001:db8::/32 or one address", `%s "%s" is not a network`, n.path, short(n.text))
	}
	return n.text
}

// Bounds of regular expressions: without them a document of 64 KiB could ask
// for gigabytes of compiled program.
const (
	maxRegexpLength = 1024
	maxRegexpSize   = 50_000            // instructions and ranges, all patterns of a document together
	maxRegexpTotal  = 4 * maxRegexpSize // the same of all documents that environments make
)

func (p *parser) pattern(n node, want string) string {
	s := p.string(n, want)
	switch star := strings.IndexByte(s, '*'); {
	case strings.HasPrefix(s, "~") && p.err == nil:
		if len(s) > maxRegexpLength {
			p.fail(n, "", "%s is a regular expression of more than %d bytes", n.path, maxRegexpLength)
			return s
		}
		re, err := syntax.Parse(s[1:], syntax.Perl)
		if err != nil {
			p.fail(n, "", `%s "%s" is not a regular expression: %s`, n.path, short(s), short(strings.TrimPrefix(err.Error(), "error parsing regexp: ")))
			return s
		}
		if p.re += route.RegexpCost(re); p.re > maxRegexpSize {
			p.fail(n, "use fewer repetitions and classes", "%s makes the regular expressions of the document too large", n.path)
		}
	case !strings.HasPrefix(s, "~") && star >= 0 && star < len(s)-1:
		p.fail(n, `write a regular expression: "~^a.*b$"`, `%s "%s": "*" is understood at the end only`, n.path, short(s))
	}
	return s
}

func compileRules(rules []Rule) (out []route.MatchRule) {
	for _, r := range rules {
		out = append(out, r.compile())
	}
	return out
}

func (r Rule) compile() route.MatchRule {
	m := route.MatchRule{
		Headers: fieldMatches(r.Header),
		Cookies: fieldMatches(r.Cookie),
		Query:   fieldMatches(r.Query),
		Methods: r.Method,
	}
	if r.To == "canary" {
		m.To = route.Canary
	}
	if r.Path != "" {
		m.Path = new(mustPattern(r.Path))
	}
	for _, c := range r.CIDR {
		prefix, err := route.ParseNetwork(c)
		if err != nil {
			panic("BUG: Parse let a network pass that cannot be read: " + c)
		}
		m.CIDRs = append(m.CIDRs, prefix)
	}
	return m
}

func fieldMatches(m map[string]string) (out []route.FieldMatch) {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		out = append(out, route.FieldMatch{Name: name, Pattern: mustPattern(m[name])})
	}
	return out
}

func mustPattern(s string) route.Pattern {
	p, err := route.ParsePattern(s)
	if err != nil {
		panic("BUG: Parse let a pattern pass that cannot be read: " + s)
	}
	return p
}
