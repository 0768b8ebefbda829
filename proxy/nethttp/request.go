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
// HTTP/1 request may look like is the guard's business, and what stands below
// for HTTP/2 are the guard's rules: an instance gets HTTP/1.1 either way.
func (x *exchange) refusal() (status int, reason string) {
	r := x.r
	if rejected, ok := x.c.Rejection(r.RequestURI); ok {
		x.out.Method, x.out.Path, _ = strings.Cut(rejected.RequestLine, " ")
		x.out.Host = ""
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
	l := &x.s.limits
	count := 0
	for _, v := range r.Header {
		count += len(v)
	}
	own := r.Header["Host"]
	switch {
	case len(r.RequestURI) > l.RequestLine:
		return http.StatusRequestURITooLong, "the request target is too long"
	case count > l.HeaderCount:
		return http.StatusRequestHeaderFieldsTooLarge, "too many header fields"
	case !isToken(r.Method):
		return http.StatusBadRequest, "the method is not a token"
	case !isTarget(r.RequestURI):
		return http.StatusBadRequest, "the request target holds characters that it must not"
	case !isAuthority(r.Host) || len(own) > 1 || len(own) == 1 && own[0] != r.Host:
		return http.StatusBadRequest, "the authority is missing, malformed, or another one than Host"
	}
	return 0, ""
}

// isToken reports whether s is a token (RFC 9110, 5.6.2).
func isToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isAlnum(c) && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

func isAlnum(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

func isTarget(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '#' || c == '\\' {
			return false
		}
	}
	return s == "*" || strings.HasPrefix(s, "/")
}

// isAuthority reports whether s is a host with an optional port and nothing else.
func isAuthority(s string) bool {
	host, port, hasPort := s, "", false
	if end := strings.IndexByte(s, ']'); strings.HasPrefix(s, "[") && end > 0 {
		a, err := netip.ParseAddr(s[1:end])
		if err != nil || !a.Is6() || a.Zone() != "" || end+1 < len(s) && s[end+1] != ':' {
			return false
		}
		host, port, hasPort = "v6", strings.TrimPrefix(s[end+1:], ":"), end+1 < len(s)
	} else {
		host, port, hasPort = strings.Cut(s, ":")
	}
	if n, err := strconv.ParseUint(port, 10, 16); hasPort && (err != nil || n == 0) {
		return false
	}
	for i := range len(host) {
		if c := host[i]; !isAlnum(c) && c != '-' && c != '.' && c != '_' {
			return false
		}
	}
	return host != ""
}

var _ proxy.Request = (*exchange)(nil)
