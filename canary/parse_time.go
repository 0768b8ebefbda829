package canary

import (
	"fmt"
	"strings"
	"time"
)

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
	case strings.HasPrefix(s, "-"):
		p.fail(n, "", `%s "%s" must not be negative`, n.path, short(s))
	}
	return (*Duration)(&d)
}

// span is a duration that is not 0.
func (p *parser) span(n node) *Duration {
	d := p.duration(n)
	if n.kind == '"' && d.or(1) == 0 {
		p.fail(n, "", `%s "%s" must be longer than 0`, n.path, short(n.text))
	}
	return d
}

// time reads a moment as RFC 3339 writes it, with its zone, because two
// balancers may stand in different ones. It is kept in UTC.
func (p *parser) time(n node) *time.Time {
	const hint = `write it with its zone: "2026-11-22T10:00:00Z" or "2026-11-22T11:00:00+01:00"`
	s := p.string(n, "a time like \"2026-11-22T10:00:00Z\"")
	if n.kind != '"' {
		return nil
	}
	var t time.Time
	if err := t.UnmarshalText([]byte(s)); err != nil {
		if t.UnmarshalText([]byte(s+"Z")) == nil {
			p.fail(n, fmt.Sprintf("write %q for UTC, or an offset like %q", s+"Z", s+"+01:00"), `%s "%s" has no zone`, n.path, short(s))
		} else {
			p.fail(n, hint, `%s "%s" is not a time`, n.path, short(s))
		}
		return nil
	}
	years := min(t.Year(), t.UTC().Year())
	if t = t.UTC(); years < 1970 || t.Year() > 9999 {
		p.fail(n, "", `%s "%s" must be in the years 1970 to 9999`, n.path, short(s))
		return nil
	}
	return &t
}

// between reads the fields start and end of an object.
func (p *parser) between(start, end **time.Time) (from, to func(node)) {
	check := func(n node) {
		if *start != nil && *end != nil && !(*end).After(**start) {
			p.fail(n, "swap them or correct one", "%s: the end is not after the start", n.path)
		}
	}
	from = func(n node) { *start = p.time(n); check(n) }
	to = func(n node) { *end = p.time(n); check(n) }
	return from, to
}
