package consul

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/hashicorp/consul/api"
)

// The rules of this file are Consul's own
// (https://developer.hashicorp.com/consul/api-docs/features/blocking) and what
// agents do when they restart:
//
//   - After any error the next read does not block (index 0): an agent that was
//     reborn empty lets a query with an old index wait for the whole wait time.
//   - An index that went backwards starts over at 0; an index of 0 counts as 1.
//   - An agent that stops, or a proxy in between, ends the waiting connection
//     (EOF), or answers 500 in the middle of the wait: the first is normal.
//   - An answer that brings nothing new costs a token, of which there is one a
//     second, so that no server can make us spin.
const (
	maxWait    = 30 * time.Second
	minBackoff = 100 * time.Millisecond
	maxBackoff = 5 * time.Second
	// leadBackoff bounds the back-off of the queries that find out for all
	// others that Consul is back: new services are wanted within 2 s of that.
	leadBackoff = 1500 * time.Millisecond
	bucket      = 2 // tokens; one more every second
	// doubtPause is the time between two reads of a list that hides what was
	// known. A query that waits is filtered by the ACLs it began with, so it
	// would show what is allowed again only after the next change.
	doubtPause = time.Second
)

// What one good answer costs, in tokens.
const (
	costSame    = 1    // same index: a time-out, or a server that does not wait
	costRisen   = 0.1  // the index rose for something that is not in the answer
	costChanged = 0.05 // at most 20 changes a second after a burst of 40
)

// progress is what a blocking query remembers between two reads.
type progress struct {
	index  uint64  // to send; 0 reads without waiting
	fails  int     // errors in a row
	tokens float64 // what may be spent on further answers
	lead   bool    // retries often, to find out for the others
}

// answer is what one read of a blocking query brought.
type answer struct {
	index   uint64
	changed bool // the content differs from the last good answer
	err     error
	since   time.Duration // since the previous answer
}

// action is what to do after an answer.
type action struct {
	pause time.Duration // before the next read
	quiet bool          // the error is of the kind that is normal once
}

// next decides how a blocking query goes on after a; jitter is random in [0,1).
func next(p progress, a answer, jitter float64) (progress, action) {
	p.tokens = min(bucket, p.tokens+a.since.Seconds())
	if a.err != nil {
		waited := p.index > 0
		p.index = 0
		p.fails++
		if p.fails == 1 && waited && isEOF(a.err) {
			return p, action{pause: time.Duration(jitter * float64(minBackoff)), quiet: true}
		}
		return p, action{pause: backoff(p.fails, p.lead, errors.Is(a.err, ErrBusy), jitter)}
	}
	p.fails = 0
	sent, got := p.index, max(1, a.index)
	switch {
	case a.changed:
		p.tokens -= costChanged
	case got > sent:
		p.tokens -= costRisen
	default:
		p.tokens -= costSame
	}
	p.index = got
	if got < sent {
		p.index = 0
	}
	if p.tokens < 0 {
		return p, action{pause: time.Duration(-p.tokens * float64(time.Second))}
	}
	return p, action{}
}

// backoff is how long to wait after the fails-th error in a row: full jitter
// below a ceiling that doubles. busy (429) means that the trouble is too many
// requests, so at least a second.
func backoff(fails int, lead, busy bool, jitter float64) time.Duration {
	floor, ceil := minBackoff, maxBackoff
	if fails < 6 {
		ceil = minBackoff << fails
	}
	if lead && ceil >= leadBackoff {
		floor, ceil = leadBackoff/2, leadBackoff
	}
	if busy {
		floor, ceil = time.Second, max(2*time.Second, ceil)
	}
	return floor + time.Duration(jitter*float64(ceil-floor))
}

// spread is the back-off of a query when crowd others fail too: together they
// shall not ask more often than a few do.
func spread(pause time.Duration, crowd int) time.Duration {
	return pause * time.Duration(max(1, crowd/maxStreams))
}

// query follows one endpoint for as long as its context lasts.
type query[T any] struct {
	// fetch reads once. Its error is classified already.
	fetch func(context.Context, *api.QueryOptions) (T, *api.QueryMeta, error)
	same  func(a, b T) bool
	good  func(v T, meta *api.QueryMeta, changed bool) // every good answer
	bad   func(error)                                  // every error but a quiet one
	dc    string
	wait  func() time.Duration
	lead  bool
	woken *signal // ends every back-off: Consul answered someone
	// doubtful, if set, tells that the answers are in doubt: then reads do not
	// wait, see doubtPause. doubted, if set, ends a read that waits meanwhile.
	doubtful func() bool
	doubted  *signal
	// gate, if set, has room for the queries that may read without waiting at once.
	gate chan struct{}
	// pause, if set, is the least time between an answer that changed and the
	// next read.
	pause func() time.Duration
	// crowd, if set, is how many queries like this one fail.
	crowd func() int
}

// errDoubted ends a read because answers like it are in doubt.
var errDoubted = errors.New("answers are in doubt")

// read is one read of q.
func (q *query[T]) read(ctx context.Context, index uint64) (v T, meta *api.QueryMeta, err error) {
	wait := q.wait()
	// Consul adds up to a sixteenth to the wait, so that not all return at once.
	limit := wait + wait/16 + plainTimeout
	if q.gate != nil && index == 0 {
		select {
		case q.gate <- struct{}{}:
			defer func() { <-q.gate }()
		case <-ctx.Done():
			return v, nil, ctx.Err()
		}
		limit = 2 * plainTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if q.doubted != nil {
		var end context.CancelCauseFunc
		ctx, end = context.WithCancelCause(ctx)
		defer end(nil)
		doubted := q.doubted.wait()
		go func() {
			select {
			case <-doubted:
				end(errDoubted)
			case <-ctx.Done():
			}
		}()
	}
	v, meta, err = q.fetch(ctx, &api.QueryOptions{Datacenter: q.dc, AllowStale: true, WaitIndex: index, WaitTime: wait})
	if err != nil && context.Cause(ctx) == errDoubted {
		err = errDoubted
	}
	return v, meta, err
}

func (q *query[T]) run(ctx context.Context) {
	var last T
	var had bool
	p := progress{tokens: bucket, lead: q.lead}
	at := time.Now()
	for ctx.Err() == nil {
		woken := q.woken.wait()
		v, meta, err := q.read(ctx, p.index)
		if ctx.Err() != nil {
			return
		}
		now := time.Now()
		a := answer{err: err, since: now.Sub(at)}
		if err == nil {
			a.index, a.changed = meta.LastIndex, !had || !q.same(last, v)
		}
		failed := p.fails > 0
		before := p.index
		var then action
		if err == errDoubted {
			p.index, then.pause = 0, doubtPause
		} else {
			p, then = next(p, a, rand.Float64())
		}
		at = now
		switch {
		case err == nil:
			last, had = v, true
			q.good(v, meta, a.changed)
			if failed && q.lead {
				q.woken.fire()
			}
			woken = nil
			if q.doubtful != nil && q.doubtful() {
				p.index, then.pause = 0, max(then.pause, doubtPause)
			}
			if q.pause != nil && meta.LastIndex != before {
				then.pause = max(then.pause, q.pause())
			}
		case err == errDoubted:
			woken = nil
		case !then.quiet:
			q.bad(err)
			if q.crowd != nil {
				then.pause = spread(then.pause, q.crowd())
			}
		}
		if then.pause == 0 {
			continue
		}
		select {
		case <-ctx.Done():
		case <-woken:
		case <-time.After(then.pause):
		}
	}
}
