package metrics

import (
	"cmp"
	"context"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"
)

const (
	defaultInterval = 30 * time.Second
	sendTime        = 10 * time.Second // for one batch
	firstBackoff    = time.Second      // after a failure, doubling up to
	lastBackoff     = time.Minute
	lastTime        = 2 * time.Second // for what is sent at the end
)

// Registry is where everything is counted: a prometheus.Registry.
type Registry interface {
	prometheus.Registerer
	prometheus.Gatherer
}

// Flusher gives each of its sinks, every interval, what the registry has
// counted since. It is made by NewFlusher.
type Flusher struct {
	registry Registry
	interval time.Duration
	log      hclog.Logger
	workers  []*worker
	failures *prometheus.CounterVec
}

// NewFlusher returns the flusher of the sinks, which may be none, and registers
// its own metric. An interval of 0 is 30 s; a nil log is silent.
func NewFlusher(r Registry, sinks []Sink, interval time.Duration, log hclog.Logger) *Flusher {
	if log == nil {
		log = hclog.NewNullLogger()
	}
	f := &Flusher{registry: r, interval: cmp.Or(interval, defaultInterval), log: log}
	f.failures = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "lb_metrics_send_errors_total", Help: "Batches of metrics that a sink did not take; what they count is sent later.",
	}, []string{"sink"})
	r.MustRegister(f.failures)
	for _, s := range sinks {
		f.workers = append(f.workers, &worker{sink: s, latest: make(chan []series, 1), log: log.With("sink", s.Name()), failures: f.failures.WithLabelValues(s.Name())})
	}
	return f
}

// Run sends until ctx ends, and then once more, for which sinks have 2 s. It
// must be called at most once. What fails is tried again, and said in the log:
// the error is always nil.
func (f *Flusher) Run(ctx context.Context) error {
	if len(f.workers) == 0 {
		<-ctx.Done()
		return nil
	}
	sending, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	var wg sync.WaitGroup
	for _, w := range f.workers {
		wg.Go(func() { w.run(sending) })
	}
	tick := time.NewTicker(f.interval)
	defer tick.Stop()
	for over := false; !over; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			over = true
		}
		families, err := f.registry.Gather()
		if err != nil {
			f.log.Debug("not all metrics could be gathered", "error", err)
		}
		all := flatten(families)
		for _, w := range f.workers {
			w.offer(all)
		}
	}
	for _, w := range f.workers {
		close(w.latest)
	}
	done := make(chan struct{})
	go func() {
		wg.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(lastTime):
		cut()
		select { // a sink that does not heed its context is left behind
		case <-done:
		case <-time.After(lastTime / 4):
		}
	}
	return nil
}

// worker serves one sink, so that none waits for another.
type worker struct {
	sink     Sink
	log      hclog.Logger
	failures prometheus.Counter
	latest   chan []series // one at most: the newest; closed at the end
	sent     map[string]state
	backoff  time.Duration // 0 while all is well
}

// offer hands over what was gathered, in place of what the sink had no time
// for. One goroutine calls it; it never waits.
func (w *worker) offer(all []series) {
	select {
	case <-w.latest:
	default:
	}
	w.latest <- all
}

func (w *worker) run(ctx context.Context) {
	var next []series
	var retry <-chan time.Time
	for open := true; open; {
		select {
		case all, ok := <-w.latest:
			if open = ok; ok {
				next = all
			}
			if open && retry != nil {
				continue // it waits with what is newest by then
			}
		case <-retry:
		}
		retry = nil
		if next == nil {
			continue
		}
		if err := w.send(ctx, next); err != nil {
			w.failed(err)
			retry = time.After(w.backoff)
			continue
		}
		next = nil
		if w.backoff > 0 {
			w.log.Info("metrics are sent again")
			w.backoff = 0
		}
	}
}

// send sends what is new since the last batch that was taken.
func (w *worker) send(ctx context.Context, all []series) error {
	samples, now := since(w.sent, all)
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	if err := w.sink.Send(ctx, samples); err != nil {
		return err
	}
	w.sent = now
	return nil
}

func (w *worker) failed(err error) {
	w.failures.Inc()
	level := hclog.Debug
	if w.backoff == 0 {
		level = hclog.Warn
	}
	w.backoff = min(max(2*w.backoff, firstBackoff), lastBackoff)
	w.log.Log(level, "metrics cannot be sent, trying again", "error", err, "after", w.backoff)
}
