package canary

import (
	"fmt"
	"maps"
	"math"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Parse reads the document that stands at key. It is strict: what is not known,
// not of the right type, out of range or contradictory is an error, because a
// document that is half understood moves traffic in a way nobody asked for. All
// errors are *Error, for the first mistake in the text. Parse is pure and costs
// little more memory than value holds.
func Parse(key string, value []byte) (*Document, error) {
	p := &parser{key: key, src: value}
	if len(value) > MaxSize {
		p.fail(node{}, "", "document is %d bytes long, more than %d", len(value), MaxSize)
		return nil, p.err
	}
	root, err := readNode(key, value)
	if err != nil {
		return nil, err
	}
	d := p.document(root)
	if p.err != nil {
		return nil, p.err
	}
	return d, nil
}

// parser remembers the first mistake and reads on, so that its methods need not
// return errors.
type parser struct {
	key string
	src []byte
	err *Error
	re  int // size of all regular expressions so far
}

func (p *parser) fail(at node, hint, format string, args ...any) {
	p.failAt(at.off, at.path, hint, format, args...)
}

func (p *parser) failAt(off int, path, hint, format string, args ...any) {
	if p.err == nil {
		line, column := position(p.src, off)
		p.err = &Error{Key: p.key, Path: path, Line: line, Column: column, Hint: hint, Msg: fmt.Sprintf(format, args...)}
	}
}

// wrong reports a value of the wrong type.
func (p *parser) wrong(n node, want string) {
	is := map[byte]string{'n': "null", 't': "true", 'f': "false", '{': "an object", '[': "a list"}[byte(n.kind)]
	if n.kind == '0' {
		is = short(n.text)
	} else if n.kind == '"' {
		is = `"` + short(n.text) + `"`
	}
	name := n.path
	if name == "" {
		name = "document"
	}
	p.fail(n, "", "%s must be %s, not %s", name, want, is)
}

// fields of an object: how each is read. nil stands for what a later version
// reads: it is refused by name, so that nobody believes it is in force.
type fields map[string]func(node)

func (p *parser) object(n node, want string, known fields) {
	if n.kind != '{' {
		p.wrong(n, want)
		return
	}
	for _, m := range n.members {
		read, ok := known[m.name]
		in := ""
		if n.path != "" {
			in = " in " + n.path
		}
		switch {
		case ok && read != nil:
			read(m.value)
		case ok:
			p.failAt(m.off, m.value.path, "leave it out", "%q is not supported by this version yet", m.value.path)
		case n.path == "" && strings.HasPrefix(m.name, "x-"):
		default:
			p.failAt(m.off, m.value.path, didYouMean(m.name, slices.Sorted(maps.Keys(known))), `unknown field "%s"%s`, short(m.name), in)
		}
	}
}

func (p *parser) document(n node) *Document {
	d := &Document{}
	ignore := func(node) {}
	p.object(n, "a JSON object", fields{
		"ratio":         func(n node) { d.Ratio = p.share(n) },
		"method":        func(n node) { d.Method = p.word(n, "random", "round_robin", "hash") },
		"sticky":        func(n node) { d.Sticky = p.sticky(n) },
		"balance":       func(n node) { d.Balance = p.balance(n) },
		"canary":        func(n node) { d.Canary = p.selector(n) },
		"stable":        func(n node) { d.Stable = p.selector(n) },
		"backup":        func(n node) { d.Backup = p.selector(n) },
		"match":         func(n node) { d.Match = p.match(n) },
		"limits":        func(n node) { d.Limits = p.limits(n) },
		"on_stale":      func(n node) { d.OnStale = p.word(n, "stable", "hold") },
		"stale_after":   func(n node) { d.StaleAfter = p.duration(n) },
		"update_rate":   func(n node) { d.UpdateRate = p.duration(n) },
		"config_server": func(n node) { d.ConfigServer = p.configServer(n) },
		"comment":       ignore, "$schema": ignore,
		"id": nil, "ramp": nil, "steps": nil, "analysis": nil, "control": nil,
		"mirror": nil, "environments": nil, "notify": nil, "expires": nil,
	})
	if method, ok := n.member("method"); ok && d.Method != "hash" && d.Sticky != nil && len(d.Sticky.By) > 0 {
		p.fail(method, `leave method out or write "hash"`, "method %q contradicts sticky, which assigns by the client's key", d.Method)
	}
	return d
}

func (p *parser) string(n node, want string) string {
	if n.kind != '"' {
		p.wrong(n, want)
		return ""
	}
	return n.text
}

// name reads a string that names something: not empty, and without the bytes
// that could end it early where it is used.
func (p *parser) name(n node, want string) string {
	s := p.string(n, want)
	if n.kind == '"' && (s == "" || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })) {
		p.fail(n, "", `%s must be %s, not "%s"`, n.path, want, short(s))
	}
	return s
}

// word reads one of a few words.
func (p *parser) word(n node, words ...string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = strconv.Quote(w)
	}
	want := strings.Join(quoted[:len(quoted)-1], ", ") + " or " + quoted[len(quoted)-1]
	s := p.string(n, want)
	if n.kind == '"' && !slices.Contains(words, s) {
		p.fail(n, didYouMean(s, words), `%s must be %s, not "%s"`, n.path, want, short(s))
	}
	return s
}

func (p *parser) balance(n node) string {
	if n.text == "hash" {
		p.fail(n, "use p2c, least_conn, round_robin or random", `balance "hash" is not supported by this version yet`)
	}
	return p.word(n, "p2c", "least_conn", "round_robin", "random")
}

// share reads a number 0..1, or a percentage in a string.
func (p *parser) share(n node) *float64 {
	hint := `write 0.1 or "10%"`
	var v float64
	var err error
	switch {
	case n.kind == '0':
		v, err = strconv.ParseFloat(n.text, 64)
	case n.kind != '"':
		p.wrong(n, `a number 0..1 or a string like "10%"`)
		return nil
	case strings.HasSuffix(n.text, "%"):
		if v, err = parsePercent(n.text); err != nil {
			p.fail(n, hint, `%s "%s" is not a share`, n.path, short(n.text))
			return nil
		}
	default:
		if f, err := strconv.ParseFloat(n.text, 64); err == nil && f >= 0 && f <= 1 {
			hint = "write " + short(n.text) + " without quotes"
		}
		p.fail(n, hint, `%s "%s" is not a share`, n.path, short(n.text))
		return nil
	}
	if err != nil || !(v >= 0 && v <= 1) {
		if n.kind == '0' && v > 1 && v <= 100 {
			percent := strconv.FormatFloat(v, 'f', -1, 64)
			share, _ := parsePercent(percent + "%")
			hint = fmt.Sprintf("write %s or %q", strconv.FormatFloat(share, 'f', -1, 64), percent+"%")
		}
		p.fail(n, hint, "%s must be 0..1", n.path)
		return nil
	}
	v = math.Abs(v) // -0
	return &v
}

var percentRE = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)%$`)

// parsePercent reads "12.5%" as the number nearest to 0.125.
func parsePercent(s string) (float64, error) {
	m := percentRE.FindStringSubmatch(s)
	if m == nil {
		return 0, fmt.Errorf("%q is not a percentage", s)
	}
	return strconv.ParseFloat(m[1]+"e-2", 64)
}

func (p *parser) duration(n node) *Duration {
	hint := `write a number with its unit, such as "30s", "500ms" or "1h30m"`
	if n.kind == '0' || n.kind == '"' && strings.Trim(n.text, "0123456789.") == "" && n.text != "" && n.text != "0" {
		if _, err := time.ParseDuration(n.text + "s"); err == nil {
			hint = fmt.Sprintf("write %q", n.text+"s")
		}
		p.fail(n, hint, "%s has no unit", n.path)
		return nil
	}
	s := p.string(n, `a duration like "30s"`)
	d, err := time.ParseDuration(s)
	switch {
	case err != nil:
		p.fail(n, hint, `%s "%s" is not a duration`, n.path, short(s))
	case d < 0:
		p.fail(n, "", `%s "%s" must not be negative`, n.path, short(s))
	}
	return (*Duration)(&d)
}

func (p *parser) limits(n node) *Limits {
	l := &Limits{}
	p.object(n, "an object", fields{
		"min_healthy": func(n node) {
			v, err := strconv.ParseInt(n.text, 10, 32)
			if n.kind != '0' || err != nil || v < 1 {
				p.wrong(n, "a whole number of at least 1")
			}
			l.MinHealthy = new(int(v))
		},
		"max_ratio": nil, "overload": nil,
	})
	return l
}

func (p *parser) selector(n node) *Selector {
	const want = `a tag ("v2") or an object with tag, meta or service`
	if n.kind == '"' {
		return &Selector{Tag: p.name(n, want)}
	}
	s := &Selector{}
	p.object(n, want, fields{
		"tag":     func(n node) { s.Tag = p.name(n, "the name of a tag") },
		"service": func(n node) { s.Service = p.name(n, "the name of a service") },
		"meta": func(n node) {
			s.Meta = p.strings(n, `an object like {"version": "2"}`, p.string)
			if n.kind == '{' && len(n.members) == 0 {
				p.fail(n, "", "%s is empty and would select nothing in particular", n.path)
			}
		},
	})
	if n.kind == '{' && len(n.members) == 0 {
		p.fail(n, "leave it out or name a tag, meta or service", "%s is empty", n.path)
	}
	return s
}

// strings reads an object of names and strings.
func (p *parser) strings(n node, want string, read func(node, string) string) map[string]string {
	if n.kind != '{' {
		p.wrong(n, want)
		return nil
	}
	m := make(map[string]string, len(n.members))
	for _, f := range n.members {
		m[f.name] = read(f.value, "a string")
	}
	return m
}

// list reads one string or a list of them.
func (p *parser) list(n node, want string, read func(node) string) []string {
	switch {
	case n.kind == '"':
		return []string{read(n)}
	case n.kind != '[':
		p.wrong(n, want)
	case len(n.elems) == 0:
		p.fail(n, "leave it out", "%s is an empty list, which nothing matches", n.path)
	}
	var out []string
	for _, e := range n.elems {
		if e.kind != '"' {
			p.wrong(e, "a string")
			break
		}
		out = append(out, read(e))
	}
	return out
}

func (p *parser) configServer(n node) string {
	const hint = "write consul://host:port/key"
	s := p.string(n, "an address like consul://host:port/key")
	if n.kind != '"' {
		return s
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Scheme == "":
		p.fail(n, hint, `%s "%s" is not an address`, n.path, short(s))
	case u.Scheme == "http" || u.Scheme == "https" || u.Scheme == "file":
		p.fail(n, hint, `%s "%s": %s: is not supported by this version yet`, n.path, short(s), u.Scheme)
	case u.Scheme != "consul":
		p.fail(n, hint, `%s "%s": %s: is not a known kind of source`, n.path, short(s), u.Scheme)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Hostname() == "" || strings.Trim(u.Path, "/") == "":
		p.fail(n, hint, `%s "%s" is not an address of a key`, n.path, short(s))
	}
	return s
}
