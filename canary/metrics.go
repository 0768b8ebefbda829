package canary

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics of a Controller. A nil *Metrics counts nothing. The label service is
// the Consul service, "*" for the document of all others; its series go with
// the document. What is in force is told by [Metrics.InForce].
type Metrics struct {
	share    *prometheus.GaugeVec // service, kind
	valid    *prometheus.GaugeVec // service
	errors   prometheus.Counter
	asserted prometheus.Counter
	inForce  map[string]float64 // as InForce was told last
	lost     atomic.Int64       // unix nanoseconds since when the source is lost, 0 while it answers
}

// NewMetrics registers the metrics of a Controller.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		share: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "lb_canary_share",
			Help: "Share of requests for the canary, 0 to 1: what the document asks for (wanted), and what the routing table makes of it (effective).",
		}, []string{"service", "kind"}),
		valid: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "lb_canary_config_valid",
			Help: "1 when the newest canary document is in force, 0 when it was refused.",
		}, []string{"service"}),
		errors: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "lb_canary_config_errors_total",
			Help: "Canary documents that were refused.",
		}),
		asserted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "lb_canary_assertions_total",
			Help: "Effective shares outside 0..1 that were replaced by 0. Anything but 0 is a defect.",
		}),
	}
	age := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "lb_canary_source_age_seconds",
		Help: "Seconds since the source of canary documents was lost, 0 while it answers.",
	}, func() float64 {
		if since := m.lost.Load(); since != 0 {
			return max(0, time.Since(time.Unix(0, since)).Seconds())
		}
		return 0
	})
	r.MustRegister(m.share, m.valid, m.errors, m.asserted, age)
	return m
}

// InForce takes in what the table in use makes of all documents: the canary's
// share by service, "" for all others. It must not be called concurrently.
func (m *Metrics) InForce(shares map[string]float64) {
	if m == nil {
		return
	}
	for service := range m.inForce {
		if _, ok := shares[service]; !ok {
			m.share.DeleteLabelValues(Label(service), "effective")
		}
	}
	for service, share := range shares {
		m.share.WithLabelValues(Label(service), "effective").Set(share)
	}
	m.inForce = shares
}

func (m *Metrics) set(service string, wanted float64, valid bool) {
	if m == nil {
		return
	}
	service = Label(service)
	m.share.WithLabelValues(service, "wanted").Set(wanted)
	v := 0.0
	if valid {
		v = 1
	}
	m.valid.WithLabelValues(service).Set(v)
}

func (m *Metrics) forget(service string) {
	if m != nil {
		m.share.DeleteLabelValues(Label(service), "wanted")
		m.valid.DeleteLabelValues(Label(service))
	}
}

func (m *Metrics) refused() {
	if m != nil {
		m.errors.Inc()
	}
}

func (m *Metrics) assertion() {
	if m != nil {
		m.asserted.Inc()
	}
}

func (m *Metrics) sourceLost(since time.Time) {
	switch {
	case m == nil:
	case since.IsZero():
		m.lost.Store(0)
	default:
		m.lost.Store(since.UnixNano())
	}
}
