package canary

import "time"

// Defaults of a mirror.
const (
	DefaultMirrorBody     = 64 << 10 // bytes
	DefaultMirrorTimeout  = 5 * time.Second
	DefaultMirrorInflight = 100
)

// Bounds of a mirror.
const (
	maxMirrorBody     = 16 << 20
	maxMirrorInflight = 10_000
	maxMirrorMemory   = 256 << 20 // bytes that all copies of a service may hold
)

func (p *parser) mirror(n node) *Mirror {
	m := &Mirror{}
	if n.kind != '{' {
		const want = `a share (0.1 or "10%") or an object with ratio`
		if n.kind != '0' && n.kind != '"' {
			p.wrong(n, want)
		} else if v := p.share(n); v != nil {
			m.Ratio = *v
		}
		return m
	}
	p.object(n, "an object", fields{
		"ratio": func(n node) {
			if v := p.share(n); v != nil {
				m.Ratio = *v
			}
		},
		"methods":      func(n node) { m.Methods = p.list(n, "a method or a list of them", p.method) },
		"max_body":     func(n node) { m.MaxBody = p.whole(n, 0, maxMirrorBody) },
		"timeout":      func(n node) { m.Timeout = p.span(n) },
		"max_inflight": func(n node) { m.MaxInflight = p.whole(n, 1, maxMirrorInflight) },
		"shadow": func(n node) {
			if m.Shadow = n.kind == 't'; n.kind != 't' && n.kind != 'f' {
				p.wrong(n, "true or false")
			}
		},
	})
	if _, ok := n.member("ratio"); !ok {
		p.fail(n, `add "ratio": 0.1`, "%s does not say which share of the requests is mirrored", n.path)
	}
	if held := or(m.MaxBody, DefaultMirrorBody) * or(m.MaxInflight, DefaultMirrorInflight); held > maxMirrorMemory {
		p.fail(n, "lower max_body or max_inflight", "%s could hold %d bytes (max_body times max_inflight), more than %d", n.path, held, maxMirrorMemory)
	}
	return m
}
