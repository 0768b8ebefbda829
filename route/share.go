package route

import "fmt"

// Effect returns what the part makes of its split, without its variants.
func (p *Part) Effect() Effect {
	stable, canary := len(p.Arms[Stable].Ready), len(p.Arms[Canary].Ready)
	e := Effect{Ratio: p.Shares()[Canary]}
	switch {
	case stable+canary == 0 && len(p.Arms[Backup].Ready) > 0:
		e.Because = "health: neither a stable nor a canary instance is ready, the backup takes all"
	case stable+canary == 0:
		e.Because = "health: no instance is ready"
	case e.Ratio == p.Split.Ratio:
	case stable == 0:
		e.Because = "health: no stable instance is ready"
	case canary == 0:
		e.Because = "health: no canary instance is ready"
	case canary == 1:
		e.Because = fmt.Sprintf("health: 1 canary instance ready, limits.min_healthy is %d", p.Split.MinHealthy)
	default:
		e.Because = fmt.Sprintf("health: %d canary instances ready, limits.min_healthy is %d", canary, p.Split.MinHealthy)
	}
	if capacity := p.Split.capacity; capacity != "" && e.Because != "" {
		e.Because = capacity + "; " + e.Because
	} else if capacity != "" {
		e.Because = capacity
	}
	return e
}

// Shares returns the part's expected division between its arms at the split's
// ratio (for clients in no variant's environment), with what Consul says of the instances: an arm without enough ready
// ones leaves its share to the other, both leave it to the backup. The shares
// sum to 1, or are all 0 when nothing is ready.
func (p *Part) Shares() (shares [3]float64) {
	stable, canary := len(p.Arms[Stable].Ready), len(p.Arms[Canary].Ready)
	ratio := min(max(p.Split.Ratio, 0), 1)
	switch {
	case stable == 0 && canary == 0:
		if len(p.Arms[Backup].Ready) > 0 {
			shares[Backup] = 1
		}
		return shares
	case stable == 0:
		ratio = 1
	case canary < max(1, p.Split.MinHealthy):
		ratio = 0
	}
	shares[Stable], shares[Canary] = 1-ratio, ratio
	return shares
}

// Share returns the part of the arm's requests that target i of Ready gets
// when nothing but weights and capacities decides.
func (a *Arm) Share(i int) float64 {
	o := a.pool(false)
	for _, g := range [...]*group{&o.fixed, &o.rest} {
		arm := o.share
		if g == &o.rest {
			arm = 1 - arm
		}
		for k, t := range g.targets {
			if t == a.Ready[i] {
				_, share := g.part(k)
				return share * arm
			}
		}
	}
	return 0
}
