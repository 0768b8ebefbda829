// Package metrics sends what is counted to those who do not come for it: statsd,
// dogstatsd and graphite. Prometheus's registry stays the only place where
// anything is counted; a Flusher walks it each interval and gives every Sink
// what is new. Nothing here is on a request's path, and no sink waits for
// another.
package metrics
