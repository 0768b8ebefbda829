package nethttp

import (
	"net/http"
	"net/netip"
	"net/textproto"
	"strconv"
	"strings"

	"serin/proxy"
	"serin/route"
)

// The methods of proxy.Request: a decision sees the exchange as this.

func (x *exchange) Method() string     { return x.r.Method }
func (x *exchange) Host() string       { return x.r.Host }
func (x *exchange) Path() string       { return x.path }
func (x *exchange) RawQuery() string   { return strings.TrimPrefix(x.query, "?") }
func (x *exchange) Client() netip.Addr { return x.out.Client }
func (x *exchange) TLS() bool          { return x.r.TLS != nil }

func (x *exchange) Secure() bool {
	return x.s.Core.Secure(x.r.Header, x.c.remote.Addr(), x.TLS())
}

func (x *exchange) Chain(buf []netip.Addr) []netip.Addr {
	return x.s.Core.Chain(x.r.Header, x.c.remote.Addr(), buf)
}

func (x *exchange) Header(name string) (string, bool) {
	v := x.r.Header[textproto.CanonicalMIMEHeaderKey(name)]
	if len(v) == 0 {
		return "", false
	}
	return v[0], true
}

func (x *exchange) Cookie(name string) (string, bool) {
	for _, line := range x.r.Header["Cookie"] {
		for pair := range strings.SplitSeq(line, ";") {
			if k, v, ok := strings.Cut(strings.TrimSpace(pair), "="); ok && k == name {
				return v, true
			}
		}
	}
	return "", false
}

// cutTarget divides a request target into the raw path and the query with its
// "?", byte for byte. Of the absolute form the authority is removed.
func cutTarget(uri string) (path, query string) {
	if uri == "*" {
		return uri, ""
	}
	if uri != "" && uri[0] != '/' {
		_, uri, _ = strings.Cut(uri, "://")
		uri = uri[len(uri)-len(strings.TrimLeftFunc(uri, func(r rune) bool { return r != '/' && r != '?' })):]
	}
	if i := strings.IndexByte(uri, '?'); i >= 0 {
		uri, query = uri[:i], uri[i:]
	}
	if uri == "" {
		uri = "/"
	}
	return uri, query
}

// rewrite applies strip= and prepend= to a raw path. "*" stays what it is.
func rewrite(path string, o *route.Options) string {
	if o == nil || path == "*" {
		return path
	}
	return o.Rewrite(path)
}

// stripped is the prefix that rewrite takes off, "" for none.
func stripped(path string, o *route.Options) string {
	if o == nil || path == "*" || !o.Strips(path) {
		return ""
	}
	return o.Strip
}

// hostFor returns the Host header that t gets.
func hostFor(t *route.Target, host string) string {
	if t.Options == nil || t.Options.Host == "" {
		return host
	}
	if t.Options.Host == "dst" {
		return t.Addr
	}
	return t.Options.Host
}

// wantsWebSocket reports whether r asks for an upgrade that is supported. The
// guard has removed every Upgrade but that of a WebSocket handshake (a GET with
// the key and without a body); HTTP/2 has none.
func wantsWebSocket(r *http.Request) bool {
	return r.ProtoMajor == 1 && len(r.Header["Upgrade"]) == 1 && strings.EqualFold(r.Header["Upgrade"][0], "websocket")
}

// refusal says why a request is not served at all; zero is served. What an
// HTTP/1 request may look like is the guard's business, and one of HTTP/2 is
// judged by its rules too: an instance gets HTTP/1.1 either way.
func (x *exchange) refusal() (status int, reason string) {
	r := x.r
	if rejected, ok := x.c.Rejection(r.RequestURI); ok {
		x.asRejected(rejected.RequestLine)
		return rejected.Status, rejected.Reason
	}
	switch {
	case r.Method == "CONNECT" && len(r.Header[":protocol"]) > 0:
		return http.StatusNotImplemented, "extended CONNECT is not supported"
	case r.Method == "CONNECT", r.Method == "TRACE":
		return http.StatusMethodNotAllowed, "the method " + r.Method + " is not forwarded"
	case r.ProtoMajor == 1:
		return 0, ""
	}
	if bad := x.s.guard.Check(r); bad != nil {
		return bad.Status, bad.Reason
	}
	return 0, ""
}

// asRejected tells the Outcome what the refused request was, as far as its
// first line, quoted, says so; net/http saw another one in its place.
func (x *exchange) asRejected(quoted string) {
	line, _ := strconv.Unquote(quoted)
	method, rest, _ := strings.Cut(line, " ")
	uri, version := rest, ""
	if i := strings.LastIndexByte(rest, ' '); i >= 0 {
		uri, version = rest[:i], rest[i+1:]
	}
	path, query, _ := strings.Cut(uri, "?")
	x.out.Method, x.out.Host, x.out.Path, x.out.Query, x.out.HTTPVersion = method, "", path, query, version
}

var _ proxy.Request = (*exchange)(nil)
