package proxy

import (
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"serin/route"
)

// scrape returns the samples that are not 0 of the metrics that begin with name.
func scrape(r *prometheus.Registry, name string) string {
	w := httptest.NewRecorder()
	promhttp.HandlerFor(r, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	var out []string
	for line := range strings.Lines(w.Body.String()) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, name) && !strings.HasSuffix(line, " 0") && !strings.Contains(line, "_bucket{") {
			out = append(out, line)
		}
	}
	return strings.Join(out, "\n")
}

func TestMetrics(t *testing.T) {
	r := prometheus.NewRegistry()
	var d Drain
	clk := newClock()
	u := upstreams(clk)
	tab := table(t, "web a a:1 passing /\nweb b b:1 passing /")
	u.Swap(tab)
	l := NewAccessLog(nil, LogJSON)
	m := NewMetrics(r, u, &d, l)

	o := Outcome{Service: "web", Arm: route.Canary, Status: 200, Duration: 20 * time.Millisecond, Attempts: 1}
	m.Observe(&o)
	o.Attempts, o.FirstClass, o.Received, o.Sent = 3, ConnectError, 5, 7
	m.Observe(&o)
	m.Observe(&Outcome{Service: "web", Status: 502, Class: Reset, FirstClass: Timeout, Attempts: 2})
	m.Observe(&Outcome{Service: "web", Status: 503, Class: Unavailable, FirstClass: Unavailable, Attempts: 1, Panic: true})
	m.Observe(&Outcome{Status: 404, Class: NoTarget, Reason: ReasonNoRoute})
	m.Observe(&Outcome{Status: 99999, Class: Answered})
	m.Observe(&Outcome{Status: 0, Class: Answered})
	m.Ejected("web", Reset)
	fail(u, target(tab, "a:1"), Reset, 5)
	d.Begin(Stream)
	l.dropped.Add(7)

	f := func(name, want string) {
		t.Helper()
		if got := scrape(r, name); got != strings.TrimSpace(want) {
			t.Errorf("%s\n got\n%s\nwant\n%s", name, got, want)
		}
	}
	f("lb_", `
lb_access_log_dropped_total 7
lb_answers_total{code="4xx",reason="no_route"} 1
lb_answers_total{code="other",reason="failure"} 2
lb_ejections_total{class="reset",service="web"} 1
lb_instances_ejected 1
lb_panic_requests_total{service="web"} 1
lb_received_bytes_total{service="web"} 5
lb_request_duration_seconds_sum{arm="canary",service="web"} 0.04
lb_request_duration_seconds_count{arm="canary",service="web"} 2
lb_request_duration_seconds_count{arm="stable",service=""} 3
lb_request_duration_seconds_count{arm="stable",service="web"} 2
lb_requests_in_flight{kind="stream"} 1
lb_requests_total{arm="canary",code="200",service="web"} 2
lb_requests_total{arm="stable",code="404",service=""} 1
lb_requests_total{arm="stable",code="502",service="web"} 1
lb_requests_total{arm="stable",code="503",service="web"} 1
lb_requests_total{arm="stable",code="other",service=""} 2
lb_retries_total{service="web"} 3
lb_sent_bytes_total{service="web"} 7
lb_upstream_attempts_total{addr="a:1",class="reset",service="web"} 5
lb_upstream_failures_total{arm="canary",class="connect_error",service="web"} 1
lb_upstream_failures_total{arm="stable",class="reset",service="web"} 1
lb_upstream_failures_total{arm="stable",class="timeout",service="web"} 1
lb_upstream_failures_total{arm="stable",class="unavailable",service="web"} 1`)

	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("promlint: %v %v", problems, err)
	}
	m.Forget("web")
	clk.advance(time.Hour)
	u.Swap(table(t, "api b b:2 passing /"))
	clk.advance(time.Hour)
	u.Swap(table(t, "api b b:2 passing /"))
	if got := scrape(r, "lb_"); strings.Contains(got, `service="web"`) {
		t.Errorf("series of a service and an instance that left:\n%s", got)
	}
	m.Observe(&o)
	f("lb_requests_total{arm=\"canary\"", `lb_requests_total{arm="canary",code="200",service="web"} 1`)
}

func TestAnswerReason(t *testing.T) {
	f := func(o Outcome, want string) {
		t.Helper()
		got := "-"
		if reason, ok := answerReason(&o); ok {
			got = answerReasons[reason] + " " + codeClasses[codeClass(o.Status)]
		}
		if got != want {
			t.Errorf("%v %v %d: got %s, want %s", o.Class, o.Reason, o.Status, got, want)
		}
	}
	f(Outcome{Status: 200}, "-")
	f(Outcome{Status: 500, Class: ServerError}, "-")
	f(Outcome{Status: 502, Class: ConnectError}, "-")
	f(Outcome{Status: 499, Class: ClientGone}, "-")
	f(Outcome{Status: 404, Class: NoTarget, Reason: ReasonNoRoute}, "no_route 4xx")
	f(Outcome{Status: 999, Class: NoTarget, Reason: ReasonNoRoute}, "no_route other")
	f(Outcome{Status: 301, Class: Answered, Reason: ReasonRedirect}, "redirect 3xx")
	f(Outcome{Status: 429, Class: Answered, Reason: ReasonRateLimit}, "rate_limit 4xx")
	f(Outcome{Status: 408, Class: ClientError}, "bad_request 4xx")
	f(Outcome{Status: 503, Class: Answered}, "failure 5xx")
	f(Outcome{Status: -1, Class: Answered}, "failure other")
	for reason := ReasonRedirect; int(reason) < len(reasonNames); reason++ {
		f(Outcome{Status: 403, Reason: reason}, reason.String()+" 4xx")
	}
}

func TestMetricsConcurrent(t *testing.T) {
	r := prometheus.NewRegistry()
	m := NewMetrics(r, nil, nil, nil)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 400 {
				m.Observe(&Outcome{Service: "web", Arm: route.ArmName(i % 2), Status: 200 + i%20, Attempts: 1})
			}
		})
	}
	wg.Wait()
	if got := scrape(r, "lb_requests_total"); strings.Count(got, "} 80") != 20 {
		t.Errorf("want 80 of each of 20 codes, got\n%s", got)
	}
}

func BenchmarkMetricsObserve(b *testing.B) {
	m := NewMetrics(prometheus.NewRegistry(), nil, nil, nil)
	o := exampleOutcome()
	b.ReportAllocs()
	for b.Loop() {
		m.Observe(o)
	}
}
