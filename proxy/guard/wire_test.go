package guard

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// server is a real http.Server behind the guard. Requests that stand for
// rejections are answered as a handler should; serve gets the others.
type server struct {
	addr    string
	serve   func(http.ResponseWriter, *http.Request, *Conn)
	mu      sync.Mutex
	served  []string // request URIs, in order
	refused []int
}

type connKey struct{}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := r.Context().Value(connKey{}).(*Conn)
	defer c.Release()
	if bad, ok := c.Rejection(r.RequestURI); ok {
		s.mu.Lock()
		s.refused = append(s.refused, bad.Status)
		s.mu.Unlock()
		w.Header().Set("Connection", "close")
		w.WriteHeader(bad.Status)
		return
	}
	s.mu.Lock()
	s.served = append(s.served, r.RequestURI)
	s.mu.Unlock()
	s.serve(w, r, c)
}

// take returns what was served and refused since it was last called.
func (s *server) take() (served []string, refused []int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	served, refused = s.served, s.refused
	s.served, s.refused = nil, nil
	return served, refused
}

func start(t *testing.T, o Options, serve func(http.ResponseWriter, *http.Request, *Conn)) *server {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{addr: ln.Addr().String(), serve: serve}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(o.H2C)
	srv := &http.Server{
		Handler:                      s,
		Protocols:                    &protocols,
		DisableGeneralOptionsHandler: true,
		ReadHeaderTimeout:            10 * time.Second,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, c)
		},
	}
	done := make(chan struct{})
	go func() { defer close(done); srv.Serve(Listener(ln, o)) }()
	t.Cleanup(func() { srv.Close(); <-done })
	return s
}

func dial(t *testing.T, addr string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(10 * time.Second))
	return c.(*net.TCPConn)
}

// drain reads the body, and answers 400 when the client framed it wrongly.
func drain(w http.ResponseWriter, r *http.Request, c *Conn) {
	_, err := io.Copy(io.Discard, r.Body)
	if bad := c.Fault(); bad != nil {
		if !errors.Is(err, bad) {
			panic(err)
		}
		w.Header().Set("Connection", "close")
		w.WriteHeader(bad.Status)
	}
}

// Behind the guard a handler is asked for exactly the requests that pass, and
// every refused one is answered once, last, by the handler.
func TestVectorsOnTheWire(t *testing.T) {
	s := start(t, Options{}, drain)
	for _, v := range vectors(t) {
		c := dial(t, s.addr)
		go func() { // a refused client may be cut off while it sends
			c.Write(v.in)
			c.CloseWrite()
		}()
		answer, err := io.ReadAll(c)
		if err != nil {
			t.Errorf("%s: the answer to %.200q was lost: %v", v.name, v.in, err)
		}
		served, refused := s.take()
		if len(served) != v.requests() {
			t.Errorf("%s: %.200q\nserved %q\nwant %d requests", v.name, v.in, served, v.requests())
		}
		if slices.Contains(served, "/smug") && !strings.HasPrefix(v.verdict, "2") {
			t.Errorf("%s: %.200q: the smuggled request was served", v.name, v.in)
		}
		want := ""
		if _, code, refusedToo := strings.Cut(v.verdict, "+"); refusedToo {
			if want = code; !strings.HasPrefix(code, "body") && (len(refused) != 1 || http.StatusText(refused[0]) == "") {
				t.Errorf("%s: %.200q: refused %d", v.name, v.in, refused)
			}
			if want = strings.TrimPrefix(code, "body"); want == "" {
				want = "400"
			}
		} else if len(refused) != 0 {
			t.Errorf("%s: %.200q: refused %d", v.name, v.in, refused)
		}
		if last := lastStatus(string(answer)); want != "" && last != want {
			t.Errorf("%s: %.200q: last answered %s, want %s", v.name, v.in, last, want)
		}
		c.Close()
	}
}

func lastStatus(answer string) string {
	i := strings.LastIndex(answer, "HTTP/1.")
	if i < 0 || len(answer) < i+12 {
		return ""
	}
	return answer[i+9 : i+12]
}

// Requests before a violation are answered before it, also while they are
// still being served when it arrives.
func TestPipelineOrder(t *testing.T) {
	arrived, proceed := make(chan string, 3), make(chan struct{})
	s := start(t, Options{}, func(w http.ResponseWriter, r *http.Request, c *Conn) {
		arrived <- r.RequestURI
		select {
		case <-proceed:
		case <-r.Context().Done():
			t.Errorf("%s was cancelled by what follows it", r.RequestURI)
		}
		io.WriteString(w, r.RequestURI)
	})
	c := dial(t, s.addr)
	io.WriteString(c, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n")
	<-arrived
	io.WriteString(c, "GET /bad HTTP/1.1\nHost: a\r\n\r\nGET /3 HTTP/1.1\r\nHost: a\r\n\r\n")
	close(proceed)
	br := bufio.NewReader(c)
	for i, want := range []string{"/1", "/2", ""} {
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		if string(body) != want || (resp.StatusCode == 400) != (i == 2) || resp.Close != (i == 2) {
			t.Errorf("answer %d: %d %q, close %v", i+1, resp.StatusCode, body, resp.Close)
		}
	}
	if rest, err := io.ReadAll(br); len(rest) > 0 || err != nil {
		t.Errorf("after the rejection: %q, %v", rest, err)
	}
	if served, _ := s.take(); len(served) != 2 {
		t.Errorf("served %q", served)
	}
}

// A client that goes on sending after its violation can still read the answer.
func TestAnswerSurvivesUnreadInput(t *testing.T) {
	s := start(t, Options{}, drain)
	for _, begin := range []string{
		"GET / HTTP/1.1\nHost: a\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
	} {
		for range 20 {
			c := dial(t, s.addr)
			io.WriteString(c, begin+strings.Repeat("x", 100<<10))
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatalf("%q: %v", begin, err)
			}
			if resp.Body.Close(); resp.StatusCode != 400 {
				t.Errorf("%q: %d", begin, resp.StatusCode)
			}
			c.Close()
		}
	}
}

const upgrade = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n"

// What a client sends before its Upgrade is answered is neither parsed nor
// lost: it belongs to the tunnel if there is one, else it is requests.
func TestUpgrade(t *testing.T) {
	smuggled := "GET /smug HTTP/1.1\r\nHost: a\r\n\r\n"
	t.Run("accepted", func(t *testing.T) {
		s := start(t, Options{}, func(w http.ResponseWriter, r *http.Request, c *Conn) {
			conn, rw, err := http.NewResponseController(w).Hijack()
			if err != nil || rw.Reader.Buffered() > 0 || !c.Hijacked() {
				t.Errorf("Hijack: %v, %d octets buffered", err, rw.Reader.Buffered())
			}
			defer conn.Close()
			io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
			io.Copy(conn, conn) // echo, by WriteTo
		})
		c := dial(t, s.addr)
		io.WriteString(c, upgrade+smuggled)
		want := "HTTP/1.1 101 Switching Protocols\r\n\r\n" + smuggled + "later\n\x00"
		got := make([]byte, len(want))
		io.ReadFull(c, got[:len(want)-7])
		io.WriteString(c, "later\n\x00")
		if _, err := io.ReadFull(c, got[len(want)-7:]); string(got) != want {
			t.Errorf("got %q, %v\nwant %q", got, err, want)
		}
		if served, _ := s.take(); len(served) != 1 {
			t.Errorf("served %q", served)
		}
	})
	t.Run("refused", func(t *testing.T) {
		held := make(chan struct{})
		s := start(t, Options{}, func(w http.ResponseWriter, r *http.Request, c *Conn) {
			if r.RequestURI == "/ws" {
				<-held
				w.WriteHeader(http.StatusForbidden)
			}
		})
		c := dial(t, s.addr)
		br := bufio.NewReader(c)
		io.WriteString(c, upgrade+smuggled)
		close(held)
		for _, want := range []int{403, 200} {
			resp, err := http.ReadResponse(br, nil)
			if err != nil || resp.StatusCode != want {
				t.Fatalf("%v, %v, want %d", resp, err, want)
			}
		}
	})
	// Release of a request that is still served must not open the gate of the
	// Upgrade behind it.
	t.Run("behind a request", func(t *testing.T) {
		sent := make(chan struct{})
		s := start(t, Options{}, func(w http.ResponseWriter, r *http.Request, c *Conn) {
			if r.RequestURI == "/1" {
				io.Copy(io.Discard, r.Body)
				<-sent
				return
			}
			if got := c.hold.Load(); got != holding {
				t.Errorf("hold is %d when %s is served", got, r.RequestURI)
			}
		})
		c := dial(t, s.addr)
		io.WriteString(c, "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"+upgrade+"GET /bad\n")
		close(sent)
		br := bufio.NewReader(c)
		for _, want := range []int{200, 200, 400} {
			resp, err := http.ReadResponse(br, nil)
			if err != nil || resp.StatusCode != want {
				t.Fatalf("%v, %v, want %d", resp, err, want)
			}
		}
	})
	t.Run("too much too early", func(t *testing.T) {
		c := New(&input{in: []byte(upgrade + strings.Repeat("x", 5000)), step: always(1000)}, Options{})
		got, err := io.ReadAll(c)
		if bad := new(BodyError); string(got) != upgrade || !errors.As(err, &bad) {
			t.Errorf("%q, %v", got, err)
		}
	})
	t.Run("client leaves", func(t *testing.T) {
		gone := make(chan struct{})
		s := start(t, Options{}, func(w http.ResponseWriter, r *http.Request, c *Conn) {
			<-r.Context().Done()
			close(gone)
		})
		c := dial(t, s.addr)
		io.WriteString(c, upgrade)
		c.Close()
		<-gone
	})
}

func TestH2C(t *testing.T) {
	s := start(t, Options{H2C: true}, func(w http.ResponseWriter, r *http.Request, c *Conn) {
		http.NewResponseController(w).EnableFullDuplex()
		io.Copy(w, r.Body)
		w.Header().Set(http.TrailerPrefix+"Proto", r.Proto)
	})
	for _, h2 := range []bool{true, false} {
		var p http.Protocols
		p.SetUnencryptedHTTP2(h2)
		p.SetHTTP1(!h2)
		tr := &http.Transport{Protocols: &p}
		defer tr.CloseIdleConnections()
		for range 3 {
			body := strings.Repeat("0123456789", 100_000)
			resp, err := (&http.Client{Transport: tr}).Post("http://"+s.addr+"/x", "text/plain", io.MultiReader(strings.NewReader(body)))
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(resp.Body)
			if resp.Body.Close(); string(got) != body || err != nil || (resp.ProtoMajor == 2) != h2 {
				t.Errorf("h2 %v: %d octets of %d, %v, %s", h2, len(got), len(body), err, resp.Proto)
			}
		}
	}
}

// pipe returns a guarded connection and its client's end.
func pipe(o Options) (*Conn, net.Conn) {
	server, client := net.Pipe()
	return New(server, o), client
}

func TestReadHeader(t *testing.T) {
	// The first head and a later one have the same time, whatever deadline
	// net/http has set (here: none), and nothing else has.
	synctest.Test(t, func(t *testing.T) {
		c, client := pipe(Options{ReadHeader: 10 * time.Second})
		defer c.Conn.Close()
		p := make([]byte, 4096)
		go func() {
			time.Sleep(time.Hour)
			io.WriteString(client, "GET /1 HTTP/1.1\r\n")
			time.Sleep(9 * time.Second)
			io.WriteString(client, "Host: a\r\n\r\n")
			time.Sleep(time.Hour)
			io.WriteString(client, "\r\n") // begins nothing
			time.Sleep(time.Hour)
			io.WriteString(client, "GET /2 HTTP/1.1\r\n")
		}()
		if n, err := c.Read(p); err != nil || string(p[:n]) != "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n" || c.MidHead() {
			t.Fatalf("%q, %v, MidHead %v", p[:n], err, c.MidHead())
		}
		begin := time.Now()
		n, err := c.Read(p)
		r := c.rejection.Load()
		if err != nil || r == nil || r.Status != 408 || !strings.Contains(string(p[:n]), r.uri) {
			t.Fatalf("%q, %v, %v", p[:n], err, r)
		}
		if got, want := time.Since(begin), 2*time.Hour+10*time.Second; got != want {
			t.Errorf("rejected after %v, want %v", got, want)
		}
	})
	// An owner's own deadline ends a Read, costs nothing, and is back when the
	// head is complete.
	synctest.Test(t, func(t *testing.T) {
		c, client := pipe(Options{ReadHeader: 10 * time.Second})
		defer c.Close()
		p := make([]byte, 4096)
		go io.WriteString(client, "GET / HTTP/1.1\r\nHo")
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		if n, err := c.Read(p); n > 0 || err == nil || !c.MidHead() {
			t.Fatalf("%q, %v, MidHead %v", p[:n], err, c.MidHead())
		}
		c.SetDeadline(time.Now().Add(time.Hour))
		go io.WriteString(client, "st: a\r\n\r\n")
		if n, err := c.Read(p); err != nil || string(p[:n]) != "GET / HTTP/1.1\r\nHost: a\r\n\r\n" {
			t.Fatalf("%q, %v", p[:n], err)
		}
		begin := time.Now()
		if _, err := c.Read(p); err == nil || time.Since(begin) != time.Hour {
			t.Errorf("%v after %v, want an hour", err, time.Since(begin))
		}
	})
}

// A refused client that neither reads nor leaves cannot hold a connection, and
// one that floods cannot either.
func TestLingerIsBounded(t *testing.T) {
	refused := func(t *testing.T) (*Conn, *half) {
		server, client := net.Pipe()
		h := &half{Conn: server}
		c := New(h, Options{})
		go io.WriteString(client, "\x00")
		if _, err := c.Read(make([]byte, 4096)); err != nil {
			t.Fatal(err)
		}
		h.client = client
		return c, h
	}
	synctest.Test(t, func(t *testing.T) {
		c, h := refused(t)
		begin := time.Now()
		c.Close()
		if got := time.Since(begin); got != lingerTime || !h.closedWrite {
			t.Errorf("Close took %v, want %v", got, lingerTime)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		c, h := refused(t)
		go func() {
			for err := error(nil); err == nil; {
				_, err = h.client.Write(make([]byte, 1000))
			}
		}()
		if n, err := c.Read(make([]byte, 1)); n > 0 || err != io.EOF || c.dropped < lingerSize {
			t.Errorf("Read = %d, %v after %d octets", n, err, c.dropped)
		}
		c.Close()
	})
	synctest.Test(t, func(t *testing.T) {
		c, _ := refused(t)
		begin := time.Now()
		go c.Close()
		synctest.Wait()
		c.Close() // as Server.Close does
		if got := time.Since(begin); got != 0 {
			t.Errorf("a second Close took %v", got)
		}
	})
}

type half struct {
	net.Conn
	client      net.Conn
	closedWrite bool
}

func (h *half) CloseWrite() error { h.closedWrite = true; return nil }
