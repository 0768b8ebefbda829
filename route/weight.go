package route

// weigh divides a route among the ready targets of all its parts by Fabio's
// rules, and sets Part.Share and Arm.Fixed:
//
//   - without a fixed weight every target has the same share;
//   - fixed weights are shares; where their sum exceeds 1, or where all targets
//     have one, they are shares of their sum;
//   - targets without one divide evenly what the fixed ones leave, which may be
//     nothing.
//
// Targets of a backup arm count only where their part has no others.
func weigh(parts []*Part) {
	var fixed float64
	var free int
	for _, p := range parts {
		for _, a := range p.active() {
			f, n := a.weights()
			fixed += f
			free += n
		}
	}
	scale, auto := 1.0, 0.0
	if fixed > 1 || free == 0 {
		scale = 1 / fixed
	}
	if free > 0 {
		auto = max(0, 1-fixed) / float64(free)
	}
	for _, p := range parts {
		p.Share = 0
		for a := range p.Arms {
			arm := p.Arms[a]
			f, n := arm.weights()
			if f > 0 { // otherwise it stays 0: the arm may be noArm
				arm.Fixed = f * scale / (f*scale + float64(n)*auto)
			}
		}
		for _, a := range p.active() {
			f, n := a.weights()
			if f > 0 {
				p.Share += f * scale
			}
			p.Share += float64(n) * auto
		}
	}
}

// active returns the arms that the part's share is for.
func (p *Part) active() []*Arm {
	if len(p.Arms[Stable].Ready)+len(p.Arms[Canary].Ready) == 0 {
		return p.Arms[Backup:]
	}
	return p.Arms[:Backup]
}

// weights returns the sum of the fixed weights and the number of targets
// without one.
func (a *Arm) weights() (fixed float64, free int) {
	for _, t := range a.Ready {
		if t.Weight > 0 {
			fixed += t.Weight
		} else {
			free++
		}
	}
	return fixed, free
}
