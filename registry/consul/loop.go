package consul

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"serin/registry"

	"github.com/hashicorp/consul/api"
)

// catalogWait bounds the wait of the query for the names of all services. A
// permission that is taken away ends no query, so it shows at the end of the
// next one: within half a minute.
const catalogWait = 14 * time.Second

// firstPatience is how long First waits for services that cannot be read.
const firstPatience = 10 * time.Second

// firstReads is how many streams read without waiting at once: that is when the
// agent has work with them.
const firstReads = 16

// loop is the one goroutine that owns a Watcher's state while it runs. Queries
// and reads run beside it and send it what to do. No event but the catalog's
// costs more when more services are followed.
type loop struct {
	w       *Watcher
	ctx     context.Context
	wg      sync.WaitGroup
	events  chan func()
	publish func(*registry.Snapshot)

	follows map[string]*follow
	begun   []*follow // those that settle has not seen yet
	turns   list.List // all of them, the one not heard of for longest first
	asks    asks
	reading int // reads outside streams on their way
	extra   map[string]bool
	refresh bool            // extra changed since the last answer of the catalog
	catalog map[string]tags // of all services; nil: not read yet
	snap    *registry.Snapshot
	dirty   map[string]*registry.Service // what snap lacks, see apply
	changed bool                         // snap was not published yet
	resumed bool
	mode    Mode
	bell    bell
	gate    chan struct{}

	// What the setters of follow.go keep.
	nodes   map[string]map[string]*follow // services by node
	held    map[string]*follow
	failing map[*follow]bool
	denied  int
	open    int // services with tries
	streams int

	holds        []Hold // of held, as last reported
	holdsChanged bool
	holdsAt      time.Time
	mark         mark // the newer of two; the older one is in the status

	catalogErr  error
	catalogAt   time.Time // first good answer
	noLeader    bool
	contact     time.Time
	lastError   string
	started     time.Time
	lost        time.Time       // the loss of state that was acted upon
	servers     map[string]bool // node IDs of Consul's servers
	serversAt   time.Time       // when they were last asked for
	serversGone time.Time       // since when none of them is left
	picture     map[string]bool // what First waits for

	doubtful  atomic.Bool  // an answer contradicts what is known of some service
	doubted   signal       // that began
	failures  atomic.Int64 // of failing
	following atomic.Int64 // services
}

func newLoop(ctx context.Context, w *Watcher, publish func(*registry.Snapshot)) *loop {
	now := time.Now()
	l := &loop{
		w: w, ctx: ctx, publish: publish, started: now,
		events:  make(chan func()),
		follows: map[string]*follow{},
		dirty:   map[string]*registry.Service{},
		nodes:   map[string]map[string]*follow{},
		held:    map[string]*follow{},
		failing: map[*follow]bool{},
		gate:    make(chan struct{}, firstReads),
		mode:    Streams,
		mark:    mark{at: now},
	}
	w.mu.Lock()
	for svc := range w.resumed.All() {
		l.begin(&follow{name: svc.Name, svc: svc, shown: svc})
		l.resumed, l.changed = true, true
	}
	l.snap = w.resumed
	w.mu.Unlock()
	return l
}

// do hands f to the loop.
func (l *loop) do(f func()) {
	select {
	case l.events <- f:
	case <-l.ctx.Done():
	}
}

func (l *loop) run() {
	l.wg.Go(func() { l.catalogQuery().run(l.ctx) })
	asked, woken := l.w.asked.wait(), l.w.client.woken.wait()
	l.refollow()
	for {
		again := l.settle()
		var timer <-chan time.Time
		if !again.IsZero() {
			timer = time.After(max(0, time.Until(again)))
		}
		select {
		case <-l.ctx.Done():
			return
		case f := <-l.events:
			f()
			l.drain()
		case <-timer:
		case <-asked:
			asked = l.w.asked.wait()
			l.refollow()
		case <-woken:
			woken = l.w.client.woken.wait()
			l.recovered()
		}
	}
}

// drain takes what else has happened already: many events at once are one change
// of the picture.
func (l *loop) drain() {
	for range 256 {
		select {
		case f := <-l.events:
			f()
		default:
			return
		}
	}
}

// catalogPause is the least time between an answer of the catalog of so many
// bytes and the next read: the agent shall not do much else than to list its
// services where they change all the time. 0.6 MB, 10,000 services, make 160 ms,
// beside the 100 ms that an agent needs for the list; some hundred services make
// none.
func catalogPause(size int) time.Duration {
	if size < 16<<10 {
		return 0
	}
	return min(time.Second, time.Duration(size)*250*time.Nanosecond)
}

func (l *loop) catalogQuery() *query[map[string]tags] {
	var sum uint64 // of the last answer, and what it said
	var last map[string]tags
	var size int
	return &query[map[string]tags]{
		fetch: func(ctx context.Context, q *api.QueryOptions) (v map[string]tags, meta *api.QueryMeta, err error) {
			meta, err = l.w.client.read(ctx, nil, "/v1/catalog/services", q, func(body []byte) (err error) {
				size = len(body)
				now := maphash.Bytes(bodySeed, body)
				if last == nil || now != sum {
					if v, err = scanCatalog(body, l.w.cfg.TagPrefix); err != nil {
						return err
					}
					if last == nil || !maps.Equal(v, last) {
						last = v
					}
					sum = now
				}
				v = last
				return nil
			})
			return v, meta, l.w.count("list services", err)
		},
		same:  maps.Equal[map[string]tags, map[string]tags],
		good:  func(v map[string]tags, m *api.QueryMeta, changed bool) { l.do(func() { l.onCatalog(v, m, changed) }) },
		bad:   func(err error) { l.do(func() { l.onCatalogError(err) }) },
		dc:    l.w.cfg.Datacenter,
		wait:  func() time.Duration { return min(l.w.cfg.Wait, catalogWait) },
		lead:  true,
		woken: &l.w.client.woken,
		pause: func() time.Duration { return catalogPause(size) },

		doubtful: l.doubtful.Load,
		doubted:  &l.doubted,
	}
}

// streamsPerSecond is how many streams at most end their wait in a second when
// nothing changes.
const streamsPerSecond = 40

// streamWait is how long a stream waits when there are n: longer where there are
// many, up to what Consul allows.
func streamWait(n int, wait time.Duration) time.Duration {
	return max(wait, min(10*time.Minute, time.Duration(n)*time.Second/streamsPerSecond))
}

func (l *loop) serviceQuery(f *follow, lane *lane) *query[reading] {
	var last lastReading
	return &query[reading]{
		fetch: func(ctx context.Context, q *api.QueryOptions) (reading, *api.QueryMeta, error) {
			return l.w.readService(ctx, lane, f.name, q, &last)
		},
		same: func(a, b reading) bool {
			return a.svc == b.svc || sameService(a.svc, b.svc) && a.untested == b.untested
		},
		good: func(r reading, m *api.QueryMeta, _ bool) { l.do(func() { l.onStream(f, r, m) }) },
		bad:  func(err error) { l.do(func() { l.onStreamError(f, err) }) },
		dc:   l.w.cfg.Datacenter,
		wait: func() time.Duration {
			wait := streamWait(int(l.following.Load()), l.w.cfg.Wait)
			if lane != nil { // many: they shall not all come back at once
				wait = wait/2 + rand.N(wait/2)
			}
			return wait
		},
		woken: &l.w.client.woken,
		gate:  l.gate,
		crowd: func() int { return int(l.failures.Load()) },
	}
}

// startStream begins to follow f by a query of its own.
func (l *loop) startStream(f *follow) {
	var ctx context.Context
	ctx, f.cancel = context.WithCancel(l.ctx)
	l.streams++
	l.wg.Go(func() {
		var lane *lane
		if l.w.client.http2.Load() {
			lane = l.w.client.lanes.take()
			defer func() {
				l.w.client.lanes.give(lane, streamWait(int(l.following.Load()), l.w.cfg.Wait))
			}()
		}
		l.serviceQuery(f, lane).run(ctx)
	})
}

func (l *loop) endStream(f *follow) {
	if f.cancel != nil {
		f.cancel()
		f.cancel = nil
		l.streams--
	}
}

// onCatalog takes the names of all services and their tags. changed tells that
// they are others than those of the last answer.
func (l *loop) onCatalog(services map[string]tags, meta *api.QueryMeta, changed bool) {
	now := time.Now()
	if l.catalogErr != nil {
		l.w.log.Info("catalog is being read again", "consul", l.w.client.addr)
	}
	l.catalogErr, l.contact = nil, now
	l.noLeader = !meta.KnownLeader && meta.LastContact > 0
	named := false
	if changed || l.refresh || l.doubtful.Load() {
		named = l.compare(services, now)
	}
	l.refresh = false
	if l.catalogAt.IsZero() {
		l.catalogAt = now
		l.picture = map[string]bool{}
		for name, f := range l.follows {
			if !f.fresh {
				l.picture[name] = true
			}
		}
	}
	l.bell.rang(meta.LastIndex, named, now)
	l.learnServers(now)
}

// compare takes in what the catalog lists, and tells whether it asked for a
// service that is listed otherwise than before.
func (l *loop) compare(services map[string]tags, now time.Time) (named bool) {
	before := l.catalog
	l.catalog = services
	for name, tags := range services {
		old, known := before[name]
		if !tags.routed || known && old == tags && l.follows[name] != nil {
			continue
		}
		if askable(name) {
			l.add(name)
		} else if !known {
			l.w.log.Warn("service is ignored: Consul answers no question about such a name, register it with another one", "service", fmt.Sprintf("%q", name))
		}
	}
	for _, f := range l.follows {
		old, was := before[f.name]
		tags, is := services[f.name]
		switch {
		case !tags.routed && !l.extra[f.name]:
			l.suspect(f)
			named = true
		case was != is || old != tags:
			named = true
			if l.mode == Bell {
				l.asks.set(f, now)
			}
		}
	}
	return named
}

// askable tells whether Consul answers when asked about a service of that name:
// it lets anything be registered, and refuses paths with what cannot be printed.
func askable(name string) bool {
	return !strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) })
}

func (l *loop) onCatalogError(err error) {
	if l.catalogErr == nil {
		l.w.log.Warn("catalog cannot be read: keeping what is known", "error", err)
	}
	l.catalogErr, l.lastError = err, err.Error()
}

// refollow takes over the names of Follow.
func (l *loop) refollow() {
	l.w.mu.Lock()
	extra := l.w.extra
	l.w.mu.Unlock()
	old := l.extra
	l.extra, l.refresh = extra, true
	for name := range extra {
		l.add(name)
	}
	for name := range old {
		if f := l.follows[name]; f != nil && !extra[name] {
			l.show(f)
			l.forget(f)
		}
	}
}

// recovered puts all open questions at once, because Consul answers again, or
// because our registration had to be repeated: then every service is read, so
// that what has come back is known to have.
func (l *loop) recovered() {
	_, lost := l.w.client.Registered()
	again := lost.After(l.lost)
	l.lost = lost
	for _, f := range l.follows {
		if again && f.svc != nil && len(f.svc.Instances) > 0 {
			f.strict = true
		} else if f.doubt.IsZero() && f.err == nil {
			continue
		}
		f.gen++ // what is being read now may be older than the recovery
		l.setTries(f, 0)
		l.asks.set(f, time.Now())
	}
	l.bell.missed()
}

// settle brings everything in line after an event: how services are followed,
// what is read next, what is published. It returns when to be called again.
func (l *loop) settle() (again time.Time) {
	now := time.Now()
	l.choose()
	for _, f := range l.begun {
		switch {
		case l.follows[f.name] != f:
		case l.mode == Streams:
			l.startStream(f)
		case f.ask.IsZero():
			l.asks.set(f, now)
		}
	}
	l.begun = nil
	l.failures.Store(int64(len(l.failing)))
	l.following.Store(int64(len(l.follows)))
	again = l.readDue(now)
	if l.mode == Bell {
		again = earlier(again, l.readAll(now))
		again = earlier(again, l.sweepOn(now))
	}
	again = earlier(again, l.report(now))
	full := l.full(now)
	if l.changed = l.changed || len(l.dirty) > 0; l.changed && (full || l.resumed) || full && !l.w.Ready() {
		l.snap = apply(l.snap, l.dirty)
		l.changed = false
		clear(l.dirty)
		if l.snap == nil {
			l.snap = registry.New() // that there is nothing to route is a picture too
		}
		l.publish(l.snap)
	}
	if full && !l.w.Ready() {
		close(l.w.first)
	}
	return again
}

// readDue reads the services that are due, and returns when the next one is.
func (l *loop) readDue(now time.Time) (again time.Time) {
	var busy []*follow
	for l.reading < maxReads {
		var f *follow
		if f, again = l.asks.next(now); f == nil {
			break
		}
		if f.asking { // what is on its way may be older than the wish
			busy = append(busy, f)
			continue
		}
		look := f.again
		f.again = false
		l.startRead(f, false, look)
	}
	for _, f := range busy {
		look := f.again
		l.asks.set(f, now) // the end of that read is an event
		f.again = look
	}
	return again
}

// choose picks streams or the bells: by the number of services, and by whether
// the agent carries many streams on one connection.
func (l *loop) choose() {
	n, limit := len(l.follows), l.w.cfg.MaxStreams
	if l.w.client.http2.Load() {
		limit = maxMultiplexed
	}
	switch {
	case l.mode == Streams && n > limit:
		l.mode = Bell
		for _, f := range l.follows {
			l.endStream(f)
			f.gen++
			if f.idle() {
				l.asks.set(f, time.Now())
			}
		}
		l.startBell()
	case l.mode == Bell && n <= limit*3/4:
		l.mode = Streams
		l.bell.stop()
		l.begun = l.begun[:0]
		for _, f := range l.follows {
			l.begun = append(l.begun, f)
		}
	default:
		return
	}
	l.w.log.Info("services are followed in another way", "mode", l.mode, "services", n, "http2", l.w.client.http2.Load())
}

// full tells whether the first full picture is there.
func (l *loop) full(now time.Time) bool {
	if l.w.Ready() {
		return true
	}
	if l.catalogAt.IsZero() {
		return false
	}
	patient := now.Sub(l.catalogAt) < firstPatience
	for name := range l.picture {
		if patient || l.follows[name].err == nil {
			return false
		}
	}
	return true
}

// manyHolds is above how many holds their list is made anew no more often than
// every holdsPeriod.
const (
	manyHolds   = 100
	holdsPeriod = 250 * time.Millisecond
)

// report makes the status, and returns when to be called again.
func (l *loop) report(now time.Time) (again time.Time) {
	s := &WatchStatus{
		Mode: l.mode, Services: len(l.follows), Streams: l.streams, LastContact: l.contact, LastError: l.lastError,
		Stale:  l.catalogErr != nil || l.catalogAt.IsZero() || l.noLeader || len(l.held) > 0,
		Denied: errors.Is(l.catalogErr, ErrDenied) || l.denied > 0,
		wait:   l.w.cfg.Wait,
		since:  l.w.status.Load().since,
	}
	if l.mode == Streams {
		s.wait = streamWait(len(l.follows), s.wait)
	}
	if reads := l.w.reads.Load(); now.Sub(l.mark.at) >= markPeriod || s.since.at.IsZero() {
		s.since, l.mark = l.mark, mark{now, reads}
	}
	if first := l.turns.Front(); first != nil {
		s.oldest = l.toldAt(first.Value.(*follow))
		s.due = s.oldest
		if l.mode == Bell && l.bell.heard.After(s.due) {
			s.due = l.bell.heard
		}
		if len(l.failing) > manyHolds {
			s.due = s.oldest
		} else {
			for f := range l.failing { // for them the bell does not speak
				if at := l.toldAt(f); at.Before(s.due) {
					s.due = at
				}
			}
		}
	}
	if l.holdsChanged {
		if due := l.holdsAt.Add(holdsPeriod); len(l.held) > manyHolds && now.Before(due) {
			again = due
		} else {
			l.holdsChanged, l.holdsAt, l.holds = false, now, nil
			for _, name := range slices.Sorted(maps.Keys(l.held)) {
				f := l.held[name]
				l.holds = append(l.holds, Hold{name, f.svc.Hold, f.doubt})
			}
		}
	}
	s.Holds = l.holds
	l.w.status.Store(s)
	return again
}

// toldAt is when f was last heard of, or the start.
func (l *loop) toldAt(f *follow) time.Time {
	if f.told.IsZero() {
		return l.started
	}
	return f.told
}
