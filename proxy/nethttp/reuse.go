package nethttp

import "time"

const (
	reuseFailures = 3                // failed reuses within reusePause end the reuse
	reusePause    = 10 * time.Second // for so long
	reuseTrial    = time.Second      // then one connection in it is tried, until one works
)

// reuse bounds the requests that an instance gets in vain because it resets its
// connections once they are used again. The zero value allows it.
type reuse struct {
	failures int
	since    time.Time // of the first of them
	trial    bool      // it was ended, and none has worked since
	until    time.Time // when the pause ends
	next     time.Time // when it is allowed again
}

// allowed reports whether a connection may be used again. In a trial it allows
// one by saying so.
func (r *reuse) allowed(now time.Time) bool {
	if now.Before(r.next) {
		return false
	}
	if r.trial {
		r.next = now.Add(reuseTrial)
	}
	return true
}

// failed tells that a request was sent in vain on a connection used again, and
// reports whether that ends the reuse.
func (r *reuse) failed(now time.Time) bool {
	if now.Sub(r.since) > reusePause {
		r.failures, r.since = 0, now
	}
	if r.failures++; !r.trial && r.failures < reuseFailures {
		return false
	}
	r.trial, r.until = true, now.Add(reusePause)
	r.next = r.until
	return true
}

// worked tells that a connection answered that was used again at sent. Those
// from before the pause say nothing of what came in between.
func (r *reuse) worked(sent time.Time) {
	if r.trial && !sent.Before(r.until) {
		*r = reuse{}
	}
}
