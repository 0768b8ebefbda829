package nethttp

import (
	"cmp"
	"time"
)

// clearlyKnown is the least idle time-out of an instance that a request which cannot
// be replayed relies on: below it, a late goroutine here is as long as the
// time that is left there.
const clearlyKnown = time.Second

// lifetime is what is known of how long an instance keeps an idle connection
// open. The zero value knows nothing.
type lifetime struct {
	hint    time.Duration // Keep-Alive: timeout= of its last response
	floor   time.Duration // the longest idle time a connection survived
	ceiling time.Duration // the shortest idle time after which one was found closed; 0 is none
}

// survived tells that a connection was found open after idle. A ceiling that
// is contradicted was no time-out (a restart, say) and is dropped.
func (l *lifetime) survived(idle time.Duration) {
	l.floor = max(l.floor, idle)
	if l.ceiling != 0 && idle > l.ceiling {
		l.ceiling = 0
	}
}

// closed tells that a connection was found closed after idle.
func (l *lifetime) closed(idle time.Duration) {
	idle = max(idle, 1) // 0 is "none"
	if l.ceiling == 0 || idle < l.ceiling {
		l.ceiling = idle
	}
	l.floor = min(l.floor, idle)
}

// safe reports whether a request that cannot be replayed may take a connection
// that has been idle: the instance's time-out is known, and not half of it is
// over.
func (l *lifetime) safe(idle time.Duration) bool {
	limit := cmp.Or(l.hint, l.floor)
	if l.ceiling != 0 {
		limit = min(limit, l.ceiling)
	}
	return limit >= clearlyKnown && idle < limit/2
}

// keep returns how long an idle connection is kept: unless the instance told
// its own limit, def.
func (l *lifetime) keep(def time.Duration) time.Duration {
	if l.hint == 0 {
		return def
	}
	return max(l.hint-time.Second, l.hint/2)
}
