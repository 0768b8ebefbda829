package nethttp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"syscall"
	"time"

	"serin/proxy"
)

// forward sends the request to the decided instance, and to another while that
// is allowed, and relays the response.
func (x *exchange) forward() {
	x.prepare()
	x.mirror()
	for {
		x.out.Attempts++
		x.out.Target = x.d.Target
		x.up = x.s.Core.Upstreams.Claim(x.d.Target)
		start := x.s.Core.Now()
		f, sent := x.attempt()
		if x.out.Attempts == 1 {
			x.out.FirstAddr, x.out.FirstTook = x.d.Target.Addr, x.s.Core.Now().Sub(start)
		}
		if f.err == nil {
			break
		}
		x.settle(f.class)
		if !x.s.Core.Retry(&x.d, proxy.Attempt{Class: f.class, Sent: sent, Idempotent: x.idempotent(), Replayable: x.body.replayable()}) {
			x.fail(f)
			return
		}
	}
	x.out.FirstByte = x.s.Core.Now().Sub(x.out.Start)
	x.grpcStatus(x.w.Header()["Grpc-Status"])
	if x.reply.status == http.StatusSwitchingProtocols {
		x.tunnel()
		return
	}
	x.relay()
}

// grpcStatus takes note of the first attempt's status of gRPC, of its head or
// its trailers. One that is no number is UNKNOWN, as gRPC's clients take it.
func (x *exchange) grpcStatus(values []string) {
	if len(values) == 0 || x.out.Attempts != 1 {
		return
	}
	code, err := strconv.ParseUint(values[0], 10, 31)
	if err != nil {
		code = grpcUnknown
	}
	x.out.GRPC = int(code)
}

const grpcUnknown = 2

// prepare makes the client's header the instance's, and watches for the client
// to go.
func (x *exchange) prepare() {
	r := x.r
	f := proxy.Forwarding{
		Remote: x.c.remote, Local: x.c.local, TLS: r.TLS, Proto: r.Proto, Host: r.Host,
		Client: x.out.Client, RequestID: x.out.RequestID, StripCookie: x.d.Strip,
	}
	if x.upgrade = wantsWebSocket(r); x.upgrade {
		f.Upgrade = "websocket"
	}
	x.retriable = x.idempotent() && x.body.small(x.s.limits.ReplayBody) && x.d.Attempts > 1
	x.left = cmp.Or(x.d.Timeout, x.s.timeouts.ResponseHeader)
	x.s.Core.ForwardHeaders(r.Header, f)
	x.prefix = r.Header.Get("X-Forwarded-Prefix")
	x.unwatch = context.AfterFunc(r.Context(), x.interrupt)
}

func (x *exchange) idempotent() bool {
	return proxy.Idempotent(x.r.Method) || len(x.r.Header["Idempotency-Key"]) > 0
}

// headTimeout begins the wait for the response's head and returns how long it
// may be. All waits of a request have Timeouts.ResponseHeader, or the route's own
// timeout, together.
func (x *exchange) headTimeout() time.Duration {
	x.waiting = time.Now()
	if !x.retriable {
		return x.left
	}
	return share(x.left, x.out.Attempts, x.d.Attempts)
}

// share returns what an attempt gets of the time that is left: half, so that
// the next has some too, and the last one all.
func share(left time.Duration, attempt, attempts int) time.Duration {
	if attempt >= attempts {
		return left
	}
	return left / 2
}

// waited takes the wait that failed off what is left; 0 would be no limit.
func (x *exchange) waited() {
	if x.left > 0 && !x.waiting.IsZero() {
		x.left = max(x.left-time.Since(x.waiting), time.Millisecond)
	}
}

// attempt sends the request to the target and reads the head of its response,
// which is then in x.reply and the client's header. A pooled connection that
// turns out to be closed is no failure of the instance: unless something may
// have come of it, the request is sent again on a fresh one.
func (x *exchange) attempt() (f fault, sent bool) {
	t := x.d.Target
	s := x.s.pool.site(wayTo(t, x.s.AllowSkipVerify))
	replayable := x.idempotent() && x.body.small(x.s.limits.ReplayBody) && !x.upgrade
	for fresh := x.upgrade; ; fresh = true {
		var l *link
		if !fresh {
			l = x.s.pool.take(s, replayable)
		}
		if l == nil {
			fresh = true
			var err error
			if l, err = x.s.pool.dial(x.r.Context(), s); err != nil {
				if f, ok := x.ended(); ok {
					return f, false
				}
				return dialFault(t.Addr, err), false
			}
		}
		x.use(l)
		start := time.Now()
		var err error
		if sent, err = x.send(l); err == nil {
			err = x.receive(l)
		}
		if err == nil {
			s.foundOpen(l, x.reply.hint, start)
			return fault{}, sent
		}
		f := x.faultOf(err, l)
		x.waited()
		x.drop()
		clear(x.w.Header())
		if fresh || f.class != proxy.Reset || x.reply.status != 0 {
			return f, sent
		}
		s.foundClosed(l, start)
		if sent {
			s.reuseFailed(start)
		}
		if sent && !(x.idempotent() && x.body.replayable()) {
			return f, sent
		}
	}
}

// send writes the request's head, with the body behind it if that is at hand,
// and otherwise starts to send the body.
func (x *exchange) send(l *link) (sent bool, err error) {
	x.reply, x.waiting = reply{}, time.Time{}
	if prefix := x.prefix + stripped(x.path, x.d.Target.Options); prefix != "" {
		x.r.Header["X-Forwarded-Prefix"] = []string{prefix}
	} else {
		delete(x.r.Header, "X-Forwarded-Prefix") // of an attempt before
	}
	b := &x.body
	path := rewrite(x.path, x.d.Target.Options)
	x.out.UpstreamPath = path
	if b.exists {
		l.awaitHead(0) // until the body is sent
	} else {
		l.awaitHead(x.headTimeout())
	}
	x.replyBuf = appendRequest(x.replyBuf[:0], x.r.Method, path, x.query, hostFor(x.d.Target, x.r.Host), x.s.Core.EditRequest(x.r.Header, x.d.Target), b.length, b.expect && !b.touched)
	n, err := l.send(x.replyBuf, x.s.timeouts.BodyIdle)
	if err == nil && b.exists {
		b.start(l)
	}
	return n > 0, err
}

// receive reads heads until the final one, and forwards those of informational
// responses.
func (x *exchange) receive(l *link) (err error) {
	h := x.w.Header()
	for n := 0; ; n++ {
		if x.replyBuf, err = readHead(l.br, x.replyBuf[:0], x.s.limits.ResponseHead); err != nil {
			if len(x.replyBuf) > 0 && errors.Is(err, io.EOF) {
				err = wrong("it ended in the head")
			}
			return err
		}
		if x.reply, err = parseReply(string(x.replyBuf), x.r.Method, h); err != nil {
			return err
		}
		switch status := x.reply.status; {
		case status == http.StatusSwitchingProtocols:
			if !x.upgrade || len(h["Upgrade"]) != 1 || !lists(h["Upgrade"], "websocket") {
				return wrong("101 nobody asked for")
			}
			return nil
		case status >= 200:
			return nil
		case n >= x.s.limits.Informational:
			return wrong("more than %d informational responses", n)
		case status == http.StatusContinue:
			x.body.proceed()
		case x.r.ProtoAtLeast(1, 1):
			for _, name := range [...]string{"Connection", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding", "Content-Length", "Trailer", "Upgrade"} {
				delete(h, name)
			}
			x.w.WriteHeader(status)
		}
		clear(h)
	}
}

// dialFault says what a failed dial means: what this machine lacks is not
// charged to the instance.
func dialFault(addr string, err error) fault {
	err = fmt.Errorf("connect to %s: %w", addr, err)
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.EADDRNOTAVAIL) {
		return fault{proxy.Answered, http.StatusServiceUnavailable, err}
	}
	return fault{class: proxy.ConnectError, err: err}
}

// faultOf says what an error on l means: the client's fault, or its going,
// shows there too. It stops the body, which may end the request's context, so
// it looks at that first.
func (x *exchange) faultOf(err error, l *link) fault {
	f, ended := x.ended()
	stalled := x.body.stalled()
	x.body.abandon()
	switch {
	case x.body.failed != nil:
		return x.clientFault(x.body.failed)
	case ended:
		return f
	}
	err = fmt.Errorf("%s: %w", l.site.addr, err)
	if isTimeout(err) {
		return fault{class: proxy.Timeout, err: err}
	}
	if stalled {
		return fault{proxy.ClientError, http.StatusRequestTimeout, fmt.Errorf("the client did not send the rest of its body, and the instance gave up: %w", err)}
	}
	return fault{class: proxy.Reset, err: err}
}
