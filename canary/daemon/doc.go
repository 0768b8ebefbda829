// Package daemon answers other proxies, which ask for each client whether it
// goes to the canary, in the protocol of maxwells-daemon.
//
//	connection → Protocol → Decide(assignment, Share, random) → Answer → Meter
//
// A [Server] serves one service, because the protocol names none. Its parts are
// small interfaces: [Protocol] is how clients ask, [Shares] where the canary's
// share comes from, [Meter] who is told what was answered.
package daemon
