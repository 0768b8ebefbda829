package canary

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"serin/route"
)

// Controller keeps the last good document of each service and publishes what is
// in force. Set the fields, then call Run once; SetSecret, Status,
// ServiceStatus, Problems and Documents may be called from any goroutine, also
// before Run.
type Controller struct {
	// Source delivers the documents. Required.
	Source Source
	// Open opens the source that a document's config_server names; it delivers
	// its one document for the service "". Nil refuses every address. The
	// address is an operator's word, not the balancer's configuration: do not
	// send the balancer's own Consul token there.
	Open func(address string) (Source, error)
	// Publish gets the complete splits at every change, and the services that
	// selectors name, which must be followed although they may carry no route.
	// It is called from Run's goroutine and must not block. Required.
	Publish func(splits route.Splits, followed []string)
	// Restored are the documents of the state on disk, by service. They are in
	// force with ratio 0 (on_stale hold: as they say) until Source answers.
	Restored map[string]Raw

	Log     hclog.Logger // nil is silent
	Metrics *Metrics     // nil counts nothing

	once  sync.Once
	woken chan struct{}

	mu     sync.Mutex // guards the fields below; never held across a call out
	secret [2]uint64
	view   view
}

func (c *Controller) init() {
	c.once.Do(func() { c.woken = make(chan struct{}, 1) })
}

// SetSecret sets the key of sticky assignment, see EnsureSecret. A change draws
// every sticky client anew.
func (c *Controller) SetSecret(secret [2]uint64) {
	c.init()
	c.mu.Lock()
	c.secret = secret
	c.mu.Unlock()
	select {
	case c.woken <- struct{}{}:
	default:
	}
}

// Run follows the sources until ctx ends, then returns nil; its goroutines have
// finished by then. It returns an error only when Source ends early.
func (c *Controller) Run(ctx context.Context) error {
	c.init()
	ctx, cancel := context.WithCancel(ctx)
	r := &run{
		c: c, log: c.Log, ctx: ctx,
		entries:  map[string]*entry{},
		arrivals: make(chan arrival),
	}
	if r.log == nil {
		r.log = hclog.NewNullLogger()
	}
	defer r.wg.Wait()
	defer cancel()
	r.restore()
	r.settle(time.Now())
	r.main = &feed{}
	r.follow(ctx, r.main, c.Source)
	for {
		select {
		case <-ctx.Done():
			return nil
		case a := <-r.arrivals:
			if ctx.Err() != nil {
				return nil
			}
			if a.ended && a.feed == r.main {
				return cmp.Or(a.Err, errors.New("canary: the source ended although it was not asked to"))
			}
			r.arrive(a, time.Now())
		case <-c.woken:
		case <-r.timer():
		}
		r.settle(time.Now())
	}
}

// run is the state of one Run; only its goroutine touches it.
type run struct {
	c        *Controller
	log      hclog.Logger
	ctx      context.Context
	wg       sync.WaitGroup
	main     *feed
	entries  map[string]*entry // by service
	arrivals chan arrival
	due      time.Time // when settle has something to do next; zero: only after an event
	sent     bool
	secret   [2]uint64
}

// feed is one source as it is followed.
type feed struct {
	answered  bool      // it ever delivered a set
	err       error     // why it is lost
	lostSince time.Time // zero while it answers
	cancel    context.CancelFunc
}

// hear notes whether the source answers, and reports whether that changed.
func (f *feed) hear(ev Event, now time.Time) (changed bool) {
	was := f.lostSince
	f.err = ev.Err
	switch {
	case ev.Err == nil:
		f.answered, f.lostSince = true, time.Time{}
	case was.IsZero():
		f.lostSince = now
		if !ev.At.IsZero() && ev.At.Before(now) {
			f.lostSince = ev.At
		}
	}
	return was.IsZero() != f.lostSince.IsZero()
}

// arrival is an event of a feed.
type arrival struct {
	feed *feed
	Event
	ended bool
}

// follow runs a source; its events arrive at Run's loop until ctx ends.
func (r *run) follow(ctx context.Context, f *feed, s Source) {
	send := func(a arrival) {
		select {
		case r.arrivals <- a:
		case <-ctx.Done():
		}
	}
	r.wg.Go(func() {
		err := s.Run(ctx, func(ev Event) { send(arrival{feed: f, Event: ev}) })
		send(arrival{feed: f, Event: Event{Err: err}, ended: true})
	})
}

// version is one valid document.
type version struct {
	raw      Raw
	doc      *Document
	hash     string
	restored bool // from disk, not confirmed by its source since
	deleted  bool // its key was deleted at the config_server: canary off
}

// slot is what is known of one key: the newest text, and the last valid one.
type slot struct {
	raw  Raw
	seen bool // raw was read from the source, not restored
	at   time.Time
	good *version
	err  *Error // why raw is not good
}

// read takes a text in. It reports whether it is new, which an unchanged index
// with unchanged text is not.
func (s *slot) read(raw Raw, now time.Time, parse func(string, []byte) (*Document, error)) bool {
	if s.seen && s.raw.Index == raw.Index && string(s.raw.Value) == string(raw.Value) {
		return false
	}
	s.raw, s.seen, s.at, s.err = raw, true, now, nil
	doc, err := parse(raw.Key, raw.Value)
	if err != nil {
		s.err = err.(*Error)
		if s.good != nil { // its source answers, so that it is the last good one, not a restored one
			s.good = new(*s.good)
			s.good.restored = false
		}
		return true
	}
	s.good = &version{raw: raw, doc: doc, hash: hashOf(raw.Value)}
	return true
}

// entry is one service's document: its own key, where that sends us, and what
// is in force.
type entry struct {
	service string
	own     slot
	remote  *remote // while the own document has a config_server
	// inherits is set when the first document of its own is refused while the
	// one for all services is in force: that changes nothing, so it stays.
	inherits bool

	inForce   *version
	from      *feed // whose loss makes inForce stale
	appliedAt time.Time
	pending   time.Time // when the next version may be applied (update_rate)
	applied   Applied
	split     *route.Split // of inForce and applied
}

// remote is the source that a config_server names.
type remote struct {
	address string
	feed    *feed
	slot    slot
}

func (r *run) restore() {
	for service, raw := range r.c.Restored {
		doc, err := Parse(raw.Key, raw.Value)
		if err != nil {
			r.log.Warn("document in the state on disk is refused", "service", label(service), "error", err)
			continue
		}
		v := &version{raw: raw, doc: doc, hash: hashOf(raw.Value), restored: true}
		r.entries[service] = &entry{service: service, own: slot{raw: raw, good: v}, inForce: v}
	}
}

// arrive takes in what a source says.
func (r *run) arrive(a arrival, now time.Time) {
	if a.feed == r.main {
		r.arriveMain(a.Event, now)
		return
	}
	for _, e := range r.entries {
		if e.remote != nil && e.remote.feed == a.feed {
			if a.ended {
				a.Err = cmp.Or(a.Err, errors.New("the source ended"))
			}
			r.arriveRemote(e, a.Event, now)
		}
	}
}

func (r *run) arriveMain(ev Event, now time.Time) {
	first := !r.main.answered
	if r.main.hear(ev, now) {
		r.c.Metrics.sourceLost(r.main.lostSince)
		if ev.Err != nil {
			r.log.Warn("source of canary documents is lost, keeping what is known", "error", ev.Err)
		} else {
			r.log.Info("source of canary documents answers again")
		}
	}
	if ev.Err != nil {
		return
	}
	for service, e := range r.entries {
		if _, ok := ev.Docs[service]; !ok {
			r.log.Info("canary document deleted", "service", label(service), "key", e.own.raw.Key, "ratio", 0, "was", e.applied.Ratio)
			r.drop(e)
		}
	}
	common := r.entries[""] != nil && r.entries[""].inForce != nil
	for _, service := range slices.Sorted(maps.Keys(ev.Docs)) {
		raw, e := ev.Docs[service], r.entries[service]
		if e == nil {
			e = &entry{service: service, from: r.main, inherits: !first && common}
			r.entries[service] = e
		}
		if e.own.read(raw, now, Parse) {
			r.noteRead(e, &e.own)
		}
		r.point(e)
	}
}

func (r *run) arriveRemote(e *entry, ev Event, now time.Time) {
	rem := e.remote
	if rem.feed.hear(ev, now) {
		if ev.Err != nil {
			r.log.Warn("config_server is lost, keeping what is known", "service", label(e.service), "address", rem.address, "error", ev.Err)
		} else {
			r.log.Info("config_server answers again", "service", label(e.service), "address", rem.address)
		}
	}
	if ev.Err != nil {
		return
	}
	raw, ok := ev.Docs[""]
	switch {
	case !ok && rem.slot.good != nil && !rem.slot.good.deleted:
		rem.slot = slot{good: &version{raw: Raw{Key: rem.address}, doc: &Document{}, deleted: true}}
	case !ok:
	case rem.slot.read(raw, now, rem.parse):
		r.noteRead(e, &rem.slot)
	}
}

// parse is Parse, and refuses to be sent on: two documents that name each other
// would never come to rest.
func (rem *remote) parse(key string, value []byte) (*Document, error) {
	d, err := Parse(key, value)
	if err == nil && d.ConfigServer != "" && d.ConfigServer != rem.address {
		err = &Error{Key: key, Path: "config_server", Line: 1, Column: 1,
			Msg:  "a document that was read through config_server cannot name another one",
			Hint: "change config_server where " + rem.address + " is named"}
	}
	return d, err
}

func (r *run) noteRead(e *entry, s *slot) {
	if s.err != nil {
		r.c.Metrics.refused()
		r.log.Warn("canary document refused, the last good one stays", "service", label(e.service), "index", s.raw.Index, "error", s.err)
	}
}

// point opens and closes the source that the service's own document names.
func (r *run) point(e *entry) {
	address := ""
	if e.own.good != nil {
		address = e.own.good.doc.ConfigServer
	}
	if e.remote != nil && e.remote.address != address {
		r.unpoint(e)
	}
	if address == "" || e.remote != nil {
		return
	}
	ctx, cancel := context.WithCancel(r.ctx)
	e.remote = &remote{address: address, feed: &feed{cancel: cancel}}
	var source Source
	err := errors.New("this program opens none")
	if r.c.Open != nil {
		source, err = r.c.Open(address)
	}
	if err != nil {
		e.remote.feed.hear(Event{Err: fmt.Errorf("open %s: %w", address, err)}, time.Now())
		r.log.Warn("config_server cannot be opened", "service", label(e.service), "address", address, "error", err)
		return
	}
	r.log.Info("reading the canary document from its config_server", "service", label(e.service), "address", address)
	r.follow(ctx, e.remote.feed, source)
}

func (r *run) unpoint(e *entry) {
	e.remote.feed.cancel()
	e.remote = nil
}

func (r *run) drop(e *entry) {
	if e.remote != nil {
		r.unpoint(e)
	}
	delete(r.entries, e.service)
	r.c.Metrics.forget(e.service)
}

// choose returns the version that should be in force, and whose loss would make
// it stale. Nil: none was ever valid.
func (e *entry) choose(main *feed) (*version, *feed) {
	switch own := e.own.good; {
	case e.remote != nil && e.remote.slot.good != nil:
		return e.remote.slot.good, e.remote.feed
	case own == nil:
		return nil, main
	case e.remote != nil && own.doc.Ratio == nil && e.inForce != nil:
		// Not switched yet: a document that only says where to look moves
		// nothing before something was read there.
		return e.inForce, main
	default:
		return own, main
	}
}

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
		applied.Ratio, applied.Because = r.effective(v, e.from, now)
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
	r.c.Metrics.set(e.service, e.split.Wanted, applied.Ratio, valid)
}

// effective is Effective for a version and its source, asserted, and asks to be
// called again when the loss of the source will change it.
func (r *run) effective(v *version, from *feed, now time.Time) (float64, string) {
	if v.deleted {
		return 0, "deleted: " + v.raw.Key + " is gone"
	}
	state := SourceState{Restored: v.restored}
	if from != nil {
		state.LostSince = from.lostSince
	}
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
