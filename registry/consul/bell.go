package consul

import (
	"context"
	"hash/maphash"
	"time"

	"github.com/hashicorp/consul/api"
)

// With more services than can each have an open query, three of them ring for
// every change that matters: the catalog (an instance came, went or was
// registered anew), and the lists of critical and of warning checks (a check
// flipped). Differences of the lists name the service. The catalog names none
// when an instance joins or leaves a service that stays: then all checks are read
// once and compared with those that were read with each service. A change that
// no check names (a new port, other meta) is found by reading every service again.
const (
	bellPatience  = 10 * time.Millisecond  // several rings of one change arrive within this
	bellSpacing   = 100 * time.Millisecond // between two reads of all checks
	searchSpacing = 10 * time.Second       // between two reads of every service
)

// bell is what the loop knows in bell mode. The zero value is not listening.
type bell struct {
	cancel   context.CancelFunc
	index    uint64    // the catalog's
	rung     time.Time // a ring that no read of all checks has followed; zero: none
	heard    time.Time // last good answer of a list
	reading  bool
	read     time.Time // when all checks were read last
	searched time.Time // when every service was to be read last
	lists    map[string]sums
	all      sums
}

// subject is what a check is about: a service, or a node when service is "".
type subject struct{ service, node string }

// sums is one number per subject, which changes with any of its checks.
type sums map[subject]uint64

var checkSeed = maphash.MakeSeed()

func (s sums) add(c *api.HealthCheck) {
	if c == nil {
		return
	}
	who := subject{service: c.ServiceName}
	if who.service == "" {
		who.node = c.Node
	}
	s[who] += maphash.Comparable(checkSeed, [5]string{c.Node, c.ServiceID, c.CheckID, c.Status, c.Output})
}

func sumChecks(checks api.HealthChecks) sums {
	s := make(sums)
	for _, c := range checks {
		s.add(c)
	}
	return s
}

// sumEntries gives of one service what sumChecks gives of all: its own subject,
// and those of the nodes that its instances are on.
func sumEntries(name string, entries []*api.ServiceEntry) sums {
	s := sums{{service: name}: 0}
	nodes := make(map[string]bool, len(entries))
	for _, e := range entries {
		for _, c := range e.Checks {
			if c.ServiceName != "" || !nodes[e.Node.Node] {
				s.add(c)
			}
		}
		nodes[e.Node.Node] = true
	}
	return s
}

// differ returns the subjects whose checks are not the same in a and b.
func differ(a, b sums) (subjects []subject) {
	for s, n := range a {
		if m, ok := b[s]; !ok || m != n {
			subjects = append(subjects, s)
		}
	}
	for s := range b {
		if _, ok := a[s]; !ok {
			subjects = append(subjects, s)
		}
	}
	return subjects
}

// rang notes an answer of the catalog.
func (b *bell) rang(index uint64, now time.Time) {
	if b.cancel != nil && index != b.index {
		b.rung = now
	}
	b.index = index
}

// missed notes that rings may have been missed.
func (b *bell) missed() {
	if b.cancel != nil {
		b.rung = time.Now()
	}
}

func (b *bell) stop() {
	b.cancel()
	*b = bell{index: b.index}
}

func (l *loop) startBell() {
	ctx, cancel := context.WithCancel(l.ctx)
	now := time.Now()
	l.bell.cancel, l.bell.lists, l.bell.heard, l.bell.rung = cancel, map[string]sums{}, now, now
	for _, state := range []string{api.HealthCritical, api.HealthWarning} {
		q := &query[sums]{
			fetch: func(ctx context.Context, q *api.QueryOptions) (sums, *api.QueryMeta, error) {
				return l.w.readChecks(state, q.WithContext(ctx))
			},
			same:  func(a, b sums) bool { return len(a) == len(b) && len(differ(a, b)) == 0 },
			good:  func(s sums, _ *api.QueryMeta, changed bool) { l.do(func() { l.onList(ctx, state, s) }) },
			bad:   func(err error) { l.do(func() { l.lastError = err.Error() }) },
			dc:    l.w.cfg.Datacenter,
			wait:  l.w.cfg.Wait,
			woken: &l.w.client.woken,
		}
		l.wg.Go(func() { q.run(ctx) })
	}
}

func (w *Watcher) readChecks(state string, q *api.QueryOptions) (sums, *api.QueryMeta, error) {
	checks, meta, err := w.client.api.Health().State(state, q)
	return sumChecks(checks), meta, w.count("list "+state+" checks", err)
}

// onList takes an answer of the list of critical or of warning checks.
func (l *loop) onList(ctx context.Context, state string, s sums) {
	if ctx.Err() != nil {
		return
	}
	l.bell.heard, l.contact = time.Now(), time.Now()
	old, ok := l.bell.lists[state]
	l.bell.lists[state] = s
	if !ok { // what changed before this answer is in no difference
		l.bell.missed()
		return
	}
	l.readSoon(differ(old, s))
}

// readSoon asks for the services that are, or have an instance on, a subject.
func (l *loop) readSoon(subjects []subject) {
	now := time.Now()
	for _, s := range subjects {
		if s.service != "" {
			if f := l.follows[s.service]; f != nil {
				f.ask = now
			}
			continue
		}
		for _, f := range l.follows {
			if f.onNode(s.node) {
				f.ask = now
			}
		}
	}
}

func (f *follow) onNode(node string) bool {
	if f.svc == nil {
		return false
	}
	for _, in := range f.svc.Instances {
		if in.Node == node {
			return true
		}
	}
	return false
}

// readAll reads all checks when a ring asks for it, and returns when to be
// called again.
func (l *loop) readAll(now time.Time) (again time.Time) {
	b := &l.bell
	if b.rung.IsZero() || b.reading {
		return time.Time{}
	}
	due := b.rung.Add(bellPatience)
	if spaced := b.read.Add(bellSpacing); spaced.After(due) {
		due = spaced
	}
	if now.Before(due) {
		return due
	}
	b.rung, b.reading = time.Time{}, true
	l.wg.Go(func() {
		ctx, cancel := context.WithTimeout(l.ctx, 2*plainTimeout)
		defer cancel()
		q := (&api.QueryOptions{Datacenter: l.w.cfg.Datacenter, AllowStale: true}).WithContext(ctx)
		s, _, err := l.w.readChecks(api.HealthAny, q)
		l.do(func() { l.onAll(s, err) })
	})
	return time.Time{}
}

// onAll takes all checks, and reads the services that have others.
func (l *loop) onAll(s sums, err error) {
	b, now := &l.bell, time.Now()
	b.reading, b.read = false, now
	if b.cancel == nil {
		return
	}
	if err != nil {
		l.lastError = err.Error()
		b.rung = now.Add(time.Second)
		return
	}
	old := b.all
	b.all, l.contact = s, now
	for _, f := range l.follows {
		for who, sum := range f.sums {
			if s[who] != sum {
				f.ask = now
				break
			}
		}
	}
	if old == nil {
		return
	}
	subjects := differ(old, s)
	if len(subjects) == 0 {
		at := now
		if next := b.searched.Add(searchSpacing); next.After(at) {
			at = next
		}
		b.searched = at
		for _, f := range l.follows {
			if f.ask.IsZero() || f.ask.After(at) {
				f.ask = at
			}
		}
	}
}

// toldAt is when f was last heard of; in bell mode the bell speaks for all.
func (l *loop) toldAt(f *follow) time.Time {
	at := f.told
	if l.mode == Bell && l.bell.heard.After(at) && f.err == nil {
		at = l.bell.heard
	}
	if at.IsZero() {
		at = l.started
	}
	return at
}
