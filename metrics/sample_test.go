package metrics

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// text prints samples, one per line, sorted.
func text(samples []Sample) string {
	var lines []string
	for _, s := range samples {
		kind := "+"
		if s.Kind == Gauge {
			kind = "="
		}
		lines = append(lines, fmt.Sprintf("%s%v %s%.4g", s.Name, s.Labels, kind, s.Value))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func TestSince(t *testing.T) {
	r := prometheus.NewRegistry()
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "lb_requests_total"}, []string{"service", "code"})
	open := prometheus.NewGauge(prometheus.GaugeOpts{Name: "lb_open"})
	duration := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "lb_seconds", Buckets: []float64{1, 2, 4}, NativeHistogramBucketFactor: 1.1})
	pause := prometheus.NewSummary(prometheus.SummaryOpts{Name: "lb_pause", Objectives: map[float64]float64{0.5: 0.05}})
	r.MustRegister(requests, open, duration, pause)
	var sent map[string]state
	f := func(want string) {
		t.Helper()
		families, err := r.Gather()
		if err != nil {
			t.Fatal(err)
		}
		var samples []Sample
		samples, sent = since(sent, flatten(families))
		if got := text(samples); got != strings.TrimSpace(want) {
			t.Errorf("got\n%s\nwant%s", got, want)
		}
	}
	web := requests.WithLabelValues("web", "200")
	web.Add(3)
	open.Set(-1)
	for range 10 {
		duration.Observe(1.5)
	}
	pause.Observe(7)
	f(`
lb_open[] =-1
lb_pause_count[] +1
lb_pause_sum[] +7
lb_requests_total[{code 200} {service web}] +3
lb_seconds_count[] +10
lb_seconds_p50[] =1.5
lb_seconds_p90[] =1.9
lb_seconds_p99[] =1.99
lb_seconds_sum[] +15`)
	f("lb_open[] =-1") // what did not move is not sent
	web.Add(2)
	duration.Observe(100)
	f(`
lb_open[] =-1
lb_requests_total[{code 200} {service web}] +2
lb_seconds_count[] +1
lb_seconds_p50[] =4
lb_seconds_p90[] =4
lb_seconds_p99[] =4
lb_seconds_sum[] +100`)
	requests.Reset() // the service left, and is forgotten
	f("lb_open[] =-1")
	if len(sent) != 2 {
		t.Errorf("%d series are remembered, want 2: %v", len(sent), sent)
	}
	requests.WithLabelValues("web", "200").Add(4) // and came back
	open.Set(math.NaN())
	f("lb_requests_total[{code 200} {service web}] +4")
	requests.Reset()
	requests.WithLabelValues("web", "200").Add(1) // between two rounds
	f("lb_requests_total[{code 200} {service web}] +1")
}

func TestQuantile(t *testing.T) {
	bounds := []float64{1, 2, 4, math.Inf(1)}
	f := func(q float64, added []uint64, want float64) {
		t.Helper()
		before := []uint64{5, 6, 7, 9}
		buckets := make([]uint64, 4)
		total := uint64(0)
		for i, n := range added {
			total += n
			buckets[i] = before[i] + total
		}
		if got, ok := quantile(q, bounds, buckets, before, total); !ok || math.Abs(got-want) > 1e-9 {
			t.Errorf("%v of %v: got %v, %v, want %v", q, added, got, ok, want)
		}
	}
	f(0.5, []uint64{10, 0, 0, 0}, 0.5)
	f(0.5, []uint64{0, 10, 0, 0}, 1.5)
	f(0.5, []uint64{5, 5, 0, 0}, 1)
	f(0.9, []uint64{5, 0, 5, 0}, 3.6)
	f(0.99, []uint64{0, 0, 0, 10}, 4)
	f(0.99, []uint64{1, 0, 0, 99}, 4)
	if _, ok := quantile(0.5, nil, nil, nil, 1); ok {
		t.Error("a quantile without buckets")
	}
}
