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
	// Without lastCall, a listener that gives nothing for so long has an empty
	// backlog; new connections that go on coming must not keep it open.
	backlogGap = 200 * time.Microsecond
	backlogMax = 250 * time.Millisecond
)

// listener accepts connections for net/http and never gives up: only close and
// drain end it.
type listener struct {
	net.Listener
	s        *Server
	draining atomic.Bool
	gap      atomic.Bool // draining by looking for a gap
	once     sync.Once
	done     chan struct{} // closed with the listener

	ended chan struct{} // closed when net/http was told that the listener is closed

	mu   sync.Mutex // guards late, and the closing of ended
	late []*conn    // what the last call found, still to be handed out
}

func (s *Server) listen(ln net.Listener) *listener {
	return &listener{Listener: ln, s: s, done: make(chan struct{}), ended: make(chan struct{})}
}

// Accept waits for room under MaxConns, then for a connection.
func (l *listener) Accept() (net.Conn, error) {
	if !l.s.enter(l.done) {
		return l.lastOne()
	}
	for wait := acceptBackoff; ; {
		gap := l.gap.Load()
		if gap {
			l.setDeadline(backlogGap)
		}
		c, err := l.Listener.Accept()
		switch {
		case err == nil:
			return l.s.came(c), nil
		case isTimeout(err) && gap:
			l.close()
			continue // with net.ErrClosed
		case isTimeout(err):
			continue
		case l.draining.Load(), errors.Is(err, net.ErrClosed):
			l.s.leave()
			<-l.done
			return l.lastOne()
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
	if late, ok := lastCall(l.Listener); ok {
		l.mu.Lock()
		for _, nc := range late {
			l.late = append(l.late, l.s.came(nc)) // known from now on: a drain waits for them
		}
		l.mu.Unlock()
		l.close()
		select { // until an Accept under way has made its connection known too
		case <-l.ended:
		case <-time.After(backlogMax):
		case <-ctx.Done():
		}
		return
	}
	l.gap.Store(true)
	l.setDeadline(backlogGap)
	select {
	case <-l.done:
	case <-time.After(backlogMax):
		l.close()
	case <-ctx.Done():
		l.close()
	}
}

// lastOne hands out what the last call found, one by one, and then says that
// the listener is closed.
func (l *listener) lastOne() (net.Conn, error) {
	l.mu.Lock()
	if len(l.late) == 0 {
		defer l.mu.Unlock()
		select {
		case <-l.ended:
		default:
			close(l.ended)
		}
		return nil, net.ErrClosed
	}
	c := l.late[0]
	l.late = l.late[1:]
	l.mu.Unlock()
	l.s.enter(nil) // there will be room
	return c, nil
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
