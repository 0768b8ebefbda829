package canary

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
