package nethttp

import (
	"bufio"
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"serin/proxy"
	"serin/route"
)

const (
	sweepEvery    = time.Second      // how often idle connections are looked at
	rememberSites = 30 * time.Second // an address that comes back within it is still known
)

// A way is how an address is spoken to: connections of different ways are
// never confused.
type way struct {
	addr       string
	tls        bool
	serverName string
	skipVerify bool
}

// wayTo returns the way to t. The certificate's name is the host= option's, or
// the address.
func wayTo(t *route.Target, allowSkipVerify bool) way {
	w := way{addr: t.Addr}
	if t.Options != nil && t.Options.Proto == route.HTTPS {
		w.tls = true
		w.skipVerify = t.Options.TLSSkipVerify && allowSkipVerify
		w.serverName = t.Options.Host
		if w.serverName == "" || w.serverName == "dst" {
			w.serverName = t.Addr
		}
		if name, _, err := net.SplitHostPort(w.serverName); err == nil {
			w.serverName = name
		}
	}
	return w
}

// A site is one way with its idle connections and what was learned of them.
type site struct {
	way
	used atomic.Int64 // unix seconds of the last use

	mu    sync.Mutex // guards what follows; never held while dialing
	life  lifetime
	reuse reuse
	idle  []*link // oldest first
	left  bool    // Forget was called and nobody came since
	dead  bool    // no longer in the pool: takes nothing back
}

// pool holds the idle connections to instances.
type pool struct {
	timeouts proxy.Timeouts
	maxIdle  int
	tls      *tls.Config // cloned per site; nil is the system's roots

	checkResolved func(name string, addr netip.AddrPort) error // see Server

	mu     sync.RWMutex // guards what follows
	sites  map[way]*site
	closed bool
}

func newPool(t proxy.Timeouts, maxIdle int, c *tls.Config) *pool {
	return &pool{timeouts: t, maxIdle: maxIdle, tls: c, sites: map[way]*site{}}
}

func (p *pool) site(w way) *site {
	p.mu.RLock()
	s := p.sites[w]
	p.mu.RUnlock()
	if s != nil {
		return s
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if s = p.sites[w]; s == nil {
		s = &site{way: w}
		s.used.Store(time.Now().Unix())
		p.sites[w] = s
	}
	return s
}

// take returns an idle connection that still looks open, or nil. A request
// that cannot be replayed gets one only where its time-out is known and
// clearly not reached.
func (p *pool) take(s *site, replayable bool) *link {
	now := time.Now()
	s.used.Store(now.Unix())
	for {
		s.mu.Lock()
		s.left = false
		n := len(s.idle)
		if n == 0 || !replayable && !s.life.safe(now.Sub(s.idle[n-1].since)) || !s.reuse.allowed(now) {
			s.mu.Unlock()
			return nil
		}
		l := s.idle[n-1]
		s.idle[n-1], s.idle = nil, s.idle[:n-1]
		s.mu.Unlock()
		if l.clean() {
			return l
		}
		s.foundClosed(l, now)
	}
}

// foundClosed learns from an idle connection that its instance closed.
func (s *site) foundClosed(l *link, now time.Time) {
	_ = l.Close()
	s.mu.Lock()
	s.life.closed(now.Sub(l.since))
	s.mu.Unlock()
}

// reuseFailed learns from a request that was sent in vain on a connection used
// again.
func (s *site) reuseFailed(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reuse.failed(now) {
		closeAll(s.idle)
		s.idle = nil
	}
}

// foundOpen learns from a reused connection that answered, and from the hint
// the instance gave with it (0 is none).
func (s *site) foundOpen(l *link, hint time.Duration, sent time.Time) {
	if !l.reused && hint == 0 {
		return
	}
	s.mu.Lock()
	if l.reused {
		s.life.survived(sent.Sub(l.since))
		s.reuse.worked(sent)
	}
	s.life.hint = hint
	s.mu.Unlock()
}

// put gives a connection back whose response was read to its end, with nothing
// behind it.
func (p *pool) put(l *link) {
	now := time.Now()
	l.since, l.reused, l.body = now, true, false
	s := l.site
	p.mu.RLock()
	closed := p.closed
	p.mu.RUnlock()
	s.mu.Lock()
	if keep := !closed && !s.left && !s.dead && len(s.idle) < p.maxIdle; keep {
		s.idle = append(s.idle, l)
		l = nil
	}
	s.mu.Unlock()
	if l != nil {
		_ = l.Close()
	}
}

// dial opens a new connection.
func (p *pool) dial(ctx context.Context, s *site) (*link, error) {
	d := net.Dialer{Timeout: p.timeouts.Dial}
	if p.checkResolved != nil {
		if _, err := netip.ParseAddrPort(s.addr); err != nil { // a name; addresses were judged when the table was built
			d.Control = func(_, address string, _ syscall.RawConn) error {
				a, err := netip.ParseAddrPort(address)
				if err != nil {
					return err
				}
				return p.checkResolved(s.addr, a)
			}
		}
	}
	c, err := d.DialContext(ctx, "tcp", s.addr)
	if err != nil {
		return nil, err
	}
	l := &link{Conn: c, site: s}
	if sc, ok := c.(syscall.Conn); ok {
		l.raw, _ = sc.SyscallConn()
	}
	if s.tls {
		if l.Conn, err = p.handshake(ctx, c, s.way); err != nil {
			_ = c.Close()
			return nil, err
		}
	}
	l.br = bufio.NewReaderSize(l, 4<<10)
	return l, nil
}

func (p *pool) handshake(ctx context.Context, c net.Conn, w way) (net.Conn, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if p.tls != nil {
		cfg = p.tls.Clone()
	}
	cfg.ServerName, cfg.InsecureSkipVerify, cfg.NextProtos = w.serverName, w.skipVerify, []string{"http/1.1"}
	if p.timeouts.TLSHandshake > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, p.timeouts.TLSHandshake)
		defer cancel()
	}
	t := tls.Client(c, cfg)
	return t, t.HandshakeContext(ctx)
}

// forget closes the idle connections of an address that left. What was learned
// of it is kept for rememberSites.
func (p *pool) forget(addr string) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	for w, s := range p.sites {
		if w.addr == addr {
			s.mu.Lock()
			s.left = true
			closeAll(s.idle)
			s.idle = nil
			s.mu.Unlock()
		}
	}
}

// run looks at the idle connections until ctx ends, and then closes them.
func (p *pool) run(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			p.sweep(now)
		case <-ctx.Done():
			p.close()
			return
		}
	}
}

// sweep closes what is closed or idle for too long, learns from what survived,
// and forgets sites that nobody used.
func (p *pool) sweep(now time.Time) {
	p.mu.Lock()
	sites := make([]*site, 0, len(p.sites))
	for w, s := range p.sites {
		if now.Unix()-s.used.Load() > int64(rememberSites/time.Second) && s.retire() {
			delete(p.sites, w)
			continue
		}
		sites = append(sites, s)
	}
	p.mu.Unlock()
	for _, s := range sites {
		s.sweep(now, p.timeouts.UpstreamIdle)
	}
}

// retire makes a site without idle connections dead.
func (s *site) retire() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dead = len(s.idle) == 0
	return s.dead
}

func (s *site) sweep(now time.Time, keep time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := s.idle[:0]
	for _, l := range s.idle {
		idle := now.Sub(l.since)
		switch {
		case !l.clean():
			s.life.closed(idle)
			_ = l.Close()
			continue
		case idle > 0:
			s.life.survived(idle)
		}
		if limit := s.life.keep(keep); limit > 0 && idle >= limit {
			_ = l.Close()
			continue
		}
		kept = append(kept, l)
	}
	clear(s.idle[len(kept):])
	s.idle = kept
}

func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, s := range p.sites {
		s.mu.Lock()
		closeAll(s.idle)
		s.idle, s.left = nil, true
		s.mu.Unlock()
	}
}

func closeAll(links []*link) {
	for _, l := range links {
		_ = l.Close()
	}
}
