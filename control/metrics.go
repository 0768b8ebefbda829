package control

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"serin/route"
)

// Metrics of a Loop and a Saver. A nil *Metrics counts nothing.
type Metrics struct {
	builds, panics, saveErrors prometheus.Counter
	builtAt, tookIn, savedAt   prometheus.Gauge
	table                      atomic.Pointer[route.Table] // in force: counted when somebody looks
}

// NewMetrics registers the metrics of a Loop and a Saver.
func NewMetrics(r prometheus.Registerer) *Metrics {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
		r.MustRegister(c)
		return c
	}
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
		r.MustRegister(g)
		return g
	}
	m := &Metrics{
		builds:     counter("lb_table_builds_total", "Routing tables that were built and put in force."),
		panics:     counter("lb_table_build_panics_total", "Builds that failed and left the last table in force. Anything but 0 is a defect."),
		builtAt:    gauge("lb_table_built_timestamp_seconds", "When the table in force was built."),
		tookIn:     gauge("lb_table_build_duration_seconds", "How long the last build took."),
		saveErrors: counter("lb_state_write_errors_total", "Failures to keep the state on disk."),
		savedAt:    gauge("lb_state_written_timestamp_seconds", "When the state was last kept on disk."),
	}
	look := func(name, help string, value func(*route.Table) int) {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 {
			return float64(value(m.table.Load()))
		}))
	}
	look("lb_table_routes", "Routes of the table in force.", (*route.Table).Len)
	look("lb_table_problems", "Tags and other facts that the table in force refuses.", func(t *route.Table) int { return len(t.Problems()) })
	return m
}

func (m *Metrics) built(t *route.Table, took time.Duration) {
	if m == nil {
		return
	}
	m.builds.Inc()
	m.table.Store(t)
	m.builtAt.SetToCurrentTime()
	m.tookIn.Set(took.Seconds())
}

func (m *Metrics) panicked() {
	if m != nil {
		m.panics.Inc()
	}
}

func (m *Metrics) saved(err error) {
	switch {
	case m == nil:
	case err != nil:
		m.saveErrors.Inc()
	default:
		m.savedAt.SetToCurrentTime()
	}
}
