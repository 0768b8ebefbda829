package metrics_test

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"serin/metrics"
)

// printer is a sink of one's own.
type printer struct{}

func (printer) Name() string { return "printer" }

func (printer) Send(_ context.Context, samples []metrics.Sample) error {
	for _, s := range samples {
		if s.Kind == metrics.Counter {
			fmt.Println(s.Name, s.Labels, "+", s.Value)
		}
	}
	return nil
}

func ExampleSink() {
	registry := prometheus.NewRegistry()
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "lb_requests_total"}, []string{"service"})
	registry.MustRegister(requests)
	requests.WithLabelValues("web").Add(3)

	ctx, cancel := context.WithCancel(context.Background())
	cancel() // what is counted by then is sent at the end
	_ = metrics.NewFlusher(registry, []metrics.Sink{printer{}}, time.Minute, nil).Run(ctx)
	// Output: lb_requests_total [{service web}] + 3
}
