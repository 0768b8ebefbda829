package main

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"serin/registry/consul"
)

// ownMetrics are what only the wiring knows: how Consul is followed, what this
// program is, and the Go runtime.
func (b *balancer) ownMetrics() []prometheus.Collector {
	gauge := func(name, help string, f func(consul.WatchStatus) float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return f(b.watcher.Status()) })
	}
	counter := func(name, help string, f func(consul.WatchStatus) float64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, func() float64 { return f(b.watcher.Status()) })
	}
	flag := func(v bool) float64 {
		if v {
			return 1
		}
		return 0
	}
	mode := func(m consul.Mode) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "lb_registry_mode", Help: "1 for the way in which services are followed.", ConstLabels: prometheus.Labels{"mode": string(m)},
		}, func() float64 { return flag(b.watcher.Status().Mode == m) })
	}
	v := buildVersion()
	return []prometheus.Collector{
		gauge("lb_consul_last_contact_seconds", "Seconds since Consul's last good answer; -1 before the first.", func(w consul.WatchStatus) float64 {
			if w.LastContact.IsZero() {
				return -1
			}
			return max(0, time.Since(w.LastContact).Seconds())
		}),
		gauge("lb_consul_oldest_answer_seconds", "Age of the last good answer about the service that was not heard of for longest.", func(w consul.WatchStatus) float64 { return w.OldestAnswer.Seconds() }),
		gauge("lb_consul_stale", "1 while the catalog in use may be older than Consul's.", func(w consul.WatchStatus) float64 { return flag(w.Stale) }),
		gauge("lb_consul_acl_denied", "1 while Consul refuses or hides something from our token.", func(w consul.WatchStatus) float64 { return flag(w.Denied) }),
		gauge("lb_consul_held_services", "Services whose older state is kept against what Consul says.", func(w consul.WatchStatus) float64 { return float64(len(w.Holds)) }),
		gauge("lb_consul_services", "Services followed.", func(w consul.WatchStatus) float64 { return float64(w.Services) }),
		gauge("lb_consul_streams", "Open blocking queries on services.", func(w consul.WatchStatus) float64 { return float64(w.Streams) }),
		mode(consul.Streams), mode(consul.Bell),
		gauge("lb_registry_connections", "Connections that carry streams over HTTP/2.", func(w consul.WatchStatus) float64 { return float64(w.Connections) }),
		gauge("lb_registry_reads_per_second", "Good answers of Consul a second, over the last 10 to 20 s.", func(w consul.WatchStatus) float64 { return w.ReadsPerSecond }),
		counter("lb_registry_sweep_corrections_total", "Changes that neither a bell nor a stream told, and the sweep or another look found.", func(w consul.WatchStatus) float64 { return float64(w.Corrections) }),
		counter("lb_consul_reads_total", "Good answers of Consul.", func(w consul.WatchStatus) float64 { return float64(w.Reads) }),
		counter("lb_consul_errors_total", "Failed reads of Consul.", func(w consul.WatchStatus) float64 { return float64(w.Errors) }),
		b.openConnections("http1", func() int { n, _ := b.engine.Connections(); return n }),
		b.openConnections("http2", func() int { _, n := b.engine.Connections(); return n }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "lb_draining", Help: "1 while the balancer drains."}, func() float64 { return flag(b.draining.Load()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "lb_build_info", Help: "Always 1; the labels say what this program was built from.",
			ConstLabels: prometheus.Labels{"version": v.Version, "commit": v.Commit, "go": v.Go},
		}, func() float64 { return 1 }),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	}
}

func (b *balancer) openConnections(proto string, n func() int) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "lb_open_connections", Help: "Open client connections.", ConstLabels: prometheus.Labels{"proto": proto},
	}, func() float64 { return float64(n()) })
}
