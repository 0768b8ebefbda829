package consul

import (
	"context"
	"time"

	"serin/registry"

	"github.com/hashicorp/consul/api"
)

// follow is what the loop knows of one service.
type follow struct {
	name string
	svc  *registry.Service // last known good; nil: never read
	// index is Consul's of the last answer that showed svc; 0: not known.
	index  uint64
	seen   time.Time // when svc was last read at first hand
	told   time.Time // last good answer, whatever it said
	sums   sums      // of the checks in svc and of its nodes, for the bell
	fresh  bool      // answered or held since Run began
	err    error     // of the last read, nil when it was good
	denied bool      // the last answer was refused or filtered

	doubt  time.Time // since when answers contradict svc; zero: they do not
	ask    time.Time // when to read it outside a stream; zero: no need
	asking bool
	strict bool   // the next such read is for the leader
	tries  int    // such reads in a row that settled nothing
	gen    uint64 // counts the stream's answers

	cancel context.CancelFunc // ends its stream; nil: has none
}

// add begins to follow a service, if it is not being followed.
func (l *loop) add(name string) {
	if l.follows[name] == nil {
		l.follows[name] = &follow{name: name}
	} else {
		l.show(l.follows[name])
	}
}

// wanted tells whether there is a reason to follow f.
func (l *loop) wanted(f *follow) bool {
	return l.catalog == nil || hasPrefix(l.catalog[f.name], l.w.cfg.TagPrefix) || l.extra[f.name] || tagged(f.svc, l.w.cfg.TagPrefix)
}

// forget stops following f if there is no reason to.
func (l *loop) forget(f *follow) {
	if l.wanted(f) {
		return
	}
	if f.cancel != nil {
		f.cancel()
	}
	delete(l.follows, f.name)
}

// suspect asks the leader about a service that seems to have gone.
func (l *loop) suspect(f *follow) {
	l.forget(f)
	if f.doubt.IsZero() {
		f.doubt = time.Now()
	}
	f.strict = true
	if f.ask.IsZero() || f.tries == 0 {
		f.ask = time.Now()
	}
}

// onStream takes an answer of f's own query.
func (l *loop) onStream(f *follow, r reading, meta *api.QueryMeta) {
	if l.follows[f.name] != f {
		return
	}
	f.gen++
	f.told, f.err, l.contact = time.Now(), nil, time.Now()
	if contradiction(f.svc, r) != nothing {
		l.suspect(f)
		return
	}
	f.ask = time.Time{}
	l.accept(f, r, meta.LastIndex)
}

// accept makes r what is known of f. A read that was asked for meanwhile is not
// forgotten.
func (l *loop) accept(f *follow, r reading, index uint64) {
	now := time.Now()
	if f.svc != nil && f.svc.Hold != "" {
		l.w.log.Info("service is no longer held", "service", f.name, "instances", len(r.svc.Instances))
	}
	f.fresh, f.doubt, f.tries = true, time.Time{}, 0
	f.strict, f.denied, f.sums = false, false, r.sums
	if len(r.svc.Instances) > 0 {
		f.index, f.seen = index, now
	}
	if l.mode == Bell && f.ask.IsZero() {
		f.ask = now.Add(l.w.cfg.Sweep)
	}
	if !sameService(f.svc, r.svc) {
		r.svc.ReadAt = now
		f.svc = r.svc
		l.show(f)
	}
	l.forget(f)
}

// hold keeps what is known of f although Consul says otherwise.
func (l *loop) hold(f *follow, why string) {
	f.fresh = true
	l.retry(f)
	if f.svc.Hold == why {
		return
	}
	if f.svc.Hold == "" {
		l.w.log.Warn("service is held: keeping what was known", "service", f.name, "instances", len(f.svc.Instances), "why", why)
	}
	held := *f.svc
	held.Hold = why
	f.svc = &held
	l.show(f)
}

// retry asks about f again, later each time, and later still when many are held.
func (l *loop) retry(f *follow) {
	f.tries++
	open := 0
	for _, g := range l.follows {
		if g.tries > 0 {
			open++
		}
	}
	if f.ask.IsZero() {
		f.ask = time.Now().Add(retryIn(f.tries, open))
	}
}

// holdRetry is the longest pause between two questions about a few services that
// cannot be settled.
const holdRetry = 2 * time.Second

// retryIn is when to ask again about one of open services that cannot be settled:
// all of them together at most 16 times a second.
func retryIn(tries, open int) time.Duration {
	return max(min(holdRetry, 125*time.Millisecond<<min(tries, 5)), time.Duration(open)*time.Second/16)
}

// show makes the Snapshot agree with what is known of f.
func (l *loop) show(f *follow) {
	visible := f.svc != nil && len(f.svc.Instances) > 0 && (l.extra[f.name] || tagged(f.svc, l.w.cfg.TagPrefix))
	switch old := l.snap.Service(f.name); {
	case visible && old != f.svc:
		l.snap, l.changed = l.snap.With(f.svc), true
	case !visible && old != nil:
		l.snap, l.changed = l.snap.Without(f.name), true
	}
}
