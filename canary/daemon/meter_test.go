package daemon

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func TestMetrics(t *testing.T) {
	r := prometheus.NewRegistry()
	m := NewMetrics(r)
	m.Answered("web", Decide("", 1, true, 0.5), time.Millisecond)
	m.Answered("web", Decide("0.5", 0.1, true, 0), time.Millisecond)
	m.Answered("web", Decide("x", 0, false, 0), time.Millisecond)
	m.Failed("web", Late)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range families {
		for _, s := range f.Metric {
			line := f.GetName()
			for _, l := range s.Label {
				line += " " + l.GetValue()
			}
			n := s.GetCounter().GetValue()
			if h := s.GetHistogram(); h != nil {
				n = float64(h.GetSampleCount())
			}
			got = append(got, fmt.Sprint(line, " = ", n))
		}
	}
	want := []string{
		"lb_daemon_answer_seconds web = 3",
		"lb_daemon_answers_total canary first web = 1",
		"lb_daemon_answers_total master held web = 1",
		"lb_daemon_answers_total master unreadable web = 1",
		"lb_daemon_failures_total late web = 1",
		"lb_daemon_unknown_total web = 1",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
