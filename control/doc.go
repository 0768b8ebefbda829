// Package control says WHEN THE TABLE CHANGES.
//
//	the latest route.Inputs → coalesce → route.Builder.Build → log the diff → publish
//
// [Loop] is the only place that builds tables: the first change is applied at
// once, further ones after a rest of ten times what the build took, and the last
// state always.
// [Saver] keeps the last good state on disk for a start without Consul.
package control
