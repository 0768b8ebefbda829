package daemon

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Failure is why a connection got no answer.
type Failure string

const (
	Late    Failure = "late"    // the request or the reading of the answer took too long
	Half    Failure = "half"    // the client closed before the end of its request
	Crowded Failure = "crowded" // too many connections: the one that was open for longest is closed
	Broken  Failure = "broken"  // anything else
)

// Meter is told what was answered. It is called from many goroutines and must
// not block.
type Meter interface {
	// Answered is told an answer, and how long the client had been connected.
	Answered(service string, a Answer, took time.Duration)
	// Failed is told of a connection that got none.
	Failed(service string, why Failure)
}

// Metrics is the Meter that counts in Prometheus's registry.
type Metrics struct {
	answers, failures, unknown *prometheus.CounterVec
	seconds                    *prometheus.HistogramVec
}

// NewMetrics registers the metrics.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		answers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lb_daemon_answers_total", Help: "Answers to other proxies, by arm (master, canary) and by what was asked (first, held, unreadable).",
		}, []string{"service", "arm", "asked"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lb_daemon_failures_total", Help: "Connections of other proxies that got no answer, by reason (late, half, crowded, broken).",
		}, []string{"service", "reason"}),
		unknown: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lb_daemon_unknown_total", Help: "Answers that were master because no share was known.",
		}, []string{"service"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "lb_daemon_answer_seconds", Help: "From the connection to its answer.",
			Buckets: []float64{.0001, .0005, .001, .005, .01, .05, .1, .5, 1},
		}, []string{"service"}),
	}
	r.MustRegister(m.answers, m.failures, m.unknown, m.seconds)
	return m
}

// Answered implements Meter.
func (m *Metrics) Answered(service string, a Answer, took time.Duration) {
	m.answers.WithLabelValues(service, string(a.Arm), string(a.Asked)).Inc()
	if !a.Known {
		m.unknown.WithLabelValues(service).Inc()
	}
	m.seconds.WithLabelValues(service).Observe(took.Seconds())
}

// Failed implements Meter.
func (m *Metrics) Failed(service string, why Failure) {
	m.failures.WithLabelValues(service, string(why)).Inc()
}

// nobody is the Meter that counts nothing.
type nobody struct{}

func (nobody) Answered(string, Answer, time.Duration) {}
func (nobody) Failed(string, Failure)                 {}
