package consul

import (
	"context"
	"errors"
	"fmt"
	"maps"
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

// loop is the one goroutine that owns a Watcher's state while it runs. Queries
// and reads run beside it and send it what to do.
type loop struct {
	w       *Watcher
	ctx     context.Context
	wg      sync.WaitGroup
	events  chan func()
	publish func(*registry.Snapshot)

	follows map[string]*follow
	extra   map[string]bool
	catalog map[string][]string // the tags of all services; nil: not read yet
	snap    *registry.Snapshot
	changed bool // snap was not published yet
	resumed bool
	mode    Mode
	bell    bell

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

	doubtful atomic.Bool // an answer contradicts what is known of some service
}

func newLoop(ctx context.Context, w *Watcher, publish func(*registry.Snapshot)) *loop {
	l := &loop{
		w: w, ctx: ctx, publish: publish, started: time.Now(),
		events:  make(chan func()),
		follows: map[string]*follow{},
		mode:    Streams,
	}
	w.mu.Lock()
	for svc := range w.resumed.All() {
		l.follows[svc.Name] = &follow{name: svc.Name, svc: svc}
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

func (l *loop) catalogQuery() *query[map[string][]string] {
	return &query[map[string][]string]{
		fetch: func(ctx context.Context, q *api.QueryOptions) (map[string][]string, *api.QueryMeta, error) {
			v, meta, err := l.w.client.api.Catalog().Services(q.WithContext(ctx))
			return v, meta, l.w.count("list services", err)
		},
		same:  func(a, b map[string][]string) bool { return maps.EqualFunc(a, b, slices.Equal) },
		good:  func(v map[string][]string, m *api.QueryMeta, _ bool) { l.do(func() { l.onCatalog(v, m) }) },
		bad:   func(err error) { l.do(func() { l.onCatalogError(err) }) },
		dc:    l.w.cfg.Datacenter,
		wait:  min(l.w.cfg.Wait, catalogWait),
		lead:  true,
		woken: &l.w.client.woken,

		doubtful: l.doubtful.Load,
	}
}

func (l *loop) serviceQuery(f *follow) *query[reading] {
	return &query[reading]{
		fetch: func(ctx context.Context, q *api.QueryOptions) (reading, *api.QueryMeta, error) {
			return l.w.readService(f.name, q.WithContext(ctx))
		},
		same: func(a, b reading) bool { return sameService(a.svc, b.svc) && a.untested == b.untested },
		good: func(r reading, m *api.QueryMeta, _ bool) { l.do(func() { l.onStream(f, r, m) }) },
		bad: func(err error) {
			l.do(func() { f.err, f.denied, l.lastError = err, errors.Is(err, ErrDenied), err.Error() })
		},
		dc:    l.w.cfg.Datacenter,
		wait:  l.w.cfg.Wait,
		woken: &l.w.client.woken,
	}
}

// onCatalog takes the names of all services and their tags.
func (l *loop) onCatalog(services map[string][]string, meta *api.QueryMeta) {
	now := time.Now()
	if l.catalogErr != nil {
		l.w.log.Info("catalog is being read again", "consul", l.w.client.addr)
	}
	l.catalogErr, l.contact = nil, now
	l.noLeader = !meta.KnownLeader && meta.LastContact > 0
	before := l.catalog
	l.catalog = services
	for name, tags := range services {
		if !hasPrefix(tags, l.w.cfg.TagPrefix) {
			continue
		}
		if _, known := before[name]; askable(name) {
			l.add(name)
		} else if !known {
			l.w.log.Warn("service is ignored: Consul answers no question about such a name, register it with another one", "service", fmt.Sprintf("%q", name))
		}
	}
	for _, f := range l.follows {
		old, was := before[f.name]
		tags, is := services[f.name]
		switch {
		case !hasPrefix(tags, l.w.cfg.TagPrefix) && !l.extra[f.name]:
			l.suspect(f)
		case l.mode == Bell && (was != is || !slices.Equal(old, tags)):
			f.ask = now
		}
	}
	if l.catalogAt.IsZero() {
		l.catalogAt = now
		l.picture = map[string]bool{}
		for name := range l.follows {
			l.picture[name] = true
		}
	}
	l.bell.rang(meta.LastIndex, now)
	l.learnServers(now)
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
	l.extra = extra
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
		f.ask, f.tries = time.Now(), 0
	}
	l.bell.missed()
}

// settle brings everything in line after an event: how services are followed,
// what is read next, what is published. It returns when to be called again.
func (l *loop) settle() (again time.Time) {
	now := time.Now()
	l.choose()
	if l.mode == Streams {
		for _, f := range l.follows {
			if f.cancel == nil {
				var ctx context.Context
				ctx, f.cancel = context.WithCancel(l.ctx)
				l.wg.Go(func() { l.serviceQuery(f).run(ctx) })
			}
		}
	}
	wishes := make([]wish, 0, len(l.follows))
	doubtful := false
	for _, f := range l.follows {
		doubtful = doubtful || !f.doubt.IsZero()
		if !f.ask.IsZero() || f.asking {
			wishes = append(wishes, wish{f.name, f.ask, f.asking})
		}
	}
	l.doubtful.Store(doubtful)
	read, again := plan(wishes, maxReads, now)
	for _, name := range read {
		l.startRead(l.follows[name])
	}
	if due := l.readAll(now); !due.IsZero() && (again.IsZero() || due.Before(again)) {
		again = due
	}
	l.w.status.Store(l.report())
	full := l.full(now)
	if l.changed && (full || l.resumed) || full && !l.w.Ready() {
		l.changed = false
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

// choose picks streams or the bell by the number of services.
func (l *loop) choose() {
	n, limit := len(l.follows), l.w.cfg.MaxStreams
	switch {
	case l.mode == Streams && n > limit:
		l.mode = Bell
		for _, f := range l.follows {
			if f.cancel != nil {
				f.cancel()
				f.cancel = nil
			}
			f.gen++
			if f.ask.IsZero() {
				f.ask = time.Now()
			}
		}
		l.startBell()
	case l.mode == Bell && n <= limit*3/4:
		l.mode = Streams
		l.bell.stop()
	default:
		if l.mode == Bell {
			for _, f := range l.follows {
				if !f.fresh && f.ask.IsZero() && !f.asking {
					f.ask = time.Now()
				}
			}
		}
		return
	}
	l.w.log.Info("services are followed in another way", "mode", l.mode, "services", n)
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
		if f := l.follows[name]; f != nil && !f.fresh && (f.err == nil || patient) {
			return false
		}
	}
	return true
}

func (l *loop) report() *WatchStatus {
	s := &WatchStatus{
		Mode: l.mode, Services: len(l.follows), LastContact: l.contact, LastError: l.lastError,
		Stale:  l.catalogErr != nil || l.catalogAt.IsZero() || l.noLeader,
		Denied: errors.Is(l.catalogErr, ErrDenied),
		wait:   l.w.cfg.Wait,
	}
	for _, f := range l.follows {
		if f.cancel != nil {
			s.Streams++
		}
		if told := l.toldAt(f); s.oldest.IsZero() || told.Before(s.oldest) {
			s.oldest = told
		}
		s.Denied = s.Denied || f.denied
		if f.svc != nil && f.svc.Hold != "" {
			s.Holds = append(s.Holds, Hold{f.name, f.svc.Hold, f.doubt})
		}
	}
	slices.SortFunc(s.Holds, func(a, b Hold) int { return strings.Compare(a.Service, b.Service) })
	s.Stale = s.Stale || len(s.Holds) > 0
	return s
}
