package canary

import "math"

func (p *parser) limits(n node) *Limits {
	l := &Limits{}
	p.object(n, "an object", fields{
		"max_ratio":   func(n node) { l.MaxRatio = p.share(n) },
		"min_healthy": func(n node) { l.MinHealthy = p.whole(n, 1, math.MaxInt32) },
		"overload": func(n node) {
			l.Overload = p.number(n, "a number above 0, such as 1", func(v float64) bool { return v > 0 && v <= 1e6 })
		},
	})
	return l
}
