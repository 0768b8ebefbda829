package load

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"
)

// h1 is one keep-alive HTTP/1.1 client. It obeys Connection: close, and looks
// whether a connection was closed before it uses it again.
type h1 struct {
	run  *run
	conn net.Conn
	addr string
	br   *bufio.Reader
	used bool // a request was answered on conn
}

func (c *h1) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// closed reports whether the other side has closed the idle connection.
func (c *h1) closed() bool {
	raw, err := c.conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return true
	}
	gone := false
	err = raw.Read(func(fd uintptr) bool {
		var b [1]byte
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		gone = n >= 0 && err == nil || !errors.Is(err, syscall.EAGAIN)
		return true
	})
	return gone || err != nil
}

var errStale = errors.New("closed before any byte of an answer")

func (c *h1) do(i int, kind Kind, due time.Time) {
	id := uuid.NewString()
	for try := 0; ; try++ {
		if c.conn != nil && c.closed() {
			c.close()
		}
		if c.conn == nil {
			conn, addr, err := c.run.dial()
			if err != nil {
				c.run.wrong("no connection", err.Error())
				return
			}
			c.conn, c.addr, c.br, c.used = conn, addr, bufio.NewReader(conn), false
		}
		answer, err := c.exchange(i, kind, id)
		if err == nil {
			c.run.right(i, answer, id, kind, due)
			return
		}
		reused := c.used
		local := c.conn.LocalAddr()
		c.close()
		if errors.Is(err, errStale) && reused && kind == GET && try == 0 {
			c.run.add(&c.run.report.Stale)
			continue
		}
		c.run.wrong(cause(kind, err), fmt.Sprintf("request %d (%s) on %v to %s, connection reused %t: %v", i, id, local, c.addr, reused, err))
		return
	}
}

func cause(kind Kind, err error) string {
	name := [...]string{"GET", "POST", "H2C"}[kind]
	var status statusError
	var ne net.Error
	switch {
	case errors.As(err, &status):
		return fmt.Sprintf("%s status %d", name, int(status))
	case errors.Is(err, errStale):
		return name + " without an answer"
	case errors.As(err, &ne) && ne.Timeout():
		return name + " timed out"
	case errors.Is(err, io.ErrUnexpectedEOF):
		return name + " answer cut"
	case errors.Is(err, errWrong):
		return name + " wrong answer"
	}
	return name + " broken"
}

type statusError int

func (s statusError) Error() string { return fmt.Sprintf("status %d", int(s)) }

var errWrong = errors.New("not the answer to this request")

func (c *h1) exchange(i int, kind Kind, id string) (Answer, error) {
	cfg := &c.run.cfg
	_ = c.conn.SetDeadline(time.Now().Add(cfg.Timeout)) // a closed connection shows itself below
	var b strings.Builder
	method, body := "GET", ""
	if kind == POST {
		method, body = "POST", "id="+id
	}
	host := cfg.Host
	if host == "" {
		host = c.addr
	}
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nX-Request-Id: %s\r\nUser-Agent: serin-load\r\n", method, cfg.Path, host, id)
	if cfg.Header != nil {
		b.WriteString(cfg.Header(i))
	}
	if kind == POST {
		fmt.Fprintf(&b, "Content-Type: text/plain\r\nContent-Length: %d\r\n", len(body))
	}
	b.WriteString("\r\n" + body)
	if kind == POST && cfg.Posts != nil {
		cfg.Posts.Add(1)
		defer cfg.Posts.Add(-1)
	}
	if _, err := io.WriteString(c.conn, b.String()); err != nil {
		return Answer{}, fmt.Errorf("%w: write: %w", errStale, err)
	}
	if _, err := c.br.Peek(1); err != nil {
		var ne net.Error
		if errors.As(err, &ne) && ne.Timeout() {
			return Answer{}, err
		}
		return Answer{}, fmt.Errorf("%w: read: %w", errStale, err)
	}
	resp, err := http.ReadResponse(c.br, &http.Request{Method: method})
	if err != nil {
		return Answer{}, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return Answer{}, err
	}
	if resp.StatusCode != 200 {
		return Answer{}, statusError(resp.StatusCode)
	}
	answer, err := decode(raw, id, resp)
	if err != nil {
		return Answer{}, err
	}
	c.used = true
	if resp.Close {
		c.close()
	}
	return answer, nil
}

// decode checks that the body is the demo service's answer to the request with
// this id.
func decode(raw []byte, id string, resp *http.Response) (Answer, error) {
	var a Answer
	if err := json.Unmarshal(raw, &a); err != nil {
		return a, fmt.Errorf("%w: %w: %.200q", errWrong, err, raw)
	}
	if !strings.Contains(string(raw), id) {
		return a, fmt.Errorf("%w: want one that repeats id %s: %.200q", errWrong, id, raw)
	}
	for _, ck := range resp.Cookies() {
		if a.Cookies == nil {
			a.Cookies = map[string]string{}
		}
		a.Cookies[ck.Name] = ck.Value
	}
	return a, nil
}
