package rollout

import (
	"github.com/prometheus/client_golang/prometheus"
)

// Metrics of a Fleet. A nil *Metrics counts nothing. Series of a service go with
// its rollout, or its document.
type Metrics struct {
	leader      prometheus.Gauge
	balancers   prometheus.Gauge
	vetoes      prometheus.Counter
	phase       *prometheus.GaugeVec   // service, phase
	step        *prometheus.GaugeVec   // service
	evidence    *prometheus.GaugeVec   // service
	behind      *prometheus.GaugeVec   // service
	transitions *prometheus.CounterVec // service, kind

	phases  map[string]Phase // as shown
	counted map[string]bool  // services in transitions
}

// NewMetrics registers the metrics of a Fleet.
func NewMetrics(r prometheus.Registerer) *Metrics {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	gauges := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
	}
	m := &Metrics{
		leader:    gauge("lb_canary_leader", "1 when this balancer takes the steps of all rollouts."),
		balancers: gauge("lb_canary_balancers", "Balancers that take part in rollouts, this one among them."),
		vetoes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "lb_canary_vetoes_total",
			Help: "Rollouts that this balancer stopped for what it had seen by itself.",
		}),
		phase:    gauges("lb_canary_phase", "1 for the phase that a rollout is in.", "service", "phase"),
		step:     gauges("lb_canary_step", "Step of its plan that a rollout is in, from 0.", "service"),
		evidence: gauges("lb_canary_evidence", "Evidence (E) that the canary is worse, from what all balancers have published.", "service"),
		behind:   gauges("lb_canary_behind", "Balancers that have not applied the newest document.", "service"),
		transitions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lb_canary_transitions_total",
			Help: "What this balancer did to rollouts, by kind of event.",
		}, []string{"service", "kind"}),
		phases: map[string]Phase{}, counted: map[string]bool{},
	}
	r.MustRegister(m.leader, m.balancers, m.vetoes, m.phase, m.step, m.evidence, m.behind, m.transitions)
	return m
}

func (m *Metrics) vetoed() {
	if m != nil {
		m.vetoes.Inc()
	}
}

func (m *Metrics) happened(e Event) {
	if m != nil {
		m.transitions.WithLabelValues(e.Service, e.Kind).Inc()
		m.counted[e.Service] = true
	}
}

// show takes in the present state of everything. It must not be called concurrently.
func (m *Metrics) show(v view) {
	if m == nil {
		return
	}
	leads := 0.0
	if v.leads {
		leads = 1
	}
	m.leader.Set(leads)
	m.balancers.Set(float64(len(v.balancers(""))))
	for service, was := range m.phases {
		if v.plans[service] == nil {
			m.phase.DeleteLabelValues(service, string(was))
			m.step.DeleteLabelValues(service)
			m.evidence.DeleteLabelValues(service)
			m.behind.DeleteLabelValues(service)
			delete(m.phases, service)
		}
	}
	for service := range m.counted {
		if _, ok := v.applied[service]; !ok && v.plans[service] == nil {
			m.transitions.DeletePartialMatch(prometheus.Labels{"service": service})
			delete(m.counted, service)
		}
	}
	for service, p := range v.plans {
		s := v.states[service]
		if s.ID != p.ID || s.Phase == "" {
			s = State{Phase: Idle}
		}
		if was, ok := m.phases[service]; ok && was != s.Phase {
			m.phase.DeleteLabelValues(service, string(was))
		}
		m.phases[service] = s.Phase
		m.phase.WithLabelValues(service, string(s.Phase)).Set(1)
		m.step.WithLabelValues(service).Set(float64(s.Step))
		m.evidence.WithLabelValues(service).Set(v.pooled[service].E)
		behind := 0
		for _, n := range v.balancers(service) {
			if n.Behind {
				behind++
			}
		}
		m.behind.WithLabelValues(service).Set(float64(behind))
	}
}
