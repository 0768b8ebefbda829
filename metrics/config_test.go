package metrics

import (
	"fmt"
	"strings"
	"testing"
)

func TestSinks(t *testing.T) {
	f := func(c Config, want string) {
		t.Helper()
		sinks, err := c.Sinks()
		got := fmt.Sprint(err)
		if err == nil {
			var all []string
			for _, s := range sinks {
				all = append(all, s.Name())
			}
			got = strings.Join(all, " ")
		}
		if got != want {
			t.Errorf("%v\n got %s\nwant %s", c, got, want)
		}
	}
	f(Config{}, "")
	f(Config{Targets: []string{"prometheus"}}, "")
	f(Config{Targets: []string{"prometheus", "statsd", "dogstatsd", "graphite"}, StatsD: "a:1", DogStatsD: "[::1]:2", Graphite: "c:3"}, "statsd dogstatsd graphite")
	f(Config{Targets: []string{"statsd_raw"}, StatsD: "a:1"}, "statsd")
	f(Config{Targets: []string{"statsd", "statsd_raw"}, StatsD: "a:1"}, "metrics.target names statsd twice")
	f(Config{Targets: []string{"statsd"}}, `metrics.target is statsd, so metrics.statsd.addr must be host:port, not ""`)
	f(Config{Targets: []string{"graphite"}, Graphite: "a:"}, `metrics.target is graphite, so metrics.graphite.addr must be host:port, not "a:"`)
	f(Config{Targets: []string{"influx", "stdout"}, Prefix: "{{"}, `metrics.prefix: template: metrics.prefix:1: unclosed action
metrics.target "influx" is none: there are prometheus, statsd, dogstatsd and graphite
metrics.target "stdout" is none: there are prometheus, statsd, dogstatsd and graphite; what the others would get is to be seen with curl at /metrics`)
}
