package rollout

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	maxAudits  = 100 // entries of one service that wait to be written
	auditTries = 5   // of one entry, against others that write
	auditJobs  = 4   // services at once
)

// audit is what waits to be written to the ring of one service.
type audit struct {
	queue []entry
	busy  bool
	next  time.Time
}

// entry is one event for the ring.
type entry struct {
	Event
	// once is for what every leader finds anew: it is written, and told, only
	// where the ring does not have it, and its From is what the ring had last.
	once bool
}

var errRaced = errors.New("others wrote it every time")

func (r *run) enqueue(service string, e Event) { r.queue(service, entry{Event: e}) }

func (r *run) queue(service string, e entry) {
	a := r.audits[service]
	if a == nil {
		a = &audit{}
		r.audits[service] = a
	}
	e.By = r.f.Self.ID
	if a.queue = append(a.queue, e); len(a.queue) > maxAudits {
		a.queue = slices.Clone(a.queue[1:])
	}
}

// writeAudits writes what waits, one entry of a service after the other.
func (r *run) writeAudits(now time.Time) {
	busy := 0
	for _, a := range r.audits {
		if a.busy {
			busy++
		}
	}
	for service, a := range r.audits {
		switch {
		case a.busy || now.Before(a.next):
		case len(a.queue) == 0:
			delete(r.audits, service)
		case busy < auditJobs:
			busy++
			r.writeAudit(service, a)
		}
	}
}

func (r *run) writeAudit(service string, a *audit) {
	a.busy = true
	e := a.queue[0]
	key := RingKeys + "/" + service
	r.apart(func(ctx context.Context) func() {
		written, had, err := r.appendTo(ctx, key, e)
		return func() {
			a.busy = false
			r.say("writing the audit ring of "+service, err, "key", key)
			if err != nil {
				a.next = time.Now().Add(2 * retryAfter)
				if e.once && len(a.queue) > 0 && a.queue[0].once { // tell it now, write it later
					r.announce(e.Event)
					a.queue[0].once = false
				}
				return
			}
			if e.once && !had {
				r.announce(written)
			}
			if len(a.queue) > 0 {
				a.queue = a.queue[1:]
			}
		}
	})
}

// appendTo writes one entry. had tells that the ring has it already.
func (r *run) appendTo(ctx context.Context, key string, e entry) (written Event, had bool, err error) {
	for range auditTries {
		p, err := call(ctx, func(ctx context.Context) (Pair, error) { return r.f.Store.Get(ctx, key) })
		if err != nil {
			return e.Event, false, err
		}
		if e.once {
			ring, _ := ParseRing(p.Value) // a damaged one is replaced below
			last := Event{}
			for _, old := range ring {
				if old.Kind == e.Kind && old.Index == e.Index && old.Hash == e.Hash {
					return e.Event, true, nil
				}
				last = old
			}
			e.From = last.To
			if e.Kind == EventInvalid {
				e.To = last.To
			}
		}
		ok, err := call(ctx, func(ctx context.Context) (bool, error) {
			return r.f.Store.CAS(ctx, key, appendRing(p.Value, e.Event), p.Index)
		})
		if err != nil {
			return e.Event, false, err
		}
		if ok {
			return e.Event, false, nil
		}
	}
	return e.Event, false, errRaced
}

// logDocuments enters documents that are no rollout, and what was refused, into
// the rings: of rollouts the steps say it.
func (r *run) logDocuments(now time.Time) {
	if r.applied == nil {
		return
	}
	for service, a := range r.applied {
		was, ok := r.logged[service]
		if ok && was.Index == a.Index && was.Hash == a.Hash && was.Rejected == a.Rejected || strings.Contains(service, "/") {
			continue
		}
		r.logged[service] = a
		e := Event{Time: now.UTC().Round(0), Service: service, Phase: Idle, Index: a.Index, Hash: a.Hash, To: a.Ratio}
		p := r.plans[service]
		if p == nil && (!ok || was.Index != a.Index || was.Hash != a.Hash) {
			e.Kind, e.Because = EventDocument, "the document says so"
			if a.Because != "" {
				e.Because = a.Because
			}
			r.queue(service, entry{Event: e, once: true})
		}
		if a.Rejected != 0 && (!ok || was.Rejected != a.Rejected) {
			e.Kind, e.Because, e.Index = EventInvalid, shorten(a.Invalid, 512), a.Rejected
			if s := r.state(service).State; p != nil && s.ID == p.ID {
				e.ID, e.Phase, e.Step = s.ID, s.Phase, s.Step
			}
			r.queue(service, entry{Event: e, once: true})
		}
	}
	for service, was := range r.logged {
		if _, ok := r.applied[service]; !ok {
			delete(r.logged, service)
			r.queue(service, entry{Event: Event{
				Time: now.UTC().Round(0), Service: service, Kind: EventDocument, Phase: Idle, Index: was.Index, Because: "the document was deleted",
			}, once: true})
		}
	}
}

// History reads the audit ring of a service, the newest event first.
func (f *Fleet) History(ctx context.Context, service string) ([]Event, error) {
	p, err := f.Store.Get(ctx, RingKeys+"/"+service)
	if err != nil {
		return nil, err
	}
	ring, err := ParseRing(p.Value)
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", p.Key, err)
	}
	slices.Reverse(ring)
	return ring, nil
}
