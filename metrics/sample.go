package metrics

import (
	"math"
	"strconv"
	"strings"

	dto "github.com/prometheus/client_model/go"
)

// Kind says how a Sample's value is to be read.
type Kind uint8

const (
	Counter Kind = iota // what was added since the samples sent before
	Gauge               // the value now
)

// Label is one label of a sample.
type Label struct{ Name, Value string }

// Sample is one number of one interval. A counter that did not move has none.
// Of a histogram there are counters NAME_count and NAME_sum, and, where anything
// was observed, gauges NAME_p50, NAME_p90 and NAME_p99: quantiles of the
// interval, interpolated within the histogram's buckets.
type Sample struct {
	Name   string
	Labels []Label // sorted by name
	Kind   Kind
	Value  float64

	key string // name and labels in one
}

// quantiles are those that histograms are sent as.
var quantiles = [...]struct {
	suffix string
	q      float64
}{{"_p50", 0.5}, {"_p90", 0.9}, {"_p99", 0.99}}

// series is one series of the registry at one moment, counted from the start.
type series struct {
	name   string
	key    string
	labels []Label
	kind   Kind
	state
	bounds []float64 // of a histogram's buckets
}

// state is what a delta is taken from.
type state struct {
	value   float64  // of a histogram: the sum
	count   uint64   // of a histogram
	buckets []uint64 // of a histogram: cumulative
}

// flatten makes series of what a registry gathered.
func flatten(families []*dto.MetricFamily) (all []series) {
	for _, f := range families {
		for _, m := range f.GetMetric() {
			s := series{name: f.GetName(), labels: labelsOf(m), kind: Gauge}
			switch {
			case m.Counter != nil:
				s.kind, s.value = Counter, m.Counter.GetValue()
			case m.Gauge != nil:
				s.value = m.Gauge.GetValue()
			case m.Untyped != nil:
				s.value = m.Untyped.GetValue()
			case m.Histogram != nil:
				s.kind, s.value, s.count = Counter, m.Histogram.GetSampleSum(), m.Histogram.GetSampleCount()
				s.bounds = make([]float64, 0, len(m.Histogram.GetBucket()))
				for _, b := range m.Histogram.GetBucket() {
					s.bounds = append(s.bounds, b.GetUpperBound())
					s.buckets = append(s.buckets, b.GetCumulativeCount())
				}
			case m.Summary != nil:
				s.kind, s.value, s.count, s.bounds = Counter, m.Summary.GetSampleSum(), m.Summary.GetSampleCount(), []float64{}
			default:
				continue
			}
			s.key = keyOf(s.name, s.labels)
			all = append(all, s)
		}
	}
	return all
}

func labelsOf(m *dto.Metric) []Label {
	labels := make([]Label, 0, len(m.GetLabel()))
	for _, l := range m.GetLabel() { // gathered in order
		labels = append(labels, Label{l.GetName(), l.GetValue()})
	}
	return labels
}

func keyOf(name string, labels []Label) string {
	var b strings.Builder
	b.WriteString(name)
	for _, l := range labels {
		b.WriteString("\x00" + l.Name + "\x00" + l.Value)
	}
	return b.String()
}

// since returns the samples of all, given what was sent before, and what is to
// be remembered for the next time: of series that are gone, nothing. A counter
// that is smaller than before began anew.
func since(before map[string]state, all []series) (samples []Sample, now map[string]state) {
	now = make(map[string]state, len(all))
	for i := range all {
		s := &all[i]
		if math.IsNaN(s.value) || math.IsInf(s.value, 0) {
			continue
		}
		if s.kind == Gauge {
			samples = append(samples, s.sample("", Gauge, s.value))
			continue
		}
		now[s.key] = s.state
		old := before[s.key]
		if s.value < old.value || s.count < old.count || len(s.buckets) != len(old.buckets) {
			old = state{buckets: make([]uint64, len(s.buckets))}
		}
		sum := s.value - old.value
		if s.bounds == nil {
			if sum > 0 {
				samples = append(samples, s.sample("", Counter, sum))
			}
			continue
		}
		count := s.count - old.count
		if count == 0 {
			continue
		}
		samples = append(samples, s.sample("_count", Counter, float64(count)), s.sample("_sum", Counter, sum))
		for _, q := range quantiles {
			if v, ok := quantile(q.q, s.bounds, s.buckets, old.buckets, count); ok {
				samples = append(samples, s.sample(q.suffix, Gauge, v))
			}
		}
	}
	return samples, now
}

func (s *series) sample(suffix string, kind Kind, v float64) Sample {
	return Sample{Name: s.name + suffix, Labels: s.labels, Kind: kind, Value: v, key: s.key + suffix}
}

// quantile estimates the q-quantile of count observations from what was added
// to cumulative buckets, linearly within the bucket, as Prometheus does. What is
// beyond the last bound counts as that bound.
func quantile(q float64, bounds []float64, buckets, before []uint64, count uint64) (v float64, ok bool) {
	if len(bounds) == 0 {
		return 0, false
	}
	rank := q * float64(count)
	lower, below := 0.0, 0.0
	for i, bound := range bounds {
		upTo := float64(buckets[i] - before[i])
		if upTo >= rank && !math.IsInf(bound, 1) {
			if upTo == below {
				return bound, true
			}
			return lower + (bound-lower)*(rank-below)/(upTo-below), true
		}
		if !math.IsInf(bound, 1) {
			lower = bound
		}
		below = upTo
	}
	return lower, true
}

// appendValue appends a number without an exponent, which not every receiver
// reads.
func appendValue(b []byte, v float64) []byte { return strconv.AppendFloat(b, v, 'f', -1, 64) }
