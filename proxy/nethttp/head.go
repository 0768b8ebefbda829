package nethttp

import (
	"bufio"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	"serin/proxy/guard"
)

// malformed is the error of a response that is no HTTP, or one that other
// readers could understand otherwise.
type malformed struct{ reason string }

func (e *malformed) Error() string { return "response: " + e.reason }

func wrong(format string, args ...any) error { return &malformed{fmt.Sprintf(format, args...)} }

// reply is the head of a response, as far as its framing goes. The other
// header fields are parsed into an http.Header.
type reply struct {
	status  int
	length  int64 // of the body; -1 is unknown: chunked, or until the connection ends
	chunked bool
	last    bool          // the connection ends with this response
	hint    time.Duration // Keep-Alive: timeout=; 0 is none
}

// readHead reads the octets of a response's head up to its empty line,
// appending them to buf. It fails beyond limit.
func readHead(br *bufio.Reader, buf []byte, limit int64) ([]byte, error) {
	for begin := true; ; {
		line, err := br.ReadSlice('\n')
		if int64(len(buf)+len(line)) > limit {
			return buf, wrong("its head is larger than %d bytes", limit)
		}
		buf = append(buf, line...)
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return buf, err
		}
		if begin && err == nil && len(buf) > len(line) && (len(line) == 1 || len(line) == 2 && line[0] == '\r') {
			return buf, nil
		}
		begin = err == nil
	}
}

// parseReply parses the head of the response to a request of that method into
// h, which must be empty. It is strict where readers of HTTP differ (RFC 9112,
// 6.3): a response with two lengths, or with a length beside an encoding, is
// refused. A bare line feed ends a line, since nothing is forwarded as it was read.
func parseReply(text, method string, h http.Header) (reply, error) {
	r := reply{length: -1}
	line, text := cutLine(text)
	minor, err := r.statusLine(line)
	if err != nil {
		return r, err
	}
	values := make([]string, strings.Count(text, "\n"))
	for line, text = cutLine(text); line != ""; line, text = cutLine(text) {
		name, value, ok := strings.Cut(line, ":")
		if !ok || !guard.Token(name) {
			return r, wrong("the header line %.64q has no name", line)
		}
		if value = strings.Trim(value, " \t"); !isValue(value) {
			return r, wrong("the value of %s holds a control character", name)
		}
		name = textproto.CanonicalMIMEHeaderKey(name)
		if had, ok := h[name]; ok {
			h[name] = append(had, value)
			continue
		}
		values[0] = value
		h[name], values = values[:1:1], values[1:]
	}
	return r, r.framing(method, minor, h)
}

func cutLine(s string) (line, rest string) {
	line, rest, _ = strings.Cut(s, "\n")
	return strings.TrimSuffix(line, "\r"), rest
}

func isValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// statusLine parses "HTTP/1.x NNN reason".
func (r *reply) statusLine(line string) (minor int, err error) {
	version, rest, _ := strings.Cut(line, " ")
	switch version {
	case "HTTP/1.1":
		minor = 1
	case "HTTP/1.0":
	default:
		return 0, wrong("it begins with %.32q", line)
	}
	code, _, _ := strings.Cut(rest, " ")
	n, err := strconv.ParseUint(code, 10, 16)
	if err != nil || len(code) != 3 || n < 100 || !isValue(rest) {
		return 0, wrong("the status %.32q is none", rest)
	}
	r.status = int(n)
	return minor, nil
}

// framing finds out where the body ends (RFC 9112, 6.3) and whether the
// connection can be used again.
func (r *reply) framing(method string, minor int, h http.Header) error {
	lengths, codings := h["Content-Length"], h["Transfer-Encoding"]
	if len(codings) > 0 {
		if len(lengths) > 0 || minor == 0 || len(codings) > 1 || !strings.EqualFold(codings[0], "chunked") {
			return wrong("Transfer-Encoding %.64q with %d Content-Length in HTTP/1.%d", codings, len(lengths), minor)
		}
		r.chunked = true
	}
	if len(lengths) > 0 {
		n, err := strconv.ParseUint(lengths[0], 10, 63)
		if err != nil || len(lengths) > 1 {
			return wrong("Content-Length %.64q", lengths)
		}
		r.length = int64(n)
	}
	if method == "HEAD" || r.status < 200 || r.status == http.StatusNoContent || r.status == http.StatusNotModified {
		r.length, r.chunked = 0, false
	}
	r.last = lists(h["Connection"], "close") || minor == 0 && !lists(h["Connection"], "keep-alive") || r.length < 0 && !r.chunked
	if k := h["Keep-Alive"]; len(k) > 0 {
		r.hint = keepAliveTimeout(k[0])
	}
	return nil
}

// keepAliveTimeout returns what "timeout=5, max=100" says.
func keepAliveTimeout(s string) time.Duration {
	for p := range strings.SplitSeq(s, ",") {
		if name, v, ok := strings.Cut(strings.TrimSpace(p), "="); ok && strings.EqualFold(name, "timeout") {
			if n, err := strconv.ParseUint(v, 10, 16); err == nil {
				return time.Duration(n) * time.Second
			}
		}
	}
	return 0
}

// lists reports whether token is an element of the comma-separated values.
func lists(values []string, token string) bool {
	for _, v := range values {
		for e := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(e), token) {
				return true
			}
		}
	}
	return false
}

// appendRequest appends the head of the request that an instance gets:
// method, target and host as they are, the fields of h without those of the
// framing, and the framing: length octets of body, or chunks where it is
// negative. Header values were checked when they were read from the client.
func appendRequest(b []byte, method, path, query, host string, h http.Header, length int64, expect bool) []byte {
	b = append(append(append(append(append(b, method...), ' '), path...), query...), " HTTP/1.1\r\nHost: "...)
	b = append(append(b, host...), "\r\n"...)
	for name, values := range h {
		switch name {
		case "Host", "Content-Length", "Transfer-Encoding", "Trailer", "Expect":
			continue
		}
		for _, v := range values {
			b = append(append(append(append(b, name...), ": "...), v...), "\r\n"...)
		}
	}
	switch {
	case length < 0:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	case length > 0 || len(h["Content-Length"]) > 0 || method == "POST" || method == "PUT" || method == "PATCH":
		b = append(strconv.AppendInt(append(b, "Content-Length: "...), length, 10), "\r\n"...)
	}
	if expect {
		b = append(b, "Expect: 100-continue\r\n"...)
	}
	return append(b, "\r\n"...)
}
