package nethttp

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	acceptBackoff    = 5 * time.Millisecond // after a failed accept (no descriptor left, say); doubles
	acceptBackoffMax = time.Second
	backlogQuiet     = 5 * time.Millisecond // a listener that gives nothing for so long has an empty backlog
)

// listener accepts connections for net/http and never gives up: only close and
// drain end it.
type listener struct {
	net.Listener
	s        *Server
	draining atomic.Bool
	once     sync.Once
	done     chan struct{} // closed with the listener
}

func (s *Server) listen(ln net.Listener) *listener {
	return &listener{Listener: ln, s: s, done: make(chan struct{})}
}

// Accept waits for room under MaxConns, then for a connection.
func (l *listener) Accept() (net.Conn, error) {
	if !l.s.enter(l.done) {
		return nil, net.ErrClosed
	}
	for wait := acceptBackoff; ; {
		draining := l.draining.Load()
		if draining {
			l.setDeadline(backlogQuiet)
		}
		c, err := l.Listener.Accept()
		switch {
		case err == nil:
			return l.s.came(c), nil
		case isTimeout(err) && draining:
			l.close()
			continue // with net.ErrClosed
		case isTimeout(err):
			continue
		case errors.Is(err, net.ErrClosed):
			l.s.leave()
			return nil, net.ErrClosed
		}
		l.s.log.Warn("cannot accept connections, trying again", "address", l.Addr().String(), "wait", wait, "error", err)
		select {
		case <-time.After(wait):
		case <-l.done:
		}
		wait = min(2*wait, acceptBackoffMax)
	}
}

// setDeadline bounds the next Accept; without such a method there is nothing
// to drain and the listener is closed.
func (l *listener) setDeadline(d time.Duration) {
	if t, ok := l.Listener.(interface{ SetDeadline(time.Time) error }); !ok || t.SetDeadline(time.Now().Add(d)) != nil {
		l.close()
	}
}

// drain accepts what waits in the backlog and then closes the listener; it
// returns when that is done, or closes at once when ctx ends.
func (l *listener) drain(ctx context.Context) {
	l.draining.Store(true)
	l.setDeadline(backlogQuiet)
	select {
	case <-l.done:
	case <-ctx.Done():
		l.close()
	}
}

func (l *listener) close() {
	l.once.Do(func() {
		_ = l.Listener.Close()
		close(l.done)
	})
}

// Close is for net/http, which closes what it serves.
func (l *listener) Close() error {
	l.close()
	return nil
}
