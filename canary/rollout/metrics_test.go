package rollout

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// exposed is what a registry has, a line for each series, but for the evidence.
func exposed(t *testing.T, r *prometheus.Registry) (text string, evidence float64) {
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "lb_canary_evidence" {
				evidence = m.GetGauge().GetValue()
				continue
			}
			line := strings.TrimPrefix(f.GetName(), "lb_canary_")
			for _, l := range m.GetLabel() {
				line += " " + l.GetValue()
			}
			lines = append(lines, fmt.Sprint(line, " ", m.GetGauge().GetValue()+m.GetCounter().GetValue()))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n"), evidence
}

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		reg := prometheus.NewPedanticRegistry()
		a := m.joinWith(t, "a", func(f *Fleet) { f.Metrics = NewMetrics(reg) }, judgedPlan(7))
		time.Sleep(3 * time.Second)
		a.apply(judgedPlan(8))
		b := m.join(t, "b", judgedPlan(7))
		time.Sleep(3 * time.Second)
		a.fail(20)
		time.Sleep(2 * time.Second)
		got, e := exposed(t, reg)
		if want := strings.Join([]string{
			"balancers 2", "behind web 1", "leader 1", "phase rolled_back web 1", "step web 0",
			"transitions_total document web 1", "transitions_total rollback web 1", "transitions_total start web 1", "vetoes_total 1",
		}, "\n"); got != want {
			t.Errorf("metrics:\n%s\nwant:\n%s", got, want)
		}
		if e < 2000 {
			t.Errorf("evidence %v", e)
		}
		b.leave()
		a.apply()
		time.Sleep(5 * time.Second)
		got, e = exposed(t, reg)
		if want := "balancers 1\nleader 1\nvetoes_total 1"; got != want || e != 0 {
			t.Errorf("metrics after the rollout:\n%s\nwant:\n%s", got, want)
		}
	})
}
