package nethttp

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/textproto"
	"slices"
	"strings"
	"time"

	"serin/proxy"
	"serin/proxy/guard"
)

// relay copies the response, whose head is in x.reply and the client's header,
// to the client.
func (x *exchange) relay() {
	l, h := x.link, x.w.Header()
	announced := h["Trailer"]
	x.s.Core.ResponseHeaders(h, &x.d, "")
	x.announce(h, announced)
	if _, ok := h["Content-Type"]; !ok {
		h["Content-Type"] = nil // or net/http guesses one
	}
	if x.s.Compress != nil {
		x.compress(h)
	}
	events := strings.HasPrefix(h.Get("Content-Type"), "text/event-stream")
	limit := x.s.timeouts.BodyIdle
	if events || strings.HasPrefix(h.Get("Content-Type"), "application/grpc") {
		limit = x.s.timeouts.StreamIdle
	}
	if events {
		x.become(proxy.Stream)
	}
	x.writeHead(x.reply.status, false)
	l.awaitBody(limit)
	if x.patience = limit; limit > 0 {
		x.patience += limit/8 + x.s.timeouts.BodyIdle
	}
	if f := x.transfer(l, events || x.reply.length < 0); f.err != nil {
		x.body.stop()
		x.drop()
		x.fail(f)
		return
	}
	x.out.Class = proxy.StatusClass(x.reply.status)
	x.recycle(l)
}

func (x *exchange) become(k proxy.Kind) {
	x.s.drain.Become(x.kind, k)
	x.kind = k
}

// recycle gives the link back after a whole response if another request may
// follow on it.
func (x *exchange) recycle(l *link) {
	sent := x.body.finish()
	x.release() // first: from here on nothing interrupts l
	if !sent || x.reply.last || l.br.Buffered() > 0 || x.upgrade || l.wasInterrupted() {
		_ = l.Close()
		return
	}
	x.s.pool.put(l)
}

// transfer copies the response's body to the client, compressed if that was
// decided. While it waits for more, nothing that came waits in the encoder.
func (x *exchange) transfer(l *link, stream bool) (f fault) {
	s := x.squeeze
	if s == nil {
		return x.copy(l, stream)
	}
	whole := false
	defer func() {
		l.idle = nil
		s.release(whole)
	}()
	l.idle = s.flush
	if f = x.copy(l, stream); f.err == nil {
		f = s.end()
	}
	whole = f.err == nil
	return f
}

// pass passes a piece of the response's body on.
func (x *exchange) pass(p []byte) fault {
	if x.squeeze != nil {
		return x.squeeze.pass(p)
	}
	return x.write(p)
}

// copy copies the response's body, and its trailers, to the client. What came
// is passed on before more is waited for; stream does so with the head too.
func (x *exchange) copy(l *link, stream bool) fault {
	r := &x.reply
	if n := int(r.length); r.length > 0 && r.length <= int64(l.br.Buffered()) {
		p, _ := l.br.Peek(n)
		f := x.pass(p)
		_, _ = l.br.Discard(n)
		return f
	}
	x.source = source{br: l.br, left: r.length}
	if r.chunked {
		x.source.chunks = httputil.NewChunkedReader(l.br)
	}
	if r.length == 0 && !r.chunked {
		return fault{}
	}
	if stream && l.br.Buffered() == 0 {
		_ = x.rc.Flush()
	}
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	for {
		n, err := x.source.Read(*buf)
		if n > 0 {
			if f := x.pass((*buf)[:n]); f.err != nil {
				return f
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return x.cutFault(err, l)
		}
		if x.squeeze == nil { // which flushes before l waits
			_ = x.rc.Flush()
		}
	}
	if r.chunked {
		if err := x.trailers(l.br); err != nil {
			return x.cutFault(err, l)
		}
	}
	return fault{}
}

// cutFault says what an error in the middle of a response's body means.
func (x *exchange) cutFault(err error, l *link) fault {
	f := x.faultOf(err, l)
	if f.class == proxy.Reset || f.class == proxy.Timeout {
		f.class, f.err = proxy.Truncated, fmt.Errorf("the response was cut after %d bytes of its body: %w", x.out.Sent, f.err)
	}
	return f
}

// write passes p to the client.
func (x *exchange) write(p []byte) fault {
	if x.r.ProtoMajor == 2 && x.clientAt.due(time.Now(), x.patience) {
		_ = x.rc.SetWriteDeadline(x.clientAt.at) // of the stream; HTTP/1 has conn's
	}
	n, err := x.w.Write(p)
	x.out.Sent += int64(n)
	if err == nil || errors.Is(err, http.ErrBodyNotAllowed) {
		return fault{}
	}
	if f, ok := x.ended(); ok {
		return f
	}
	return fault{class: proxy.ClientGone, err: fmt.Errorf("write to the client: %w", err)}
}

// source is the body of a response.
type source struct {
	br     *bufio.Reader
	left   int64     // of the body; -1 is until the end of the connection
	chunks io.Reader // set for a chunked one
}

// Read returns io.EOF at the end of a whole body, and another error for one
// that was cut.
func (s *source) Read(p []byte) (n int, err error) {
	if s.chunks != nil {
		return s.chunks.Read(p)
	}
	if s.left < 0 {
		return s.br.Read(p)
	}
	n, err = s.br.Read(p[:min(int64(len(p)), s.left)])
	s.left -= int64(n)
	switch {
	case s.left == 0:
		return n, io.EOF
	case err == io.EOF:
		return n, io.ErrUnexpectedEOF
	}
	return n, err
}

// announce declares the trailers that the instance declared, as many as a head
// may have lines. Others may come nevertheless.
func (x *exchange) announce(h http.Header, announced []string) {
	delete(h, "Trailer")
	if !x.reply.chunked {
		return
	}
	var names []string
	for _, v := range announced {
		for name := range strings.SplitSeq(v, ",") {
			name = textproto.CanonicalMIMEHeaderKey(strings.TrimSpace(name))
			if len(names) < x.s.limits.HeaderCount && trailable(name) && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	if len(names) > 0 {
		h["Trailer"] = names
	}
}

// trailers reads what follows the last chunk and passes it on, but for fields
// that have no business there.
func (x *exchange) trailers(br *bufio.Reader) error {
	h := x.w.Header()
	left, lines := x.s.limits.HeaderTotal, x.s.limits.HeaderCount
	for {
		line, err := br.ReadSlice('\n')
		left, lines = left-len(line), lines-1
		if err != nil || left < 0 || lines < -1 {
			return errors.Join(err, wrong("its trailers do not end"))
		}
		text, _ := cutLine(string(line))
		if text == "" {
			return nil
		}
		name, value, ok := strings.Cut(text, ":")
		if value = strings.Trim(value, " \t"); !ok || !guard.Token(name) || !isValue(value) {
			return wrong("the trailer %.64q is none", text)
		}
		if name = textproto.CanonicalMIMEHeaderKey(name); !trailable(name) || x.squeeze != nil && slices.Contains(digests[:], name) {
			continue
		}
		if name == "Grpc-Status" {
			x.grpcStatus([]string{value})
		}
		if !slices.Contains(h["Trailer"], name) {
			name = http.TrailerPrefix + name
		}
		h[name] = append(h[name], value)
	}
}

// trailable reports whether a field may be a trailer: none of framing,
// routing, authentication or content does (RFC 9110, 6.5.1).
func trailable(name string) bool {
	switch name {
	case "Transfer-Encoding", "Content-Length", "Host", "Connection", "Keep-Alive", "Te", "Trailer", "Upgrade",
		"Content-Encoding", "Content-Type", "Content-Range", "Cache-Control", "Expires", "Date", "Location",
		"Retry-After", "Vary", "Age", "Authorization", "Set-Cookie", "Www-Authenticate":
		return false
	}
	return guard.Token(name) && !strings.HasPrefix(name, "Proxy-") && !strings.HasPrefix(name, "X-Forwarded-")
}
