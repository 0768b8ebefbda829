package proxy

import "serin/route"

// Upstreams is the live state of all instances, keyed by address, outside any
// table so that a table swap keeps it. The zero value is not usable; see NewUpstreams.
type Upstreams struct{}

// Upstream is the live state of one address.
type Upstream struct{}

// Claim registers a request in flight at addr, so that a drain can never miss
// it; the caller must Release it exactly once.
func (u *Upstreams) Claim(t *route.Target) *Upstream { panic("BUG: to be written") }

// Release ends what Claim began and tells what became of the attempt.
func (up *Upstream) Release(c Class) {}

func (u *Upstreams) Load(addr string) int                 { return 0 }
func (u *Upstreams) Usable(addr string, draw uint64) bool { return true }
func (u *Upstreams) Turn(sequence string) uint64          { return 0 }

// Budget bounds retries per service: 20 % of its requests + 10 a second.
type Budget struct{}

// Decide is the list of steps of a request and the only place that knows their
// order. It is pure.
func Decide(t *route.Table, s Settings, live Live, r Request, d Draw) Decision {
	panic("BUG: to be written")
}

// Retry reports whether the request may be tried on another instance after a,
// and if so sets d.Target to it. It spends the service's retry budget.
func (c *Core) Retry(d *Decision, a Attempt) bool { panic("BUG: to be written") }

// Done tells the Outcome: to the balancing state, metrics, evidence and the
// access log, through Observe.
func (c *Core) Done(o *Outcome) {}
