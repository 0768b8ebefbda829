package nethttp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"serin/proxy"
)

// An exchange is one request and everything done for it. It is reused.
type exchange struct {
	s *Server
	w http.ResponseWriter
	r *http.Request
	c *conn

	d           proxy.Decision
	out         proxy.Outcome
	path, query string // of the target, raw; query with its "?"
	kind        proxy.Kind
	up          *proxy.Upstream // claimed
	began       bool            // the final head was handed to net/http
	abort       bool            // end so that the client sees that its response is not whole
	upgrade     bool            // a WebSocket is asked for
	retriable   bool            // another attempt would be allowed after a time-out
	left        time.Duration   // for the waits for the response's head, of all attempts
	waiting     time.Time       // when the attempt's wait began; zero before
	prefix      string          // X-Forwarded-Prefix without what the target strips
	unwatch     func() bool     // ends the watch for the request's context; nil when there is none

	rc       http.ResponseController
	body     request
	reply    reply
	replyBuf []byte // of heads, in turn: the request's, the response's
	source   source
	squeeze  *squeeze      // compresses the response; nil where it is not
	shadow   *shadow       // copy of the request that waits for its body; nil for none
	clientAt deadline      // of an HTTP/2 stream's writes; it ends a stream that waits for the instance too,
	patience time.Duration // so it has to be longer than that wait may be

	mu   sync.Mutex // guards what follows
	link *link
	gone bool // the client has, or the server stops: links are interrupted
}

// exchanges are reused because an Outcome and its buffers are large.
var exchanges = sync.Pool{New: func() any { return new(exchange) }}

// buffers are what bodies are copied with.
var buffers = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}

// ServeHTTP is the life of a request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := s.begin(w, r)
	defer x.end()
	if status, reason := x.refusal(); status != 0 {
		x.fail(fault{class: proxy.ClientError, status: status, err: errors.New(reason)})
		return
	}
	x.identify()
	x.d = s.Core.Decide(x)
	x.recordDecision()
	if a := x.d.Answer; a != nil {
		x.out.Class, x.out.Reason = a.Class, a.Reason
		x.answer(*a)
		return
	}
	x.forward()
}

// begin starts the Outcome.
func (s *Server) begin(w http.ResponseWriter, r *http.Request) *exchange {
	x := exchanges.Get().(*exchange)
	x.s, x.w, x.r = s, w, r
	x.rc = *http.NewResponseController(w)
	x.c = r.Context().Value(connKey{}).(*conn)
	x.path, x.query = cutTarget(r.RequestURI)
	s.drain.Begin(proxy.Exchange)
	o := &x.out
	o.Start = s.Core.Now()
	o.Method, o.Host, o.Path, o.Query, o.HTTPVersion = r.Method, r.Host, x.path, x.RawQuery(), r.Proto
	o.Scheme, o.Remote, o.Client = "http", x.c.remote, x.c.remote.Addr()
	o.GRPC = -1
	if r.TLS != nil {
		o.Scheme = "https"
	}
	x.body.begin(x)
	if r.ProtoMajor == 2 {
		x.c.h2.Store(true)
	} else {
		x.c.h1.Store(true)
	}
	return x
}

// identify notes who asks; the header is still the client's.
func (x *exchange) identify() {
	o, h := &x.out, x.r.Header
	o.Client = x.s.Core.ClientAddr(h, x.c.remote.Addr())
	o.RequestID = x.s.Core.RequestID(h, x.c.remote.Addr())
	o.UserAgent, o.Referer = h.Get("User-Agent"), h.Get("Referer")
	for _, name := range x.s.Core.LogHeaders {
		o.Logged = append(o.Logged, h.Get(name))
	}
}

func (x *exchange) recordDecision() {
	o, d := &x.out, &x.d
	o.Route, o.Target, o.Arm, o.Why, o.Key, o.HasKey = d.Route, d.Target, d.Arm, d.Why, d.Key, d.HasKey
	o.Panic, o.Split, o.Randomised = d.Panic, d.Split, d.Randomised
	if d.Part != nil {
		o.Service = d.Part.Service
	}
}

// end tells the Outcome, whatever happened, and frees what the exchange holds.
// A panic below is answered 500 if that is still possible.
func (x *exchange) end() {
	if p := recover(); p != nil {
		x.panicked(p)
	}
	s, o := x.s, &x.out
	x.settle(o.Class)
	x.shadow.drop()
	x.d.Leave()
	x.c.Release()
	o.Duration = s.Core.Now().Sub(o.Start)
	s.Core.Done(o)
	s.drain.End(x.kind)
	reset := o.Class == proxy.ClientGone || x.abort
	if x.r.ProtoMajor == 2 && x.c.streamEnded(time.Now(), reset) {
		s.log.Warn("client resets its streams too fast, closing its connection", "client", o.Remote)
		_ = x.c.Close()
	}
	abort := x.abort
	if abort && !x.r.ProtoAtLeast(1, 1) {
		x.c.reset()
	}
	if x.unwatch != nil && !x.unwatch() {
		x = &exchange{} // interrupt runs, or ran: leave it its exchange
	}
	clear(x.out.Logged)
	*x = exchange{replyBuf: x.replyBuf[:0], body: request{captured: x.body.captured[:0]}, out: proxy.Outcome{Logged: x.out.Logged[:0]}}
	exchanges.Put(x)
	if abort {
		panic(http.ErrAbortHandler)
	}
}

func (x *exchange) panicked(p any) {
	x.s.log.Error("panic in a request", "panic", fmt.Sprint(p), "method", x.out.Method, "path", x.out.Path, "stack", string(debug.Stack()))
	if x.link != nil {
		x.body.stop()
		x.drop()
	}
	x.fail(fault{class: proxy.Answered, status: http.StatusInternalServerError, err: fmt.Errorf("panic: %v", p)})
}

// settle releases the claim on the instance, if there is one, with what became
// of the attempt.
func (x *exchange) settle(c proxy.Class) {
	if x.up == nil {
		return
	}
	if x.out.Attempts == 1 {
		x.out.FirstClass = c
	}
	x.up.Release(c)
	x.up = nil
}

// A fault is why an attempt or a request failed.
type fault struct {
	class  proxy.Class
	status int // 0 is the class's
	err    error
}

// fail ends the exchange with f: with an answer where one can still be given,
// else visibly cut.
func (x *exchange) fail(f fault) {
	if f.status == 0 {
		f.status = f.class.Status()
	}
	x.out.Class, x.out.Err = f.class, f.err
	switch {
	case x.began:
		x.abort = true
	case f.class == proxy.ClientGone:
		x.abort, x.out.Status = true, f.status
	default:
		x.answer(proxy.Answer{Status: f.status})
	}
}

// answer responds without an instance. An empty body becomes the status in words.
func (x *exchange) answer(a proxy.Answer) {
	status := a.Status
	if status < 200 || status > 999 {
		status = http.StatusInternalServerError
	}
	h := x.w.Header()
	clear(h)
	switch status {
	case http.StatusMethodNotAllowed:
		h.Set("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
	case http.StatusServiceUnavailable:
		a.RetryAfter = max(a.RetryAfter, 1)
	}
	if a.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(a.RetryAfter))
	}
	if a.Location != "" {
		h.Set("Location", a.Location)
	}
	if a.Challenge != "" {
		h.Set("Www-Authenticate", a.Challenge)
	}
	h.Set("Cache-Control", "no-store")
	body := a.HTML
	switch {
	case status == http.StatusNoContent || status == http.StatusNotModified:
		body = nil
	case len(body) > 0:
		h.Set("Content-Type", "text/html; charset=utf-8")
	default:
		if a.Body == "" {
			a.Body = strconv.Itoa(status) + " " + http.StatusText(status)
		}
		body = append([]byte(a.Body), '\n')
		h.Set("Content-Type", "text/plain; charset=utf-8")
	}
	if len(body) > 0 {
		h.Set("Content-Length", strconv.Itoa(len(body)))
	}
	x.writeHead(status, x.out.Class == proxy.ClientError)
	if x.r.Method != "HEAD" && len(body) > 0 {
		n, _ := x.w.Write(body)
		x.out.Sent = int64(n)
	}
}

// writeHead hands the final head to net/http, with Connection: close where the
// connection is not to be used again: when the server stops (HTTP/2 then sends
// GOAWAY), or part of an HTTP/1 request's body is unread. The latter also makes
// net/http send the head at once, without reading the rest of the body first:
// its EnableFullDuplex is for connections that are kept.
func (x *exchange) writeHead(status int, last bool) {
	if x.r.ProtoMajor == 1 && x.body.exists && !x.body.whole.Load() {
		last = true
		x.c.lingering.Store(true)
	}
	if last || x.s.lame.Load() || x.s.ctx.Err() != nil {
		x.w.Header()["Connection"] = []string{"close"}
	}
	x.began, x.out.Status = true, status
	x.w.WriteHeader(status)
}

// interrupt ends the waiting for the instance. It is called when the request's
// context ends: the client has gone, or the server stops.
func (x *exchange) interrupt() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.gone = true
	if x.link != nil {
		x.link.interrupt()
	}
}

// use makes l the exchange's link.
func (x *exchange) use(l *link) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.link = l; x.gone {
		l.interrupt()
	}
}

// drop closes the exchange's link, release lets go of it.
func (x *exchange) drop() {
	if l := x.release(); l != nil {
		_ = l.Close()
	}
}

func (x *exchange) release() *link {
	x.mu.Lock()
	defer x.mu.Unlock()
	l := x.link
	x.link = nil
	return l
}

// ended returns why the request's context ended, as a fault; ok is false when
// it has not.
func (x *exchange) ended() (f fault, ok bool) {
	ctx := x.r.Context()
	switch {
	case ctx.Err() == nil:
		return fault{}, false
	case context.Cause(ctx) == errStopped:
		return fault{proxy.Answered, http.StatusServiceUnavailable, errStopped}, true
	}
	if e := x.c.Fault(); e != nil {
		return fault{proxy.ClientError, e.Status, e}, true
	}
	return fault{class: proxy.ClientGone, err: errors.New("the client went away")}, true
}
