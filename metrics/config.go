package metrics

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
)

// Config is what the metrics.* options say.
type Config struct {
	Targets []string // metrics.target: prometheus, statsd (also statsd_raw), dogstatsd, graphite
	Prefix  string   // metrics.prefix, see ParseNames
	Names   string   // metrics.names, see ParseNames
	// Addresses, as host:port.
	StatsD, DogStatsD, Graphite string
}

// Sinks returns the sinks of the targets in their order; prometheus needs none.
// Its error names every mistake.
func (c Config) Sinks() (sinks []Sink, err error) {
	names, err := ParseNames(c.Prefix, c.Names)
	errs := []error{err}
	var seen []string
	for _, target := range c.Targets {
		key, addr := target, ""
		var newSink func(addr string, names *Names) Sink
		switch target {
		case "", "prometheus":
			continue
		case "statsd", "statsd_raw":
			key, addr, newSink = "statsd", c.StatsD, NewStatsD
		case "dogstatsd":
			addr, newSink = c.DogStatsD, NewDogStatsD
		case "graphite":
			addr, newSink = c.Graphite, NewGraphite
		default:
			errs = append(errs, fmt.Errorf("metrics.target %q is none: there are prometheus, statsd, dogstatsd and graphite%s", target, replacement(target)))
			continue
		}
		if slices.Contains(seen, key) {
			errs = append(errs, fmt.Errorf("metrics.target names %s twice", key))
			continue
		}
		seen = append(seen, key)
		if _, port, err := net.SplitHostPort(addr); err != nil || port == "" {
			errs = append(errs, fmt.Errorf("metrics.target is %s, so metrics.%s.addr must be host:port, not %q", target, key, addr))
			continue
		}
		if names != nil {
			sinks = append(sinks, newSink(addr, names))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return sinks, nil
}

// replacement says what a target of Fabio's that we lack is to be written as.
func replacement(target string) string {
	switch strings.ToLower(target) {
	case "flat", "stdout", "label":
		return "; what the others would get is to be seen with curl at /metrics"
	case "circonus":
		return "; Circonus takes statsd and Prometheus"
	}
	return ""
}
