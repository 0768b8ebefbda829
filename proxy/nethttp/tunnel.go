package nethttp

import (
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"serin/proxy"
)

// stopLinger is how long a client may take to read its close frame when the
// server stops.
const stopLinger = 100 * time.Millisecond

// closeGoingAway is a WebSocket close frame with status 1001, unmasked as a
// server sends it (RFC 6455, 5.5.1 and 7.4.1).
var closeGoingAway = []byte{0x88, 2, 1001 >> 8, 1001 & 0xff}

// tunnel hands the client its 101 and copies both ways until both ends have
// closed, one failed, nothing was said for Timeouts.StreamIdle, or the server
// stops: then the client gets a close frame 1001.
func (x *exchange) tunnel() {
	l, h := x.link, x.w.Header()
	defer x.drop()
	x.s.Core.ResponseHeaders(h, &x.d, "websocket")
	x.become(proxy.Upgraded)
	x.c.Hijacked()
	nc, rw, err := x.rc.Hijack()
	if err != nil {
		x.fail(fault{class: proxy.ClientGone, err: err})
		return
	}
	defer func() { _ = nc.Close() }()
	x.began, x.out.Status = true, http.StatusSwitchingProtocols
	_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
	_ = h.Write(rw)
	_, _ = rw.WriteString("\r\n")
	if err := rw.Flush(); err != nil {
		x.out.Class, x.out.Err = proxy.ClientGone, err
		return
	}
	early, _ := rw.Reader.Peek(rw.Reader.Buffered())
	l.awaitBody(x.s.timeouts.StreamIdle)
	t := &tunnel{x: x, client: x.c, instance: l, start: time.Now()}
	ended := make(chan error, 1)
	go t.up(early, ended)
	downErr := t.down()
	if x.r.Context().Err() != nil {
		t.goAway()
	}
	upErr := <-ended
	if x.out.Class = proxy.OK; downErr != nil || upErr != nil {
		x.out.Err = fmt.Errorf("tunnel: from the instance: %v; from the client: %v", downErr, upErr)
	}
	x.out.Received, x.out.Sent = t.received, t.sent
}

// tunnel is what the two directions share.
type tunnel struct {
	x        *exchange
	client   *conn
	instance *link
	start    time.Time
	active   atomic.Int64 // when anything was last read, since start
	half     atomic.Bool  // one direction has ended in order
	over     atomic.Bool  // one has failed: the other ends too

	received int64 // of up
	sent     int64 // of down
	frames   frames
}

// limit is how long both directions may be silent.
func (t *tunnel) limit() time.Duration {
	stream, body := t.x.s.timeouts.StreamIdle, t.x.s.timeouts.BodyIdle
	if t.half.Load() && body > 0 && (body < stream || stream == 0) {
		return body
	}
	return stream
}

// goesOn reports whether err of a read is only the silence of one direction.
func (t *tunnel) goesOn(err error) bool {
	silent := time.Since(t.start) - time.Duration(t.active.Load())
	return isTimeout(err) && !t.over.Load() && t.x.r.Context().Err() == nil && silent < t.limit()
}

// up copies from the client to the instance, early first, and tells its end.
func (t *tunnel) up(early []byte, ended chan<- error) {
	err := t.copyUp(early)
	if err == nil {
		t.half.Store(true)
		t.instance.hurry(t.limit())
		err = t.instance.closeWrite()
	} else {
		t.over.Store(true)
		t.instance.interrupt()
	}
	ended <- err
}

func (t *tunnel) copyUp(early []byte) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	if err := t.toInstance(early); err != nil {
		return err
	}
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	var at deadline
	for {
		if at.due(time.Now(), t.limit()) {
			_ = t.client.SetReadDeadline(at.at)
		}
		n, err := t.client.Read(*buf)
		if err := t.toInstance((*buf)[:n]); err != nil {
			return err
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil && !t.goesOn(err):
			return err
		}
	}
}

func (t *tunnel) toInstance(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	t.active.Store(int64(time.Since(t.start)))
	n, err := t.instance.send(p, t.x.s.timeouts.BodyIdle)
	t.received += int64(n)
	return err
}

// down copies from the instance to the client.
func (t *tunnel) down() error {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	for {
		n, err := t.instance.br.Read(*buf)
		if n > 0 {
			t.active.Store(int64(time.Since(t.start)))
			t.frames.pass((*buf)[:n])
			m, err := t.client.Write((*buf)[:n])
			if t.sent += int64(m); err != nil {
				return t.hangUp(err)
			}
		}
		switch {
		case err == io.EOF:
			t.half.Store(true)
			_ = t.client.SetReadDeadline(time.Now().Add(t.limit()))
			return t.client.CloseWrite()
		case err != nil && !t.goesOn(err):
			return t.hangUp(err)
		}
	}
}

// hangUp ends the other direction too.
func (t *tunnel) hangUp(err error) error {
	t.over.Store(true)
	if t.x.r.Context().Err() == nil {
		_ = t.client.SetReadDeadline(time.Unix(1, 0))
	}
	return err
}

// goAway tells the client that the server stops, unless a frame is under way,
// and lets it read that.
func (t *tunnel) goAway() {
	if t.frames.between() {
		_, _ = t.client.Write(closeGoingAway)
	}
	_ = t.client.CloseWrite()
	_ = t.client.SetReadDeadline(time.Now().Add(stopLinger))
}

// frames follows the WebSocket frames that pass in one direction (RFC 6455,
// 5.2), to know where one of ours may be put in.
type frames struct {
	head []byte // of the frame whose head has begun
	left uint64 // octets of the payload under way
}

func (f *frames) between() bool { return f.left == 0 && len(f.head) == 0 }

func (f *frames) pass(p []byte) {
	for len(p) > 0 {
		if n := min(f.left, uint64(len(p))); n > 0 {
			f.left -= n
			p = p[n:]
			continue
		}
		f.head = append(f.head, p[0])
		p = p[1:]
		if len(f.head) < 2 {
			continue
		}
		length, extended := uint64(f.head[1]&0x7f), 0
		switch length {
		case 126:
			extended = 2
		case 127:
			extended = 8
		}
		masked := f.head[1]&0x80 != 0
		need := 2 + extended
		if masked {
			need += 4
		}
		if len(f.head) < need {
			continue
		}
		if extended > 0 {
			length = 0
			for _, b := range f.head[2 : 2+extended] {
				length = length<<8 | uint64(b)
			}
		}
		f.left, f.head = length, f.head[:0]
	}
}
