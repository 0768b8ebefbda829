package evidence

import (
	"maps"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Sample is one request that was assigned to an arm by chance, turn or key while
// both arms could serve. Requests that a rule, an empty arm or a limit assigned,
// and mirrored ones, are no samples.
type Sample struct {
	Canary bool    // the arm first chosen, also when a retry on the other saved the request
	Ratio  float64 // the canary's share when it was drawn, 0 < Ratio < 1; others are not counted
	Failed bool    // its first attempt
	Took   time.Duration
	// Gone is set where the client went away before an answer: how that would have
	// been nobody knows, so it counts only where it had taken too long already.
	Gone   bool
	Key    uint64 // the client's position, where HasKey
	HasKey bool
	Addr   string // of the instance first tried, for its warm-up
}

// freezeAfter is how many of stable's answers make thresholds of latency. What
// failed is none of them: it may have failed at once.
const freezeAfter = 1000

// Recorder counts the samples of one rollout in one balancer. It is safe for
// concurrent use. Without stickiness it takes 15 KiB, with it 259 KiB more, and
// then 128 KiB for each threshold of latency, once there is something to count.
type Recorder struct {
	cfg     Config
	shards  []shard
	firsts  *firsts // nil unless sticky
	step    atomic.Uint64
	against atomic.Uint64
	warming atomic.Pointer[warming] // nil: nothing warms up

	times  *times // of stable's answers; nil unless SlowAuto
	limits [2]atomic.Int64
	freeze sync.Mutex // held while limits are taken from times
}

// shard is a part of the counts, so that processors seldom wait for each other.
type shard struct {
	mu                 sync.Mutex
	requests, failures [2]uint64
	slow               [2]uint64 // over the first threshold
	ledger             ledger    // empty where sticky
	_                  [64]byte
}

const shards = 8 // a power of two

// NewRecorder returns a Recorder that has seen nothing.
func NewRecorder(cfg Config) *Recorder {
	cfg = cfg.filled()
	r := &Recorder{cfg: cfg, shards: make([]shard, shards)}
	passes := better(cfg.Margin)
	for i := range r.shards {
		r.shards[i].ledger.better = passes
	}
	if cfg.Sticky {
		r.firsts = newFirsts(passes, cfg.latency())
	}
	if cfg.SlowAuto {
		r.times = new(times)
	} else {
		r.limits[0].Store(int64(cfg.Slow))
	}
	return r
}

// Record takes in one sample. A nil Recorder takes nothing. It allocates
// nothing but a bitmap at the first event of its kind.
func (r *Recorder) Record(s Sample) {
	if r == nil || !(s.Ratio > 0 && s.Ratio < 1) {
		return
	}
	ratio, exact := s.Ratio, true
	if w := r.warming.Load(); w != nil {
		if ratio = w.ratio(s); ratio == 0 {
			return
		}
		exact = false
	}
	is := seen{failed: s.Failed, slow: r.exceeds(0, s.Took), slower: r.exceeds(1, s.Took), drawn: true}
	if s.Gone && !is[slow] {
		return
	}
	arm := 0
	if s.Canary {
		arm = 1
		r.step.Add(1)
	}

	sh := &r.shards[rand.Uint32()&uint32(len(r.shards)-1)]
	sh.mu.Lock()
	sh.requests[arm]++
	if s.Failed {
		sh.failures[arm]++
	}
	if is[slow] {
		sh.slow[arm]++
	}
	if r.firsts == nil {
		sh.ledger.see(ratio, exact, arm, is)
	}
	sh.mu.Unlock()

	if r.firsts != nil {
		r.firsts.see(s.Key, s.HasKey, ratio, exact, arm, is)
	}
	if s.Canary && (is[failed] || is[slow] || is[slower]) {
		r.against.Add(1)
	}
	if r.times != nil && !s.Canary && !s.Failed && !s.Gone {
		if r.times.add(s.Took) >= freezeAfter && r.limits[0].Load() == 0 {
			r.freezeLimits()
		}
	}
}

// exceeds reports whether d is over a threshold of latency that is set.
func (r *Recorder) exceeds(limit int, d time.Duration) bool {
	l := r.limits[limit].Load()
	return l > 0 && int64(d) > l
}

// freezeLimits makes thresholds of what stable took since they were made last.
func (r *Recorder) freezeLimits() {
	r.freeze.Lock()
	defer r.freeze.Unlock()
	if r.times.n.Load() < freezeAfter {
		return
	}
	p95, p99 := r.times.take()
	r.limits[1].Store(int64(p99))
	r.limits[0].Store(int64(p95))
}

// Against counts what was seen that speaks against the canary: its failures and
// slow requests. While it stays the same no verdict turns to worse. It costs
// less than Tally.
func (r *Recorder) Against() uint64 {
	if r == nil {
		return 0
	}
	return r.against.Load()
}

// Tally returns what was seen.
func (r *Recorder) Tally() Tally {
	if r == nil {
		return Tally{}
	}
	t := Tally{Balancers: 1}
	var logs ratios
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		for arm := range 2 {
			t.Requests[arm] += s.requests[arm]
			t.Failures[arm] += s.failures[arm]
			t.Slow[arm] += s.slow[arm]
		}
		sum := s.ledger.sum()
		s.mu.Unlock()
		both(&logs, &sum, func(all, one *Logs, _ int) { *all = all.plus(*one) })
	}
	if r.firsts != nil {
		logs = r.firsts.sum()
		t.Keyed = true
	}
	t.Worse, t.Better, t.Split = logs.worse, logs.better, logs.split
	t.Step = r.step.Load()
	for i := range t.Limits {
		t.Limits[i] = time.Duration(r.limits[i].Load())
	}
	return t
}

// Step says that the rollout has come to another step: thresholds of latency are
// frozen, and Tally.Step starts again.
func (r *Recorder) Step() {
	if r == nil {
		return
	}
	r.step.Store(0)
	if r.times != nil {
		r.freezeLimits()
	}
}

// Warming says which instances are in their warm-up: their requests do not
// count. stable is the share of stable's capacity that is not warming up; while
// all canaries warm up (canary is false) nothing counts. Nil addrs is none.
func (r *Recorder) Warming(addrs map[string]bool, stable float64, canary bool) {
	if r == nil {
		return
	}
	if len(addrs) == 0 && stable >= 1 && canary {
		r.warming.Store(nil)
		return
	}
	if !(stable >= 0) {
		stable = 0
	}
	r.warming.Store(&warming{addrs: maps.Clone(addrs), stable: min(stable, 1), canary: canary})
}

// warming is which instances do not count.
type warming struct {
	addrs  map[string]bool
	stable float64 // share of stable's capacity that counts
	canary bool    // some canary counts
}

// ratio returns the greatest share that the canary can have among the requests
// that count, 0 for one that does not. It is the very share where no canary
// warms up; where one does it is more, which speaks for the canary.
func (w *warming) ratio(s Sample) float64 {
	if !w.canary || w.stable == 0 || w.addrs[s.Addr] {
		return 0
	}
	r := s.Ratio / (s.Ratio + (1-s.Ratio)*w.stable)
	if r >= 1 {
		return 0
	}
	return r
}
