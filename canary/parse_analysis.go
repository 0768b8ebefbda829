package canary

import (
	"math"
)

func (p *parser) analysis(n node) *Analysis {
	a := &Analysis{}
	if n.kind == 't' {
		return a
	}
	probability := func(n node) *float64 {
		return p.number(n, "a number above 0 and at most 0.5", func(v float64) bool { return v > 0 && v <= 0.5 })
	}
	p.object(n, "true or an object", fields{
		"alpha": func(n node) { a.Alpha = probability(n) },
		"beta":  func(n node) { a.Beta = probability(n) },
		"margin": func(n node) {
			a.Margin = p.number(n, "a number above 1 and at most 100", func(v float64) bool { return v > 1 && v <= 100 })
		},
		"max_error_rate": func(n node) {
			if a.MaxErrorRate = p.share(n); a.MaxErrorRate != nil && *a.MaxErrorRate == 0 {
				p.fail(n, `write 0.01 or "1%"`, "%s must be above 0: no number of requests can show that none will fail", n.path)
			}
		},
		"slow":            func(n node) { a.Slow = p.slow(n) },
		"min_requests":    func(n node) { a.MinRequests = p.whole(n, 1, math.MaxInt32) },
		"warmup":          func(n node) { a.Warmup = p.duration(n) },
		"failures":        func(n node) { a.Failures = p.list(n, "a list of kinds of failures", p.failure) },
		"on_fail":         func(n node) { a.OnFail = p.word(n, "rollback", "pause") },
		"on_inconclusive": func(n node) { a.OnInconclusive = p.word(n, "wait", "pause", "promote") },
		"max_wait":        func(n node) { a.MaxWait = p.span(n) },
	})
	return a
}

func (p *parser) failure(n node) string {
	return p.word(n, "5xx", "connect", "timeout", "reset", "truncated", "grpc")
}

// slow reads "auto", or a time, in the form in which a Duration prints it.
func (p *parser) slow(n node) string {
	if n.text == "auto" && n.kind == '"' {
		return n.text
	}
	d := p.span(n)
	if d == nil {
		return ""
	}
	text, _ := d.MarshalText()
	return string(text)
}
