package nethttp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"serin/proxy"
)

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// stop takes all steps, as the wiring does.
func (l *lab) stop(lame time.Duration) (cut int, err error) {
	l.LameDuck()
	<-time.After(lame)
	l.StopAccepting(within(l.t, time.Second))
	err = l.Drain(within(l.t, patience))
	return l.Close(), err
}

// Clients that obey Connection: close and then go to a second server lose
// nothing (G4).
func TestStopLosesNoPost(t *testing.T) {
	for range 3 {
		addr := answering(t, ok, nil)
		first, second := lb(t, "", nil, addr), lb(t, "", nil, addr)
		var moved atomic.Bool
		var clients sync.WaitGroup
		var sent atomic.Int64
		stop := make(chan struct{})
		for range 16 {
			clients.Go(func() {
				var c *client
				for {
					select {
					case <-stop:
						return
					default:
					}
					if c == nil {
						to := first
						if moved.Load() {
							to = second
						}
						c = to.dial()
					}
					c.SetWriteDeadline(time.Now().Add(patience))
					if _, err := io.WriteString(c.Conn, post); err != nil {
						t.Error("send:", err)
						return
					}
					r, err := http.ReadResponse(c.Reader, nil)
					if err != nil {
						t.Error("a POST was lost:", err)
						return
					}
					if b, err := io.ReadAll(r.Body); r.StatusCode != 200 || string(b) != "ok" || err != nil {
						t.Errorf("got %d %q %v", r.StatusCode, b, err)
					}
					sent.Add(1)
					if r.Close {
						c.Close()
						c = nil
					}
				}
			})
		}
		for start := time.Now(); sent.Load() < 200 && time.Since(start) < patience && !t.Failed(); {
			<-time.After(time.Millisecond)
		}
		first.LameDuck()
		moved.Store(true)
		cut, err := first.stop(200 * time.Millisecond)
		close(stop)
		clients.Wait()
		if err != nil || cut != 0 || t.Failed() {
			t.Fatalf("drain: %v, %d cut", err, cut)
		}
	}
}

func TestLameDuckSaysGoAway(t *testing.T) {
	l := lb(t, "", nil, answering(t, ok, nil))
	l.LameDuck()
	if r, _ := l.ask(get("/")); r.StatusCode != 200 || !r.Close {
		t.Errorf("HTTP/1.1: %d, close %t", r.StatusCode, r.Close)
	}
	fr := l.framer()
	fr.request(1, true, ":method", "GET", ":scheme", "http", ":path", "/", ":authority", "a")
	var status, goAway bool
	for !status || !goAway {
		f, err := fr.ReadFrame()
		if err != nil {
			t.Fatalf("answered %t, GOAWAY %t, then %v", status, goAway, err)
		}
		switch f.Header().Type.String() {
		case "HEADERS":
			status = true
		case "GOAWAY":
			goAway = true
		}
	}
}

// What waits in the backlog when accepting stops is served.
func TestBacklogIsServed(t *testing.T) {
	l := lb(t, "", func(s *Server) { s.MaxConns = 1 }, answering(t, ok, nil))
	first := l.dial()
	first.send("%s", get("/"))
	first.whole("GET") // has the only slot
	var waiting []*client
	for range 5 {
		c := l.dial()
		c.send("%s", get("/"))
		waiting = append(waiting, c)
	}
	l.LameDuck()
	stopped := make(chan struct{})
	go func() { l.StopAccepting(within(l.t, 10*time.Second)); close(stopped) }()
	first.Close() // its slot goes round
	for i, c := range waiting {
		if r, body := c.whole("GET"); r.StatusCode != 200 || body != "ok" || !r.Close {
			t.Errorf("connection %d: %d %q", i, r.StatusCode, body)
		}
		c.Close()
	}
	<-stopped
	if c, err := net.Dial("tcp", l.addr); err == nil {
		t.Error("still accepting")
		c.Close()
	}
	if err := l.Drain(within(l.t, 5*time.Second)); err != nil {
		t.Error(err)
	}
}

func TestDrainWaitsForExchangesAndClosesIdleLast(t *testing.T) {
	release := make(chan bool)
	l := lb(t, "", nil, origin(t, func(c net.Conn, br *bufio.Reader) {
		for {
			req, err := readRequest(br)
			if err != nil {
				return
			}
			if strings.HasPrefix(req, "GET /slow") {
				<-release
			}
			io.WriteString(c, ok)
		}
	}))
	idle, busy := l.dial(), l.dial()
	idle.send("%s", get("/"))
	idle.whole("GET")
	busy.send("%s", get("/slow"))
	for l.open() == 0 {
		<-time.After(time.Millisecond)
	}
	l.StopAccepting(within(l.t, time.Second))
	drained := make(chan error, 1)
	go func() { drained <- l.Drain(within(l.t, 10*time.Second)) }()
	idle.send("%s", get("/")) // still served, while another is open
	if r, _ := idle.whole("GET"); r.StatusCode != 200 || !r.Close {
		t.Errorf("idle: %d, close %t", r.StatusCode, r.Close)
	}
	release <- true
	if r, _ := busy.whole("GET"); r.StatusCode != 200 || !r.Close {
		t.Errorf("busy: %d, close %t", r.StatusCode, r.Close)
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
	if cut := l.Close(); cut != 0 {
		t.Errorf("%d were cut", cut)
	}
}

func TestCloseCuts(t *testing.T) {
	arrived := make(chan bool, 3)
	l := lb(t, "", nil, origin(t, func(c net.Conn, br *bufio.Reader) {
		req, _ := readRequest(br)
		switch {
		case strings.HasPrefix(req, "GET /ws"):
			io.WriteString(c, switching+"\x81\x02hi")
		case strings.HasPrefix(req, "GET /stream"):
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
		}
		arrived <- true
		io.Copy(io.Discard, br)
	}))
	ws, stream, silent := l.dial(), l.dial(), l.dial()
	ws.send("%s", handshake)
	stream.send("%s", get("/stream"))
	silent.send("%s", get("/silent"))
	for range 3 {
		<-arrived
	}
	ws.response("GET")
	p := make([]byte, 4)
	io.ReadFull(ws, p)
	sr := stream.response("GET")
	if err := l.Drain(within(l.t, 30*time.Millisecond)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("drain: %v", err)
	}
	if cut := l.Close(); cut != 3 {
		t.Errorf("%d were cut, want 3", cut)
	}
	if r, _ := silent.whole("GET"); r.StatusCode != 503 || !r.Close || r.Header.Get("Retry-After") == "" {
		t.Errorf("silent: %d", r.StatusCode)
	}
	if b, err := io.ReadAll(sr.Body); err == nil {
		t.Errorf("the stream ended as if it were whole: %q", b)
	}
	if b, err := io.ReadAll(ws); string(b) != string(closeGoingAway) || err != nil {
		t.Errorf("the WebSocket got %q %v", b, err)
	}
	for range 3 {
		if o := l.outcome(); o.Class.Failed() || o.FirstClass.Failed() {
			t.Errorf("%s is charged: %s", o.Path, o.Class)
		}
	}
}

func TestAcceptNeverGivesUp(t *testing.T) { // F37
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	bad := &faulty{Listener: ln}
	bad.left.Store(3)
	l := lb(t, "", nil, answering(t, ok, nil))
	s := &Server{Core: l.Core}
	done := make(chan error)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { done <- s.Run(ctx, bad) }()
	l.addr = ln.Addr().String()
	if r, _ := l.ask(get("/")); r.StatusCode != 200 {
		t.Error(r.Status)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// faulty fails its first accepts like a process without descriptors.
type faulty struct {
	net.Listener
	left atomic.Int64
}

func (l *faulty) Accept() (net.Conn, error) {
	if l.left.Add(-1) >= 0 {
		return nil, &os.SyscallError{Syscall: "accept4", Err: errors.New("too many open files")}
	}
	return l.Listener.Accept()
}

func TestSlowHeadIsCutOff(t *testing.T) { // S30
	l := lb(t, "", func(s *Server) { s.Core.Timeouts.ReadHeader = 50 * time.Millisecond }, answering(t, ok, nil))
	c := l.dial()
	c.send("GET / HTTP/1.1\r\nHost")
	if r, _ := c.whole("GET"); r.StatusCode != 408 {
		t.Errorf("got %d", r.StatusCode)
	}
	l.outcome()
}

func TestSlowReaderIsCutOff(t *testing.T) { // S31
	l := lb(t, "", func(s *Server) { s.Core.Timeouts.BodyIdle = 100 * time.Millisecond }, origin(t, func(c net.Conn, br *bufio.Reader) {
		readRequest(br)
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", 64<<20)
		p := make([]byte, 1<<20)
		for range 64 {
			if _, err := c.Write(p); err != nil {
				return
			}
		}
	}))
	c := l.dial()
	c.send("%s", get("/"))
	if o := l.outcome(); o.Class != proxy.ClientGone || o.Sent == 0 {
		t.Errorf("outcome %s, %d sent, %v", o.Class, o.Sent, o.Err)
	}
	fr := l.framer() // which never opens its window
	fr.request(1, true, ":method", "GET", ":scheme", "http", ":path", "/", ":authority", "a")
	if o := l.outcome(); o.Class != proxy.ClientGone {
		t.Errorf("HTTP/2: outcome %s %v", o.Class, o.Err)
	}
}

// A connection of HTTP/2 that never asked anything does not hold up a drain.
func TestDrainClosesSilentConnections(t *testing.T) {
	l := lb(t, "", nil, answering(t, ok, nil))
	h1, h2 := l.dial(), l.framer()
	for {
		if f, err := h2.ReadFrame(); err != nil || f.Header().Type.String() == "SETTINGS" {
			break
		}
	}
	l.StopAccepting(within(t, time.Second))
	if err := l.Drain(within(t, 10*time.Second)); err != nil {
		t.Error(err)
	}
	h1.closed()
}

// The connections may be asked for while the server begins: metrics do.
func TestConnectionsWhileItBegins(t *testing.T) {
	s := &Server{Core: &proxy.Core{Now: time.Now}}
	var wg sync.WaitGroup
	wg.Go(func() { s.once.Do(s.setup) })
	wg.Go(func() {
		if h1, h2 := s.Connections(); h1+h2 != 0 {
			t.Errorf("%d and %d connections of a server that nobody asked yet", h1, h2)
		}
	})
	wg.Wait()
	s.cut(nil)
}
