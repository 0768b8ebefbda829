package metrics

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"time"
)

// takeTime is how long a receiver may take to close once it has all.
const takeTime = time.Second

// graphite sends samples in the plaintext protocol over TCP.
type graphite struct {
	addr  string
	names *Names
	dial  dialer
}

// NewGraphite returns the sink of a Carbon server.
func NewGraphite(addr string, names *Names) Sink {
	return &graphite{addr: addr, names: names, dial: new(net.Dialer).DialContext}
}

// Name implements Sink.
func (g *graphite) Name() string { return "graphite" }

// Send implements Sink. Each batch has a connection of its own: on one that is
// kept, what is sent after the server has gone is lost without an error.
func (g *graphite) Send(ctx context.Context, samples []Sample) (err error) {
	defer g.names.round()
	c, err := g.dial(ctx, "tcp", g.addr)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	now := strconv.FormatInt(time.Now().Unix(), 10)
	const full = 32 << 10
	buf := make([]byte, 0, full+maxPath+64)
	for _, m := range samples {
		buf = append(append(buf, g.names.Path(m)...), ' ')
		buf = append(append(append(appendValue(buf, m.Value), ' '), now...), '\n')
		if len(buf) >= full {
			if _, err := c.Write(buf); err != nil {
				return err
			}
			buf = buf[:0]
		}
	}
	if _, err := c.Write(buf); err != nil {
		return err
	}
	return taken(c, stop)
}

// taken waits until the server has read all, which it shows by closing, or for
// a while where it does not. A reset says that it has not.
func taken(c net.Conn, stop func() bool) error {
	w, ok := c.(interface{ CloseWrite() error })
	if !ok {
		return nil
	}
	if err := w.CloseWrite(); err != nil {
		return err
	}
	if !stop() {
		return nil // time is up, and all was written
	}
	_ = c.SetReadDeadline(time.Now().Add(takeTime))
	if _, err := io.Copy(io.Discard, io.LimitReader(c, 1<<10)); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return nil
}
