// Package registry says WHAT IS RUNNING: services, their instances and their
// health, as plain facts.
//
// A [Snapshot] is the whole catalog at one moment. It is complete, ordered and
// immutable: whoever reads Consul builds a new one from the last by
// [Snapshot.With] and [Snapshot.Without], so that what did not change is shared
// and a pointer comparison of two *[Service] tells whether anything did.
//
// The package decides one thing only, [Judge]: whether an instance may get
// traffic, given its checks and the operator's [Policy]. Where traffic may go
// is package route's business.
package registry
