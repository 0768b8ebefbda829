package webhook

import "github.com/prometheus/client_golang/prometheus"

// What became of an event for one address.
const (
	sent    = "sent"
	failed  = "failed"  // after all tries
	dropped = "dropped" // no room, or the balancer stopped
)

// Metrics of a Notifier. A nil *Metrics counts nothing.
type Metrics struct{ webhooks *prometheus.CounterVec }

// NewMetrics registers the metrics of a Notifier.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{webhooks: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "lb_canary_webhooks_total",
		Help: "Events of rollouts for webhooks, by what became of them: sent, failed after all tries, or dropped for want of room.",
	}, []string{"result"})}
	for _, result := range []string{sent, failed, dropped} {
		m.webhooks.WithLabelValues(result)
	}
	r.MustRegister(m.webhooks)
	return m
}

func (m *Metrics) count(result string) {
	if m != nil {
		m.webhooks.WithLabelValues(result).Inc()
	}
}
