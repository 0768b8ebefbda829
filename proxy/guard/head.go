package guard

import (
	"bytes"
	"fmt"
	"net/http"
)

// head reads one request head out of a buffer that may grow between calls. It
// moves the lines it keeps together at the buffer's start.
type head struct {
	kept int // b[:kept] is what will be handed on
	line int // where the line begins that is not yet read
	scan int // where the search for that line's end goes on
	size int // octets of all lines read, also those dropped

	requestLine int // octets of the request line with its CRLF; 0 until it was read
	count       int // header lines
	blank       bool

	get, options, minor0 bool

	host, sized, chunked      bool
	length                    int64
	connectionUpgrade, key    bool
	upgradeStart, upgradeStop int // the Upgrade line kept, in b[:kept]
}

// upgrade reports whether the head asks for a tunnel; see finish.
func (h *head) upgrade() bool { return h.upgradeStop > 0 }

// read goes on reading b, whose first octets it was shown before. When done,
// b[:h.kept] is the canonical head and b[h.line:] what came after it.
func (h *head) read(b []byte, o *Options) (done bool, bad *Rejection) {
	for {
		i := bytes.IndexByte(b[h.scan:], '\n')
		stop := len(b)
		if i >= 0 {
			stop = h.scan + i + 1
		}
		if bad := h.fits(b[h.line:stop], o); bad != nil {
			return false, h.refused(b, bad)
		}
		if h.scan = stop; i < 0 {
			return false, nil
		}
		line := b[h.line:stop]
		if len(line) < 2 || line[len(line)-2] != '\r' {
			return false, h.refused(b, refuse(http.StatusBadRequest, "head line %d ends in a bare line feed", h.count+1))
		}
		keep, bad := true, (*Rejection)(nil)
		text := line[:len(line)-2]
		switch {
		case h.requestLine > 0 && len(text) == 0:
			done, bad = true, h.finish(b)
		case h.requestLine > 0:
			keep, bad = h.field(text, o)
		case len(text) == 0 && !h.blank:
			keep, h.blank = false, true
		default:
			bad = h.request(text, o)
			h.requestLine = len(line)
		}
		if bad != nil {
			return false, h.refused(b, bad)
		}
		h.size += len(line)
		h.line = stop
		if keep {
			h.kept += copy(b[h.kept:], line)
		}
		if done {
			return true, nil
		}
	}
}

// fits checks the limits that hold before a line is complete, so that the
// verdict does not depend on how the octets arrive.
func (h *head) fits(line []byte, o *Options) *Rejection {
	first := h.requestLine == 0
	switch {
	case first && len(line) > 0 && line[0] != '\r' && octets[line[0]]&token == 0:
		return refuse(http.StatusBadRequest, "the request begins with %q: a method was expected", line[0])
	case first && len(line) > o.RequestLine+2:
		return refuse(http.StatusRequestURITooLong, "the request line is longer than %d octets", o.RequestLine)
	case !first && len(line) > o.HeaderLine+2:
		return refuse(http.StatusRequestHeaderFieldsTooLarge, "header line %d is longer than %d octets", h.count+1, o.HeaderLine)
	case h.size+len(line) > o.HeaderTotal:
		return refuse(http.StatusRequestHeaderFieldsTooLarge, "the head is longer than %d octets", o.HeaderTotal)
	}
	return nil
}

// refused completes a rejection with the request line, or what there is of it.
func (h *head) refused(b []byte, r *Rejection) *Rejection {
	line := b[h.line:]
	if h.kept > 0 {
		line = b[:h.requestLine]
	}
	line, _, _ = bytes.Cut(clip(line, 256), []byte("\n"))
	r.RequestLine = fmt.Sprintf("%q", bytes.TrimSuffix(line, []byte("\r")))
	return r
}

// request reads the request line: RFC 9112, 3, without its leniencies.
func (h *head) request(line []byte, o *Options) *Rejection {
	method, rest, found := bytes.Cut(line, []byte(" "))
	space := bytes.LastIndexByte(rest, ' ')
	if !found || space < 0 || !all(method, token) || len(method) == 0 {
		return refuse(http.StatusBadRequest, "request line %q: it must be method, space, target, space, version", clip(line, 64))
	}
	uri, version := rest[:space], rest[space+1:]
	switch string(version) {
	case "HTTP/1.1":
	case "HTTP/1.0":
		h.minor0 = true
	default:
		if len(version) == 8 && string(version[:5]) == "HTTP/" && version[6] == '.' &&
			octets[version[5]]&octets[version[7]]&digit != 0 {
			return refuse(http.StatusHTTPVersionNotSupported, "version %q: only HTTP/1.0 and HTTP/1.1 are spoken here", version)
		}
		return refuse(http.StatusBadRequest, "version %q is none", clip(version, 64))
	}
	switch string(method) {
	case "CONNECT", "TRACE":
		return refuse(http.StatusMethodNotAllowed, "method %s is not served", method)
	case "GET":
		h.get = true
	case "OPTIONS":
		h.options = true
	}
	return h.target(uri, o)
}

// target reads the request target: origin-form, absolute-form of the
// listener's scheme, or * for OPTIONS.
func (h *head) target(uri []byte, o *Options) *Rejection {
	bad := func(why string) *Rejection {
		return refuse(http.StatusBadRequest, "target %q %s", clip(uri, 64), why)
	}
	if len(uri) == 0 {
		return bad("is empty")
	}
	if !all(uri, target) {
		return bad(`holds an octet that must be percent-encoded: a space, a control, "#", "\" or one beyond ASCII`)
	}
	path := uri
	if scheme := len(o.Scheme); uri[0] != '/' {
		if len(uri) == 1 && uri[0] == '*' && h.options {
			return nil
		}
		if len(uri) < scheme+3 || !equal(uri[:scheme], o.Scheme) || string(uri[scheme:scheme+3]) != "://" {
			return bad("is neither a path nor a URI of " + o.Scheme)
		}
		auth := uri[scheme+3:]
		path = nil
		if i := bytes.IndexAny(auth, "/?"); i >= 0 {
			auth, path = auth[:i], auth[i:]
		}
		if !authority(auth) {
			return bad("has no clear authority")
		}
	}
	path, _, _ = bytes.Cut(path, []byte("?"))
	for i := bytes.IndexByte(path, '%'); i >= 0; i = bytes.IndexByte(path, '%') {
		if path = path[i+1:]; len(path) < 2 || !all(path[:2], hex) {
			return bad(`has a "%" in its path that is not followed by two hexadecimal digits`)
		}
	}
	return nil
}

// split divides a header or trailer line into name and value: RFC 9112, 5,
// without line folding and without space before the colon.
func split(line []byte, o *Options) (name, val []byte, bad *Rejection) {
	name, val, found := bytes.Cut(line, []byte(":"))
	switch {
	case line[0] == ' ' || line[0] == '\t':
		return nil, nil, refuse(http.StatusBadRequest, "header line %q begins with white space: folded lines are obsolete", clip(line, 64))
	case !found:
		return nil, nil, refuse(http.StatusBadRequest, "header line %q has no colon", clip(line, 64))
	case len(name) == 0 || !all(name, token):
		return nil, nil, refuse(http.StatusBadRequest, "header name %q is not a token", clip(name, 64))
	case len(name) > o.HeaderName:
		return nil, nil, refuse(http.StatusRequestHeaderFieldsTooLarge, "header name %q… is longer than %d octets", clip(name, 64), o.HeaderName)
	case !all(val, value):
		return nil, nil, refuse(http.StatusBadRequest, "header %s: a control octet in its value", clip(name, 64))
	}
	return name, trim(val), nil
}

// field reads one header line and says whether it is handed on.
func (h *head) field(line []byte, o *Options) (keep bool, bad *Rejection) {
	if h.count++; h.count > o.HeaderCount {
		return false, refuse(http.StatusRequestHeaderFieldsTooLarge, "the head has more than %d header lines", o.HeaderCount)
	}
	name, val, bad := split(line, o)
	if bad != nil {
		return false, bad
	}
	switch len(name) {
	case len("host"):
		if equal(name, "host") {
			if h.host || !authority(val) {
				return false, refuse(http.StatusBadRequest, "Host %q: it must be there once and be a name or an address, with a port or without", clip(val, 64))
			}
			h.host = true
		}
	case len("expect"):
		if equal(name, "expect") && !equal(val, "100-continue") {
			return false, refuse(http.StatusExpectationFailed, "Expect %q: only 100-continue is known", clip(val, 64))
		}
	case len("trailer"): // and upgrade
		if equal(name, "trailer") {
			return false, nil
		}
		if equal(name, "upgrade") {
			if h.upgrade() || !equal(val, "websocket") {
				return false, nil
			}
			h.upgradeStart, h.upgradeStop = h.kept, h.kept+len(line)+2
		}
	case len("connection"):
		if equal(name, "connection") && lists(val, "upgrade") {
			h.connectionUpgrade = true
		}
	case len("content-length"): // and http2-settings
		if similar(name, "http2-settings") {
			return false, nil
		}
		if similar(name, "content-length") {
			return true, h.contentLength(name, val)
		}
	case len("transfer-encoding"): // and sec-websocket-key
		if equal(name, "sec-websocket-key") {
			h.key = true
		}
		if similar(name, "transfer-encoding") {
			return true, h.transferEncoding(name, val)
		}
	}
	return true, nil
}

func (h *head) contentLength(name, val []byte) *Rejection {
	n, ok := decimal(val, 18)
	switch {
	case !equal(name, "content-length"):
		return refuse(http.StatusBadRequest, "header %q can be taken for Content-Length", name)
	case h.sized:
		return refuse(http.StatusBadRequest, "Content-Length is there twice")
	case h.chunked:
		return refuse(http.StatusBadRequest, "Content-Length beside Transfer-Encoding")
	case !ok || val[0] == '0' && len(val) > 1:
		return refuse(http.StatusBadRequest, "Content-Length %q: it must be a plain decimal number", clip(val, 64))
	}
	h.sized, h.length = true, n
	return nil
}

func (h *head) transferEncoding(name, val []byte) *Rejection {
	switch {
	case !equal(name, "transfer-encoding"):
		return refuse(http.StatusBadRequest, "header %q can be taken for Transfer-Encoding", name)
	case h.chunked:
		return refuse(http.StatusBadRequest, "Transfer-Encoding is there twice")
	case h.sized:
		return refuse(http.StatusBadRequest, "Transfer-Encoding beside Content-Length")
	case h.minor0:
		return refuse(http.StatusBadRequest, "Transfer-Encoding in HTTP/1.0")
	case !equal(val, "chunked") && unknownCoding(val):
		return refuse(http.StatusNotImplemented, "Transfer-Encoding %q: only chunked is known", clip(val, 64))
	case !equal(val, "chunked"):
		return refuse(http.StatusBadRequest, "Transfer-Encoding %q: only chunked is accepted", clip(val, 64))
	}
	h.chunked = true
	return nil
}

// unknownCoding reports whether val is a well-formed list of transfer codings
// with one that is not chunked (RFC 9112, 6.1: 501); anything else is
// malformed.
func unknownCoding(val []byte) bool {
	unknown := false
	for coding := range bytes.SplitSeq(val, []byte(",")) {
		coding = trim(coding)
		if len(coding) == 0 || !all(coding, token) {
			return false
		}
		unknown = unknown || !equal(coding, "chunked")
	}
	return unknown
}

// lists reports whether the comma-separated list val has the member want.
func lists(val []byte, want string) bool {
	for {
		member, rest, more := bytes.Cut(val, []byte(","))
		if equal(trim(member), want) {
			return true
		}
		if !more {
			return false
		}
		val = rest
	}
}

// finish checks what needs the whole head. An Upgrade that must not lead to a
// tunnel is taken out of b[:h.kept].
func (h *head) finish(b []byte) *Rejection {
	if !h.host && !h.minor0 {
		return refuse(http.StatusBadRequest, "Host is missing")
	}
	if h.upgrade() && !(h.get && !h.minor0 && h.connectionUpgrade && h.key && !h.chunked && h.length == 0) {
		h.kept = h.upgradeStart + copy(b[h.upgradeStart:], b[h.upgradeStop:h.kept])
		h.upgradeStop = 0
	}
	return nil
}
