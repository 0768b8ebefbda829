package canary

import (
	"context"
	"time"
)

// feed is one source as it is followed.
type feed struct {
	answered  bool      // it ever delivered a set
	err       error     // why it is lost
	lostSince time.Time // zero while it answers
	cancel    context.CancelFunc
}

// hear notes whether the source answers, and reports whether that changed.
func (f *feed) hear(ev Event, now time.Time) (changed bool) {
	was := f.lostSince
	f.err = ev.Err
	switch {
	case ev.Err == nil:
		f.answered, f.lostSince = true, time.Time{}
	case was.IsZero():
		f.lostSince = now
		if !ev.At.IsZero() && ev.At.Before(now) {
			f.lostSince = ev.At
		}
	}
	return was.IsZero() != f.lostSince.IsZero()
}

// arrival is an event of a feed.
type arrival struct {
	feed *feed
	Event
	ended bool
}

// follow runs a source; its events arrive at Run's loop until ctx ends.
func (r *run) follow(ctx context.Context, f *feed, s Source) {
	send := func(a arrival) {
		select {
		case r.arrivals <- a:
		case <-ctx.Done():
		}
	}
	r.wg.Go(func() {
		err := s.Run(ctx, func(ev Event) { send(arrival{feed: f, Event: ev}) })
		send(arrival{feed: f, Event: Event{Err: err}, ended: true})
	})
}
