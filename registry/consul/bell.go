package consul

import (
	"context"
	"time"

	"github.com/hashicorp/consul/api"
)

// With more services than can each have an open query, three of them ring for
// every change that matters: the catalog (an instance came, went or was
// registered anew), and the lists of critical and of warning checks (a check
// flipped). Differences of the lists name the service, and so do those of the
// catalog, unless an instance joins or leaves a service that stays: then all
// checks are read once and compared with those that were read with each service.
// What no check names (a new port, other meta) is found by a sweep over all
// services, which hurries then.
const (
	bellPatience = 10 * time.Millisecond  // several rings of one change arrive within this
	bellNamed    = 100 * time.Millisecond // the services that a ring named are read within this
	bellSpacing  = 100 * time.Millisecond // between two reads of all checks, or what one takes
)

// bell is what the loop knows in bell mode. The zero value is not listening.
type bell struct {
	cancel  context.CancelFunc
	index   uint64    // the catalog's
	rung    time.Time // when to read all checks, because of a ring; zero: no need
	heard   time.Time // last good answer of a list
	reading bool
	read    time.Time     // when all checks were read last
	took    time.Duration // that
	lists   map[string]sums
	all     sums
	// base is the index up to which everything that the bells rang for is known,
	// and explained are later ones: of services that were read since.
	base      uint64
	explained map[uint64]bool
	sweep     sweep
}

// mostExplained bounds the indices that are remembered; when there are more, all
// checks are read.
const mostExplained = 1024

// explain notes that what happened at an index is known.
func (b *bell) explain(index uint64) {
	if b.cancel != nil && index > b.base && len(b.explained) < mostExplained {
		b.explained[index] = true
	}
}

// settled tells whether it is known what happened at each index after base, up
// to index.
func settled(base, index uint64, explained map[uint64]bool) bool {
	if index < base || index-base > uint64(len(explained)) {
		return index == base
	}
	for i := base + 1; i <= index; i++ {
		if !explained[i] {
			return false
		}
	}
	return true
}

// know moves base to index.
func (b *bell) know(index uint64) {
	b.base = index
	for i := range b.explained {
		if i <= index {
			delete(b.explained, i)
		}
	}
}

// rang notes an answer of the catalog; named tells that a service is read
// because of it.
func (b *bell) rang(index uint64, named bool, now time.Time) {
	if b.cancel != nil && index != b.index {
		wait := bellPatience
		if named {
			wait = bellNamed
		}
		b.rung = earlier(b.rung, now.Add(wait))
	}
	b.index = index
}

// missed notes that rings may have been missed.
func (b *bell) missed() {
	if b.cancel != nil {
		b.rung, b.base = time.Now(), 0
		clear(b.explained)
	}
}

func (b *bell) stop() {
	b.cancel()
	*b = bell{index: b.index}
}

func (l *loop) startBell() {
	ctx, cancel := context.WithCancel(l.ctx)
	now := time.Now()
	l.bell = bell{
		index: l.bell.index, cancel: cancel, heard: now, rung: now,
		lists: map[string]sums{}, explained: map[uint64]bool{}, sweep: sweep{period: l.w.cfg.Sweep},
	}
	for _, state := range []string{api.HealthCritical, api.HealthWarning} {
		q := &query[sums]{
			fetch: func(ctx context.Context, q *api.QueryOptions) (sums, *api.QueryMeta, error) {
				return l.w.readChecks(ctx, state, q)
			},
			same:  func(a, b sums) bool { return len(a) == len(b) && len(differ(a, b)) == 0 },
			good:  func(s sums, _ *api.QueryMeta, _ bool) { l.do(func() { l.onList(ctx, state, s) }) },
			bad:   func(err error) { l.do(func() { l.lastError = err.Error() }) },
			dc:    l.w.cfg.Datacenter,
			wait:  func() time.Duration { return l.w.cfg.Wait },
			woken: &l.w.client.woken,
		}
		l.wg.Go(func() { q.run(ctx) })
	}
}

// readChecks reads the list of all checks of a state.
func (w *Watcher) readChecks(ctx context.Context, state string, q *api.QueryOptions) (s sums, meta *api.QueryMeta, err error) {
	meta, err = w.client.read(ctx, nil, "/v1/health/state/"+state, q, func(body []byte) (err error) {
		s, err = scanChecks(body)
		return err
	})
	return s, meta, w.count("list "+state+" checks", err)
}

// sumEntries gives of one service what scanChecks gives of all: its own subject,
// and those of the nodes that its instances are on.
func sumEntries(name string, entries []*api.ServiceEntry) sums {
	s := sums{{service: name}: 0}
	nodes := make(map[string]bool, len(entries))
	for _, e := range entries {
		for _, c := range e.Checks {
			who := subject{service: c.ServiceName}
			if c.ServiceName == "" {
				if nodes[e.Node.Node] {
					continue
				}
				who.node = c.Node
			}
			s[who] += checkSum([]byte(c.Node), []byte(c.ServiceID), []byte(c.CheckID), []byte(c.Status), []byte(c.Output))
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
				l.asks.set(f, now)
			}
			continue
		}
		for _, f := range l.nodes[s.node] {
			l.asks.set(f, now)
		}
	}
}

// readAll reads all checks when a ring asks for it, and returns when to be
// called again.
func (l *loop) readAll(now time.Time) (again time.Time) {
	b := &l.bell
	if b.rung.IsZero() || b.reading {
		return time.Time{}
	}
	due := b.rung
	if spaced := b.read.Add(max(bellSpacing, b.took)); spaced.After(due) {
		due = spaced
	}
	if now.Before(due) {
		return due
	}
	b.rung = time.Time{}
	if b.base > 0 && settled(b.base, b.index, b.explained) {
		b.know(b.index)
		return time.Time{}
	}
	b.reading = true
	told := b.index
	l.wg.Go(func() {
		ctx, cancel := context.WithTimeout(l.ctx, 2*plainTimeout)
		defer cancel()
		began := time.Now()
		s, meta, err := l.w.readChecks(ctx, api.HealthAny, &api.QueryOptions{Datacenter: l.w.cfg.Datacenter, AllowStale: true})
		l.do(func() {
			b.took = time.Since(began)
			if err == nil { // what was told before it was asked for is in it
				told = max(told, meta.LastIndex)
			}
			l.onAll(s, told, err)
		})
	})
	return time.Time{}
}

// onAll takes all checks, and reads the services that have others.
func (l *loop) onAll(s sums, index uint64, err error) {
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
	asked := false
	for _, f := range l.follows {
		if !f.fresh {
			continue // is being read anyway
		}
		for who, sum := range f.sums {
			if s[who] != sum {
				l.asks.set(f, now)
				asked = true
				break
			}
		}
	}
	unexplained := b.base > 0 && !settled(b.base, min(b.index, index), b.explained)
	b.know(max(1, index))
	if old != nil && !asked && unexplained && len(differ(old, s)) == 0 {
		b.sweep.rush(len(l.follows))
	}
}

// sweepOn reads the service that was not heard of for longest, when it is time.
func (l *loop) sweepOn(now time.Time) (again time.Time) {
	if l.reading > 0 && l.asks.Len() > 0 {
		return time.Time{}
	}
	read, again := l.bell.sweep.due(len(l.follows), now)
	if !read {
		return again
	}
	for e := l.turns.Front(); e != nil; e = e.Next() {
		if f := e.Value.(*follow); !f.asking && f.ask.IsZero() {
			l.startRead(f, true, false)
			return time.Time{}
		}
	}
	l.bell.sweep.busy = false
	return now.Add(time.Second)
}
