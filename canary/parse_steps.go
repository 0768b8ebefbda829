package canary

import (
	"encoding/json"
	"time"
)

// MaxSteps is how many steps a plan may have.
const MaxSteps = 256

func (p *parser) steps(n node) (steps []Step) {
	switch {
	case n.kind != '[':
		p.wrong(n, "a list of steps")
	case len(n.elems) == 0:
		p.fail(n, "leave it out", "%s is an empty list", n.path)
	case len(n.elems) > MaxSteps:
		p.fail(n, "", "%s has %d steps, more than %d", n.path, len(n.elems), MaxSteps)
		return nil
	}
	for _, e := range n.elems {
		steps = append(steps, p.step(e))
	}
	return steps
}

func (p *parser) step(n node) (s Step) {
	p.object(n, "an object with ratio, mirror or pause", fields{
		"ratio":  func(n node) { s.Ratio = p.share(n) },
		"mirror": func(n node) { s.Mirror = p.share(n) },
		"for":    func(n node) { s.For = p.span(n) },
		"pause":  func(n node) { s.Pause = p.pause(n) },
	})
	if n.kind != '{' {
		return s
	}
	_, ratio := n.member("ratio")
	_, mirror := n.member("mirror")
	_, pause := n.member("pause")
	_, lasts := n.member("for")
	switch {
	case !ratio && !mirror && !pause:
		p.fail(n, `add "ratio": 0.1, "mirror": 0.1 or "pause": true`, "%s says neither ratio nor mirror nor pause", n.path)
	case pause && (ratio || mirror):
		p.fail(n, "write two steps: the share, then the pause", "%s has a share and a pause", n.path)
	case pause && lasts:
		p.fail(n, `write "pause": "1h" for a pause that ends by itself`, "%s is a pause with for", n.path)
	}
	return s
}

func (p *parser) pause(n node) *Pausing {
	switch n.kind {
	case 't':
		return &Pausing{}
	case '"':
		return &Pausing{For: Duration(p.span(n).or(0))}
	}
	p.wrong(n, `true or a duration like "1h"`)
	return nil
}

// lasting refuses a step that nothing keeps: without analysis a share that has
// no time and no pause behind it would be passed at once.
func (p *parser) lasting(n node, steps []Step) {
	for i := range max(len(steps)-1, 0) {
		if s := steps[i]; s.For == nil && s.Pause == nil && steps[i+1].Pause == nil {
			e := n.elems[i]
			p.fail(e, `add "for": "10m", a pause behind it, or analysis`, "%s would last no time", e.path)
		}
	}
}

// MarshalJSON writes true, or the time as a string.
func (p Pausing) MarshalJSON() ([]byte, error) {
	if p.For == 0 {
		return []byte("true"), nil
	}
	return json.Marshal(time.Duration(p.For).String())
}
