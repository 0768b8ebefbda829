package nethttp

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"serin/proxy"
	"serin/registry"
	"serin/route"
)

func TestWayTo(t *testing.T) {
	f := func(o *route.Options, allow bool, want way) {
		t.Helper()
		if got := wayTo(&route.Target{Instance: &registry.Instance{Addr: "10.0.0.1:8443"}, Options: o}, allow); got != want {
			t.Errorf("%+v\n got %+v\nwant %+v", o, got, want)
		}
	}
	f(nil, true, way{addr: "10.0.0.1:8443"})
	f(&route.Options{TLSSkipVerify: true, Host: "a"}, true, way{addr: "10.0.0.1:8443"})
	f(&route.Options{Proto: route.HTTPS}, true, way{"10.0.0.1:8443", true, "10.0.0.1", false})
	f(&route.Options{Proto: route.HTTPS, Host: "dst"}, true, way{"10.0.0.1:8443", true, "10.0.0.1", false})
	f(&route.Options{Proto: route.HTTPS, Host: "a.test:99", TLSSkipVerify: true}, true, way{"10.0.0.1:8443", true, "a.test", true})
	f(&route.Options{Proto: route.HTTPS, Host: "a.test", TLSSkipVerify: true}, false, way{"10.0.0.1:8443", true, "a.test", false})
}

// counting is an instance that counts its connections; idle is how long it
// keeps an idle one, 0 for ever.
func counting(t testing.TB, idle time.Duration, response string) (addr string, conns *atomic.Int64) {
	conns = new(atomic.Int64)
	return origin(t, func(c net.Conn, br *bufio.Reader) {
		conns.Add(1)
		for {
			if idle > 0 {
				c.SetReadDeadline(time.Now().Add(idle))
			}
			if _, err := readRequest(br); err != nil {
				return
			}
			io.WriteString(c, response)
		}
	}), conns
}

const post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"

func TestWhoTakesAPooledConnection(t *testing.T) { // F20
	f := func(name, request, response string, want int64) {
		t.Helper()
		addr, conns := counting(t, 0, response)
		l := lb(t, "", nil, addr)
		for range 5 {
			c := l.dial()
			c.send("%s", request)
			c.whole("GET")
			l.outcome()
		}
		if n := conns.Load(); n != want {
			t.Errorf("%s: %d connections for 5 requests, want %d", name, n, want)
		}
	}
	hinted := "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=5\r\nContent-Length: 0\r\n\r\n"
	f("GET", get("/"), ok, 1)
	f("PUT", strings.Replace(post, "POST", "PUT", 1), ok, 1)
	f("POST", post, ok, 5)
	f("POST with a key", strings.Replace(post, "\r\n", "\r\nIdempotency-Key: x\r\n", 1), ok, 1)
	f("POST, hinted", post, hinted, 1)
	f("large PUT", "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"+strings.Repeat("a", 100000), ok, 5)
	f("GET, last", get("/"), "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", 5)
}

func TestIdleConnectionsTeach(t *testing.T) {
	addr, conns := counting(t, 0, ok)
	l := lb(t, "", nil, addr)
	l.ask(get("/"))
	l.outcome()
	s := l.pool.site(way{addr: addr})
	l.pool.sweep(time.Now().Add(3 * time.Second)) // as if it had been idle so long
	l.ask(post)
	if s.mu.Lock(); s.life.floor < 2*time.Second || conns.Load() != 1 {
		t.Errorf("learned %+v, %d connections", s.life, conns.Load())
	}
	s.mu.Unlock()
	l.outcome()
	l.pool.sweep(time.Now().Add(4 * time.Second))
	if len(s.idle) > 0 {
		t.Error("a connection is kept beyond the limit")
	}
	l.pool.sweep(time.Now().Add(time.Minute))
	if l.pool.site(way{addr: addr}) == s {
		t.Error("an unused site is kept")
	}
}

// A client that goes while its response ends interrupts the connection it came
// by: that one is never another client's.
func TestInterruptedConnectionIsNotPooled(t *testing.T) {
	l := lb(t, "", nil)
	l.once.Do(l.setup)
	s := l.pool.site(way{addr: "instance"})
	for range 20 {
		ours, theirs := net.Pipe()
		x := &exchange{s: l.Server, link: &link{Conn: ours, br: bufio.NewReader(ours), site: s}}
		going := x.link
		x.mu.Lock()
		done := make(chan bool)
		go func() { x.recycle(going); close(done) }()
		for range 1000 {
			runtime.Gosched() // recycle gets to where it waits for mu
		}
		going.interrupt() // as x.interrupt does
		x.mu.Unlock()
		<-done
		if l.pool.take(s, true) != nil {
			t.Fatal("an interrupted connection is in the pool")
		}
		theirs.Close()
	}
}

func TestForgetClosesIdleConnections(t *testing.T) {
	closed := make(chan bool, 1)
	addr := origin(t, func(c net.Conn, br *bufio.Reader) {
		for {
			if _, err := readRequest(br); err != nil {
				closed <- true
				return
			}
			io.WriteString(c, ok)
		}
	})
	l := lb(t, "", nil, addr)
	l.ask(get("/"))
	l.outcome()
	l.Forget(addr)
	<-closed
	if r, _ := l.ask(get("/")); r.StatusCode != 200 {
		t.Error("an address that returns is not served:", r.Status)
	}
}

// The race of reliability: instances that close idle connections after 5 ms.
func TestNoPostIsLostOrReplayed(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]int{}
	addr := origin(t, func(c net.Conn, br *bufio.Reader) {
		for {
			req, err := readRequest(br)
			if err != nil {
				return
			}
			if id := head(req, "X-Id"); id != "-" {
				mu.Lock()
				seen[id]++
				mu.Unlock()
			}
			io.WriteString(c, ok)
			c.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
			if _, err := br.Peek(1); err != nil {
				return
			}
			c.SetReadDeadline(time.Time{})
		}
	})
	l := lb(t, "", nil, addr)
	var clients sync.WaitGroup
	const each = 150
	for i := range 8 {
		clients.Go(func() {
			c := l.dial()
			for j := range each {
				method := []string{"POST", "POST", "GET", "PUT"}[j%4]
				id := fmt.Sprint(i, ".", j)
				fmt.Fprintf(c.Conn, "%s / HTTP/1.1\r\nHost: a\r\nX-Id: %s\r\nContent-Length: 3\r\n\r\nabc", method, id)
				if r, _ := c.whole("GET"); r.StatusCode != 200 {
					t.Errorf("%s %s: %s", method, id, r.Status)
				}
				if j%4 == 3 { // let connections grow old, around the time-out
					<-time.After(time.Duration(3+j%5) * time.Millisecond)
				}
			}
		})
	}
	clients.Wait()
	for i := range 8 {
		for j := range each {
			if n := seen[fmt.Sprint(i, ".", j)]; n != 1 && (j%4 < 2 || n == 0) {
				t.Errorf("request %d.%d arrived %d times", i, j, n)
			}
		}
	}
}

// An instance that resets every connection when it is used again costs a few
// requests, not as many as there are.
func TestResetReuseIsBounded(t *testing.T) {
	var seen atomic.Int64
	l := lb(t, "", nil, origin(t, func(c net.Conn, br *bufio.Reader) {
		if _, err := readRequest(br); err != nil {
			return
		}
		seen.Add(1)
		io.WriteString(c, ok)
		if _, err := readRequest(br); err == nil {
			seen.Add(1)
		}
		c.(*net.TCPConn).SetLinger(0)
	}))
	const n, clients = 200, 4
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			c := l.dial()
			for range n / clients {
				c.send("%s", get("/"))
				if r, _ := c.whole("GET"); r.StatusCode != 200 {
					t.Error(r.Status)
				}
			}
		})
	}
	all.Wait()
	if got := seen.Load(); got <= n || got > n+reuseFailures+clients {
		t.Errorf("%d requests arrived for %d, want %d more at most, and one", got, n, reuseFailures+clients)
	}
}

func TestReuse(t *testing.T) {
	var r reuse
	now := time.Unix(1000, 0)
	at := func(d time.Duration) time.Time { return now.Add(d) }
	allowed := func(d time.Duration, want bool) {
		t.Helper()
		if got := r.allowed(at(d)); got != want {
			t.Errorf("after %v: allowed %t", d, got)
		}
	}
	failed := func(d time.Duration, want bool) {
		t.Helper()
		if got := r.failed(at(d)); got != want {
			t.Errorf("after %v: ended %t", d, got)
		}
	}
	const s = time.Second
	allowed(0, true)
	failed(0, false)
	failed(1*s, false)
	failed(11*s, false) // another ten seconds
	failed(12*s, false)
	allowed(12*s, true)
	failed(13*s, true)
	allowed(13*s, false)
	r.worked(at(12 * s)) // from before
	allowed(22*s, false)
	allowed(23*s, true) // one at a time
	allowed(23*s, false)
	allowed(24*s, true)
	failed(24*s, true) // one is enough
	allowed(33*s, false)
	allowed(34*s, true)
	r.worked(at(34 * s))
	allowed(34*s, true)
	allowed(34*s, true)
	failed(35*s, false)
}

func TestRetries(t *testing.T) {
	dead := func() string {
		ln, _ := net.Listen("tcp", "127.0.0.1:0")
		defer ln.Close()
		return ln.Addr().String()
	}
	resets := func() string {
		return origin(t, func(c net.Conn, br *bufio.Reader) { readRequest(br) })
	}
	f := func(name, request string, want, attempts int, first proxy.Class, instances ...string) {
		t.Helper()
		l := lb(t, "", nil, instances...)
		worst := 0
		for range 4 { // whichever instance is chosen first
			r, _ := l.ask(request)
			o := l.outcome()
			if o.FirstClass != proxy.OK {
				worst++
				if r.StatusCode != want || o.Attempts != attempts || o.FirstClass != first {
					t.Errorf("%s: got %d after %d attempts, first %s %v; want %d, %d, %s", name, r.StatusCode, o.Attempts, o.FirstClass, o.Err, want, attempts, first)
				}
			}
		}
		if worst == 0 {
			t.Errorf("%s: the faulty instance was never chosen", name)
		}
	}
	good := answering(t, ok, nil)
	f("GET refused", get("/"), 200, 2, proxy.ConnectError, dead(), good) // F23
	f("POST refused", post, 200, 2, proxy.ConnectError, dead(), good)
	f("GET reset", get("/"), 200, 2, proxy.Reset, resets(), good)
	f("PUT reset", strings.Replace(post, "POST", "PUT", 1), 200, 2, proxy.Reset, resets(), good)
	f("POST reset", post, 502, 1, proxy.Reset, resets(), good)
	f("chunked PUT reset", "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 200, 2, proxy.Reset, resets(), good)
	f("large PUT reset", "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 70000\r\n\r\n"+strings.Repeat("a", 70000), 502, 1, proxy.Reset, resets(), good)
	f("all dead", get("/"), 502, 2, proxy.ConnectError, dead(), dead())
}

// Instances that misbehave in every way never make one client see another's
// response.
func TestNoCrossTalk(t *testing.T) {
	var n atomic.Int64
	addr := origin(t, func(c net.Conn, br *bufio.Reader) {
		for {
			req, err := readRequest(br)
			if err != nil {
				return
			}
			id := head(req, "X-Id")
			whole := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(id), id)
			switch n.Add(1) % 8 {
			case 0:
				io.WriteString(c, whole[:len(whole)-2]) // cut
				return
			case 1:
				io.WriteString(c, whole+whole) // too much
			case 2:
				io.WriteString(c, whole)
				return // closed without a word
			case 3:
				fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(id), id)
			case 4:
				io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n"+id) // a body where none may be
			default:
				io.WriteString(c, whole)
			}
		}
	})
	l := lb(t, "", nil, addr)
	var clients sync.WaitGroup
	var seen atomic.Int64
	for i := range 20 {
		clients.Go(func() {
			c := l.dial()
			for j := range 40 {
				id := fmt.Sprintf("token-%d-%d", i, j)
				c.send("GET / HTTP/1.1\r\nHost: a\r\nX-Id: %s\r\n\r\n", id)
				r, err := http.ReadResponse(c.Reader, nil)
				if err == nil {
					var b []byte
					if b, err = io.ReadAll(r.Body); err == nil && r.StatusCode == 200 {
						if seen.Add(1); string(b) != id {
							t.Errorf("%s got %q", id, b)
						}
					}
				}
				if err != nil || r.Close {
					c.Close()
					c = l.dial()
				}
			}
		})
	}
	clients.Wait()
	if seen.Load() < 400 {
		t.Errorf("only %d whole responses", seen.Load())
	}
}

func TestAbortsAreNeverCharged(t *testing.T) { // F42
	l := lb(t, "", nil, origin(t, func(c net.Conn, br *bufio.Reader) {
		readRequest(br)
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"+strings.Repeat("x", 100_000))
		io.Copy(io.Discard, br)
	}))
	for i := range 100 {
		c := l.dial()
		switch i % 3 {
		case 0:
			c.send("%s", get("/"))
		case 1:
			c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc")
		case 2:
			c.send("%s", get("/"))
			c.response("GET")
		}
		c.Conn.(*net.TCPConn).SetLinger(0)
		c.Close()
	}
	for range 100 {
		select {
		case o := <-l.outcomes:
			if o.Class != proxy.ClientGone || o.FirstClass.Failed() {
				t.Errorf("outcome %s, first %s: %v", o.Class, o.FirstClass, o.Err)
			}
		case <-time.After(2 * time.Second): // some were gone before they were read
			return
		}
	}
}
