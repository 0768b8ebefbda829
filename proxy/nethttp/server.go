package nethttp

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"serin/proxy"
	"serin/proxy/guard"
)

const (
	drainPoll = 25 * time.Millisecond  // how often idle connections are looked at while draining
	drainSay  = 5 * time.Second        // how often a drain says what it waits for
	cutGrace  = 250 * time.Millisecond // what requests get to end in order when they are cut
)

// errStopped is why a request is cut by Close.
var errStopped = errors.New("the balancer stops")

// Server serves clients over HTTP/1.1 and HTTP/2 (h2c with prior knowledge)
// and forwards to instances over HTTP/1.1. Fill the exported fields before Run
// and do not change them after that; the methods are safe for concurrent use.
//
// It stops in steps, which the caller takes in this order, each bounded by a
// context: LameDuck, StopAccepting, Drain, Close. Only Close ends Run.
type Server struct {
	Core *proxy.Core
	Log  hclog.Logger // nil is silent
	// AllowSkipVerify lets tags turn off the verification of their instances'
	// certificates (tlsskipverify=true); otherwise the option is ignored.
	AllowSkipVerify bool
	// UpstreamTLS is how https instances are spoken to; the server name,
	// InsecureSkipVerify and ALPN are set per instance. Nil means the system's
	// certificate authorities and TLS 1.2 at least.
	UpstreamTLS *tls.Config
	// Compress says which responses are compressed; nil is none.
	Compress *Compression
	// CheckResolved says why no connection may be opened to an address that the
	// name of an instance (host:port) stands for; nil opens all. It must not
	// block.
	CheckResolved func(name string, addr netip.AddrPort) error
	// MaxConns is how many client connections may be open; further ones wait
	// in the backlog. Zero means no limit.
	MaxConns int

	once     sync.Once
	log      hclog.Logger
	timeouts proxy.Timeouts
	limits   proxy.Limits
	guard    guard.Options
	drain    *proxy.Drain
	pool     *pool
	mirrors  *mirrors
	http     *http.Server
	ctx      context.Context // of every request; ended by Close
	cut      context.CancelCauseFunc
	lame     atomic.Bool
	slots    chan struct{} // one per open connection; nil without MaxConns
	handlers sync.WaitGroup

	mu        sync.Mutex // guards what follows
	listeners []*listener
	conns     map[*conn]struct{}
	stopped   bool // no new listeners
}

func (s *Server) setup() {
	if s.log = s.Log; s.log == nil {
		s.log = hclog.NewNullLogger()
	}
	s.timeouts, s.limits = s.Core.Timeouts.WithDefaults(), s.Core.Limits.WithDefaults()
	s.guard = guard.Options{
		RequestLine: s.limits.RequestLine, HeaderLine: s.limits.HeaderLine,
		HeaderTotal: s.limits.HeaderTotal, HeaderCount: s.limits.HeaderCount,
		ReadHeader: cmp.Or(s.timeouts.ReadHeader, -1), H2C: true,
	}
	if s.drain = s.Core.Drain; s.drain == nil {
		s.drain = new(proxy.Drain)
	}
	s.pool = newPool(s.timeouts, s.limits.IdlePerTarget, s.UpstreamTLS)
	s.pool.checkResolved = s.CheckResolved
	s.mirrors = newMirrors(s)
	s.ctx, s.cut = context.WithCancelCause(context.Background())
	if s.MaxConns > 0 {
		s.slots = make(chan struct{}, s.MaxConns)
	}
	s.mu.Lock() // Connections may be asked before anything runs
	s.conns = map[*conn]struct{}{}
	s.mu.Unlock()
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	s.http = &http.Server{
		Handler:                      s,
		Protocols:                    &protocols,
		DisableGeneralOptionsHandler: true,
		ReadHeaderTimeout:            2 * s.timeouts.ReadHeader, // for a client that says nothing; the guard answers one that begins
		IdleTimeout:                  s.timeouts.ClientIdle,
		MaxHeaderBytes:               s.limits.HeaderTotal,
		ConnState:                    changed,
		BaseContext:                  func(net.Listener) context.Context { return s.ctx },
		ConnContext:                  func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
		ErrorLog:                     s.log.Named("net").StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug}),
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          s.limits.MaxStreams,
			MaxReceiveBufferPerConnection: 1 << 20,
			MaxReceiveBufferPerStream:     256 << 10,
			SendPingTimeout:               s.timeouts.ClientIdle,
			PingTimeout:                   15 * time.Second,
		},
	}
}

// connKey is the context key of a request's *conn.
type connKey struct{}

// Run serves the listeners until Close was called or ctx ends, which calls it,
// and returns nil when everything it started has ended. An accept that fails
// is tried again; Run does not return for it. It must be called at most once.
func (s *Server) Run(ctx context.Context, listeners ...net.Listener) error {
	s.once.Do(s.setup)
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { s.pool.run(s.ctx) })
	wg.Go(func() { s.mirrors.pool.run(s.ctx) })
	for _, ln := range listeners {
		l := s.listen(ln)
		s.mu.Lock()
		s.listeners = append(s.listeners, l)
		stopped := s.stopped
		s.mu.Unlock()
		if stopped {
			l.close()
			continue
		}
		wg.Go(func() { _ = s.http.Serve(l) }) // ends with the listener, with nothing to report
	}
	<-s.ctx.Done()
	wg.Wait()
	s.handlers.Wait()
	s.mirrors.close()
	return nil
}

// LameDuck begins the stop: the server goes on accepting and serving, and asks
// its clients to go elsewhere with every response (Connection: close; GOAWAY
// on HTTP/2).
func (s *Server) LameDuck() { s.lame.Store(true) }

// StopAccepting accepts what waits in the listeners' backlogs, closes the
// listeners, and returns when that is done or ctx ends. It implies LameDuck.
func (s *Server) StopAccepting(ctx context.Context) {
	s.once.Do(s.setup)
	s.LameDuck()
	s.mu.Lock()
	s.stopped = true
	listeners := s.listeners
	s.mu.Unlock()
	var wg sync.WaitGroup
	for _, l := range listeners {
		wg.Go(func() { l.drain(ctx) })
	}
	wg.Wait()
}

// Drain waits until every exchange has ended (requests, event streams,
// WebSockets; not shadow requests), and then closes idle connections, last of
// all: what a client sends on one while it is being closed is lost. It returns ctx's error if
// something is still open when ctx ends. Call StopAccepting before.
func (s *Server) Drain(ctx context.Context) error {
	s.once.Do(s.setup)
	tick := time.NewTicker(drainPoll)
	defer tick.Stop()
	said := time.Now()
	for {
		open := s.open()
		if open == 0 && s.closeIdle() == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case now := <-tick.C:
			if now.Sub(said) >= drainSay {
				said = now
				s.log.Info("waiting for what is still open", "requests", s.drain.Open(proxy.Exchange),
					"streams", s.drain.Open(proxy.Stream), "upgraded", s.drain.Open(proxy.Upgraded))
			}
		}
	}
}

func (s *Server) open() int {
	return s.drain.Open(proxy.Exchange) + s.drain.Open(proxy.Stream) + s.drain.Open(proxy.Upgraded)
}

// closeIdle closes the connections that are at rest and returns how many
// connections are left.
func (s *Server) closeIdle() int {
	now := time.Now()
	s.mu.Lock()
	var idle []*conn
	for c := range s.conns {
		if c.resting(now) {
			idle = append(idle, c)
		}
	}
	left := len(s.conns) - len(idle)
	s.mu.Unlock()
	for _, c := range idle {
		_ = c.Close()
	}
	return left
}

// Close ends everything now: what has not begun to be answered is answered
// 503, WebSocket clients get a close frame 1001, all other responses are cut
// visibly, and shadow requests are given up. It returns how many exchanges it had to cut, and ends Run.
func (s *Server) Close() (cut int) {
	s.once.Do(s.setup)
	s.mu.Lock()
	s.stopped = true
	for _, l := range s.listeners {
		l.close()
	}
	s.mu.Unlock()
	if s.ctx.Err() == nil {
		cut = s.open()
	}
	s.cut(errStopped)
	ctx, cancel := context.WithTimeout(context.Background(), cutGrace)
	defer cancel()
	_ = s.drain.Wait(ctx)
	_ = s.http.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns { // those that were handed over, which net/http has forgotten
		_ = c.Conn.Close()
	}
	return cut
}

// Forget closes the idle connections to an address that left the table. An
// address that returns within half a minute finds what was learned of it.
func (s *Server) Forget(addr string) {
	s.once.Do(s.setup)
	s.pool.forget(addr)
	s.mirrors.pool.forget(addr)
}

// enter takes a slot for a connection, if need be after a wait; it reports
// false when done is closed first.
func (s *Server) enter(done <-chan struct{}) bool {
	if s.slots == nil {
		return true
	}
	select {
	case s.slots <- struct{}{}:
		return true
	case <-done:
		return false
	}
}

func (s *Server) leave() {
	if s.slots != nil {
		<-s.slots
	}
}

// came registers a new client connection, gone its end.
func (s *Server) came(nc net.Conn) *conn {
	c := s.newConn(nc)
	s.handlers.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[c] = struct{}{}
	if s.ctx.Err() != nil {
		_ = nc.Close() // Close has been here
	}
	return c
}

func (s *Server) gone(c *conn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	s.leave()
	s.handlers.Done()
}

// Connections returns how many client connections are open, by protocol.
func (s *Server) Connections() (http1, http2 int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		if c.h2.Load() {
			http2++
		} else {
			http1++
		}
	}
	return http1, http2
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
