package proxy

import (
	"sync"
	"time"
)

// Budget bounds retries per service: 20 % of its requests of the last 10
// seconds, and 10 a second. The zero value is ready, nil allows everything;
// it is safe for concurrent use.
type Budget struct {
	services readMostly[*spending]
}

type spending struct {
	mu    sync.Mutex // guards what follows
	start time.Time
	w     window
}

const (
	requests = 0 // kinds of spending.w
	retries  = 1
)

// budgetAllows is the rule: at most 20 % of the requests, plus 10 a second
// over the window of 10 s.
func budgetAllows(requests, retries uint32) bool { return retries < requests/5+100 }

// Request counts one request of the service.
func (b *Budget) Request(service string, now time.Time) {
	if b != nil {
		b.of(service, now).add(now, requests)
	}
}

// Spend reports whether the service may retry once more, and if so counts it.
func (b *Budget) Spend(service string, now time.Time) bool {
	return b == nil || b.of(service, now).add(now, retries)
}

// Forget drops what is known of a service that left.
func (b *Budget) Forget(service string) {
	b.services.edit(func(d *draft[*spending]) { d.drop(service) })
}

func (b *Budget) of(service string, now time.Time) *spending {
	if s, ok := b.services.get(service); ok {
		return s
	}
	return b.services.orMake(service, func() *spending { return &spending{start: now} })
}

func (s *spending) add(now time.Time, kind int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := max(now.Sub(s.start), 0)
	s.w.roll(t)
	if kind == retries && !budgetAllows(s.w.sum[requests], s.w.sum[retries]) {
		return false
	}
	s.w.add(t, kind)
	return true
}
