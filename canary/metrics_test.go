package canary

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func TestMetricsInForce(t *testing.T) {
	registry := prometheus.NewRegistry()
	m := NewMetrics(registry)
	f := func(shares map[string]float64, want string) {
		t.Helper()
		m.InForce(shares)
		if got := metricsText(t, registry); !strings.HasPrefix(got, "lb_canary_assertions_total 0\nlb_canary_config_errors_total 0\n"+want+"lb_canary_source_age") {
			t.Errorf("in force %v\n got %s\nwant %s", shares, got, want)
		}
	}
	const all, web, api = "lb_canary_share kind=effective service=* 0.1\n", "lb_canary_share kind=effective service=web 0.5\n", "lb_canary_share kind=effective service=api 1\n"
	f(nil, "")
	f(map[string]float64{"": 0.1, "web": 0.5}, all+web)
	f(map[string]float64{"web": 0.5, "api": 1}, api+web)
	f(map[string]float64{}, "")
	(*Metrics)(nil).InForce(nil)
}
