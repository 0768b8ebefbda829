// Package canary says HOW TRAFFIC SHIFTS: it reads JSON documents from Consul
// KV (or another source), checks them strictly, keeps the last good one of each
// service, and turns them into route.Splits.
//
//	Source → Parse → Document → Effective → route.Split → (control) → table
//
// The package needs no HTTP and no Consul to test: a [Source] is an interface,
// every decision (Parse, Effective, what a lost source means) is a pure
// function, and one goroutine, [Controller.Run], owns all state.
package canary
