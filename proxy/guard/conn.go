package guard

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Conn is a client's connection of which only understood octets can be read.
// Everything else is the connection's own: Write and the write deadline pass
// through.
//
// Read must not be called concurrently with itself; all other methods may be
// called at any time.
type Conn struct {
	net.Conn
	options *Options

	// Of the goroutine that reads.
	state   state
	begun   bool            // octets of a request were handed on: no preface any more
	head    head            // in atHead
	chunks  chunks          // in a chunked body
	left    int64           // octets left of the body or chunk
	pending []byte          // understood, to be handed on before anything else
	page    *[pageSize]byte // from pages, while buf is non-nil
	buf     []byte          // buf[r:w] is not yet understood
	r, w    int
	size    [sizeDigits + 2]byte // pending may be this
	err     error                // what every further Read returns
	dropped int                  // octets discarded after a rejection

	hold      atomic.Int32 // holding, when an Upgrade waits for its answer
	midHead   atomic.Bool
	rejection atomic.Pointer[Rejection]
	fault     atomic.Pointer[BodyError]
	closing   atomic.Bool

	mu       sync.Mutex // guards the two read deadlines, and setting them
	deadline time.Time  // as set by the owner
	headBy   time.Time  // when the head that has begun must be complete
}

// New wraps c. The guard reads ahead only in heads and in chunked framing, and
// holds no buffer while a connection is idle or passes a body on.
func New(c net.Conn, o Options) *Conn {
	o = o.withDefaults()
	return &Conn{Conn: c, options: &o}
}

type state uint8

const (
	atHead        state = iota
	atBody              // Content-Length: left octets follow
	atChunkHead         // a chunk's size line
	atChunk             // left octets of a chunk's data
	atChunkEnd          // the CRLF after it
	atTrailers          // the lines after the last chunk
	atUpgradeHead       // a request that may become a tunnel is being handed on
	atUpgrade           // it waits for its answer
	atTunnel            // octets pass unread
	atRejection         // a head was refused: nothing more will be understood
)

const (
	requests int32 = iota // what hold may be
	holding
	tunnel
)

const (
	pageSize   = 4 << 10
	preface    = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" // RFC 9113, 3.4
	lingerTime = 500 * time.Millisecond
	lingerSize = 256 << 10
)

// pages are the buffers of heads. Shared by all connections on purpose.
var pages = sync.Pool{New: func() any { return new([pageSize]byte) }}

var (
	crlf      = []byte("\r\n")
	lastChunk = []byte("0\r\n\r\n")
)

// Read hands on what was understood, of one request at a time: so nothing of
// the next one is with the caller while it serves this one, but what it asks
// for then. It returns [*BodyError] for a body whose framing is wrong; any
// other error is the connection's own. A time-out loses nothing: the next Read
// goes on.
func (c *Conn) Read(p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		m := copy(p[n:], c.pending)
		c.pending = c.pending[m:]
		n += m
		if c.state == atUpgradeHead && len(c.pending) == 0 {
			c.state = atUpgrade
			c.hold.Store(holding)
		}
		if n == len(p) || n > 0 && (c.err != nil || c.state == atHead) {
			return n, nil
		}
		if c.err != nil {
			return 0, c.err
		}
		m, more := c.advance(p[n:])
		n += m
		if !more {
			continue
		}
		if n > 0 {
			return n, nil
		}
		if n, err = c.fill(p); err != nil {
			return 0, err
		}
	}
}

// advance interprets buffered octets: it copies n of a body to p, or leaves
// something in pending or err, or says that more input is needed.
func (c *Conn) advance(p []byte) (n int, more bool) {
	in := c.buf[c.r:c.w]
	switch c.state {
	case atHead:
		n, done := c.readHead(in)
		if c.state == atRejection {
			return 0, false // the rest of buf is dropped
		}
		switch {
		case done:
			c.pending = in[:n]
			c.r += c.head.line
			c.enter()
		case c.head.kept == 0 && c.head.line == len(in): // nothing, or an empty line that is dropped
			c.r, c.head.line, c.head.scan = c.w, 0, 0
			c.endHead()
		default:
			c.beginHead()
		}
		return 0, !done
	case atBody, atChunk:
		n = copy(p, in[:min(int64(len(in)), c.left)])
		c.r += n
		c.passed(n)
		return n, n == 0
	case atUpgrade:
		switch c.hold.Load() {
		case requests:
			c.state = atHead
			return 0, len(in) == 0
		case tunnel:
			c.state = atTunnel
			return 0, len(in) == 0
		}
		if len(in) >= pageSize {
			c.fail(&BodyError{http.StatusBadRequest, "the client sends before its Upgrade is answered"})
			return 0, false
		}
		return 0, true
	case atTunnel:
		n = copy(p, in)
		c.r += n
		return n, n == 0
	case atRejection:
		return 0, true
	}
	return 0, c.readFraming(in)
}

// readFraming interprets what is between the data of chunks.
func (c *Conn) readFraming(in []byte) (more bool) {
	var text []byte
	var bad *BodyError
	switch c.state {
	case atChunkHead:
		if text, bad = line(in, sizeDigits+c.options.ChunkExt, http.StatusBadRequest); text == nil {
			break
		}
		c.r += len(text) + 2
		if c.left, bad = c.chunks.head(text, c.options); bad != nil {
			break
		}
		if c.state = atTrailers; c.left > 0 {
			c.state = atChunk
			c.pending = append(strconv.AppendInt(c.size[:0], c.left, 16), '\r', '\n')
		}
	case atChunkEnd:
		if !bytes.HasPrefix(crlf, clip(in, 2)) {
			bad = &BodyError{http.StatusBadRequest, "a chunk's data is longer than its size"}
		} else if len(in) >= 2 {
			text = in[:2]
			c.r += 2
			c.state, c.pending = atChunkHead, crlf
		}
	case atTrailers:
		if text, bad = line(in, c.options.HeaderLine, http.StatusRequestHeaderFieldsTooLarge); text == nil {
			break
		}
		c.r += len(text) + 2
		if len(text) == 0 {
			c.state, c.pending = atHead, lastChunk
		} else {
			bad = c.chunks.trailer(text, c.options)
		}
	}
	if bad != nil {
		c.fail(bad)
		return false
	}
	return text == nil
}

// readHead shows the head reader b, which begins where the head does. It
// returns the octets at b's start that may be handed on; done with a whole
// head, or with HTTP/2's preface.
func (c *Conn) readHead(b []byte) (n int, done bool) {
	if c.options.H2C && !c.begun && len(b) > 0 {
		if strings.HasPrefix(string(b[:min(len(b), len(preface))]), preface) {
			c.state = atTunnel
			c.head.line = len(b)
			return len(b), true
		}
		if strings.HasPrefix(preface, string(clip(b, len(preface)))) {
			return 0, false
		}
	}
	done, bad := c.head.read(b, c.options)
	if bad != nil {
		c.reject(bad)
		return 0, false
	}
	if !done {
		return 0, false
	}
	return c.head.kept, true
}

// enter leaves a complete head for what follows it.
func (c *Conn) enter() {
	c.endHead()
	h := &c.head
	switch {
	case c.state == atTunnel:
	case h.upgrade():
		c.state = atUpgradeHead
	case h.chunked:
		c.state, c.chunks = atChunkHead, chunks{}
	case h.length > 0:
		c.state, c.left = atBody, h.length
	}
	c.head = head{}
	c.begun = true
}

// passed counts n octets of a body that were handed on.
func (c *Conn) passed(n int) {
	if c.left -= int64(n); c.left > 0 {
		return
	}
	if c.state == atChunk {
		c.state = atChunkEnd
	} else {
		c.state = atHead
	}
}

// fill waits for input. What needs no interpretation, or is a whole head, goes
// into p at once, and n tells how much; the rest into the buffer.
func (c *Conn) fill(p []byte) (n int, err error) {
	if c.r == c.w {
		c.release()
		switch c.state {
		case atBody, atTunnel:
			return c.fillBody(p)
		case atChunk:
			if c.left >= pageSize/2 {
				return c.fillBody(p)
			}
		case atHead:
			return c.fillHead(p)
		case atRejection:
			return 0, c.discard()
		}
	}
	c.room(1)
	m, err := c.Conn.Read(c.buf[c.w:])
	c.w += m
	if m > 0 {
		err = nil
	} else if c.headOverdue(err) {
		err = nil
		c.reject(refuse(http.StatusRequestTimeout, "the head was not complete after %v", c.options.ReadHeader))
	}
	return 0, err
}

// fillBody reads what passes as it is.
func (c *Conn) fillBody(p []byte) (n int, err error) {
	if c.state == atTunnel {
		n, err = c.Conn.Read(p)
	} else {
		n, err = c.Conn.Read(p[:min(int64(len(p)), c.left)])
		c.passed(n)
	}
	if n > 0 {
		err = nil // it will come again
	}
	return n, err
}

// fillHead reads into p what is most often one whole head, and saves the
// buffer then.
func (c *Conn) fillHead(p []byte) (int, error) {
	m, err := c.Conn.Read(p)
	if m == 0 {
		return 0, err
	}
	n, done := c.readHead(p[:m])
	switch {
	case c.state == atRejection:
		return 0, nil
	case !done:
		kept := c.head.kept
		c.keep(p[:kept])
		c.keep(p[c.head.line:m])
		c.head.scan -= c.head.line - kept
		c.head.line = kept
		return 0, nil
	}
	rest := p[c.head.line:m]
	c.enter()
	if c.state == atBody {
		k := copy(p[n:], rest[:min(int64(len(rest)), c.left)])
		c.passed(k)
		n, rest = n+k, rest[k:]
	}
	c.keep(rest)
	return n, nil
}

// keep appends b to the buffer.
func (c *Conn) keep(b []byte) {
	if len(b) > 0 {
		c.room(len(b))
		c.w += copy(c.buf[c.w:], b)
	}
}

// room makes room for n more octets in the buffer. The limits of heads and
// lines bound its growth.
func (c *Conn) room(n int) {
	if c.buf == nil {
		c.page = pages.Get().(*[pageSize]byte)
		c.buf = c.page[:]
	}
	if c.r > 0 {
		c.w = copy(c.buf, c.buf[c.r:c.w])
		c.r = 0
	}
	if c.w+n <= len(c.buf) {
		return
	}
	grown := make([]byte, max(c.w+n, min(2*len(c.buf), c.options.HeaderTotal+1)))
	copy(grown, c.buf[:c.w])
	w := c.w
	c.release()
	c.buf, c.w = grown, w
}

// release gives the buffer back.
func (c *Conn) release() {
	if c.page != nil {
		pages.Put(c.page)
	}
	c.page, c.buf, c.r, c.w = nil, nil, 0, 0
}

// reject puts the sentinel in the place of the head that was refused.
func (c *Conn) reject(r *Rejection) {
	c.endHead()
	c.release()
	c.state = atRejection
	c.pending = r.sentinel()
	c.rejection.Store(r)
}

// fail ends a body, and the connection, with e.
func (c *Conn) fail(e *BodyError) {
	c.release()
	c.err = e
	c.fault.Store(e)
}

// discard reads and drops input, so that the client can go on sending while
// its rejection is answered: closing a connection with unread input would
// reset it, and the answer would be lost.
func (c *Conn) discard() error {
	page := pages.Get().(*[pageSize]byte)
	defer pages.Put(page)
	for c.dropped < lingerSize {
		n, err := c.Conn.Read(page[:])
		if c.dropped += n; err != nil {
			return err
		}
	}
	c.err = io.EOF
	return io.EOF
}

// Rejection returns why a request was refused when requestURI is that of the
// request which stands for it. The handler answers it with the Status and
// "Connection: close" instead of routing it.
func (c *Conn) Rejection(requestURI string) (*Rejection, bool) {
	r := c.rejection.Load()
	if r == nil || r.uri != requestURI {
		return nil, false
	}
	return r, true
}

// Fault returns the error of the body that ended the connection, or nil.
// net/http cancels a request's context on every read error, so a handler that
// sees a cancelled request asks here whether the client's framing was to blame.
func (c *Conn) Fault() *BodyError { return c.fault.Load() }

// MidHead reports whether a request head has begun and is not complete.
func (c *Conn) MidHead() bool { return c.midHead.Load() }

// Hijacked says that the Upgrade was accepted (101): what the client sends,
// and sent since, passes as it is. Call it after http.Hijacker.Hijack, whose
// buffered reader is then empty. It reports whether an Upgrade was waiting;
// if not, it does nothing.
func (c *Conn) Hijacked() bool { return c.hold.CompareAndSwap(holding, tunnel) }

// Release says that the request which asked for an Upgrade was answered
// otherwise: what the client sends, and sent since, is requests. Until one of
// the two is called nothing after such a request is handed on, so a handler
// calls it before it returns, always: it does nothing where no Upgrade waits.
func (c *Conn) Release() { c.hold.CompareAndSwap(holding, requests) }

// beginHead notes that a head has begun and bounds the time it takes.
func (c *Conn) beginHead() {
	if c.midHead.Load() {
		return
	}
	c.midHead.Store(true)
	if c.options.ReadHeader > 0 {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.headBy = time.Now().Add(c.options.ReadHeader)
		c.Conn.SetReadDeadline(c.earlier())
	}
}

func (c *Conn) endHead() {
	if !c.midHead.Load() {
		return
	}
	c.midHead.Store(false)
	if c.options.ReadHeader > 0 {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.headBy = time.Time{}
		c.Conn.SetReadDeadline(c.deadline)
	}
}

// headOverdue reports whether err is the end of the time that the head had.
func (c *Conn) headOverdue(err error) bool {
	if !c.midHead.Load() || !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.headBy.IsZero() && !time.Now().Before(c.headBy)
}

// earlier is the deadline that counts. The caller holds mu.
func (c *Conn) earlier() time.Time {
	if c.headBy.IsZero() || !c.deadline.IsZero() && c.deadline.Before(c.headBy) {
		return c.deadline
	}
	return c.headBy
}

// SetReadDeadline sets the deadline of Read. A head that has begun may have
// less time.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = t
	return c.Conn.SetReadDeadline(c.earlier())
}

// SetDeadline sets both deadlines.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// Close closes the connection. After a rejection or a fault it first ends the
// writing side and reads on for at most half a second, so that the answer
// arrives (RFC 9112, 9.6); a second Close ends that.
func (c *Conn) Close() error {
	if !c.closing.Swap(true) && (c.rejection.Load() != nil || c.fault.Load() != nil) {
		c.linger()
	}
	return c.Conn.Close()
}

func (c *Conn) linger() {
	if c.CloseWrite() != nil || c.Conn.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	page := pages.Get().(*[pageSize]byte)
	defer pages.Put(page)
	for left := lingerSize; left > 0; {
		n, err := c.Conn.Read(page[:])
		if left -= n; err != nil {
			return
		}
	}
}

// CloseWrite ends the writing side, where the connection can.
func (c *Conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// NetConn returns the connection within. Octets that were read ahead are not
// to be had from it.
func (c *Conn) NetConn() net.Conn { return c.Conn }

// ReadFrom lets the connection within splice, where it can.
func (c *Conn) ReadFrom(r io.Reader) (int64, error) {
	if rf, ok := c.Conn.(io.ReaderFrom); ok {
		return rf.ReadFrom(r)
	}
	return io.Copy(struct{ io.Writer }{c.Conn}, r)
}

// WriteTo writes all that Read would return to w. In a tunnel the connection
// within may splice.
func (c *Conn) WriteTo(w io.Writer) (n int64, err error) {
	if c.hold.Load() != tunnel {
		return io.Copy(w, struct{ io.Reader }{c})
	}
	early, err := w.Write(c.buf[c.r:c.w])
	if err != nil {
		return int64(early), err
	}
	c.release()
	c.state = atTunnel
	n, err = io.Copy(w, c.Conn)
	return n + int64(early), err
}
