package nethttp

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"serin/proxy"
	"serin/registry"
	"serin/route"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lab is a running server with its instances.
type lab struct {
	*Server
	t        testing.TB
	addr     string
	outcomes chan proxy.Outcome
	done     chan error
}

// lb starts a server whose table sends everything to the instances; options
// are those of their tags. configure may be nil.
func lb(t testing.TB, options string, configure func(*Server), instances ...string) *lab {
	t.Helper()
	return start(t, tableOf(options, nil, instances, nil), configure)
}

// tableOf is a table of the service web, with its stable instances and its
// canaries at everything; split may be nil.
func tableOf(options string, split *route.Split, stable, canary []string) *route.Table {
	svc := &registry.Service{Name: "web"}
	add := func(prefix string, addrs []string, tags ...string) {
		for i, addr := range addrs {
			svc.Instances = append(svc.Instances, registry.Instance{
				Service: "web", ID: fmt.Sprint(prefix, i), Node: "n", Addr: addr, Weight: 1, Ready: true,
				Health: registry.Passing, Tags: append(tags, strings.TrimSpace("urlprefix-/ "+options)),
			})
		}
	}
	add("web-", stable)
	add("canary-", canary, "canary")
	svc.Normalize()
	var splits route.Splits
	if split != nil {
		split.Service, split.Explicit = "web", true
		splits.ByService = map[string]*route.Split{"web": split}
	}
	return new(route.Builder).Build(route.Inputs{Snapshot: registry.New(svc), Splits: splits})
}

// start starts a server with a table.
func start(t testing.TB, table *route.Table, configure func(*Server)) *lab {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range table.Problems() {
		t.Fatal(p.Err)
	}
	l := &lab{t: t, addr: ln.Addr().String(), outcomes: make(chan proxy.Outcome, 1<<16), done: make(chan error, 1)}
	core := &proxy.Core{
		Table:     func() *route.Table { return table },
		Upstreams: proxy.NewUpstreams(proxy.UpstreamsConfig{}),
		Settings:  proxy.Settings{NoRouteStatus: 404, Attempts: 3, Balance: route.RoundRobinBalance},
		Now:       time.Now,
		Rand:      rand.Uint64,
		Observe: func(o *proxy.Outcome) {
			select {
			case l.outcomes <- *o:
			default:
			}
		},
	}
	core.Upstreams.Swap(table)
	l.Server = &Server{Core: core}
	if configure != nil {
		configure(l.Server)
	}
	go func() { l.done <- l.Run(context.Background(), ln) }()
	t.Cleanup(func() {
		l.Close()
		if err := <-l.done; err != nil {
			t.Error("Run:", err)
		}
	})
	return l
}

// outcome returns the next Outcome that was told.
func (l *lab) outcome() proxy.Outcome {
	l.t.Helper()
	select {
	case o := <-l.outcomes:
		return o
	case <-time.After(5 * time.Second):
		l.t.Fatal("no outcome was told")
		panic("unreachable")
	}
}

// quietly fails if another Outcome is told.
func (l *lab) quietly() {
	l.t.Helper()
	select {
	case o := <-l.outcomes:
		l.t.Errorf("another outcome was told: %+v", o)
	default:
	}
}

// origin starts an instance that lets handle speak on each connection.
func origin(t testing.TB, handle func(c net.Conn, br *bufio.Reader)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serve(t, ln, handle)
	return ln.Addr().String()
}

func serve(t testing.TB, ln net.Listener, handle func(c net.Conn, br *bufio.Reader)) {
	var open atomic.Int64
	idle := make(chan struct{}, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer func() { idle <- struct{}{} }()
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			open.Add(1)
			go func() {
				defer open.Add(-1)
				defer c.Close()
				defer context.AfterFunc(ctx, func() { c.Close() })()
				handle(c, bufio.NewReader(c))
			}()
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		cancel()
		<-idle
		for range 1000 {
			if open.Load() == 0 {
				return
			}
			<-time.After(time.Millisecond)
		}
	})
}

// answering starts an instance that answers every request with text, and sends
// what it got (head and body) to got, which may be nil.
func answering(t testing.TB, text string, got chan<- string) string {
	return origin(t, func(c net.Conn, br *bufio.Reader) {
		for {
			head, err := readRequest(br)
			if err != nil {
				return
			}
			if got != nil {
				got <- head
			}
			if _, err := io.WriteString(c, text); err != nil {
				return
			}
		}
	})
}

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// readRequest reads one request as it is on the wire.
func readRequest(br *bufio.Reader) (string, error) {
	var b strings.Builder
	length, chunked := 0, false
	for {
		line, err := br.ReadString('\n')
		if err != nil {
			return b.String(), err
		}
		b.WriteString(line)
		lower := strings.ToLower(line)
		fmt.Sscanf(lower, "content-length: %d", &length)
		chunked = chunked || strings.HasPrefix(lower, "transfer-encoding: chunked")
		if line == "\r\n" {
			break
		}
	}
	for chunked {
		line, err := br.ReadString('\n')
		if err != nil {
			return b.String(), err
		}
		b.WriteString(line)
		if line == "0\r\n" {
			line, err = br.ReadString('\n')
			b.WriteString(line)
			return b.String(), err
		}
		var n int
		fmt.Sscanf(line, "%x", &n)
		p := make([]byte, n+2)
		if _, err := io.ReadFull(br, p); err != nil {
			return b.String(), err
		}
		b.Write(p)
	}
	p := make([]byte, length)
	_, err := io.ReadFull(br, p)
	b.Write(p)
	return b.String(), err
}

// client is a raw connection to the server.
type client struct {
	net.Conn
	*bufio.Reader
	t testing.TB
}

func (l *lab) dial() *client {
	l.t.Helper()
	c, err := net.Dial("tcp", l.addr)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { c.Close() })
	c.SetWriteDeadline(time.Now().Add(patience))
	return &client{c, bufio.NewReader(patient{c}), l.t}
}

// patience is how long a client waits for anything before its test fails.
const patience = 5 * time.Second

// patient waits that long in each Read.
type patient struct{ net.Conn }

func (c patient) Read(p []byte) (int, error) {
	c.SetReadDeadline(time.Now().Add(patience))
	return c.Conn.Read(p)
}

func (c *client) Read(p []byte) (int, error) { return c.Reader.Read(p) }

func (c *client) send(format string, args ...any) {
	c.t.Helper()
	c.SetWriteDeadline(time.Now().Add(patience))
	if _, err := fmt.Fprintf(c.Conn, format, args...); err != nil {
		c.t.Fatal(err)
	}
}

// response reads a response's head; the body is the caller's.
func (c *client) response(method string) *http.Response {
	c.t.Helper()
	r, err := http.ReadResponse(c.Reader, &http.Request{Method: method})
	if err != nil {
		c.t.Fatalf("no response: %v", err)
	}
	return r
}

// whole reads a response with its body.
func (c *client) whole(method string) (*http.Response, string) {
	c.t.Helper()
	r := c.response(method)
	b, err := io.ReadAll(r.Body)
	if err != nil {
		c.t.Fatalf("the response's body: %v after %q", err, b)
	}
	return r, string(b)
}

// closed fails unless the server closes the connection.
func (c *client) closed() {
	c.t.Helper()
	if b, err := io.ReadAll(c); len(b) > 0 || err != nil {
		c.t.Fatalf("the connection is not closed: %q, %v", b, err)
	}
}

// ask sends one request on a connection of its own.
func (l *lab) ask(request string) (*http.Response, string) {
	l.t.Helper()
	c := l.dial()
	defer c.Close()
	c.send("%s", request)
	method, _, _ := strings.Cut(request, " ")
	return c.whole(method)
}

func get(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: web.test\r\n\r\n" }
