package guard

import "net/http"

// Token reports whether s is a token (RFC 9110, 5.6.2): a method or the name
// of a field.
func Token(s string) bool { return s != "" && all([]byte(s), token) }

// Check judges the head of a request that came by HTTP/2 and was read by
// net/http by the rules and limits that hold for HTTP/1.1, which it is
// forwarded in. It returns nil for one that passes. It does not judge what
// net/http has: the names and values of fields, and the body's length.
func (o Options) Check(r *http.Request) *Rejection {
	o = o.withDefaults()
	own := r.Header["Host"]
	switch {
	case !Token(r.Method):
		return refuse(http.StatusBadRequest, "method %.64q is not a token", r.Method)
	case len(r.Method)+len(r.RequestURI)+len("  HTTP/1.1") > o.RequestLine:
		return refuse(http.StatusRequestURITooLong, "the request line is longer than %d octets", o.RequestLine)
	case r.RequestURI != "" && r.RequestURI[0] != '/' && r.RequestURI != "*":
		return refuse(http.StatusBadRequest, "target %.64q is no path", r.RequestURI)
	case !authority([]byte(r.Host)) || len(own) > 1 || len(own) == 1 && own[0] != r.Host:
		return refuse(http.StatusBadRequest, "authority %.64q: it must be a name or an address, with a port or without, and what Host says", r.Host)
	}
	count, size := 0, len(r.RequestURI)
	for name, values := range r.Header {
		for _, v := range values {
			line := len(name) + len(": ") + len(v)
			count++
			size += line + len("\r\n")
			switch {
			case count > o.HeaderCount:
				return refuse(http.StatusRequestHeaderFieldsTooLarge, "the head has more than %d header lines", o.HeaderCount)
			case len(name) > o.HeaderName:
				return refuse(http.StatusRequestHeaderFieldsTooLarge, "header name %.64q… is longer than %d octets", name, o.HeaderName)
			case line > o.HeaderLine:
				return refuse(http.StatusRequestHeaderFieldsTooLarge, "header %.64s is longer than %d octets", name, o.HeaderLine)
			case size > o.HeaderTotal:
				return refuse(http.StatusRequestHeaderFieldsTooLarge, "the head is longer than %d octets", o.HeaderTotal)
			}
		}
	}
	h := head{options: r.Method == http.MethodOptions}
	return h.target([]byte(r.RequestURI), &o)
}
