// Package nethttp moves the bytes of HTTP/1.1 and HTTP/2 (h2c with prior
// knowledge) requests to instances that speak HTTP/1.1, on top of the
// standard library's server. What to do with a request is decided by package
// proxy; this engine executes it and tells the Outcome.
//
// The path of a request, one file each:
//
//	listener → conn (guarded) → handler: Decide → forward → link (from the pool) → head → relay or tunnel
//
// What is relayed is compressed on its way (compress) where [Compression] says so.
//
// The way to an instance is our own (link, pool, head): it has to know whether
// a byte of a request was sent, how long a connection has been idle, and what
// exactly the instance answered, which http.Transport does not tell.
package nethttp
