package evidence

import "math"

// Events that a ledger counts, by arm.
const (
	failed  = iota // the first attempt failed
	slow           // it took longer than the first threshold of latency
	slower         // than the second
	drawn          // it was assigned: all of them
	numbers        // of events
)

// seen tells which events a sample is.
type seen [numbers]bool

// ledger holds the likelihood ratios of all tests. Samples are counted by the
// ratio that they were drawn with, and become logarithms when they are asked for
// or when their place is needed, so that counting costs no logarithm and loses
// no digits. It is not safe for concurrent use.
type ledger struct {
	better *test // by which the canary passes
	cells  [16]cell
	logs   ratios // of cells that made room
}

// cell counts the events of one ratio.
type cell struct {
	ratio float64 // 0: nothing was counted
	exact bool    // the ratio is the very share of the canary, not a bound of it
	n     [numbers][2]uint64
}

// ratios are the likelihood ratios of all tests.
type ratios struct {
	worse  [3]Logs // of failed, slow, slower: the canary is worse
	better [2]Logs // of failed, slow: it is not margin times worse
	split  Logs    // of drawn: the arms do not get what they should
}

// see counts a sample.
func (l *ledger) see(ratio float64, exact bool, arm int, s seen) {
	i := math.Float64bits(ratio) * 0x9E3779B97F4A7C15 >> 60
	c := &l.cells[i]
	if c.ratio != ratio || c.exact != exact {
		l.logs.take(c, l.better)
		*c = cell{ratio: ratio, exact: exact}
	}
	for e, is := range s {
		if is {
			c.n[e][arm]++
		}
	}
}

// sum returns the ratios of everything counted.
func (l *ledger) sum() ratios {
	r := l.logs
	for i := range l.cells {
		r.take(&l.cells[i], l.better)
	}
	return r
}

// take adds what a cell counted. A ratio that is only an upper bound of the
// canary's share makes it look better than it is: that is no evidence that it
// passes, nor that the arms get what they should not.
func (r *ratios) take(c *cell, better *test) {
	if c.ratio == 0 {
		return
	}
	add := func(l *Logs, t *test, event int) {
		n := c.n[event]
		l.see(t, c.ratio, n[0]+n[1], n[1])
	}
	for e := range r.worse {
		add(&r.worse[e], worse, e)
	}
	if !c.exact {
		return
	}
	for e := range r.better {
		add(&r.better[e], better, e)
	}
	add(&r.split, uneven, drawn)
}

// each calls f with every one of the ratios, and the event that it is of.
func (r *ratios) each(f func(l *Logs, event int)) {
	for e := range r.worse {
		f(&r.worse[e], e)
	}
	for e := range r.better {
		f(&r.better[e], e)
	}
	f(&r.split, drawn)
}
