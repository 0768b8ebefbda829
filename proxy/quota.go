package proxy

import (
	"math"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"serin/route"
)

// Quotas is what the routes with a ratelimit= or maxconn= have used of it on
// this balancer. It is kept by service and place (host, path, priority and
// condition), outside any table, so that a table swap and a change of the limit
// keep it; a quota that nothing is used of is forgotten. The zero value is
// ready, and safe for concurrent use.
type Quotas struct {
	mu    sync.RWMutex // held to enter a quota, and to write the map
	byKey map[string]*Quota
	sweep int // size of byKey at which unused quotas are forgotten
}

// Quota is the state of one route's limits.
type Quota struct {
	inFlight atomic.Int64
	// due is when the bucket of the rate is full again, as nanoseconds of the
	// Unix clock: the whole state of a token bucket.
	due atomic.Int64
}

// minSweep is the number of quotas that are kept without looking.
const minSweep = 64

// Enter takes a request into the limits of rt, as the options of t say. after
// is how long it takes until the rate lets the next one in.
func (q *Quotas) Enter(rt *route.Route, t *route.Target, now time.Time) (in *Quota, because Reason, after time.Duration) {
	var buf [256]byte
	key := appendPlace(append(append(buf[:0], t.Service...), 0), rt)
	q.mu.RLock()
	u, ok := q.byKey[string(key)]
	if ok {
		because, after = u.enter(t.Options, now)
	}
	q.mu.RUnlock()
	if !ok {
		u, because, after = q.make(string(key), t.Options, now)
	}
	if because != NoReason {
		return nil, because, after
	}
	return u, NoReason, 0
}

// make enters a quota that may not exist yet.
func (q *Quotas) make(key string, o *route.Options, now time.Time) (u *Quota, because Reason, after time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if u = q.byKey[key]; u == nil {
		if len(q.byKey) >= max(q.sweep, minSweep) {
			q.forget(now)
		}
		if q.byKey == nil {
			q.byKey = map[string]*Quota{}
		}
		u = new(Quota)
		q.byKey[key] = u
	}
	because, after = u.enter(o, now)
	return u, because, after
}

// forget drops the quotas that nothing is used of, which say no more than those
// that do not exist; the lock is held. It is done each time that their number
// has doubled, so that it costs little, and they are at most twice as many as
// ever were in use at once.
func (q *Quotas) forget(now time.Time) {
	for key, u := range q.byKey {
		if u.inFlight.Load() == 0 && u.due.Load() <= now.UnixNano() {
			delete(q.byKey, key)
		}
	}
	q.sweep = 2 * len(q.byKey)
}

// Len returns the number of quotas in memory.
func (q *Quotas) Len() int {
	q.mu.RLock()
	defer q.mu.RUnlock()
	return len(q.byKey)
}

// enter takes a request in, or says why not.
func (u *Quota) enter(o *route.Options, now time.Time) (because Reason, after time.Duration) {
	for {
		n := u.inFlight.Load()
		if o.MaxConn > 0 && n >= int64(o.MaxConn) {
			return ReasonMaxConn, 0
		}
		if u.inFlight.CompareAndSwap(n, n+1) {
			break
		}
	}
	if o.RateLimit != nil {
		if after = u.take(o.RateLimit, now.UnixNano()); after > 0 {
			u.leave()
			return ReasonRateLimit, after
		}
	}
	return NoReason, 0
}

func (u *Quota) leave() { u.inFlight.Add(-1) }

// take takes a token, or returns how long it is until there is one.
func (u *Quota) take(limit *route.RateLimit, now int64) (after time.Duration) {
	for {
		due := u.due.Load()
		next, wait := bucket(limit, due, now)
		if wait > 0 {
			return time.Duration(wait)
		}
		if u.due.CompareAndSwap(due, next) {
			return 0
		}
	}
}

// bucket takes a token at now out of a bucket that is full again at due, all in
// nanoseconds: it returns when the bucket is then full again, or how long it is
// until there is a token (GCRA). A bucket that was used under another limit is
// at most empty. A limit without a burst lets in at once what it does in a
// second.
func bucket(limit *route.RateLimit, due, now int64) (next, wait int64) {
	const most = math.MaxInt64 / 4
	burst := float64(limit.Burst)
	if limit.Burst <= 0 {
		burst = max(math.Ceil(limit.PerSecond), 1)
	}
	each := max(1, int64(min(1e9/limit.PerSecond, most)))              // until one token is back
	whole := max(each, int64(min(float64(each)*burst, float64(most)))) // until all are
	due = min(max(due, now), now+whole)
	if next = due + each; next > now+whole {
		return due, next - now - whole
	}
	return next, 0
}

// appendPlace appends what tells rt from the other routes of a service.
func appendPlace(b []byte, rt *route.Route) []byte {
	b = append(append(append(b, rt.Host...), 0), rt.Path...)
	if rt.Priority != 0 {
		b = strconv.AppendInt(append(b, 0, 'p'), int64(rt.Priority), 10)
	}
	if c := rt.When; c != nil {
		for _, m := range c.Methods {
			b = append(append(b, 0, 'm'), m...)
		}
		b = appendFields(b, 'h', c.Headers)
		b = appendFields(b, 'q', c.Query)
	}
	return b
}

func appendFields(b []byte, kind byte, fields []route.FieldMatch) []byte {
	for i := range fields {
		f := &fields[i]
		b = append(append(b, 0, kind), f.Name...)
		b = append(append(b, 0, byte(f.Pattern.Kind)), f.Pattern.Text...)
	}
	return b
}
