package canary

import (
	"maps"
	"slices"
	"time"

	"serin/route"
)

// settle brings every service to what should be in force at now, publishes when
// that changed anything, and notes when it must be called again.
func (r *run) settle(now time.Time) {
	r.c.mu.Lock()
	r.secret = r.c.secret
	r.c.mu.Unlock()
	r.due = time.Time{}
	splits := route.Splits{ByService: map[string]*route.Split{}}
	before := r.c.current().splits
	for _, service := range slices.Sorted(maps.Keys(r.entries)) {
		e := r.entries[service]
		r.settleEntry(e, now)
		switch {
		case e.inherits && e.inForce == nil:
		case service == "":
			splits.Default = e.split
		default:
			splits.ByService[service] = e.split
		}
	}
	changed := !r.sent || splits.Default != before.Default || !maps.Equal(splits.ByService, before.ByService)
	r.c.show(r.look(splits))
	if changed && (r.sent || len(r.entries) > 0 || r.main != nil && r.main.answered) {
		r.sent = true
		r.c.Publish(splits, r.followed())
	}
}

// settleEntry applies the version that should be in force, at once or when
// update_rate allows it, and its share at now.
func (r *run) settleEntry(e *entry, now time.Time) {
	next, from := e.choose(r.main)
	wait := now
	if next != nil && e.inForce != nil && next != e.inForce && !e.inForce.restored {
		wait = e.appliedAt.Add(next.doc.UpdateRate.or(0))
	}
	e.pending = time.Time{}
	switch {
	case next == e.inForce:
		e.from = from
	case !wait.After(now) || next.doc.wanted() < e.inForce.doc.wanted():
		if e.inForce == nil || e.inForce.hash != next.hash || e.inForce.raw.Index != next.raw.Index {
			e.appliedAt = now
		}
		e.inForce, e.from = next, from
	default:
		e.pending = wait
		r.wake(wait)
	}

	applied := Applied{Service: e.service, Secret: r.secret}
	doc := &Document{}
	if v := e.inForce; v != nil {
		doc, applied.Index, applied.Hash = v.doc, v.raw.Index, v.hash
		applied.Ratio, applied.Because = r.effective(v, e.sinceLost(e.from), now)
	} else if common := r.entries[""]; e.inherits && common != nil && common.inForce != nil {
		doc, applied = common.inForce.doc, common.applied
		applied.Service, applied.Because = e.service, "invalid: the document for all services stays in force"
	} else {
		applied.Index, applied.Because = e.own.raw.Index, "invalid: no document of this service was valid yet"
	}
	if e.split == nil || e.applied != applied {
		split := Compile(doc, applied)
		if was := e.applied; e.split == nil || was.Ratio != applied.Ratio || was.Because != applied.Because || was.Hash != applied.Hash {
			r.log.Info("canary applied", "service", label(e.service), "ratio", applied.Ratio, "was", was.Ratio,
				"wanted", split.Wanted, "because", applied.Because, "index", applied.Index)
		}
		e.applied, e.split = applied, split
	}
	valid := e.own.err == nil && (e.remote == nil || e.remote.slot.err == nil)
	r.c.Metrics.set(e.service, e.split.Wanted, valid)
}

// effective is Effective for a version and its source, asserted, and asks to be
// called again when the loss of the source will change it.
func (r *run) effective(v *version, lostSince, now time.Time) (float64, string) {
	if v.deleted {
		return 0, "deleted: " + v.raw.Key + " is gone"
	}
	state := SourceState{Restored: v.restored, LostSince: lostSince}
	if at, lost := v.doc.staleAt(state); lost && at.After(now) {
		r.wake(at)
	}
	ratio, because := Effective(v.doc, state, now)
	share, ok := assertShare(ratio)
	if !ok {
		r.c.Metrics.assertion()
		because = "BUG: the share was not within 0..1"
		r.log.Error("BUG: effective canary share outside 0..1, using 0", "ratio", ratio)
	}
	return share, because
}

// wake asks for another settle at that time.
func (r *run) wake(at time.Time) {
	if r.due.IsZero() || at.Before(r.due) {
		r.due = at
	}
}

// timer fires when settle has something to do; nil when it has not.
func (r *run) timer() <-chan time.Time {
	if r.due.IsZero() {
		return nil
	}
	return time.After(time.Until(r.due))
}

// followed lists the services that the selectors in force name.
func (r *run) followed() (names []string) {
	for _, e := range r.entries {
		for _, s := range []route.Selector{e.split.Canary, e.split.Stable, e.split.Backup} {
			if s.Service != "" {
				names = append(names, s.Service)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
