// Package proxy says HOW A REQUEST IS SERVED: it decides which target gets it
// ([Core.Decide]: pure, the same for every protocol engine), keeps the live
// state of the instances ([Upstreams]: requests in flight, ejections, slow
// start), bounds retries, and tells every request's [Outcome] exactly once.
// Moving the bytes is left to the engines below it (proxy/nethttp).
package proxy
