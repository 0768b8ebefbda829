package nethttp

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"serin/proxy"
	"serin/proxy/guard"
)

// continueWait is how long an instance that was sent Expect: 100-continue may
// stay silent before the body is sent nevertheless (RFC 9110, 10.1.1).
const continueWait = time.Second

// bodyPatience is how long the rest of a body that may be replayed is waited
// for when its instance failed. To stop reading from an HTTP/1 client ends its
// request for net/http, and with it the chance of another attempt.
const bodyPatience = time.Second

// clientSilence is how long a client may have kept its instance waiting for
// the rest of its body before it is the client's fault that the instance gave
// up: or a few clients that stop in the middle could have any instance ejected.
const clientSilence = 500 * time.Millisecond

// request is the body of the client's request on its way to an instance. It is
// sent by a goroutine of its own, so that a response may begin, and end, before
// it; the exchange waits for that goroutine before it does anything else with
// the body.
type request struct {
	x        *exchange
	exists   bool
	length   int64 // -1 is unknown
	expect   bool  // the client waits for 100
	touched  bool  // the client was asked for some of it
	captured []byte
	overflow bool // captured is not all that was read

	whole atomic.Bool // the client sent all of it

	// Of the running goroutine; done is nil when there is none.
	done      chan struct{}
	goAhead   chan struct{} // closed when the instance said 100, or the wait is over
	said      bool          // goAhead is closed
	cancelled atomic.Bool
	failed    error // from the client
	sendErr   error // to the instance
	readAt    deadline
	asked     atomic.Int64 // when the client was asked for what it has not sent, in Unix nanoseconds; 0 while it sends
}

func (b *request) begin(x *exchange) {
	r := x.r
	b.x, b.length = x, r.ContentLength
	b.exists = r.ContentLength != 0
	b.expect = b.exists && r.ProtoMajor == 1 && r.ProtoMinor == 1 && lists(r.Header["Expect"], "100-continue")
}

// replayable reports whether the whole body is at hand for another attempt.
func (b *request) replayable() bool {
	return !b.exists || !b.touched || b.whole.Load() && !b.overflow && !b.cancelled.Load()
}

// small reports whether the body will be replayable once it is read.
func (b *request) small(limit int) bool {
	return !b.exists || b.length > 0 && b.length <= int64(limit)
}

// start sends the body on l. What is at hand is sent at once.
func (b *request) start(l *link) {
	b.sendErr, b.failed = nil, nil
	b.cancelled.Store(false)
	if b.touched {
		_, b.sendErr = l.send(b.framed(), b.x.s.timeouts.BodyIdle)
		l.awaitHead(b.x.headTimeout())
		return
	}
	b.done, b.goAhead, b.said = make(chan struct{}), make(chan struct{}), false
	go b.run(l)
}

// framed returns the captured body as it is sent.
func (b *request) framed() []byte {
	if b.length >= 0 {
		return b.captured
	}
	if len(b.captured) == 0 {
		return []byte("0\r\n\r\n")
	}
	p := append(strconv.AppendInt(nil, int64(len(b.captured)), 16), "\r\n"...)
	return append(append(p, b.captured...), "\r\n0\r\n\r\n"...)
}

// proceed lets a body go that waits for the instance to want it.
func (b *request) proceed() {
	if b.done != nil && !b.said {
		b.said = true
		close(b.goAhead)
	}
}

// run copies the body from the client to l and then starts the wait for the
// response's head.
func (b *request) run(l *link) {
	defer close(b.done)
	defer func() {
		if p := recover(); p != nil {
			b.failed = fmt.Errorf("panic: %v", p)
			l.interrupt()
		}
	}()
	if b.expect && !b.awaitContinue() {
		return
	}
	b.touched = true
	if err := b.copy(l); err != nil {
		if !b.cancelled.Load() || !isTimeout(err) || !time.Now().Before(b.readAt.at) {
			b.failed = err // not brought about by stop
		}
		l.interrupt()
		return
	}
	if isTimeout(b.sendErr) {
		l.interrupt()
		return
	}
	l.awaitHead(b.x.headTimeout())
}

func (b *request) awaitContinue() bool {
	t := time.NewTimer(continueWait)
	defer t.Stop()
	select {
	case <-b.goAhead:
	case <-t.C:
	}
	return !b.cancelled.Load()
}

// copy returns an error of the client; one of the instance is sendErr.
func (b *request) copy(l *link) error {
	const room = chunkRoom // for a chunk's size before what is read, and its end behind
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	limit := b.x.s.timeouts.BodyIdle
	if b.x.r.ProtoMajor == 2 {
		limit += limit + limit/4 // a stream's deadline runs while the instance is sent to, too
	}
	for {
		if b.readAt.due(time.Now(), limit) && !b.cancelled.Load() {
			_ = b.x.rc.SetReadDeadline(b.readAt.at)
			if b.cancelled.Load() {
				_ = b.x.rc.SetReadDeadline(time.Unix(1, 0))
			}
		}
		b.asked.Store(time.Now().UnixNano())
		n, err := b.x.r.Body.Read((*buf)[room : len(*buf)-room])
		b.asked.Store(0)
		b.x.out.Received += int64(n)
		b.capture((*buf)[room : room+n])
		end := err == io.EOF || err == nil && b.x.out.Received == b.length // HTTP/2 tells the end later
		if end {
			b.whole.Store(true)
			_ = b.x.rc.SetReadDeadline(time.Time{}) // or it would end the watch for a client that goes
		} else if err != nil {
			return err
		}
		b.x.shadow.add((*buf)[room:room+n], end)
		if b.sendErr == nil {
			if p := b.frame(*buf, room, n, end); len(p) > 0 {
				_, b.sendErr = l.send(p, b.x.s.timeouts.BodyIdle)
			}
		}
		if end || b.sendErr != nil && b.overflow {
			return nil // else it is read on, for another attempt
		}
	}
}

// frame returns what is sent of the n octets that stand at room in buf.
func (b *request) frame(buf []byte, room, n int, end bool) []byte {
	p := buf[room : room+n]
	if b.length >= 0 {
		return p
	}
	if n > 0 {
		var size [chunkRoom]byte
		s := append(strconv.AppendInt(size[:0], int64(n), 16), "\r\n"...)
		start := room - len(s)
		copy(buf[start:], s)
		p = append(buf[start:room+n], "\r\n"...)
	}
	if end {
		p = append(p, "0\r\n\r\n"...)
	}
	return p
}

const chunkRoom = 16

// capture keeps p for another attempt, up to the limit.
func (b *request) capture(p []byte) {
	if b.overflow = b.overflow || len(b.captured)+len(p) > b.x.s.limits.ReplayBody; !b.overflow {
		b.captured = append(b.captured, p...)
	}
}

// stalled reports whether the client has kept its instance waiting.
func (b *request) stalled() bool {
	asked := b.asked.Load()
	return asked != 0 && time.Since(time.Unix(0, asked)) >= clientSilence
}

// sending reports whether the goroutine is still at work.
func (b *request) sending() bool {
	if b.done == nil {
		return false
	}
	select {
	case <-b.done:
		return false
	default:
		return true
	}
}

// stop ends the goroutine and waits for it. The caller has interrupted the
// link, or will not miss it.
func (b *request) stop() {
	if b.done == nil {
		return
	}
	if b.sending() {
		b.cancelled.Store(true)
		b.proceed()
		b.x.link.interrupt()
		if !b.whole.Load() {
			_ = b.x.rc.SetReadDeadline(time.Unix(1, 0))
		}
	}
	<-b.done
	b.done = nil
}

// abandon ends the goroutine after its instance failed, and lets it read what
// another attempt needs.
func (b *request) abandon() {
	if b.sending() && b.length <= int64(b.x.s.limits.ReplayBody) && (b.said || !b.expect) {
		b.x.link.interrupt()
		t := time.NewTimer(bodyPatience)
		defer t.Stop()
		select {
		case <-b.done:
		case <-t.C:
		}
	}
	b.stop()
}

// finish waits for the goroutine after a whole response and reports whether
// the whole body was sent. When the client has sent it all it is nearly there;
// else the response was an early one, and the rest is not wanted.
func (b *request) finish() bool {
	if b.done == nil {
		return b.sendErr == nil
	}
	if b.whole.Load() {
		t := time.NewTimer(100 * time.Millisecond)
		defer t.Stop()
		select {
		case <-b.done:
		case <-t.C:
		}
	}
	b.stop()
	return b.whole.Load() && b.sendErr == nil && b.failed == nil
}

// clientFault says what an error of reading the client's body means.
func (x *exchange) clientFault(err error) fault {
	var framing *guard.BodyError
	f, ended := x.ended() // which every error of a read brings about in HTTP/1
	switch {
	case errors.As(err, &framing):
		return fault{proxy.ClientError, framing.Status, err}
	case isTimeout(err) && f.err != errStopped:
		return fault{proxy.ClientError, http.StatusRequestTimeout, fmt.Errorf("the client sent nothing of its body for %v", x.s.timeouts.BodyIdle)}
	case ended:
		return f
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fault{class: proxy.ClientGone, err: err}
	}
	return fault{class: proxy.ClientError, err: err}
}
