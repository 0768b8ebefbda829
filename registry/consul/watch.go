package consul

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"serin/registry"

	"github.com/hashicorp/consul/api"
	"github.com/hashicorp/go-hclog"
)

// WatchConfig says what a [Watcher] follows and how. The zero value follows the
// services of the agent's datacenter that carry a tag with the prefix urlprefix-.
type WatchConfig struct {
	// TagPrefix: a service is followed when a tag of any instance starts with
	// it. Empty means "urlprefix-".
	TagPrefix string
	// Policy decides which instances may get traffic.
	Policy registry.Policy
	// Datacenter other than the agent's own. In another datacenter our own
	// registration cannot serve as proof, see [Watcher].
	Datacenter string
	// Wait is how long Consul keeps a query open when nothing changes; raising
	// it saves requests and makes a dead connection be noticed later. Zero, and
	// anything above, mean 30 s.
	Wait time.Duration
	// MaxStreams is how many services are followed by an open query each over
	// HTTP/1.1, where each one costs a connection to the agent; with more services
	// the Watcher listens for the bells instead. Zero, and anything above, mean 48.
	// Over HTTPS, where agents speak HTTP/2, it does not count: there are as many
	// as there are services.
	MaxStreams int
	// ConfirmHold is the longest time that a service is kept because Consul lost
	// its state. Zero means 10 minutes.
	ConfirmHold time.Duration
	// Sweep is how long it takes to read every service again where bells are
	// listened to, to correct what none told. It takes longer where the agent
	// would spend more than a twentieth of a core on it. Zero means 2 minutes.
	Sweep time.Duration
}

const maxStreams = 48

func (c WatchConfig) withDefaults() WatchConfig {
	c.TagPrefix = cmp.Or(c.TagPrefix, "urlprefix-")
	c.Wait = min(cmp.Or(c.Wait, maxWait), maxWait)
	c.MaxStreams = min(cmp.Or(c.MaxStreams, maxStreams), maxStreams)
	c.ConfirmHold = cmp.Or(c.ConfirmHold, 10*time.Minute)
	c.Sweep = cmp.Or(c.Sweep, 2*time.Minute)
	return c
}

// Watcher keeps a [registry.Snapshot] of the services that carry a tag with the
// prefix, and of those asked for by Follow. Connect proxies and gateways are
// never instances.
//
// # Last known good
//
// An error never removes an instance. An answer that lacks what was known (no
// instance is left, or half of them are gone, or where ACLs are on, any is gone)
// counts only when a read by Consul's leader says so too, and:
//
//   - the answer is not marked as filtered by ACLs;
//   - where ACLs are on, Consul's index has moved since: permissions that are
//     taken away hide instances without moving it;
//   - where no instance is left, an instance that our [Client] registered is
//     visible in the same kind of read. Without a registration (or in another
//     datacenter), Consul's own servers, known from before, must be visible, and
//     the index must have moved on.
//
// Such an answer is obeyed at once, which is within milliseconds of a real
// deregistration. Otherwise the old state is kept, [registry.Service].Hold says
// why, and the question is put again at least every 2 s.
//
// When the Client had to register again, or Consul's index went back, Consul has
// lost its state: services known from before are kept until they come back, for
// ConfirmHold at most.
// What comes back counts at once, healthy or not; only instances that Consul has
// not checked yet do not replace ready ones, for 30 s at most.
//
// Remaining risk: the agent's default or the anonymous token loses service:read
// for a service and not for ours, and in the same moment that service's index
// moves for another reason; or a service known only from disk is hidden so.
// Consul marks filtered answers for tokens that a client sends, so send one.
//
// # Concurrency
//
// Run is called once. All other methods may be called at any time, by anyone.
type Watcher struct {
	client *Client
	cfg    WatchConfig
	log    hclog.Logger

	first  chan struct{} // closed at the first full picture
	asked  signal        // Follow was called
	status atomic.Pointer[WatchStatus]

	reads, errs, corrections atomic.Uint64

	mu      sync.Mutex         // guards what follows
	extra   map[string]bool    // Follow's names
	resumed *registry.Snapshot // Resume's, until Run
}

// NewWatcher returns a Watcher that reads through c. It starts nothing; a nil
// log is silence.
func NewWatcher(c *Client, cfg WatchConfig, log hclog.Logger) *Watcher {
	if log == nil {
		log = hclog.NewNullLogger()
	}
	w := &Watcher{client: c, cfg: cfg.withDefaults(), log: log, first: make(chan struct{})}
	w.status.Store(&WatchStatus{Mode: Streams, Stale: true})
	return w
}

// Resume gives the Watcher a picture from an earlier run, to be published first
// and corrected by what Consul says. It is called before Run.
func (w *Watcher) Resume(s *registry.Snapshot) {
	w.mu.Lock()
	w.resumed = s
	w.mu.Unlock()
}

// Follow names services to follow besides those that carry the tag, in place of
// the names of the last call.
func (w *Watcher) Follow(names []string) {
	extra := make(map[string]bool, len(names))
	for _, n := range names {
		extra[n] = true
	}
	w.mu.Lock()
	w.extra = extra
	w.mu.Unlock()
	w.asked.fire()
}

// First is closed when the first full picture was published: every service of
// the first answer about the catalog was read, or is being held, or could not be
// read for 10 s.
func (w *Watcher) First() <-chan struct{} { return w.first }

// Ready tells whether First is closed.
func (w *Watcher) Ready() bool {
	select {
	case <-w.first:
		return true
	default:
		return false
	}
}

// Mode is how changes are noticed.
type Mode string

const (
	Streams Mode = "streams" // an open query for each service
	Bell    Mode = "bell"    // open queries on lists that change when anything does
)

// WatchStatus is what a Watcher knows about itself.
type WatchStatus struct {
	Mode     Mode `json:"mode"`
	Services int  `json:"services"` // followed
	Streams  int  `json:"streams"`  // open queries on services
	// Connections carry the streams over HTTP/2; 0 over HTTP/1.1, where each
	// stream has its own.
	Connections int    `json:"connections"`
	Reads       uint64 `json:"reads"`  // good answers so far
	Errors      uint64 `json:"errors"` // failed reads so far
	// ReadsPerSecond are the good answers of the last 10 to 20 s.
	ReadsPerSecond float64 `json:"reads_per_second"`
	// Corrections are the services that the sweep, or another look at what a
	// stream told, found changed although neither a bell nor a stream had told it.
	Corrections uint64 `json:"sweep_corrections"`
	// OldestAnswer is the age of the last good answer about the service that
	// was not heard of for longest; zero when none is followed.
	OldestAnswer time.Duration `json:"oldest_answer"`
	LastContact  time.Time     `json:"last_contact"` // last good answer of any kind; zero: none yet
	// Stale: the picture may be older than Consul's: the catalog cannot be read,
	// Consul has no leader, something is held, or an answer is overdue.
	Stale  bool `json:"stale"`
	Denied bool `json:"denied"` // Consul refuses or hides something from our token
	// LastError is that of the last read that failed, however long ago.
	LastError string `json:"last_error,omitempty"`
	Holds     []Hold `json:"holds,omitempty"` // ordered by service

	oldest time.Time // when the service not heard of for longest was
	due    time.Time // the same, where a bell speaks for all services
	wait   time.Duration
	since  mark
}

// mark is how many answers there had been at a moment.
type mark struct {
	at    time.Time
	reads uint64
}

// markPeriod is the time between two marks.
const markPeriod = 10 * time.Second

// Hold is one service whose older state is kept against what Consul says.
type Hold struct {
	Service string    `json:"service"`
	Reason  string    `json:"reason"`
	Since   time.Time `json:"since"`
}

// Status returns the present status. Its Holds are not to be written to.
func (w *Watcher) Status() WatchStatus {
	s, now := *w.status.Load(), time.Now()
	s.Reads, s.Errors, s.Corrections = w.reads.Load(), w.errs.Load(), w.corrections.Load()
	s.Connections = w.client.lanes.used()
	if d := now.Sub(s.since.at); !s.since.at.IsZero() && d > 0 && s.Reads > s.since.reads {
		s.ReadsPerSecond = float64(s.Reads-s.since.reads) / d.Seconds()
	}
	if !s.oldest.IsZero() {
		s.OldestAnswer = max(0, now.Sub(s.oldest))
		s.Stale = s.Stale || now.Sub(s.due) > 2*s.wait
	}
	return s
}

// Run follows Consul until ctx ends, then returns nil. It calls publish with
// each new Snapshot, from one goroutine, and waits for it. Nothing is published
// before the first full picture but what Resume gave. What did not change keeps
// its *registry.Service.
func (w *Watcher) Run(ctx context.Context, publish func(*registry.Snapshot)) error {
	ctx, cancel := context.WithCancel(ctx)
	l := newLoop(ctx, w, publish)
	l.run()
	cancel()
	l.wg.Wait()
	return nil
}

// count keeps the numbers of reads, and classifies the error of one.
func (w *Watcher) count(op string, err error) error {
	if err == nil {
		w.reads.Add(1)
		return nil
	}
	w.errs.Add(1)
	return w.client.classify(op, err)
}

// lastReading is what the last answer of a query was made of: one that is the
// same byte for byte is not decoded again.
type lastReading struct {
	sum     uint64
	reading reading
}

var bodySeed = maphash.MakeSeed()

// readService reads one service as q says. A lane and last are for queries that
// stay open; they may be nil.
func (w *Watcher) readService(ctx context.Context, lane *lane, name string, q *api.QueryOptions, last *lastReading) (reading, *api.QueryMeta, error) {
	var r reading
	meta, err := w.client.read(ctx, lane, servicePath(name), q, func(body []byte) error {
		sum := maphash.Bytes(bodySeed, body)
		if last != nil && last.reading.svc != nil && last.sum == sum {
			r = last.reading
			return nil
		}
		if err := checkList(body); err != nil {
			return err
		}
		var entries []*api.ServiceEntry
		err := json.Unmarshal(body, &entries)
		if err == nil {
			r, err = toService(name, entries, w.cfg.Policy)
		}
		if last != nil && err == nil {
			*last = lastReading{sum, r}
		}
		return err
	})
	if err == nil {
		r.acl = meta.DefaultACLPolicy != ""
	}
	return r, meta, w.count(fmt.Sprintf("read service %q", name), err)
}

// checkList tells a list from null, which Consul answers to no read.
func checkList(body []byte) error {
	if b := bytes.TrimSpace(body); len(b) == 0 || b[0] != '[' {
		return fmt.Errorf("%w: not a list, but %.40q", ErrDecode, b)
	}
	return nil
}
