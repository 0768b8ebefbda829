package metrics

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// recorder is a sink that can be made to fail or to hang.
type recorder struct {
	name string
	mu   sync.Mutex
	sums []float64 // of lb_x_total, by batch; 0 where it did not move
	at   []time.Duration
	from time.Time
	err  error
	hang chan struct{} // nil: does not; deaf to the context
}

func (r *recorder) Name() string { return r.name }

func (r *recorder) Send(ctx context.Context, samples []Sample) error {
	if r.hang != nil {
		<-r.hang
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		r.at = append(r.at, time.Since(r.from))
		return r.err
	}
	sum := 0.0
	for _, s := range samples {
		if s.Name == "lb_x_total" {
			sum += s.Value
		}
	}
	r.sums, r.at = append(r.sums, sum), append(r.at, time.Since(r.from))
	return nil
}

func (r *recorder) set(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

func (r *recorder) total() (sum float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.sums {
		sum += s
	}
	return sum
}

// flusher runs one until stop is called, which returns how long the end took.
func flusher(t *testing.T, sinks ...Sink) (count prometheus.Counter, r *prometheus.Registry, stop func() time.Duration) {
	r = prometheus.NewRegistry()
	count = prometheus.NewCounter(prometheus.CounterOpts{Name: "lb_x_total"})
	r.MustRegister(count)
	f := NewFlusher(r, sinks, 10*time.Second, nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	return count, r, func() time.Duration {
		start := time.Now()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		return time.Since(start)
	}
}

func TestFlusher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &recorder{name: "a", from: time.Now()}
		count, _, stop := flusher(t, s)
		count.Add(1)
		time.Sleep(10*time.Second + time.Millisecond)
		count.Add(2)
		time.Sleep(10 * time.Second)
		count.Add(4)
		if took := stop(); took != 0 {
			t.Errorf("the end took %v", took)
		}
		if len(s.sums) != 3 || s.sums[0] != 1 || s.sums[1] != 2 || s.sums[2] != 4 || s.at[0] != 10*time.Second || s.at[1] != 20*time.Second {
			t.Errorf("got %v at %v", s.sums, s.at)
		}
	})
}

// What a sink did not take it gets later, once; the wait between tries doubles.
func TestFlusherRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &recorder{name: "a", from: time.Now(), err: errors.New("refused")}
		good := &recorder{name: "b", from: time.Now()}
		count, r, stop := flusher(t, s, good)
		for range 12 {
			count.Inc()
			time.Sleep(10 * time.Second)
		}
		synctest.Wait()
		// 10 s, then after 1, 2, 4, 8, 16 and 32 s
		var got []string
		for _, at := range s.at {
			got = append(got, at.String())
		}
		if want := "10s 11s 13s 17s 25s 41s 1m13s"; strings.Join(got, " ") != want {
			t.Errorf("tried at %v, want %s", got, want)
		}
		s.set(nil)
		time.Sleep(time.Minute)
		count.Inc()
		stop()
		if s.total() != 13 || good.total() != 13 || len(good.sums) < 12 {
			t.Errorf("the sink that failed got %v, the other one %v of 13", s.sums, good.sums)
		}
		families, err := r.Gather()
		if err != nil {
			t.Fatal(err)
		}
		failures := ""
		for _, f := range flatten(families) {
			if f.name == "lb_metrics_send_errors_total" {
				failures += f.labels[0].Value + "=" + string(appendValue(nil, f.value)) + " "
			}
		}
		if failures != "a=7 b=0 " {
			t.Errorf("failures %s", failures)
		}
	})
}

// The last batch goes to a sink that is waiting to be tried again, too.
func TestFlusherEndsWithATry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &recorder{name: "a", from: time.Now(), err: errors.New("refused")}
		count, _, stop := flusher(t, s)
		time.Sleep(10*time.Second + time.Millisecond)
		s.set(nil)
		count.Inc()
		stop()
		if s.total() != 1 {
			t.Errorf("got %v", s.sums)
		}
	})
}

// A sink that hangs, and heeds no context, costs the others nothing, and the
// end 2.5 s.
func TestFlusherHungSink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hung := &recorder{name: "a", hang: make(chan struct{})}
		good := &recorder{name: "b", from: time.Now()}
		count, _, stop := flusher(t, hung, good)
		for range 10 {
			count.Inc()
			time.Sleep(10 * time.Second)
		}
		synctest.Wait()
		if good.total() != 10 || len(good.sums) != 10 {
			t.Errorf("beside a sink that hangs: %v", good.sums)
		}
		if took := stop(); took != lastTime+lastTime/4 {
			t.Errorf("the end took %v", took)
		}
		close(hung.hang)
	})
}

// stuck is a connection whose writes hang until their deadline.
type stuck struct{ wire }

func (s *stuck) Write([]byte) (int, error) {
	<-s.deadline
	return 0, os.ErrDeadlineExceeded
}

// A real sink that hangs heeds the time it has.
func TestSendTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &stuck{wire: wire{deadline: make(chan struct{})}}
		count, _, stop := flusher(t, &graphite{names: names(t, "", ""), dial: func(context.Context, string, string) (net.Conn, error) { return w, nil }})
		count.Inc()
		time.Sleep(10*time.Second + sendTime + time.Millisecond)
		select {
		case <-w.deadline:
		default:
			t.Errorf("a write hangs for more than %v", sendTime)
		}
		stop()
	})
}

func TestFlusherWithoutSinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, stop := flusher(t)
		time.Sleep(time.Hour)
		if took := stop(); took != 0 {
			t.Errorf("the end took %v", took)
		}
	})
}
