package canary

import "time"

func (p *parser) ramp(n node) *Ramp {
	r := &Ramp{}
	start, end := p.between(&r.Start, &r.End)
	p.object(n, "an object with over, or with start and end", fields{
		"from":  func(n node) { r.From = p.share(n) },
		"to":    func(n node) { r.To = p.share(n) },
		"over":  func(n node) { r.Over = p.span(n) },
		"start": start,
		"end":   end,
	})
	if n.kind != '{' {
		return r
	}
	_, over := n.member("over")
	s, hasStart := n.member("start")
	e, hasEnd := n.member("end")
	switch {
	case over && hasStart:
		p.fail(s, "keep one of them", "%s and over exclude each other", s.path)
	case over && hasEnd:
		p.fail(e, "keep one of them", "%s and over exclude each other", e.path)
	case !over && !hasStart && !hasEnd:
		p.fail(n, `add "over": "1h", or start and end`, "%s does not say how long it takes", n.path)
	case hasStart && !hasEnd:
		p.fail(n, "add end", "%s has a start and no end", n.path)
	case hasEnd && !hasStart:
		p.fail(n, "add start", "%s has an end and no start", n.path)
	}
	return r
}

// roll is the growing share of those that an environment is for.
func (p *parser) roll(n node) *Roll {
	var from, to *time.Time
	start, end := p.between(&from, &to)
	p.object(n, "an object with start and end", fields{"start": start, "end": end})
	if n.kind != '{' {
		return nil
	}
	for _, name := range []string{"start", "end"} {
		if _, ok := n.member(name); !ok {
			p.fail(n, "add "+name, "%s has no %s", n.path, name)
		}
	}
	if from == nil || to == nil {
		return nil
	}
	return &Roll{Start: *from, End: *to}
}
