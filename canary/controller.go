package canary

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"serin/canary/rollout"
	"serin/route"
)

// Self is what environments may ask of this balancer.
type Self struct {
	Node, Datacenter string
	Tags             []string
}

// Addresses are what DNS names and Consul services stand for.
type Addresses struct {
	Hosts, Services map[string][]netip.Addr
}

// Asker is who asks for a document: a balancer, where Self is set, else a client.
type Asker struct {
	Self   *Self
	Client netip.Addr
}

// Controller keeps the last good document of each service and publishes what is
// in force. Set the fields, then call Run once; SetSecret, First,
// Status, ServiceStatus, Problems and Documents may be called from any goroutine, also
// before Run.
type Controller struct {
	// Source delivers the documents. Required.
	Source Source
	// Open opens the source that a document's config_server names; it delivers
	// its one document for the service "". every is the update_rate of the
	// document that names it, 0 where it has none. Nil refuses every address. The
	// address is an operator's word, not the balancer's configuration: do not
	// send the balancer's own Consul token there.
	Open func(address string, every time.Duration) (Source, error)
	// Publish gets the complete splits at every change, and the services that
	// selectors name, which must be followed although they may carry no route.
	// It is called from Run's goroutine and must not block. Required.
	Publish func(splits route.Splits, followed []string)
	// Plans gets the plan of every document that is a rollout, by service ("*" is
	// the common document), at every change; see [Controller.SetStates]. It is
	// called from Run's goroutine and must not block. Nil is nobody.
	Plans func(map[string]*rollout.Plan)
	// Names gets the DNS names and the Consul services whose addresses
	// environments ask for; see [Controller.SetAddresses]. Nil is nobody.
	Names func(hosts, services []string)
	// Restored are the documents of the state on disk, by service. They are in
	// force with ratio 0 (on_stale hold: as they say) until Source answers.
	Restored map[string]Raw
	// StaleAfter is for documents without stale_after; zero is DefaultStaleAfter.
	StaleAfter time.Duration

	Log     hclog.Logger // nil is silent
	Metrics *Metrics     // nil counts nothing

	once  sync.Once
	woken chan struct{}
	first chan struct{}
	known sync.Once // closes first

	mu   sync.Mutex // guards the fields below; never held across a call out
	told told
	view view
}

// told is what the setters have said. Nothing in it is written after it was set.
type told struct {
	secret    [2]uint64
	self      Self
	addresses Addresses
	addressed uint64 // how often addresses were told
	states    map[string]rollout.State
	known     bool // states was set
}

func (c *Controller) init() {
	c.once.Do(func() { c.woken, c.first = make(chan struct{}, 1), make(chan struct{}) })
}

// First is closed once it is known what to split by: Source has answered or is
// lost, or the Restored documents are in force, and Publish was told.
func (c *Controller) First() <-chan struct{} {
	c.init()
	return c.first
}

// SetSecret sets the key of sticky assignment, see EnsureSecret. A change draws
// every sticky client anew.
func (c *Controller) SetSecret(secret [2]uint64) { c.tell(func(t *told) { t.secret = secret }) }

// SetSelf says who this balancer is. Until then no environment matches by node,
// datacenter or tag.
func (c *Controller) SetSelf(s Self) { c.tell(func(t *told) { t.self = s }) }

// Self is what SetSelf said.
func (c *Controller) Self() Self {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.told.self
}

// SetAddresses says what names stand for now; a name that is missing stands for
// nobody yet. One that is there without addresses is a problem.
func (c *Controller) SetAddresses(a Addresses) {
	c.tell(func(t *told) { t.addresses, t.addressed = a, t.addressed+1 })
}

// SetStates gives the states of the rollouts, by service ("*" is the common
// document). Until it was called the share of a rollout is 0 where somebody gets
// Plans, because it may have been rolled back. Nil says that the states cannot be
// known: those of the call before stay.
func (c *Controller) SetStates(states map[string]rollout.State) {
	c.tell(func(t *told) {
		t.known = true
		if states != nil {
			t.states = states
		}
	})
}

func (c *Controller) tell(say func(*told)) {
	c.init()
	c.mu.Lock()
	say(&c.told)
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
	if c.Restored != nil {
		c.known.Do(func() { close(c.first) })
	}
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
		if r.main.answered || r.main.err != nil {
			c.known.Do(func() { close(c.first) })
		}
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
	told     told

	// What was published last, where sent is set.
	sent         bool
	sentFollowed []string
	sentPlans    map[string]*rollout.Plan
	sentNames    names
}

func (r *run) restore() {
	for service, raw := range r.c.Restored {
		var v *version
		doc, err := Parse(raw.Key, raw.Value)
		if err == nil {
			v, err = newVersion(service, raw, doc)
		}
		if err != nil {
			r.log.Warn("document in the state on disk is refused", "service", Label(service), "error", err)
			continue
		}
		v.restored = true
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
			r.log.Info("canary document deleted", "service", Label(service), "key", e.own.raw.Key, "ratio", 0, "was", e.made.ratio)
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
		r.hearKey(e, ev.Lost[service], now)
		if e.lostErr == nil && e.own.read(service, raw, now, Parse) {
			r.noteRead(e, &e.own)
		}
		r.point(e)
	}
}

// hearKey notes whether a service's own key can be read.
func (r *run) hearKey(e *entry, err error, now time.Time) {
	was := e.lostErr
	e.hear(err, now)
	switch {
	case was == nil && err != nil:
		r.log.Warn("canary document is lost, keeping what is known", "service", Label(e.service), "error", err)
	case was != nil && err == nil:
		r.log.Info("canary document can be read again", "service", Label(e.service))
	}
}

func (r *run) arriveRemote(e *entry, ev Event, now time.Time) {
	rem := e.remote
	if rem.feed.hear(ev, now) {
		if ev.Err != nil {
			r.log.Warn("config_server is lost, keeping what is known", "service", Label(e.service), "address", rem.address, "error", ev.Err)
		} else {
			r.log.Info("config_server answers again", "service", Label(e.service), "address", rem.address)
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
	case rem.slot.read(e.service, raw, now, rem.parse):
		r.noteRead(e, &rem.slot)
	}
}

func (r *run) noteRead(e *entry, s *slot) {
	if s.err != nil {
		r.c.Metrics.refused()
		r.log.Warn("canary document refused, the last good one stays", "service", Label(e.service), "index", s.raw.Index, "error", s.err)
	}
}

// point opens and closes the source that the service's own document names. What
// is known of an address stays while the document names it.
func (r *run) point(e *entry) {
	address, every := "", time.Duration(0)
	if e.own.good != nil {
		address, every = e.own.good.doc.ConfigServer, e.own.good.doc.UpdateRate.or(0)
	}
	if e.remote != nil && e.remote.address != address {
		r.unpoint(e)
	}
	if address == "" || e.remote != nil && e.remote.every == every {
		return
	}
	ctx, cancel := context.WithCancel(r.ctx)
	if rem := e.remote; rem != nil {
		rem.feed.cancel()
		was := rem.feed
		rem.feed, rem.every = new(*was), every
		rem.feed.cancel = cancel
		if e.from == was {
			e.from = rem.feed
		}
	} else {
		e.remote = &remote{address: address, every: every, feed: &feed{cancel: cancel}}
	}
	var source Source
	err := errors.New("this program opens none")
	if r.c.Open != nil {
		source, err = r.c.Open(address, every)
	}
	if err != nil {
		e.remote.feed.hear(Event{Err: fmt.Errorf("open %s: %w", address, err)}, time.Now())
		r.log.Warn("config_server cannot be opened", "service", Label(e.service), "address", address, "error", err)
		return
	}
	r.log.Info("reading the canary document from its config_server", "service", Label(e.service), "address", address)
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
