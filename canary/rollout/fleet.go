package rollout

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"serin/canary/evidence"
)

// Fleet is this balancer's part in the rollouts of all balancers: it follows the
// shared states, publishes what this balancer has seen and applied, vetoes a
// canary that is worse, and, while it leads, takes the steps. Set the fields,
// then call Run once; the methods may be called from any goroutine, also before.
type Fleet struct {
	Store Store // required
	Self  Self  // required

	// States is told the states, by service, whenever they change, with this
	// balancer's own veto in them. It is called from Run's goroutine and must
	// not block. The map is not written again.
	States func(map[string]State)
	// Happened is told every event that this balancer caused, with the plan in
	// force, nil where the document is no rollout. It is called from Run's
	// goroutine and must not block.
	Happened func(Event, *Plan)

	Logger  hclog.Logger // nil is silent
	Metrics *Metrics     // nil counts nothing

	once  sync.Once
	woken chan struct{} // told something; capacity 1
	first chan struct{}
	known sync.Once // closes first

	recorders atomic.Pointer[map[string]*evidence.Recorder]
	events    eventLog

	mu      sync.Mutex // guards what follows; never held across a call out
	plans   map[string]*Plan
	applied map[string]Applied // nil: SetApplied was not called yet
	version int                // of both
	view    view
}

// Self is who a balancer is.
type Self struct {
	ID         string `json:"id"` // unique among all balancers, also those of the past; no slash
	Node       string `json:"node,omitempty"`
	Datacenter string `json:"datacenter,omitempty"`
	Addr       string `json:"addr,omitempty"` // of the admin listener
	Version    string `json:"version,omitempty"`
	// Blind is a balancer that no request passes: it judges nothing by itself, so
	// it is none of the N that share alpha. It may lead all the same.
	Blind bool `json:"blind,omitempty"`
}

// Applied is the document that is in force in this balancer's table.
type Applied struct {
	Index    uint64  `json:"index"`
	Hash     string  `json:"hash"`
	Ratio    float64 `json:"ratio"`              // effective
	Because  string  `json:"because,omitempty"`  // why it is not what is wanted
	Rejected uint64  `json:"rejected,omitempty"` // index of a newer text that was refused
	Invalid  string  `json:"invalid,omitempty"`  // why
}

const (
	sessionTTL = 10 * time.Second
	renewEvery = sessionTTL / 3
	storeLimit = 5 * time.Second        // of one call of the Store
	retryAfter = time.Second            // a call of the Store that failed
	busyTick   = 50 * time.Millisecond  // between two looks while there is a rollout
	idleTick   = 500 * time.Millisecond // and while there is none
	leaderName = "leader"
)

func (f *Fleet) init() {
	f.once.Do(func() { f.woken, f.first = make(chan struct{}, 1), make(chan struct{}) })
}

// First is closed once the shared states were read, or cannot be.
func (f *Fleet) First() <-chan struct{} {
	f.init()
	return f.first
}

// SetPlans gives the fleet the plans in force, by service; documents that are no
// rollout have none. The map and the plans must not be written again.
func (f *Fleet) SetPlans(plans map[string]*Plan) {
	f.set(func() { f.plans = plans })
}

// SetApplied gives it what is in force in this balancer's table, by service:
// every document, a rollout or not. The map must not be written again.
func (f *Fleet) SetApplied(applied map[string]Applied) {
	if applied == nil {
		applied = map[string]Applied{}
	}
	f.set(func() { f.applied = applied })
}

func (f *Fleet) set(change func()) {
	f.init()
	f.mu.Lock()
	change()
	f.version++
	f.mu.Unlock()
	select {
	case f.woken <- struct{}{}:
	default:
	}
}

// Recorder returns where the requests of a rollout are counted, nil where
// nothing is judged. It costs a few nanoseconds.
func (f *Fleet) Recorder(service string) *evidence.Recorder {
	if m := f.recorders.Load(); m != nil {
		return (*m)[service]
	}
	return nil
}

// Run takes part until ctx ends, then gives up the session and returns nil; its
// goroutines have finished by then. It returns an error only for a Fleet that
// cannot take part, and when Store's watch ends early.
func (f *Fleet) Run(ctx context.Context) error {
	f.init()
	if id := f.Self.ID; f.Store == nil || id == "" || id == leaderName || strings.Contains(id, "/") {
		return fmt.Errorf("rollout: a Fleet needs a Store and an ID without a slash that is not %q, got %q", leaderName, id)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := newRun(f, ctx)
	defer func() {
		cancel()
		r.wg.Wait()
		r.leave()
	}()
	ended := r.watch()
	for {
		timer := time.NewTimer(r.rest())
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case err := <-ended:
			timer.Stop()
			if ctx.Err() != nil {
				return nil
			}
			return cmp.Or(err, errors.New("rollout: the watch ended although it was not asked to"))
		case do := <-r.done:
			do()
		case <-f.woken:
		case <-timer.C:
		}
		timer.Stop()
		r.turn(time.Now())
	}
}

// run is the state of one Run; only its goroutine touches it. Whatever takes
// time runs beside it and reports back through done.
type run struct {
	f    *Fleet
	ctx  context.Context
	log  hclog.Logger
	wg   sync.WaitGroup
	done chan func()

	plans   map[string]*Plan
	applied map[string]Applied // nil: not known yet
	version int                // of both

	world   *world // what the Store shows; nil: not read yet
	lost    error  // why it does not any more
	learned map[string]learned
	absent  map[string]absent
	doubt   time.Time            // until when what the watch shows may be gone
	asked   time.Time            // when the keys themselves were asked last
	writing map[string]bool      // states on their way, by service
	refused map[string]time.Time // when to write those again whose writing failed

	session  session
	presence map[string]*presence // what is published, by service; "" is the balancer itself
	sending  int
	due      time.Time // when to look for what is to be published
	again    bool      // now

	watching map[string]*watching
	vetoes   map[string]*veto
	most     map[string]most
	left     map[string]map[string]departed

	looked  map[string]look // when each plan was looked at by the leader
	orphans map[string]time.Time
	known   map[string]bool // services whose document was seen in this process
	logged  map[string]Applied
	audits  map[string]*audit

	told  map[string]State
	led   bool      // as shown
	seen  time.Time // when the view was made
	dirty bool
	said  map[string]string // what was logged last of a trouble
}

func newRun(f *Fleet, ctx context.Context) *run {
	r := &run{
		f: f, ctx: ctx, log: f.Logger, done: make(chan func()),
		learned: map[string]learned{}, absent: map[string]absent{},
		writing: map[string]bool{}, refused: map[string]time.Time{},
		presence: map[string]*presence{}, watching: map[string]*watching{}, vetoes: map[string]*veto{},
		most: map[string]most{}, left: map[string]map[string]departed{},
		looked: map[string]look{}, orphans: map[string]time.Time{}, known: map[string]bool{},
		logged: map[string]Applied{}, audits: map[string]*audit{}, said: map[string]string{},
	}
	if r.log == nil {
		r.log = hclog.NewNullLogger()
	}
	return r
}

// apart runs do beside the loop, with the time that a call of the Store may
// take, and then what it returns in the loop.
func (r *run) apart(do func(context.Context) func()) {
	r.wg.Go(func() {
		then := do(r.ctx)
		select {
		case r.done <- then:
		case <-r.ctx.Done():
		}
	})
}

// call bounds one call of the Store.
func call[T any](ctx context.Context, do func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, storeLimit)
	defer cancel()
	return do(ctx)
}

// rest is how long nothing is to be done unless something happens.
func (r *run) rest() time.Duration {
	if len(r.plans)+len(r.vetoes) > 0 || r.sending > 0 {
		return busyTick
	}
	return min(idleTick, max(time.Until(r.due), busyTick))
}

// turn does whatever is due.
func (r *run) turn(now time.Time) {
	r.take()
	r.keepSession(now)
	r.elect(now)
	r.record()
	r.judge(now)
	r.lead(now)
	r.writeVetoes(now)
	r.tell()
	r.publish(now)
	r.writeAudits(now)
	r.show(now)
}

// take takes in what the setters were given.
func (r *run) take() {
	r.f.mu.Lock()
	plans, applied, version := r.f.plans, r.f.applied, r.f.version
	r.f.mu.Unlock()
	if version == r.version {
		return
	}
	r.plans, r.applied, r.version, r.again, r.dirty = plans, applied, version, true, true
	for service := range applied {
		r.known[service] = true
	}
}

// say logs a trouble when it begins, when it changes and when it is over.
func (r *run) say(what string, err error, args ...any) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if r.said[what] == text {
		return
	}
	r.said[what] = text
	if err != nil {
		r.log.Warn(what+" failed, trying again", append(args, "error", err)...)
		return
	}
	delete(r.said, what)
	r.log.Info(what+" works again", args...)
}

// leave gives up the session, and with it the lock and what was published.
func (r *run) leave() {
	if r.session.id == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), time.Second)
	defer cancel()
	if r.leads(time.Now()) {
		// A lock that goes with its session cannot be had at once by another.
		_ = r.f.Store.Delete(ctx, LeaderKey)
	}
	if err := r.f.Store.EndSession(ctx, r.session.id); err != nil {
		r.log.Warn("the session was not ended; Consul will, with what is published", "error", err)
	}
}
