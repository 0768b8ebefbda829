package canary

import (
	"bytes"
	"context"
	"math/rand/v2"
	"time"
)

// DefaultPollEvery is how often a source is asked that cannot tell of a change by
// itself, and MinPollEvery the least time between two questions.
const (
	DefaultPollEvery = time.Second
	MinPollEvery     = 100 * time.Millisecond
)

const (
	maxPollWait = 10 * time.Second // after errors, unless update_rate is longer
	tellAgain   = 10 * time.Second // that a source is lost, see Source.Run
)

// pollEvery is what update_rate means for a source that is asked.
func pollEvery(every time.Duration) time.Duration {
	if every == 0 {
		return DefaultPollEvery
	}
	return max(every, MinPollEvery)
}

// pollWait is how long to wait until the next question, after so many errors in a
// row: twice as long after each, and somewhat by chance (draw is 0..1), so that
// not all balancers ask at once.
func pollWait(every time.Duration, failures int, draw float64) time.Duration {
	wait := every
	for range failures {
		if wait *= 2; wait >= maxPollWait {
			break
		}
	}
	wait = max(every, min(wait, maxPollWait))
	return wait - wait/10 + time.Duration(draw*float64(wait/5))
}

// poll asks again and again for one document, of the service "", until ctx ends,
// and tells what changed. there is false where the source says that there is no
// document; an error is a loss.
func poll(ctx context.Context, every time.Duration, emit func(Event), ask func(context.Context) (doc Raw, there bool, err error)) error {
	every = pollEvery(every)
	var docs map[string]Raw // nil: never answered
	failures := 0
	for {
		doc, there, err := ask(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			failures++
			emit(Event{Docs: docs, Err: err, At: time.Now()})
		} else {
			was, known := docs[""]
			if docs == nil || failures > 0 || known != there || was.Index != doc.Index || !bytes.Equal(was.Value, doc.Value) {
				docs = map[string]Raw{}
				if there {
					docs[""] = doc
				}
				emit(Event{Docs: docs, At: time.Now()})
			}
			failures = 0
		}
		for wait := pollWait(every, failures, rand.Float64()); wait > 0; wait -= tellAgain {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(min(wait, tellAgain)):
			}
			if err != nil && wait > tellAgain {
				emit(Event{Docs: docs, Err: err, At: time.Now()})
			}
		}
	}
}
