package proxy

import (
	"strconv"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics of the data plane. Its series are resolved once per service and arm
// and then held, so that a request costs counters only. It is safe for
// concurrent use.
type Metrics struct {
	requests *prometheus.CounterVec   // service, arm, code
	duration *prometheus.HistogramVec // service, arm
	failures *prometheus.CounterVec   // service, arm, class
	retries  *prometheus.CounterVec   // service
	panics   *prometheus.CounterVec   // service
	ejected  *prometheus.CounterVec   // service, class
	received *prometheus.CounterVec   // service
	sent     *prometheus.CounterVec   // service
	answers  *prometheus.CounterVec   // reason, code
	mirrored *prometheus.CounterVec   // service, result
	vectors  []interface{ DeletePartialMatch(prometheus.Labels) int }
	services readMostly[*serviceMetrics]
	answered [len(reasonNames) + 2][len(codeClasses)]atomic.Pointer[prometheus.Counter] // of answers: those that were seen
}

type serviceMetrics struct {
	arms     [3]atomic.Pointer[armMetrics] // those that were seen
	retries  prometheus.Counter
	panics   prometheus.Counter
	received prometheus.Counter
	sent     prometheus.Counter
}

type armMetrics struct {
	duration prometheus.Observer
	codes    atomic.Pointer[[]codeCounter] // few: those that were seen
	failures [len(classNames)]prometheus.Counter
}

type codeCounter struct {
	code int
	prometheus.Counter
}

// NewMetrics registers the metrics with r. The rest is asked at each scrape and
// may be nil.
func NewMetrics(r prometheus.Registerer, u *Upstreams, d *Drain, l *AccessLog) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	m := &Metrics{
		requests: counter("lb_requests_total", "Requests answered, by the arm first chosen and the status that the client got.", "service", "arm", "code"),
		failures: counter("lb_upstream_failures_total", "Failures of instances that requests met first or last, charged to the arm first chosen.", "service", "arm", "class"),
		panics:   counter("lb_panic_requests_total", "Requests for which ejections, or Consul's critical, were ignored because too few instances were usable.", "service"),
		retries:  counter("lb_retries_total", "Further instances that requests were sent to.", "service"),
		received: counter("lb_received_bytes_total", "Bytes of requests' bodies, and of what clients sent after an upgrade.", "service"),
		sent:     counter("lb_sent_bytes_total", "Bytes of responses' bodies, as the client got them, and of what followed an upgrade.", "service"),
		answers:  counter("lb_answers_total", "Requests that the balancer answered itself.", "reason", "code"),
		mirrored: counter("lb_mirror_requests_total", "Shadow requests: what became of them (ok, error, timeout), or why they were not sent (saturated, body).", "service", "result"),
		ejected:  counter("lb_ejections_total", "Instances taken out for what was seen of them.", "service", "class"),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "lb_request_duration_seconds", Help: "Time from a request's head to the end of its response.",
			Buckets:                     []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100,
		}, []string{"service", "arm"}),
	}
	m.vectors = []interface{ DeletePartialMatch(prometheus.Labels) int }{m.requests, m.duration, m.failures, m.retries, m.panics, m.ejected, m.received, m.sent, m.mirrored}
	r.MustRegister(m.requests, m.duration, m.failures, m.retries, m.panics, m.ejected, m.received, m.sent, m.answers, m.mirrored)
	if d != nil {
		for k := range kindNames {
			r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "lb_requests_in_flight", Help: "Open exchanges.", ConstLabels: prometheus.Labels{"kind": kindNames[k]},
			}, func() float64 { return float64(d.Open(Kind(k))) }))
		}
	}
	if u != nil {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "lb_instances_ejected", Help: "Instances that are taken out now for what was seen of them.",
		}, func() float64 { return float64(u.troubled.Load()) }), attempts{u})
	}
	if l != nil {
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "lb_access_log_dropped_total", Help: "Lines of the access log that its sink left no room for.",
		}, func() float64 { return float64(l.Dropped()) }))
	}
	return m
}

// Observe counts o. Requests that no route matched count for service "".
func (m *Metrics) Observe(o *Outcome) {
	s, ok := m.services.get(o.Service)
	if !ok {
		s = m.services.orMake(o.Service, func() *serviceMetrics {
			return &serviceMetrics{
				retries: m.retries.WithLabelValues(o.Service), panics: m.panics.WithLabelValues(o.Service),
				received: m.received.WithLabelValues(o.Service), sent: m.sent.WithLabelValues(o.Service),
			}
		})
	}
	a := s.arms[o.Arm].Load()
	if a == nil {
		s.arms[o.Arm].CompareAndSwap(nil, m.resolve(o.Service, o.Arm.String()))
		a = s.arms[o.Arm].Load()
	}
	m.code(a, o).Inc()
	a.duration.Observe(o.Duration.Seconds())
	if o.Received > 0 {
		s.received.Add(float64(o.Received))
	}
	if o.Sent > 0 {
		s.sent.Add(float64(o.Sent))
	}
	m.answer(o)
	if o.Panic {
		s.panics.Inc()
	}
	if o.Attempts > 1 {
		s.retries.Add(float64(o.Attempts - 1))
		if o.FirstClass.Failed() {
			a.failures[o.FirstClass].Inc()
		}
	}
	if o.Class.Failed() {
		a.failures[o.Class].Inc()
	}
}

// Ejected counts an ejection; see UpstreamsConfig.Ejected.
func (m *Metrics) Ejected(service string, because Class) {
	m.ejected.WithLabelValues(service, because.String()).Inc()
}

// Mirrored counts a shadow request; see Core.Mirrored.
func (m *Metrics) Mirrored(service string, r MirrorResult) {
	m.mirrored.WithLabelValues(service, r.String()).Inc()
}

// Forget deletes the series of a service that left.
func (m *Metrics) Forget(service string) {
	m.services.edit(func(d *draft[*serviceMetrics]) { d.drop(service) })
	for _, v := range m.vectors {
		v.DeletePartialMatch(prometheus.Labels{"service": service})
	}
}

func (m *Metrics) resolve(service, arm string) *armMetrics {
	a := &armMetrics{duration: m.duration.WithLabelValues(service, arm)}
	for c := range a.failures {
		if Class(c).Failed() {
			a.failures[c] = m.failures.WithLabelValues(service, arm, Class(c).String())
		}
	}
	return a
}

// code returns the counter of o's status; what is no status counts as "other".
func (m *Metrics) code(a *armMetrics, o *Outcome) prometheus.Counter {
	code := o.Status
	if code < 100 || code > 599 {
		code = 0
	}
	for {
		seen := a.codes.Load()
		var codes []codeCounter
		if seen != nil {
			codes = *seen
		}
		for i := range codes {
			if codes[i].code == code {
				return codes[i].Counter
			}
		}
		label := "other"
		if code > 0 {
			label = strconv.Itoa(code)
		}
		c := m.requests.WithLabelValues(o.Service, o.Arm.String(), label)
		more := append(codes[:len(codes):len(codes)], codeCounter{code, c})
		if a.codes.CompareAndSwap(seen, &more) {
			return c
		}
	}
}
