package proxy

import (
	"sync"
	"sync/atomic"
	"time"

	"serin/route"
)

// UpstreamsConfig are the rules that Upstreams follows.
type UpstreamsConfig struct {
	Limits Limits
	// Now and Rand are time.Now and rand.Uint64 where nil.
	Now  func() time.Time
	Rand func() uint64
	// Ejected is told when an instance is ejected and, with 0, when it is
	// taken back. It must not block and must not call Upstreams. May be nil.
	Ejected func(t *route.Target, d time.Duration, because Class)
}

// Upstreams is the live state of all instances, keyed by address, outside any
// table so that a table swap keeps it. See NewUpstreams.
type Upstreams struct {
	cfg  UpstreamsConfig
	mu   sync.Mutex
	inst atomic.Pointer[map[string]*Upstream]
}

// NewUpstreams returns the state of no instance.
func NewUpstreams(cfg UpstreamsConfig) *Upstreams {
	u := &Upstreams{cfg: cfg}
	u.inst.Store(&map[string]*Upstream{})
	return u
}

// Upstream is the live state of one address.
type Upstream struct{ inflight atomic.Int64 }

// Claim registers a request in flight at t, so that a drain can never miss
// it; the caller must Release it exactly once.
func (u *Upstreams) Claim(t *route.Target) *Upstream {
	if up := (*u.inst.Load())[t.Addr]; up != nil {
		up.inflight.Add(1)
		return up
	}
	up := &Upstream{}
	up.inflight.Add(1)
	return up
}

// Release ends what Claim began and tells what became of the attempt.
func (up *Upstream) Release(c Class) { up.inflight.Add(-1) }

// Swap tells Upstreams which instances the table in use has.
func (u *Upstreams) Swap(t *route.Table) {}

func (u *Upstreams) Load(addr string) int                 { return 0 }
func (u *Upstreams) Usable(addr string, draw uint64) bool { return true }
func (u *Upstreams) Room(service string) bool             { return true }
func (u *Upstreams) Turn(sequence string) uint64          { return 0 }
