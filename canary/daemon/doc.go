// Package daemon answers other proxies, which ask for each client whether it
// goes to the canary, in the protocol of maxwells-daemon.
package daemon
