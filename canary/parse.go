package canary

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
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
	key   string
	src   []byte
	err   *Error
	at    int // byte offset of err
	re    int // size of all regular expressions so far
	hosts int // DNS names so far
	all   int // the same of the documents that environments make
	// naming is set while only the names of fields are looked at, and null is no
	// mistake: of a merge patch, in which it removes a field.
	naming bool
	// within is the environment whose document is read, if one is: of its own
	// mistakes the first counts, not one in the rest of the text.
	within *node
}

func (p *parser) fail(at node, hint, format string, args ...any) {
	p.failAt(at.off, at.path, hint, format, args...)
}

func (p *parser) failAt(off int, path, hint, format string, args ...any) {
	if p.naming {
		return
	}
	if p.err == nil || p.inside(off) && !p.inside(p.at) {
		line, column := position(p.src, off)
		p.at = off
		p.err = &Error{Key: p.key, Path: path, Line: line, Column: column, Hint: hint, Msg: fmt.Sprintf(format, args...)}
	}
}

// inside reports whether a place lies in the environment that is read.
func (p *parser) inside(off int) bool {
	return p.within != nil && off >= p.within.off && off < p.within.end
}

// wrong reports a value of the wrong type.
func (p *parser) wrong(n node, want string) {
	is := map[byte]string{'n': "null", 't': "true", 'f': "false", '{': "an object", '[': "a list"}[byte(n.kind)]
	switch {
	// The whole of a text that is no document may be a secret, since
	// config_server can name any file.
	case n.path == "" && n.kind == '0':
		is = "a number"
	case n.path == "" && n.kind == '"':
		is = "a string"
	case n.kind == '0':
		is = short(n.text)
	case n.kind == '"':
		is = `"` + short(n.text) + `"`
	}
	name := n.path
	if name == "" {
		name = "document"
	}
	p.fail(n, "", "%s must be %s, not %s", name, want, is)
}

// fields of an object: how each is read.
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
		case ok && p.naming && m.value.kind == 'n':
		case ok:
			read(m.value)
		case n.path == "" && strings.HasPrefix(m.name, "x-"):
		default:
			naming := p.naming
			p.naming = false
			p.failAt(m.off, m.value.path, didYouMean(m.name, slices.Sorted(maps.Keys(known))), `unknown field "%s"%s`, short(m.name), in)
			p.naming = naming
		}
	}
}

func (p *parser) document(root node) *Document {
	d := &Document{}
	ignore := func(node) {}
	var late []*environmentError
	p.object(root, "a JSON object", fields{
		"ratio":         func(n node) { d.Ratio = p.share(n) },
		"method":        func(n node) { d.Method = p.word(n, "random", "round_robin", "hash") },
		"sticky":        func(n node) { d.Sticky = p.sticky(n) },
		"balance":       func(n node) { d.Balance = p.word(n, "p2c", "least_conn", "round_robin", "random", "hash") },
		"canary":        func(n node) { d.Canary = p.selector(n) },
		"stable":        func(n node) { d.Stable = p.selector(n) },
		"backup":        func(n node) { d.Backup = p.selector(n) },
		"match":         func(n node) { d.Match = p.match(n) },
		"limits":        func(n node) { d.Limits = p.limits(n) },
		"id":            func(n node) { d.ID = p.id(n) },
		"ramp":          func(n node) { d.Ramp = p.ramp(n) },
		"steps":         func(n node) { d.Steps = p.steps(n) },
		"analysis":      func(n node) { d.Analysis = p.analysis(n) },
		"control":       func(n node) { d.Control = p.word(n, "run", "pause", "promote", "abort") },
		"mirror":        func(n node) { d.Mirror = p.mirror(n) },
		"environments":  func(n node) { d.Environments, late = p.environments(n, root) },
		"notify":        func(n node) { d.Notify = p.notify(n) },
		"expires":       func(n node) { d.Expires = p.time(n) },
		"on_stale":      func(n node) { d.OnStale = p.word(n, "stable", "hold") },
		"stale_after":   func(n node) { d.StaleAfter = p.duration(n) },
		"update_rate":   func(n node) { d.UpdateRate = p.duration(n) },
		"config_server": func(n node) { d.ConfigServer = p.configServer(n) },
		"comment":       ignore, "$schema": ignore,
	})
	p.exclude(root)
	if method, ok := root.member("method"); ok && d.Method != "hash" && d.Sticky != nil && len(d.Sticky.By) > 0 {
		p.fail(method, `leave method out or write "hash"`, "method %q contradicts sticky, which assigns by the client's key", d.Method)
	}
	if steps, ok := root.member("steps"); ok && d.Analysis == nil {
		p.lasting(steps, d.Steps)
	}
	for _, e := range late {
		p.fail(e.at, e.hint, "%s", e.msg)
	}
	return d
}

// exclude refuses a second field that says how the share moves.
func (p *parser) exclude(root node) {
	first := ""
	for _, m := range root.members {
		switch {
		case m.name != "ratio" && m.name != "ramp" && m.name != "steps":
		case first == "":
			first = m.name
		default:
			hint := "keep one of them"
			if p.within != nil {
				hint = fmt.Sprintf(`add "%s": null, which removes it here`, first)
			}
			p.failAt(m.off, m.value.path, hint, "%s and %s exclude each other", first, m.name)
		}
	}
}

// maxID bounds the bytes of an id: it is part of what is hashed for every
// sticky request.
const maxID = 128

func (p *parser) id(n node) string {
	s := p.name(n, "the name of a rollout")
	if len(s) > maxID {
		p.fail(n, "", "%s is %d bytes long, more than %d", n.path, len(s), maxID)
	}
	return s
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
