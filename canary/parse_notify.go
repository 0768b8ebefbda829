package canary

import (
	"net/url"
	"regexp"
	"strings"

	"serin/canary/rollout"
)

// MaxNotify is how many addresses a document may have told.
const MaxNotify = 16

func (p *parser) notify(n node) (all []Notify) {
	switch {
	case n.kind != '[':
		p.wrong(n, `a list of objects like {"url": "https://…"}`)
	case len(n.elems) > MaxNotify:
		p.fail(n, "", "%s has %d addresses, more than %d", n.path, len(n.elems), MaxNotify)
		return nil
	}
	for _, e := range n.elems {
		var one Notify
		p.object(e, `an object like {"url": "https://…"}`, fields{
			"url":     func(n node) { one.URL = p.webhook(n) },
			"on":      func(n node) { one.On = p.list(n, "a list of events", p.event) },
			"headers": func(n node) { one.Headers = p.headers(n) },
		})
		if _, ok := e.member("url"); e.kind == '{' && !ok {
			p.fail(e, "add url", "%s names no address", e.path)
		}
		all = append(all, one)
	}
	return all
}

func (p *parser) event(n node) string {
	return p.word(n, rollout.Kinds()...)
}

func (p *parser) webhook(n node) string {
	const hint = "write https://host/path, env:NAME or file:/path"
	s := p.secret(n, "an address, env:NAME or file:/path")
	if rollout.IsReference(s) || n.kind != '"' {
		return s
	}
	u, err := url.Parse(s)
	if err != nil || !strings.HasPrefix(s, "http://") && !strings.HasPrefix(s, "https://") || u.Hostname() == "" {
		p.fail(n, hint, `%s "%s" is not an address`, n.path, short(s))
	}
	return s
}

func (p *parser) headers(n node) map[string]string {
	m := p.strings(n, `an object like {"Authorization": "env:TOKEN"}`, func(n node, _ string) string { return p.secret(n, "one line of text, env:NAME or file:/path") })
	for _, f := range n.members {
		if !isToken(f.name) {
			p.failAt(f.off, f.value.path, "", `"%s" is not the name of a header`, short(f.name))
		}
	}
	return m
}

var envRE = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// secret reads a text that may be a reference. The balancer's own variables are
// refused: who may write a document is not therefore to have its token sent.
func (p *parser) secret(n node, want string) string {
	s := p.name(n, want)
	kind, name, _ := strings.Cut(s, ":")
	switch {
	case !rollout.IsReference(s):
	case kind == "env" && !envRE.MatchString(name):
		p.fail(n, "write env:NAME", `%s "%s": "%s" is not the name of an environment variable`, n.path, short(s), short(name))
	case kind == "env" && rollout.IsOwn(name):
		p.fail(n, "use another variable", `%s "%s" is the balancer's own`, n.path, short(s))
	case kind == "file" && (!strings.HasPrefix(name, "/") || strings.HasSuffix(name, "/")):
		p.fail(n, "write file:/path", `%s "%s" is not the whole path of a file`, n.path, short(s))
	}
	return s
}
