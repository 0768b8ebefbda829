// Package control says WHEN THE TABLE CHANGES.
//
//	latest Snapshot + latest Splits → coalesce → route.Builder.Build → log the diff → publish
//
// [Loop] is the only place that builds tables: the first change is applied at
// once, a storm of changes at most once per interval, and the last state always.
// [Saver] keeps the last good state on disk for a start without Consul.
package control
