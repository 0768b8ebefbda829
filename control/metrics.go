package control

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"serin/route"
)

// Metrics of a Loop and a Saver. A nil *Metrics counts nothing.
type Metrics struct {
	builds, panics, saveErrors        prometheus.Counter
	routes, problems, builtAt, tookIn prometheus.Gauge
	savedAt                           prometheus.Gauge
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
	return &Metrics{
		builds:     counter("lb_table_builds_total", "Routing tables that were built and put in force."),
		panics:     counter("lb_table_build_panics_total", "Builds that failed and left the last table in force. Anything but 0 is a defect."),
		routes:     gauge("lb_table_routes", "Routes of the table in force."),
		problems:   gauge("lb_table_problems", "Tags and other facts that the table in force refuses."),
		builtAt:    gauge("lb_table_built_timestamp_seconds", "When the table in force was built."),
		tookIn:     gauge("lb_table_build_duration_seconds", "How long the last build took."),
		saveErrors: counter("lb_state_write_errors_total", "Failures to keep the state on disk."),
		savedAt:    gauge("lb_state_written_timestamp_seconds", "When the state was last kept on disk."),
	}
}

func (m *Metrics) built(t *route.Table, took time.Duration) {
	if m == nil {
		return
	}
	routes := 0
	for range t.Routes() {
		routes++
	}
	m.builds.Inc()
	m.routes.Set(float64(routes))
	m.problems.Set(float64(len(t.Problems())))
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
