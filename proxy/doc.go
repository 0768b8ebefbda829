// Package proxy says HOW A REQUEST IS SERVED: it decides which target gets it
// ([Core.Decide]: the same for every protocol engine; [Decide] is the pure part
// of it), keeps the live state of the instances ([Upstreams]: requests in flight,
// ejections, slow start), bounds retries, and tells every request's [Outcome]
// exactly once. What may keep a request from its target is asked through a
// [Gate]: credentials ([Authenticator]) and the limits of routes ([Quotas]).
// [Explain] says what Decide would do, and why, of a request that nobody sent.
// Moving the bytes is left to the engines below it (proxy/nethttp).
package proxy
