// Package guard stands in front of net/http and lets only those bytes through
// that can be understood in one way: a strict reader of HTTP/1 framing inside
// a net.Conn.
//
// net/http forgives much (a Content-Length beside a Transfer-Encoding, bare
// line feeds, folded lines, authority-form targets) and by the time a handler
// runs the evidence is gone; an instance behind the balancer that forgives
// other things then sees other requests than the balancer did. The guard
// answers all of that with a [Rejection]:
//
//	client → Conn.Read: head → body → head → … → net/http → handler
//	                      └ violation: sentinel request, then nothing more
//
// A head is held back until it is complete and valid. Bodies pass through;
// chunked bodies are written anew (sizes canonical, extensions and trailers
// dropped), so that net/http sees exactly what the guard understood. A
// violation in a head becomes a canonical request for a target nobody can
// guess, so that it is answered in its turn after the requests before it, by
// the handler, which asks [Conn.Rejection]. A violation in a body is a read
// error, [*BodyError]. Either is the client's fault, and the connection ends
// with it.
//
// # What is dropped instead of refused
//
// One empty line before a request (RFC 9112, 2.2), request trailers and the
// Trailer field, chunk extensions, HTTP2-Settings, and every Upgrade but one
// to websocket by a GET without body that carries the key (ignoring an Upgrade
// is always right: RFC 9110, 7.8; so curl --http2 is answered as HTTP/1.1).
//
// # What the server behind it must do
//
//   - Server.MaxHeaderBytes at least Options.HeaderTotal, so that net/http
//     never answers 431 itself.
//   - Server.DisableGeneralOptionsHandler, so that OPTIONS * is counted.
//   - Server.ReadHeaderTimeout a little more than Options.ReadHeader: it bounds
//     a connection that says nothing, and ends it without a word. The guard's
//     bounds a head that has begun (408), also the second one on a connection,
//     which net/http would give its idle time.
//   - A request of HTTP/1.0 may lack a Host: the handler decides.
//   - Release after every request that did not become a tunnel (see
//     [Conn.Release]).
package guard
