package nethttp

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"serin/proxy"
	"serin/route"
)

const (
	mirrorIdle    = 8               // idle connections kept for shadow requests, per instance
	mirrorTimeout = 5 * time.Second // for a whole one, where its split names none
	mirrorAnswer  = 1 << 20         // bytes that are read of an answer before its connection is closed
)

// mirrors sends shadow requests. It has connections of its own, so that a
// canary that hangs takes none from what is served.
type mirrors struct {
	s    *Server
	pool *pool

	mu     sync.Mutex // guards what follows
	open   map[string]int
	closed bool
	wg     sync.WaitGroup
}

func newMirrors(s *Server) *mirrors {
	m := &mirrors{s: s, pool: newPool(s.timeouts, min(s.limits.IdlePerTarget, mirrorIdle), s.UpstreamTLS), open: map[string]int{}}
	m.pool.checkResolved = s.CheckResolved
	return m
}

// enter takes one of most places of a service; false is that all are taken.
func (m *mirrors) enter(service string, most int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed || m.open[service] >= most {
		return false
	}
	m.open[service]++
	m.wg.Add(1)
	return true
}

// leave gives the place back and tells what became of it.
func (m *mirrors) leave(service string, r proxy.MirrorResult) {
	defer m.wg.Done()
	m.mu.Lock()
	if m.open[service]--; m.open[service] == 0 {
		delete(m.open, service)
	}
	m.mu.Unlock()
	m.tell(service, r)
}

func (m *mirrors) tell(service string, r proxy.MirrorResult) {
	if f := m.s.Core.Mirrored; f != nil {
		f(service, r)
	}
}

// close lets no more begin and waits for those under way, which the end of the
// server's context has cancelled.
func (m *mirrors) close() {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.wg.Wait()
}

// A shadow is the copy of one request. Until it is sent it belongs to its
// exchange, and holds a place.
type shadow struct {
	m       *mirrors
	service string
	rule    *route.Mirror
	way     way

	method, path, query, host string
	header                    http.Header
	body                      []byte
	over                      bool // it was sent, or dropped
}

// mirror begins the copy of the exchange's request, if there is to be one; the
// header is the instance's already. One without a body is sent at once.
func (x *exchange) mirror() {
	t := x.d.Mirror
	if t == nil || x.upgrade {
		return
	}
	m, rule, service := x.s.mirrors, x.d.Split.Mirror, x.d.Part.Service
	if x.body.exists && x.body.length > int64(rule.MaxBody) {
		m.tell(service, proxy.MirrorBody)
		return
	}
	if !m.enter(service, rule.MaxInFlight) {
		m.tell(service, proxy.MirrorSaturated)
		return
	}
	sh := &shadow{
		m: m, service: service, rule: rule, way: wayTo(t, x.s.AllowSkipVerify),
		method: x.r.Method, path: rewrite(x.path, t.Options), query: x.query, host: hostFor(t, x.r.Host),
		header: maps.Clone(x.s.Core.EditRequest(x.r.Header, t)),
	}
	if prefix := x.prefix + stripped(x.path, t.Options); prefix != "" {
		sh.header["X-Forwarded-Prefix"] = []string{prefix}
	}
	if sh.header[proxy.ShadowHeader] = []string{"1"}; rule.Shadow {
		sh.host = shadowHost(sh.host)
	}
	if x.body.exists {
		x.shadow = sh
	} else {
		sh.send()
	}
}

// shadowHost appends "-shadow" to the name in a Host header; an address in
// brackets, which then would be none, stays as it is.
func shadowHost(host string) string {
	if strings.HasPrefix(host, "[") {
		return host
	}
	name, port := host, ""
	if i := strings.LastIndexByte(host, ':'); i >= 0 {
		name, port = host[:i], host[i:]
	}
	if _, err := netip.ParseAddr(name); err == nil || name == "" {
		return host
	}
	return name + "-shadow" + port
}

// add keeps a piece of the request's body on its way to the real instance; end
// tells that it was the last, and sends the copy. A nil shadow keeps nothing.
func (sh *shadow) add(p []byte, end bool) {
	if sh == nil || sh.over {
		return
	}
	if len(sh.body)+len(p) > sh.rule.MaxBody {
		sh.drop()
		return
	}
	if sh.body = append(sh.body, p...); end {
		sh.send()
	}
}

// drop gives up a copy whose body is too long, or did not come whole.
func (sh *shadow) drop() {
	if sh == nil || sh.over {
		return
	}
	sh.over, sh.body = true, nil
	sh.m.leave(sh.service, proxy.MirrorBody)
}

// send sends the copy, from here on by itself.
func (sh *shadow) send() {
	sh.over = true
	go func() {
		r := proxy.MirrorError
		defer func() {
			if p := recover(); p != nil {
				sh.m.s.log.Error("panic in a shadow request", "panic", fmt.Sprint(p), "service", sh.service, "stack", string(debug.Stack()))
			}
			sh.m.leave(sh.service, r)
		}()
		ctx, cancel := context.WithTimeout(sh.m.s.ctx, cmp.Or(max(sh.rule.Timeout, 0), mirrorTimeout))
		defer cancel()
		switch err := sh.exchange(ctx); {
		case err == nil:
			r = proxy.MirrorOK
		case ctx.Err() == context.DeadlineExceeded:
			r = proxy.MirrorTimeout
		}
	}()
}

// exchange sends the copy and reads the answer away. A connection that was kept
// and turns out to be closed is left for a fresh one, where the method allows
// it; nothing else is tried twice.
func (sh *shadow) exchange(ctx context.Context) error {
	p := sh.m.pool
	s := p.site(sh.way)
	idempotent := proxy.Idempotent(sh.method)
	if l := p.take(s, idempotent); l != nil {
		start := time.Now()
		stale, err := sh.on(ctx, l, start)
		if !stale || ctx.Err() != nil {
			return err
		}
		s.foundClosed(l, start)
		if !idempotent {
			return err
		}
	}
	l, err := p.dial(ctx, s)
	if err != nil {
		return err
	}
	_, err = sh.on(ctx, l, time.Now())
	return err
}

// on is exchange over one connection, which it gives back or closes. stale is
// that the connection ended before anything of an answer came.
func (sh *shadow) on(ctx context.Context, l *link, start time.Time) (stale bool, err error) {
	whole := false
	unwatch := context.AfterFunc(ctx, l.interrupt)
	defer func() {
		if unwatch() && whole && !l.wasInterrupted() {
			sh.m.pool.put(l)
		} else {
			_ = l.Close()
		}
	}()
	timeouts, limits := sh.m.s.timeouts, sh.m.s.limits
	l.awaitHead(0) // ctx is the limit of everything
	head := appendRequest(nil, sh.method, sh.path, sh.query, sh.host, sh.header, int64(len(sh.body)), false)
	if _, err := l.send(append(head, sh.body...), timeouts.BodyIdle); err != nil {
		return l.reused, err
	}
	var r reply
	for n := 0; ; n++ {
		head, err := readHead(l.br, head[:0], limits.ResponseHead)
		if err != nil {
			return l.reused && len(head) == 0, err
		}
		if r, err = parseReply(string(head), sh.method, http.Header{}); err != nil {
			return false, err
		}
		if r.status >= 200 {
			break
		}
		if r.status == http.StatusSwitchingProtocols || n >= limits.Informational {
			return false, wrong("%d is no answer to a shadow request", r.status)
		}
	}
	l.site.foundOpen(l, r.hint, start)
	if whole, err = readAway(l, r, limits.HeaderTotal); err != nil {
		return false, err
	}
	if proxy.StatusClass(r.status).Failed() {
		return false, wrong("status %d", r.status)
	}
	return false, nil
}

// readAway reads a response's body and trailers, up to a limit, and reports
// whether the connection is good for another request.
func readAway(l *link, r reply, trailers int) (again bool, err error) {
	l.awaitBody(0)
	body := source{br: l.br, left: r.length}
	if r.chunked {
		body.chunks = httputil.NewChunkedReader(l.br)
	}
	if r.length != 0 || r.chunked {
		buf := buffers.Get().(*[]byte)
		defer buffers.Put(buf)
		for n, left := 0, mirrorAnswer; err == nil; left -= n {
			if left <= 0 {
				return false, nil
			}
			n, err = body.Read(*buf)
		}
		if err != io.EOF {
			return false, err
		}
	}
	for left := trailers; r.chunked; {
		line, err := l.br.ReadSlice('\n')
		if left -= len(line); err != nil || left < 0 {
			return false, cmp.Or(err, wrong("its trailers do not end"))
		}
		if text, _ := cutLine(string(line)); text == "" {
			break
		}
	}
	return !r.last && l.br.Buffered() == 0, nil
}
