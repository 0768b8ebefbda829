package load

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"

	"github.com/google/uuid"
)

// What can go wrong with a request, besides its status.
var (
	errNoConnection = errors.New("no address accepts a connection")
	errUnwritten    = errors.New("the connection was closed before the request was written")
	errUnanswered   = errors.New("the request was written, and the connection closed before any byte of an answer")
	errWrong        = errors.New("not the answer to this request")
	errUnasked      = errors.New("bytes that nobody asked for")
)

type statusError int

func (s statusError) Error() string { return fmt.Sprintf("status %d", int(s)) }

// cause names err in Report.Failed.
func cause(kind Kind, err error) string {
	var status statusError
	var ne net.Error
	switch {
	case errors.As(err, &status):
		return fmt.Sprintf("%s status %d", kind, int(status))
	case errors.Is(err, errNoConnection):
		return "no connection"
	case errors.Is(err, errUnwritten):
		return kind.String() + " never written"
	case errors.Is(err, errUnanswered):
		return kind.String() + " without an answer"
	case errors.Is(err, errWrong):
		return kind.String() + " wrong answer"
	case errors.Is(err, errUnasked):
		return "unasked bytes"
	case errors.As(err, &ne) && ne.Timeout():
		return kind.String() + " timed out"
	case errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET):
		return kind.String() + " answer cut"
	}
	return kind.String() + " broken"
}

// h1 is one keep-alive HTTP/1.1 client. It obeys Connection: close, and looks
// whether a connection was closed before it uses it again.
type h1 struct {
	run   *run
	conn  net.Conn
	addr  string
	br    *bufio.Reader
	used  bool   // a request was answered on conn
	out   []byte // the request, reused
	close bool   // the answer said so
}

func (c *h1) hangUp() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// connect makes sure of a connection that is open as far as can be seen.
func (c *h1) connect() error {
	if c.conn != nil {
		closed, unasked := c.look()
		if unasked {
			c.run.wrong(cause(GET, errUnasked), fmt.Sprintf("on the idle connection %v to %s", c.conn.LocalAddr(), c.addr))
		}
		if !closed && !unasked {
			return nil
		}
		c.hangUp()
	}
	conn, addr, err := c.run.dial()
	if err != nil {
		return err
	}
	c.conn, c.addr, c.br, c.used = conn, addr, bufio.NewReader(conn), false
	return nil
}

// look reports whether the other side has closed the idle connection, or sent
// something on it.
func (c *h1) look() (closed, unasked bool) {
	raw, err := c.conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return true, false
	}
	var n int
	var peek error
	err = raw.Read(func(fd uintptr) bool {
		var b [1]byte
		n, _, peek = syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		return true
	})
	return err != nil || n <= 0 && !errors.Is(peek, syscall.EAGAIN), n > 0
}

// tries bounds the connections that one request is written to.
const tries = 4

func (c *h1) do(i int, kind Kind, due time.Time) {
	id := uuid.NewString()
	for try := 1; ; try++ {
		if err := c.connect(); err != nil {
			c.run.wrong(cause(kind, err), err.Error())
			return
		}
		answer, err := c.exchange(i, kind, id)
		local, reused := c.conn.LocalAddr(), c.used
		if err != nil || c.close {
			c.hangUp()
		}
		c.used = true
		switch {
		case err == nil:
			c.run.right(i, answer, id, kind, due)
			return
		case errors.Is(err, errUnwritten) && try < tries:
			c.run.add(&c.run.report.Unwritten)
			continue
		case errors.Is(err, errUnanswered) && reused && kind == GET && try < tries:
			c.run.add(&c.run.report.Stale)
			continue
		}
		c.run.wrong(cause(kind, err), fmt.Sprintf("request %d (%s) on %v to %s, connection reused %t: %v", i, id, local, c.addr, reused, err))
		return
	}
}

// write writes the request and returns its body.
func (c *h1) write(i int, kind Kind, id string) (body string, err error) {
	cfg := &c.run.cfg
	method := "GET "
	if kind == POST {
		method, body = "POST ", "id="+id
	}
	host := cfg.Host
	if host == "" {
		host = c.addr
	}
	b := append(c.out[:0], method...)
	b = append(append(b, cfg.Path...), " HTTP/1.1\r\nUser-Agent: serin-load\r\nHost: "...)
	b = append(append(b, host...), "\r\nX-Request-Id: "...)
	b = append(append(b, id...), "\r\n"...)
	if cfg.Header != nil {
		b = append(b, cfg.Header(i)...)
	}
	if kind == POST {
		b = append(b, "Content-Type: text/plain\r\nContent-Length: "...)
		b = append(strconv.AppendInt(b, int64(len(body)), 10), "\r\n"...)
	}
	c.out = append(append(b, "\r\n"...), body...)
	if _, err := c.conn.Write(c.out); err != nil {
		return "", fmt.Errorf("%w: %w", errUnwritten, err)
	}
	return body, nil
}

func (c *h1) exchange(i int, kind Kind, id string) (a Answer, err error) {
	cfg := &c.run.cfg
	c.close = true                                      // until an answer says otherwise
	_ = c.conn.SetDeadline(time.Now().Add(cfg.Timeout)) // a closed connection shows itself below
	if kind == POST && cfg.Posts != nil {
		cfg.Posts.Add(1)
		defer cfg.Posts.Add(-1)
	}
	body, err := c.write(i, kind, id)
	if err != nil {
		return a, err
	}
	if _, err := c.br.Peek(1); err != nil {
		if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
			return a, err
		}
		return a, fmt.Errorf("%w: %w", errUnanswered, err)
	}
	var resp *http.Response
	for resp == nil || resp.StatusCode >= 102 && resp.StatusCode < 200 {
		if resp, err = http.ReadResponse(c.br, nil); err != nil {
			return a, err
		}
	}
	defer resp.Body.Close()
	if a, err = read(resp, id, len(body)); err != nil {
		return a, err
	}
	c.close = resp.Close
	if n := c.br.Buffered(); n > 0 {
		extra, _ := c.br.Peek(min(n, 100))
		return a, fmt.Errorf("%w after the answer: %q", errUnasked, extra)
	}
	return a, nil
}

// read reads resp whole and checks that it is the demo service's answer to the
// request with this id and so many bytes of body.
func read(resp *http.Response, id string, size int) (a Answer, err error) {
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return a, err
	}
	if resp.StatusCode != http.StatusOK {
		return a, statusError(resp.StatusCode)
	}
	if err := json.Unmarshal(raw, &a); err != nil {
		return a, fmt.Errorf("%w: %w: %.200q", errWrong, err, raw)
	}
	if a.ID != id || a.Size != size {
		return a, fmt.Errorf("%w: want id %s and size %d: %.2000q", errWrong, id, size, raw)
	}
	a.Cookies = resp.Cookies()
	return a, nil
}
