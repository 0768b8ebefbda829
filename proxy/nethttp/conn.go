package nethttp

import (
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"serin/proxy/guard"
)

const (
	lingerTime = time.Second // how long what a client still sends is read after an early response
	lingerSize = 1 << 20
	// newGrace is how long a connection on which nothing was said yet is
	// waited for when the server drains.
	newGrace = time.Second
	// A client whose HTTP/2 streams are reset faster than this is cut off
	// (Envoy's rule for CVE-2023-44487): more than half of resetStreams or
	// more streams of one resetWindow.
	resetStreams = 500
	resetWindow  = time.Second
)

// conn is a client's connection: the guard's, with write deadlines that roll
// by themselves (net/http sets none here), and with what a drain needs to know.
type conn struct {
	*guard.Conn
	s             *Server
	raw           syscall.RawConn // nil when the connection has none
	remote, local netip.AddrPort
	born          time.Time

	state     atomic.Int32 // http.ConnState
	spoke     atomic.Int64 // when something was first read since the state became idle, in Unix nanoseconds; 0 when nothing was
	heard     atomic.Int64 // when something was last read, in Unix nanoseconds
	h1, h2    atomic.Bool  // had a request of HTTP/1, of HTTP/2
	lingering atomic.Bool  // read on before closing, so that the response arrives
	closed    atomic.Bool

	mu      sync.Mutex // guards what follows
	write   deadline
	began   time.Time // of the window in which streams are counted
	streams int
	resets  int
}

func (s *Server) newConn(c net.Conn) *conn {
	k := &conn{Conn: guard.New(c, s.guard), s: s, born: time.Now(), remote: addrPort(c.RemoteAddr()), local: addrPort(c.LocalAddr())}
	if sc, ok := c.(syscall.Conn); ok {
		k.raw, _ = sc.SyscallConn()
	}
	return k
}

func addrPort(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		p := t.AddrPort()
		return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
	}
	return netip.AddrPort{}
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		now := time.Now().UnixNano()
		c.heard.Store(now)
		c.spoke.CompareAndSwap(0, now)
	}
	return n, err
}

// Write writes p; it fails when the client takes nothing for Timeouts.BodyIdle.
func (c *conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	var err error
	if c.write.due(time.Now(), c.s.timeouts.BodyIdle) {
		err = c.Conn.SetWriteDeadline(c.write.at)
	}
	c.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// SetWriteDeadline does nothing: Write has its own.
func (c *conn) SetWriteDeadline(time.Time) error { return nil }

// SetDeadline sets the read deadline.
func (c *conn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// Close closes the connection. After an early response it first reads what the
// client still sends, for a while: to close with unread bytes would reset the
// connection, and the response could be lost (RFC 9112, 9.6).
func (c *conn) Close() error {
	if c.closed.Swap(true) {
		return c.Conn.Close()
	}
	defer c.s.gone(c)
	if c.lingering.Load() && c.s.ctx.Err() == nil && c.Conn.CloseWrite() == nil {
		nc := c.NetConn()
		_ = nc.SetReadDeadline(time.Now().Add(lingerTime))
		buf := buffers.Get().(*[]byte)
		for left := lingerSize; left > 0; {
			n, err := nc.Read(*buf)
			if left -= n; err != nil {
				break
			}
		}
		buffers.Put(buf)
	}
	return c.Conn.Close()
}

// reset makes Close reset the connection: for an HTTP/1.0 client the only way
// to see that a response without a length was cut.
func (c *conn) reset() {
	if t, ok := c.NetConn().(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
}

// changed is told by net/http what the connection does.
func changed(nc net.Conn, state http.ConnState) {
	if c, ok := nc.(*conn); ok {
		if state == http.StateIdle {
			c.spoke.Store(0)
		}
		c.state.Store(int32(state))
	}
}

// resting reports whether closing the connection now loses nothing: no request
// is open, begun, or waiting to be read.
func (c *conn) resting(now time.Time) bool {
	spoke := c.spoke.Load()
	switch http.ConnState(c.state.Load()) {
	case http.StateNew:
		if now.Sub(c.born) < newGrace {
			return false
		}
	case http.StateIdle:
		// HTTP/2 is idle, says net/http, as soon as it begins and between any two
		// streams, also while it has read the head of the next one; and a client
		// that was told to go away may have sent it before it heard so.
		if !c.h1.Load() && now.UnixNano()-c.heard.Load() < int64(newGrace) {
			return false
		}
		if !c.h1.Load() || now.UnixNano()-spoke > int64(newGrace) {
			spoke = 0 // what was read need be no request
		}
	default:
		return false
	}
	return spoke == 0 && !c.MidHead() && (c.raw == nil || !waiting(c.raw))
}

// streamEnded counts a stream of an HTTP/2 connection, and reports whether the
// client resets so many that it is to be cut off.
func (c *conn) streamEnded(now time.Time, reset bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Sub(c.began) > resetWindow {
		c.began, c.streams, c.resets = now, 0, 0
	}
	c.streams++
	if reset {
		c.resets++
	}
	return c.streams >= resetStreams && c.resets > c.streams/2 && !c.closed.Load()
}
