package proxy

import (
	"github.com/prometheus/client_golang/prometheus"
)

// attempts are the counters of instances. They are part of the instances' live
// state, so that counting costs a request nothing but an addition, and they go
// when the instance is forgotten: no series outlives its instance.
type attempts struct{ u *Upstreams }

var attemptsDesc = prometheus.NewDesc("lb_upstream_attempts_total",
	"Attempts on an instance, by how they ended. The series of an instance go half a minute after it left.", []string{"service", "addr", "class"}, nil)

func (a attempts) Describe(ch chan<- *prometheus.Desc) { ch <- attemptsDesc }

func (a attempts) Collect(ch chan<- prometheus.Metric) {
	for addr, in := range a.u.byAddr.all() {
		for _, cl := range in.allClaims() {
			for class := range cl.ended {
				n := cl.ended[class].Load()
				if n == 0 {
					continue
				}
				if m, err := prometheus.NewConstMetric(attemptsDesc, prometheus.CounterValue, float64(n), cl.plain.service.name, addr, classNames[class]); err == nil {
					ch <- m // a name that is no UTF-8 cannot be a label
				}
			}
		}
	}
}
