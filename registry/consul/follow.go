package consul

import (
	"container/list"
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"serin/registry"

	"github.com/hashicorp/consul/api"
)

// follow is what the loop knows of one service.
type follow struct {
	name  string
	svc   *registry.Service // last known good; nil: never read
	shown *registry.Service // what the Snapshot shows, or will when it is published
	// index is Consul's of the last answer that showed svc; 0: not known.
	index uint64
	// toldIndex is Consul's index of the stream's last answer.
	toldIndex uint64
	seen      time.Time // when svc was last read at first hand
	told      time.Time // last good answer, whatever it said
	turn      *list.Element
	sums      sums  // of the checks in svc and of its nodes, for the bell
	fresh     bool  // answered or held since Run began
	err       error // of the last read, nil when it was good
	denied    bool  // the last answer was refused or filtered

	doubt  time.Time // since when answers contradict svc; zero: they do not
	ask    time.Time // when to read it outside a stream; zero: no need
	at     int       // its place in loop.asks; -1: none
	asking bool
	again  bool   // that read only looks again, see lookAgain
	strict bool   // the next such read is for the leader
	tries  int    // such reads in a row that settled nothing
	gen    uint64 // counts the stream's answers

	cancel context.CancelFunc // ends its stream; nil: has none
}

// add begins to follow a service, if it is not being followed.
func (l *loop) add(name string) {
	if f := l.follows[name]; f != nil {
		l.show(f)
		return
	}
	l.begin(&follow{name: name})
}

// begin takes f in; settle then sees to it that it is read.
func (l *loop) begin(f *follow) {
	f.at, f.turn = -1, l.turns.PushFront(f)
	l.follows[f.name] = f
	l.begun = append(l.begun, f)
	l.know(f, f.svc)
}

// wanted tells whether there is a reason to follow f.
func (l *loop) wanted(f *follow) bool {
	return l.catalog == nil || l.catalog[f.name].routed || l.extra[f.name] || tagged(f.svc, l.w.cfg.TagPrefix)
}

// forget stops following f if there is no reason to.
func (l *loop) forget(f *follow) {
	if l.wanted(f) || l.follows[f.name] != f {
		return
	}
	l.endStream(f)
	l.know(f, nil)
	l.show(f)
	l.asks.set(f, time.Time{})
	l.setTries(f, 0)
	l.setErr(f, nil)
	l.setDenied(f, false)
	l.turns.Remove(f.turn)
	delete(l.follows, f.name)
	delete(l.picture, f.name)
}

// suspect asks the leader about a service that seems to have gone.
func (l *loop) suspect(f *follow) {
	l.forget(f)
	if l.follows[f.name] != f {
		return
	}
	if f.doubt.IsZero() {
		f.doubt = time.Now()
	}
	f.strict = true
	if f.idle() || f.tries == 0 {
		l.asks.set(f, time.Now())
	}
}

// onStream takes an answer of f's own query.
func (l *loop) onStream(f *follow, r reading, meta *api.QueryMeta) {
	if l.follows[f.name] != f {
		return
	}
	f.gen++
	f.toldIndex = meta.LastIndex
	l.heard(f)
	if contradiction(f.svc, r) != nothing {
		l.suspect(f)
		return
	}
	if !f.again {
		l.asks.set(f, time.Time{})
	}
	changed := l.accept(f, r, meta.LastIndex)
	l.lookAgain(f, changed)
}

// Consul may lose a change for a query that waits: its streams are told of
// changes by another way than its state is written, and where one follows the
// other within milliseconds a query can begin between the two. So what a stream
// told is read again without waiting, soon after a change and now and then.
const (
	lookSoon   = time.Second
	lookSeldom = 10 * time.Minute
	// looksPerSecond bounds the looks after the first picture.
	looksPerSecond = 200
)

// lookAgain asks for another look at what f's stream has told.
func (l *loop) lookAgain(f *follow, changed bool) {
	if l.mode != Streams || l.follows[f.name] != f || !f.doubt.IsZero() || !changed && !f.ask.IsZero() {
		return
	}
	in := lookSeldom/2 + rand.N(lookSeldom)
	if changed {
		in = lookSoon
		if !l.w.Ready() {
			in += rand.N(1 + time.Duration(len(l.follows))*time.Second/looksPerSecond)
		}
	}
	l.asks.set(f, time.Now().Add(in))
	f.again = true
}

// idle tells whether nothing but another look is asked for.
func (f *follow) idle() bool { return f.ask.IsZero() || f.again }

// onStreamError takes a failure of f's own query.
func (l *loop) onStreamError(f *follow, err error) {
	if l.follows[f.name] != f {
		return
	}
	l.setErr(f, err)
	l.setDenied(f, errors.Is(err, ErrDenied))
	l.lastError = err.Error()
}

// heard notes a good answer about f.
func (l *loop) heard(f *follow) {
	f.told = time.Now()
	l.contact = f.told
	l.turns.MoveToBack(f.turn)
	l.setErr(f, nil)
}

// accept makes r what is known of f. A read that was asked for meanwhile is not
// forgotten. It tells whether anything changed.
func (l *loop) accept(f *follow, r reading, index uint64) (changed bool) {
	now := time.Now()
	if f.svc != nil && f.svc.Hold != "" {
		l.w.log.Info("service is no longer held", "service", f.name, "instances", len(r.svc.Instances))
	}
	f.doubt, f.strict, f.sums = time.Time{}, false, r.sums
	l.setFresh(f)
	l.setTries(f, 0)
	l.setDenied(f, false)
	for _, at := range r.indices {
		l.bell.explain(at)
	}
	if len(r.svc.Instances) > 0 {
		f.index, f.seen = index, now
	}
	if changed = f.svc != r.svc && !sameService(f.svc, r.svc); changed {
		if r.svc.ReadAt.IsZero() {
			r.svc.ReadAt = now
		}
		l.know(f, r.svc)
		l.show(f)
	}
	l.forget(f)
	return changed
}

// know makes svc the last known good state of f, and keeps what depends on it:
// who is held, and which services have an instance on a node.
func (l *loop) know(f *follow, svc *registry.Service) {
	if f.svc != nil {
		for _, in := range f.svc.Instances {
			delete(l.nodes[in.Node], f.name)
			if len(l.nodes[in.Node]) == 0 {
				delete(l.nodes, in.Node)
			}
		}
	}
	f.svc = svc
	if svc != nil {
		for _, in := range svc.Instances {
			if l.nodes[in.Node] == nil {
				l.nodes[in.Node] = map[string]*follow{}
			}
			l.nodes[in.Node][f.name] = f
		}
	}
	if held := svc != nil && svc.Hold != ""; held || l.held[f.name] != nil {
		l.holdsChanged = true
		if held {
			l.held[f.name] = f
		} else {
			delete(l.held, f.name)
		}
		if was := l.doubtful.Swap(len(l.held) > 0); !was && held {
			l.doubted.fire()
		}
	}
}

// The setters keep the numbers of the loop, so that no event needs a look at all
// services.

func (l *loop) setFresh(f *follow) {
	f.fresh = true
	delete(l.picture, f.name)
}

func (l *loop) setTries(f *follow, n int) {
	if f.tries == 0 && n > 0 {
		l.open++
	} else if f.tries > 0 && n == 0 {
		l.open--
	}
	f.tries = n
}

func (l *loop) setErr(f *follow, err error) {
	f.err = err
	if err != nil {
		l.failing[f] = true
	} else {
		delete(l.failing, f)
	}
}

func (l *loop) setDenied(f *follow, denied bool) {
	if denied && !f.denied {
		l.denied++
	} else if !denied && f.denied {
		l.denied--
	}
	f.denied = denied
}

// hold keeps what is known of f although Consul says otherwise.
func (l *loop) hold(f *follow, why string) {
	l.setFresh(f)
	l.retry(f)
	if f.svc.Hold == why {
		return
	}
	if f.svc.Hold == "" {
		l.w.log.Warn("service is held: keeping what was known", "service", f.name, "instances", len(f.svc.Instances), "why", why)
	}
	held := *f.svc
	held.Hold = why
	l.know(f, &held)
	l.show(f)
}

// retry asks about f again, later each time, and later still when many are held.
func (l *loop) retry(f *follow) {
	l.setTries(f, f.tries+1)
	if f.idle() {
		l.asks.set(f, time.Now().Add(retryIn(f.tries, l.open)))
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

// show makes the next Snapshot agree with what is known of f.
func (l *loop) show(f *follow) {
	svc := f.svc
	if svc == nil || len(svc.Instances) == 0 || !l.extra[f.name] && !tagged(svc, l.w.cfg.TagPrefix) {
		svc = nil
	}
	if svc != f.shown {
		f.shown, l.dirty[f.name] = svc, svc
	}
}

// fewChanges is up to how many services are replaced in a Snapshot one by one.
const fewChanges = 8

// apply returns snap with the services of dirty in place of those of the same
// names; nil takes one out.
func apply(snap *registry.Snapshot, dirty map[string]*registry.Service) *registry.Snapshot {
	if len(dirty) <= fewChanges {
		for name, svc := range dirty {
			if svc == nil {
				snap = snap.Without(name)
			} else {
				snap = snap.With(svc)
			}
		}
		return snap
	}
	all := make([]*registry.Service, 0, snap.Len()+len(dirty))
	for svc := range snap.All() {
		if _, ok := dirty[svc.Name]; !ok {
			all = append(all, svc)
		}
	}
	for _, svc := range dirty {
		if svc != nil {
			all = append(all, svc)
		}
	}
	return registry.New(all...)
}
