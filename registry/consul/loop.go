package consul

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"serin/registry"

	"github.com/hashicorp/consul/api"
)

const (
	holdRetry     = 2 * time.Second  // the longest pause between two questions about a held service
	serverPeriod  = time.Minute      // between two looks at who Consul's servers are
	firstPatience = 10 * time.Second // for services that cannot be read at the start
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
	catalog map[string]bool // services in the catalog: whether a tag has the prefix; nil: not read yet
	tags    map[string][]string
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
			v, meta, err := l.w.read.services(q.WithContext(ctx))
			return v, meta, l.w.count("list services", err)
		},
		same:  func(a, b map[string][]string) bool { return maps.EqualFunc(a, b, slices.Equal) },
		good:  func(v map[string][]string, m *api.QueryMeta, _ bool) { l.do(func() { l.onCatalog(v, m) }) },
		bad:   func(err error) { l.do(func() { l.onCatalogError(err) }) },
		dc:    l.w.cfg.Datacenter,
		wait:  l.w.cfg.Wait,
		lead:  true,
		woken: &l.w.client.woken,
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
	l.catalog = make(map[string]bool, len(services))
	for name, tags := range services {
		l.catalog[name] = hasPrefix(tags, l.w.cfg.TagPrefix)
		if l.catalog[name] {
			l.add(name)
		}
	}
	for _, f := range l.follows {
		if !l.catalog[f.name] && !l.extra[f.name] {
			l.suspect(f)
			continue
		}
		old, was := l.tags[f.name]
		tags, is := services[f.name]
		if l.mode == Bell && (was != is || !slices.Equal(old, tags)) {
			f.ask = now
		}
	}
	l.tags = services
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

func (l *loop) add(name string) {
	if l.follows[name] == nil {
		l.follows[name] = &follow{name: name}
	} else {
		l.show(l.follows[name])
	}
}

// wanted tells whether there is a reason to follow f.
func (l *loop) wanted(f *follow) bool {
	return l.catalog == nil || l.catalog[f.name] || l.extra[f.name] || tagged(f.svc, l.w.cfg.TagPrefix)
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
	for _, f := range l.follows {
		if !f.ask.IsZero() || f.asking {
			wishes = append(wishes, wish{f.name, f.ask, f.asking})
		}
	}
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

// startRead reads f outside its stream.
func (l *loop) startRead(f *follow) {
	f.asking, f.ask = true, time.Time{}
	known, strict, gen := f.svc, f.strict, f.gen
	ids, _ := l.w.client.Registered()
	servers := maps.Clone(l.servers)
	l.wg.Go(func() {
		e := l.w.inquire(l.ctx, f.name, known, strict, ids, servers)
		l.do(func() { l.onRead(f, e, gen) })
	})
}

// onRead takes the result of startRead.
func (l *loop) onRead(f *follow, e evidence, gen uint64) {
	f.asking = false
	if l.follows[f.name] != f {
		return
	}
	f.denied = e.filtered || errors.Is(e.err, ErrDenied)
	if e.err != nil {
		f.err, l.lastError = e.err, e.err.Error()
	} else {
		f.err, l.contact, f.told = nil, time.Now(), time.Now()
	}
	if gen != f.gen { // its stream has told something newer
		if !f.doubt.IsZero() {
			f.ask = time.Now()
		}
		return
	}
	if e.err != nil && f.doubt.IsZero() {
		l.retry(f)
		return
	}
	if f.doubt.IsZero() {
		f.doubt = time.Now()
	}
	_, e.lost = l.w.client.Registered()
	e.had, e.seen, e.since, e.now, e.max = f.index, f.seen, f.doubt, time.Now(), l.w.cfg.ConfirmHold
	obey, why := true, ""
	if e.known != nil && len(e.known.Instances) > 0 {
		obey, why = verdict(e)
	}
	switch {
	case obey && e.err == nil:
		l.accept(f, e.got, e.index)
	case why == "":
		l.retry(f)
	default:
		f.strict = true
		l.hold(f, why)
	}
}

// inquire reads one service without waiting, and where the answer contradicts
// what is known, has the leader answer it and looks for what must be there.
func (w *Watcher) inquire(ctx context.Context, name string, known *registry.Service, strict bool, ids map[string]string, servers map[string]bool) evidence {
	ctx, cancel := context.WithTimeout(ctx, plainTimeout)
	defer cancel()
	e := evidence{known: known}
	ask := func(name string, leader bool) (reading, *api.QueryMeta, error) {
		q := &api.QueryOptions{Datacenter: w.cfg.Datacenter, AllowStale: !leader, RequireConsistent: leader}
		return w.readService(name, q.WithContext(ctx))
	}
	r, meta, err := ask(name, strict)
	if err == nil && !strict && contradiction(known, r) != nothing {
		r, meta, err = ask(name, true)
	}
	if err != nil {
		e.err = err
		return e
	}
	e.got, e.index, e.filtered, e.acl = r, meta.LastIndex, meta.ResultsFilteredByACLs, meta.DefaultACLPolicy != ""
	if contradiction(known, r) != emptied || e.filtered {
		return e
	}
	e.sight, e.err = w.look(ctx, ids, servers)
	return e
}

// look finds out whether a read by the leader shows what must be there.
func (w *Watcher) look(ctx context.Context, ids map[string]string, servers map[string]bool) (sight, error) {
	q := (&api.QueryOptions{Datacenter: w.cfg.Datacenter, RequireConsistent: true}).WithContext(ctx)
	want, names := ourselves, slices.Compact(slices.Sorted(maps.Values(ids)))
	if len(names) == 0 || w.cfg.Datacenter != "" {
		if len(servers) == 0 {
			return unknown, nil
		}
		want, names = serversSeen, []string{"consul"}
	}
	for _, name := range names {
		entries, _, err := w.read.service(name, q)
		if err := w.count("look for our own registration", err); err != nil {
			return unknown, err
		}
		for _, e := range entries {
			if want == ourselves && e != nil && e.Service != nil && ids[e.Service.ID] != "" ||
				want != ourselves && e != nil && e.Node != nil && servers[e.Node.ID] {
				return want, nil
			}
		}
	}
	return missing, nil
}

// learnServers finds out now and then who Consul's servers are, for the case
// that nothing of ours is registered.
func (l *loop) learnServers(now time.Time) {
	if now.Sub(l.serversAt) < serverPeriod {
		return
	}
	l.serversAt = now
	l.wg.Go(func() {
		ctx, cancel := context.WithTimeout(l.ctx, plainTimeout)
		defer cancel()
		q := (&api.QueryOptions{Datacenter: l.w.cfg.Datacenter, AllowStale: true}).WithContext(ctx)
		entries, _, err := l.w.read.service("consul", q)
		if l.w.count("read Consul's servers", err) == nil {
			l.do(func() { l.onServers(entries, time.Now()) })
		}
	})
}

// onServers takes over the servers' identities. Servers are replaced one by one;
// when all are others, it is another cluster, or one that lost its state, and
// is not believed before ConfirmHold has passed.
func (l *loop) onServers(entries []*api.ServiceEntry, now time.Time) {
	ids, same := map[string]bool{}, len(l.servers) == 0
	for _, e := range entries {
		if e != nil && e.Node != nil && e.Node.ID != "" {
			ids[e.Node.ID] = true
			same = same || l.servers[e.Node.ID]
		}
	}
	switch {
	case len(ids) == 0:
	case same || !l.serversGone.IsZero() && now.Sub(l.serversGone) > l.w.cfg.ConfirmHold:
		l.servers, l.serversGone = ids, time.Time{}
	case l.serversGone.IsZero():
		l.serversGone = now
	}
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
