// Package route says WHERE TRAFFIC MAY GO: it compiles what services say in
// their Consul tags, and how canaries split them, into an immutable [Table].
//
//	registry.Snapshot + Splits → Builder.Build → *Table → Match → Route → Part → Arm → Target
//
// Everything here is data and pure functions: no net/http, no clock, no
// randomness of its own (a draw is an argument), no I/O. A Table never
// changes once it is built; a change is a new Table, published with one pointer.
// What lives longer than a table (requests in flight, ejected instances, idle
// connections) is keyed by address and belongs to package proxy.
//
// One bad tag never touches another: what cannot be parsed becomes a [Problem].
package route
