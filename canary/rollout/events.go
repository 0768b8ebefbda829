package rollout

import (
	"context"
	"sync"
)

// maxEvents are kept in memory.
const maxEvents = 1000

// eventLog is what happened in this process, the last maxEvents. The zero value
// is ready.
type eventLog struct {
	mu    sync.Mutex // guards what follows
	seq   uint64
	kept  []Event
	added chan struct{} // closed by the next add
}

// add keeps an event and returns it with its number.
func (l *eventLog) add(e Event) Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seq++
	e.Seq = l.seq
	if len(l.kept) == maxEvents {
		l.kept = append(l.kept[:0:0], l.kept[1:]...)
	}
	l.kept = append(l.kept, e)
	if l.added != nil {
		close(l.added)
		l.added = nil
	}
	return e
}

// after returns the events after number seq, or what is closed by the next one.
func (l *eventLog) after(seq uint64) ([]Event, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if seq > l.seq {
		seq = 0 // a number of another process
	}
	if seq < l.seq {
		first := l.seq - uint64(len(l.kept)) // number before the first that is kept
		return append([]Event(nil), l.kept[max(seq, first)-first:]...), nil
	}
	if l.added == nil {
		l.added = make(chan struct{})
	}
	return nil, l.added
}

// Events returns what happened in this process after the event number seq, at
// most a thousand, waiting for one until ctx ends. A number that this process
// has not reached is of another one, and counts as 0.
func (f *Fleet) Events(ctx context.Context, seq uint64) []Event {
	for {
		events, added := f.events.after(seq)
		if events != nil {
			return events
		}
		select {
		case <-added:
		case <-ctx.Done():
			return nil
		}
	}
}

// happen tells what this balancer did: to the log, the metrics, whoever listens,
// and the audit ring.
func (r *run) happen(service string, events []Event) {
	for _, e := range events {
		r.announce(e)
		r.enqueue(service, e)
	}
}

// announce is happen without the audit ring.
func (r *run) announce(e Event) {
	e.By = r.f.Self.ID
	e = r.f.events.add(e)
	r.f.Metrics.happened(e)
	r.log.Info("rollout: "+e.Kind, "service", e.Service, "id", e.ID, "phase", string(e.Phase), "step", e.Step, "from", e.From, "to", e.To, "because", e.Because, "index", e.Index)
	if r.f.Happened != nil {
		r.f.Happened(e, r.plans[e.Service])
	}
	r.dirty = true
}
