// Package route says WHERE TRAFFIC MAY GO: it compiles what services say in
// their Consul tags, how canaries split them, what the operator's route commands
// change and what the policy of ownership allows, into an immutable [Table].
//
//	Inputs → Builder.Build → *Table → Search → Route → Part → Arm → Target
//
// A build goes from tags to claims, from claims to the routes of each host and
// path, and from routes to the index that a [Search] walks. A [Builder] keeps
// what it compiled: a change costs in proportion to the services it concerns,
// and the next table shares the rest with the last. [Diff] tells what changed.
//
// Everything here is data and pure functions: no net/http, no clock, no
// randomness of its own (a draw is an argument), no I/O. A Table never
// changes once it is built; a change is a new Table, published with one pointer.
// What lives longer than a table (requests in flight, ejected instances, idle
// connections) is keyed by address and belongs to package proxy.
//
// One bad tag or command never touches another: what cannot be parsed becomes a
// [Problem].
package route
