package nethttp

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"serin/proxy"
)

const (
	handshake = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n"
)

func TestWebSocket(t *testing.T) {
	o := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer c.CloseNow()
		c.SetReadLimit(1 << 20)
		for {
			kind, p, err := c.Read(r.Context())
			if err != nil || c.Write(r.Context(), kind, p) != nil {
				return
			}
		}
	}))
	defer o.Close()
	l := lb(t, "", func(s *Server) { s.Core.Drain = new(proxy.Drain) }, o.Listener.Addr().String())
	ctx := context.Background()
	c, _, err := websocket.Dial(ctx, "ws://"+l.addr+"/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	c.SetReadLimit(1 << 20)
	for _, n := range []int{0, 1, 125, 126, 70000} {
		want := strings.Repeat("x", n)
		if err := c.Write(ctx, websocket.MessageText, []byte(want)); err != nil {
			t.Fatal(err)
		}
		if _, got, err := c.Read(ctx); err != nil || string(got) != want {
			t.Fatalf("echo of %d bytes: %d, %v", n, len(got), err)
		}
	}
	if n := l.Core.Drain.Open(proxy.Upgraded); n != 1 {
		t.Errorf("%d upgraded are open", n)
	}
	c.Close(websocket.StatusNormalClosure, "")
	if out := l.outcome(); out.Status != 101 || out.Class != proxy.OK || out.Sent < 70000 || out.Received < 70000 {
		t.Errorf("outcome %+v", out)
	}
	l.quietly()
}

// Bytes that the client sends before 101 are held, and none is lost on either side.
func TestEarlyBytesOfATunnel(t *testing.T) {
	proceed, early := make(chan bool), make(chan string, 1)
	l := lb(t, "", nil, origin(t, func(c net.Conn, br *bufio.Reader) {
		readRequest(br)
		<-proceed
		c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		p := make([]byte, 10)
		n, _ := c.Read(p) // br is empty, or held some
		early <- string(p[:n]) + strings.Repeat("!", br.Buffered())
		c.SetReadDeadline(time.Time{})
		io.WriteString(c, switching+"hello ")
		io.Copy(c, br)
	}))
	c := l.dial()
	c.send("%sGET /smug HTTP/1.1\r\n\r\n", handshake)
	proceed <- true
	if got := <-early; got != "" {
		t.Errorf("before its 101 the instance got %q", got)
	}
	if r := c.response("GET"); r.StatusCode != 101 || r.Header.Get("Upgrade") != "websocket" || r.Header.Get("Sec-Websocket-Accept") != "x" {
		t.Errorf("got %d %v", r.StatusCode, r.Header)
	}
	want := "hello GET /smug HTTP/1.1\r\n\r\nmore"
	c.send("more")
	p := make([]byte, len(want))
	if _, err := io.ReadFull(c, p); err != nil || string(p) != want {
		t.Errorf("got %q %v, want %q", p, err, want)
	}
	c.Conn.(*net.TCPConn).CloseWrite() // half-close goes through, and comes back
	c.closed()
	if o := l.outcome(); o.Status != 101 || o.Err != nil {
		t.Errorf("outcome %d %v", o.Status, o.Err)
	}
}

func TestUpgradeRefusedByTheInstance(t *testing.T) {
	got := make(chan string, 2)
	addr := answering(t, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", got)
	l := lb(t, "", nil, addr)
	c := l.dial()
	for range 2 { // the client's connection can be used again
		c.send("%s", handshake)
		if r, body := c.whole("GET"); r.StatusCode != 403 || body != "no" || r.Close {
			t.Errorf("got %d %q close %t", r.StatusCode, body, r.Close)
		}
		if g := <-got; head(g, "Upgrade") != "websocket" || head(g, "Connection") != "Upgrade" {
			t.Errorf("the instance got %q", g)
		}
	}
	l.outcome()
	l.outcome()
	if s := l.pool.site(way{addr: addr}); len(s.idle) > 0 {
		t.Error("a connection that was asked to upgrade is pooled")
	}
}

func TestOtherUpgradesAreNone(t *testing.T) {
	got := make(chan string, 1)
	l := lb(t, "", nil, answering(t, ok, got))
	f := func(request string) {
		t.Helper()
		if r, _ := l.ask(request); r.StatusCode != 200 {
			t.Errorf("%.50q: %s", request, r.Status)
		}
		if g := <-got; head(g, "Upgrade") != "-" || head(g, "Connection") != "-" {
			t.Errorf("%.50q: the instance got %q", request, g)
		}
	}
	f(strings.Replace(handshake, "WebSocket", "h2c", 1))
	f(strings.Replace(handshake, "GET", "POST", 1))
	f(strings.Replace(handshake, "Sec-WebSocket-Key", "X", 1))
}

func TestIdleTunnelEnds(t *testing.T) { // S38
	l := lb(t, "", func(s *Server) { s.Core.Timeouts.StreamIdle = 60 * time.Millisecond }, origin(t, func(c net.Conn, br *bufio.Reader) {
		readRequest(br)
		io.WriteString(c, switching)
		for range 10 { // one direction is enough to keep it
			<-time.After(20 * time.Millisecond)
			io.WriteString(c, "x")
		}
		br.ReadByte()
	}))
	c := l.dial()
	start := time.Now()
	c.send("%s", handshake)
	c.response("GET")
	if b, err := io.ReadAll(c); string(b) != "xxxxxxxxxx" || err != nil {
		t.Errorf("got %q %v", b, err)
	}
	if d := time.Since(start); d < 200*time.Millisecond {
		t.Errorf("ended after %v", d)
	}
	l.outcome()
}
