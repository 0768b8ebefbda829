package route

import (
	"math"
	"math/bits"
	"slices"
)

// Live is what picking needs to know of the instances' state. Its methods are
// called concurrently.
type Live interface {
	// Load returns the requests in flight at addr.
	Load(addr string) int
	// Usable reports whether addr may get a request now. draw is a uniform
	// number to hold against a slow start; 0 asks for any that is not ejected
	// or full, however cold.
	Usable(addr string, draw uint64) bool
	// Turn returns the next number of the named sequence, starting at 0.
	Turn(sequence string) uint64
}

// Pick is all that a choice inside an arm depends on.
type Pick struct {
	Balance Balance
	Draw    uint64 // uniform
	Live    Live
	Tried   []string // addresses that are not to be chosen again
	// Critical picks among the arm's Critical targets instead of the Ready.
	Critical bool
	// Sticky, with Key from [Split.InstancePosition], keeps a client on its
	// instance or node; InstanceFree ignores Key, where Balance is not
	// HashBalance, which is like InstanceSticks.
	Sticky InstanceSticky
	Key    uint64
}

// Pick returns the target for one request: one with a fixed weight in
// proportion to it, else by balance, among those that are usable and were not
// tried. Where the share drawn has no such target the rest of the arm is
// asked, and cold targets before none: Pick returns nil only when nothing in
// the arm is usable. It does not allocate for arms that a Builder made, and is
// safe for concurrent use.
func (a *Arm) Pick(p Pick) *Target {
	o := a.pool(p.Critical)
	if len(o.rest.targets)+len(o.fixed.targets) == 0 {
		return nil
	}
	for _, cold := range [...]bool{false, true} {
		if t := o.pick(&p, a.sequence, cold); t != nil {
			return t
		}
	}
	return nil
}

// pools are an arm's targets prepared for picking.
type pools struct{ ready, critical pool }

// noPools says that there is nothing to prepare: in both lists all targets have
// the same share, as in nearly all arms.
var noPools pools

// pool is a list of targets prepared for picking.
type pool struct {
	fixed, rest group
	share       float64 // of fixed
}

// group is targets that are drawn in proportion. cum is their cumulative
// share, ending at 1; nil when all have the same.
type group struct {
	targets []*Target
	cum     []float64
}

// pool returns the targets to pick from.
func (a *Arm) pool(critical bool) pool {
	targets, share := a.Ready, a.Fixed
	if critical {
		targets, share = a.Critical, 0
	}
	switch {
	case a.pools == nil:
		return newPool(targets, share)
	case a.pools == &noPools:
		return pool{rest: group{targets: targets}}
	case critical:
		return a.pools.critical
	}
	return a.pools.ready
}

// prepare makes the pools, when Ready, Critical and Fixed are what they will be.
func (a *Arm) prepare() {
	a.pools = &noPools
	ready, critical := newPool(a.Ready, a.Fixed), newPool(a.Critical, 0)
	if !ready.even() || !critical.even() {
		a.pools = &pools{ready, critical}
	}
}

// even reports whether all targets have the same share.
func (o *pool) even() bool { return len(o.fixed.targets) == 0 && o.rest.cum == nil }

func newPool(targets []*Target, share float64) pool {
	o := pool{share: share}
	if share == 0 {
		o.rest.targets = targets
	}
	for _, t := range targets {
		if share == 0 {
			break
		}
		if t.Weight > 0 {
			o.fixed.targets = append(o.fixed.targets, t)
		} else {
			o.rest.targets = append(o.rest.targets, t)
		}
	}
	o.fixed.accumulate(func(t *Target) float64 { return t.Weight })
	o.rest.accumulate(func(t *Target) float64 { return float64(t.Capacity()) })
	return o
}

func (g *group) accumulate(weight func(*Target) float64) {
	sum, same := 0.0, true
	for _, t := range g.targets {
		sum += weight(t)
		same = same && weight(t) == weight(g.targets[0])
	}
	if same {
		return
	}
	g.cum = make([]float64, len(g.targets))
	acc := 0.0
	for i, t := range g.targets {
		acc += weight(t)
		g.cum[i] = acc / sum
	}
	g.cum[len(g.cum)-1] = 1
}

// part returns target i's share of the group, and where it begins.
func (g *group) part(i int) (begin, share float64) {
	switch {
	case g.cum == nil:
		n := float64(len(g.targets))
		return float64(i) / n, 1 / n
	case i == 0:
		return 0, g.cum[0]
	}
	return g.cum[i-1], g.cum[i] - g.cum[i-1]
}

// draw returns the target at draw, in proportion, never skip (-1: none), and
// what is left of the draw: again uniform.
func (g *group) draw(draw uint64, skip int) (i int, left uint64) {
	n := len(g.targets)
	if g.cum == nil {
		if skip >= 0 {
			n--
		}
		hi, left := bits.Mul64(draw, uint64(n))
		if i = int(hi); skip >= 0 && i >= skip {
			i++
		}
		return i, left
	}
	x := unit(draw)
	if skip >= 0 {
		begin, share := g.part(skip)
		if x *= 1 - share; x >= begin {
			x += share
		}
	}
	for i = 0; i < n-1 && (x >= g.cum[i] || i == skip); i++ {
	}
	if i == skip { // the last one, by rounding
		i--
	}
	begin, share := g.part(i)
	return i, toDraw((x - begin) / share)
}

func unit(draw uint64) float64 { return float64(draw>>11) / (1 << 53) }

func toDraw(u float64) uint64 { return uint64(min(max(u, 0), 1-1.0/(1<<53)) * (1 << 64)) }

// Mix makes an independent number of x (the finaliser of splitmix64).
func Mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// usable reports whether t may be picked; draw must be independent of what
// made t the candidate.
func (p *Pick) usable(t *Target, draw uint64, cold bool) bool {
	if cold {
		draw = 0
	}
	return !slices.Contains(p.Tried, t.Addr) && p.Live.Usable(t.Addr, draw)
}

func (o *pool) pick(p *Pick, sequence string, cold bool) *Target {
	if p.Sticky != InstanceFree || p.Balance == HashBalance {
		return o.rendezvous(p, cold)
	}
	first, second, draw := &o.rest, &o.fixed, p.Draw
	if o.share > 0 {
		if u := unit(draw); u < o.share {
			first, second = second, first
			draw = toDraw(u / o.share)
		} else {
			draw = toDraw((u - o.share) / (1 - o.share))
		}
	}
	for _, g := range [...]*group{first, second} {
		if len(g.targets) == 0 {
			continue
		}
		balance := p.Balance
		if g == &o.fixed {
			balance = RandomBalance
		}
		if t := g.pick(p, balance, draw, sequence, cold); t != nil {
			return t
		}
	}
	return nil
}

// redraws is how often an unusable target is drawn before all are looked at.
const redraws = 4

func (g *group) pick(p *Pick, balance Balance, draw uint64, sequence string, cold bool) *Target {
	switch balance {
	case LeastConn:
		return g.leastLoaded(p, draw, cold)
	case RoundRobinBalance:
		n := p.Live.Turn(sequence)
		size := uint64(len(g.targets))
		if g.cum == nil {
			if t := g.targets[n%size]; p.usable(t, Mix(n), cold) {
				return t
			}
			return g.nth(p, n, cold)
		}
		draw = n * 0x9e3779b97f4a7c15 // multiples of the golden ratio: even, and in proportion
	}
	for range redraws {
		i, left := g.draw(draw, -1)
		if t := g.targets[i]; p.usable(t, Mix(draw), cold) {
			if balance == P2C {
				return g.lessLoaded(p, i, left, cold)
			}
			return t
		}
		draw = Mix(draw)
	}
	return g.scan(p, draw, cold)
}

// nth returns the usable target whose turn it is when target n is not: the
// turns of an unusable one go to the others in turn.
func (g *group) nth(p *Pick, n uint64, cold bool) (last *Target) {
	usable := uint64(0)
	for i, t := range g.targets {
		if p.usable(t, Mix(n+uint64(i)), cold) {
			usable++
		}
	}
	if usable == 0 {
		return nil
	}
	skip := n / uint64(len(g.targets)) % usable
	for i, t := range g.targets {
		if p.usable(t, Mix(n+uint64(i)), cold) {
			if last = t; skip == 0 {
				break
			}
			skip--
		}
	}
	return last
}

// lessLoaded returns target i or, when that one has less in flight per
// capacity, another drawn at random.
func (g *group) lessLoaded(p *Pick, i int, draw uint64, cold bool) *Target {
	a := g.targets[i]
	for range min(redraws, len(g.targets)-1) {
		j, _ := g.draw(draw, i)
		if b := g.targets[j]; p.usable(b, Mix(draw), cold) {
			if p.Live.Load(b.Addr)*a.Capacity() < p.Live.Load(a.Addr)*b.Capacity() {
				return b
			}
			return a
		}
		draw = Mix(draw)
	}
	return a
}

// leastLoaded returns the usable target with the least in flight per capacity;
// among equals the first one at or after the draw.
func (g *group) leastLoaded(p *Pick, draw uint64, cold bool) (best *Target) {
	start, left := g.draw(draw, -1)
	load := 0
	for k := range g.targets {
		t := g.targets[(start+k)%len(g.targets)]
		if left = Mix(left); !p.usable(t, left, cold) {
			continue
		}
		if l := p.Live.Load(t.Addr); best == nil || l*best.Capacity() < load*t.Capacity() {
			best, load = t, l
		}
	}
	return best
}

// scan draws among the usable targets only, looking at every one.
func (g *group) scan(p *Pick, draw uint64, cold bool) (chosen *Target) {
	sum := 0.0
	for i, t := range g.targets {
		_, share := g.part(i)
		if !p.usable(t, Mix(draw^uint64(i)), cold) {
			continue
		}
		// A reservoir of one: the i-th replaces what is there with the
		// probability of its part of the sum so far.
		sum += share
		if draw = Mix(draw); chosen == nil || unit(draw)*sum < share {
			chosen = t
		}
	}
	return chosen
}

// rendezvous returns the usable target with the highest score for the key, so
// that a target that comes or goes moves only its own clients. Instances score
// in proportion to their share of the arm; nodes do not, so that a client's
// node is the same in every arm, also where an instance there is new: a slow
// start would take clients from their node.
func (o *pool) rendezvous(p *Pick, cold bool) (best *Target) {
	var high, highest float64
	for _, g := range [...]*group{&o.fixed, &o.rest} {
		arm := 1 - o.share
		if g == &o.fixed {
			arm = o.share
		}
		for i, t := range g.targets {
			id, home := t.hashes()
			own := Mix(p.Key ^ id)
			if !p.usable(t, Mix(own), cold || p.Sticky == NodeSticks) {
				continue
			}
			_, share := g.part(i)
			node, score := 0.0, math.Log((unit(own)+0x1p-54))/(share*arm)
			if p.Sticky == NodeSticks {
				node = unit(Mix(p.Key ^ home))
			}
			if best == nil || node > high || node == high && score > highest {
				best, high, highest = t, node, score
			}
		}
	}
	return best
}

// hashes returns what the target's ID (with its node, on which it is unique)
// and its node weigh in rendezvous.
func (t *Target) hashes() (id, node uint64) {
	if t.idHash == 0 {
		return hashNames(t.ID, t.Node), hashNames(t.Node)
	}
	return t.idHash, t.nodeHash
}

// hashNames is FNV-1a of zero-ended names: they are few and chosen by no
// client, and mix spreads them.
func hashNames(names ...string) uint64 {
	h := uint64(14695981039346656037)
	for _, s := range names {
		for i := range len(s) {
			h = (h ^ uint64(s[i])) * 1099511628211
		}
		h *= 1099511628211
	}
	return h
}
