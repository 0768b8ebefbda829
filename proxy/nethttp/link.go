package nethttp

import (
	"bufio"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// A link is one connection to an instance, used by one exchange at a time.
// Reads go through br; its deadlines roll (see deadline) and end for good once
// interrupt was called.
type link struct {
	net.Conn
	br   *bufio.Reader
	raw  syscall.RawConn // nil when the connection has none
	site *site

	reused bool      // it carried a request before this one
	since  time.Time // when it became idle
	idle   func()    // called by a Read that may have to wait; nil calls nothing

	mu          sync.Mutex // guards what follows
	read, write deadline
	readLimit   time.Duration // of the phase the exchange is in
	body        bool          // that phase is the response's body
	interrupted bool
}

// deadline is a rolling one: it is moved only when it has become shorter than
// the limit asked for, or much longer, so that most reads and writes do not
// touch a timer. It therefore fires between limit and limit·9/8.
type deadline struct{ at time.Time }

// due moves the deadline if it has to be moved.
func (d *deadline) due(now time.Time, limit time.Duration) bool {
	if limit <= 0 {
		due := !d.at.IsZero()
		d.at = time.Time{}
		return due
	}
	if left := d.at.Sub(now); !d.at.IsZero() && left >= limit && left <= limit+limit/4 {
		return false
	}
	d.at = now.Add(limit + limit/8)
	return true
}

// Read reads with the limit of the phase: that of the head is one for all of
// its reads, that of the body begins anew with each.
func (l *link) Read(p []byte) (int, error) {
	if l.idle != nil && (l.site.tls || l.raw == nil || !waiting(l.raw)) { // over TLS what waits need be no data
		l.idle()
	}
	l.mu.Lock()
	var err error
	if l.body || l.interrupted {
		err = l.armRead()
	}
	l.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return l.Conn.Read(p)
}

func (l *link) armRead() error {
	if l.interrupted {
		return os.ErrDeadlineExceeded
	}
	if l.read.due(time.Now(), l.readLimit) {
		return l.Conn.SetReadDeadline(l.read.at)
	}
	return nil
}

// send writes all of p, with limit as the longest wait. Any byte of it that
// was written counts as sent.
func (l *link) send(p []byte, limit time.Duration) (int, error) {
	l.mu.Lock()
	var err error
	if l.interrupted {
		err = os.ErrDeadlineExceeded
	} else if l.write.due(time.Now(), limit) {
		err = l.Conn.SetWriteDeadline(l.write.at)
	}
	l.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return l.Conn.Write(p)
}

// awaitHead starts the wait for a response's head; 0 is no limit. It also
// reaches a Read that is waiting already. Once the body began it does nothing.
func (l *link) awaitHead(limit time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.body {
		return
	}
	l.readLimit = limit
	_ = l.armRead()
}

// awaitBody limits each read of the response's body, or of what follows an upgrade.
func (l *link) awaitBody(limit time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.body, l.readLimit = true, limit
}

// hurry gives a Read that is waiting already, and those after it, limit.
func (l *link) hurry(limit time.Duration) {
	l.awaitBody(limit)
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.armRead()
}

// interrupt ends every read and write now and later, from any goroutine.
func (l *link) interrupt() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.interrupted = true
	_ = l.Conn.SetDeadline(time.Unix(1, 0))
}

// wasInterrupted reports whether interrupt was called.
func (l *link) wasInterrupted() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.interrupted
}

// clean reports whether nothing has arrived since the last response: an idle
// connection on which anything did is of no more use.
func (l *link) clean() bool {
	return l.br.Buffered() == 0 && (l.raw == nil || quiet(l.raw))
}

// closeWrite tells the instance that nothing more will come.
func (l *link) closeWrite() error { return closeWrite(l.Conn) }

func closeWrite(c net.Conn) error {
	if w, ok := c.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return c.Close()
}
