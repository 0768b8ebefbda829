package nethttp

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"serin/proxy"
	"serin/route"
)

// mirrorLab is a server that copies what its stable instance gets to a canary
// that gets nothing else.
type mirrorLab struct {
	*lab
	results chan proxy.MirrorResult
}

func mirroring(t testing.TB, m route.Mirror, stable, canary string) *mirrorLab {
	t.Helper()
	if m.Ratio == 0 {
		m.Ratio = 1
	}
	if m.MaxInFlight == 0 {
		m.MaxInFlight = 100
	}
	if m.Timeout == 0 {
		m.Timeout = time.Minute
	}
	l := &mirrorLab{results: make(chan proxy.MirrorResult, 1<<10)}
	l.lab = start(t, tableOf("", &route.Split{Mirror: &m}, []string{stable}, []string{canary}), func(s *Server) {
		s.Core.Mirrored = func(service string, r proxy.MirrorResult) {
			if service != "web" {
				t.Errorf("a copy of service %q", service)
			}
			l.results <- r
		}
	})
	return l
}

// became fails unless the next copies become that, in any order, and no more.
func (l *mirrorLab) became(want ...proxy.MirrorResult) {
	l.t.Helper()
	var got []proxy.MirrorResult
	for range want {
		select {
		case r := <-l.results:
			got = append(got, r)
		case <-time.After(patience):
			l.t.Fatalf("copies became %v, want %v", got, want)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) || len(l.results) > 0 {
		l.t.Errorf("copies became %v and %d more, want %v", got, len(l.results), want)
	}
}

// underWay is how many copies are.
func (l *mirrorLab) underWay() int {
	l.mirrors.mu.Lock()
	defer l.mirrors.mu.Unlock()
	return l.mirrors.open["web"]
}

// hanging starts an instance that answers nothing and says when it has read a request.
func hanging(t testing.TB) (addr string, got chan string) {
	got = make(chan string, 100)
	return origin(t, func(c net.Conn, br *bufio.Reader) {
		for {
			s, err := readRequest(br)
			if err != nil {
				return
			}
			got <- s
		}
	}), got
}

func TestMirror(t *testing.T) {
	seen, copies := make(chan string, 1), make(chan string, 1)
	stable := answering(t, ok, seen)
	canary := answering(t, "HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nX-Canary: 1\r\nContent-Length: 5\r\n\r\nwrong", copies)
	l := mirroring(t, route.Mirror{Shadow: true}, stable, canary)
	r, body := l.ask("GET /a%2fb?x=1 HTTP/1.1\r\nHost: web.test:8080\r\nX-Lb-Shadow: 7\r\nConnection: X-Hop\r\nX-Hop: 1\r\nX-Forwarded-For: 6.6.6.6\r\nAccept: */*\r\n\r\n")
	if r.StatusCode != 200 || body != "ok" || r.Header.Get("Set-Cookie") != "" || r.Header.Get("X-Canary") != "" {
		t.Errorf("the client got %d %q, %v", r.StatusCode, body, r.Header)
	}
	real, shadow := <-seen, <-copies
	if line(shadow) != "GET /a%2fb?x=1 HTTP/1.1" || head(shadow, "Host") != "web.test-shadow:8080" || head(shadow, "X-Lb-Shadow") != "1" || head(real, "X-Lb-Shadow") != "-" {
		t.Errorf("the instance got\n%s\nthe canary\n%s", real, shadow)
	}
	sorted := func(s string) string {
		lines := strings.Split(s, "\r\n")[1:]
		lines = slices.DeleteFunc(lines, func(s string) bool { return strings.HasPrefix(s, "Host: ") || strings.HasPrefix(s, "X-Lb-Shadow: ") })
		return strings.Join(slices.Sorted(slices.Values(lines)), "\n")
	}
	if sorted(real) != sorted(shadow) {
		t.Errorf("the instance got\n%s\nthe canary\n%s", real, shadow)
	}
	l.became(proxy.MirrorOK)
	o := l.outcome()
	if o.Arm != route.Stable || o.Target.Addr != stable || o.Attempts != 1 {
		t.Errorf("outcome: %v of %s", o.Arm, o.Target.Addr)
	}
	l.quietly()
	if n := l.Core.Upstreams.Load(canary); n != 0 {
		t.Errorf("%d requests in flight at the canary", n)
	}
}

func TestShadowHost(t *testing.T) {
	for host, want := range map[string]string{
		"web.test": "web.test-shadow", "web.test:80": "web.test-shadow:80", "10.0.0.1:80": "10.0.0.1:80", "10.0.0.1": "10.0.0.1",
		"[::1]:80": "[::1]:80", "[::1]": "[::1]", "": "", ":80": ":80",
	} {
		if got := shadowHost(host); got != want {
			t.Errorf("%q becomes %q, want %q", host, got, want)
		}
	}
}

// TestMirrorHangs: a canary that never answers holds up nothing, takes no more
// than its places, and is given up when the server closes, which a drain does
// not wait for.
func TestMirrorHangs(t *testing.T) {
	canary, got := hanging(t)
	l := mirroring(t, route.Mirror{MaxInFlight: 3}, answering(t, ok, nil), canary)
	c := l.dial()
	for i := range 20 {
		c.send("%s", get(fmt.Sprint("/", i)))
		if r, body := c.whole("GET"); r.StatusCode != 200 || body != "ok" {
			t.Fatalf("request %d: %d %q", i, r.StatusCode, body)
		}
	}
	c.Close()
	for range 3 {
		<-got
	}
	l.became(slices.Repeat([]proxy.MirrorResult{proxy.MirrorSaturated}, 17)...)
	if n := l.underWay(); n != 3 {
		t.Errorf("%d copies under way", n)
	}
	if n := l.Core.Upstreams.Load(canary); n != 0 {
		t.Errorf("%d requests in flight at the canary", n)
	}
	l.StopAccepting(within(t, patience))
	if err := l.Drain(within(t, patience)); err != nil {
		t.Fatalf("the drain waits for copies: %v", err)
	}
	if n := l.underWay(); n != 3 {
		t.Errorf("%d copies under way after the drain", n)
	}
	if cut := l.Close(); cut != 0 {
		t.Errorf("%d exchanges were cut", cut)
	}
	l.became(proxy.MirrorError, proxy.MirrorError, proxy.MirrorError)
}

func TestMirrorTimesOut(t *testing.T) {
	canary, got := hanging(t)
	l := mirroring(t, route.Mirror{Timeout: time.Millisecond}, answering(t, ok, nil), canary)
	if r, _ := l.ask(get("/")); r.StatusCode != 200 {
		t.Errorf("got %d", r.StatusCode)
	}
	l.became(proxy.MirrorTimeout)
	if n := l.underWay(); n != 0 {
		t.Errorf("%d copies under way", n)
	}
	for len(got) > 0 {
		<-got
	}
}

// TestMirrorFails: whatever the canary does, the client has its answer, the
// canary is not ejected, and nothing is tried twice.
func TestMirrorFails(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := ln.Addr().String()
	ln.Close()
	f := func(canary string, want proxy.MirrorResult, tries *atomic.Int64) {
		t.Helper()
		l := mirroring(t, route.Mirror{}, answering(t, ok, nil), canary)
		for range 10 {
			if r, body := l.ask(get("/")); r.StatusCode != 200 || body != "ok" {
				t.Errorf("got %d %q", r.StatusCode, body)
			}
			l.became(want)
		}
		if tries != nil && tries.Load() != 10 {
			t.Errorf("the canary was asked %d times for 10 copies", tries.Load())
		}
		if !l.Core.Upstreams.Calm() {
			t.Error("the canary is ejected")
		}
	}
	says := func(response string, after func(net.Conn)) (string, *atomic.Int64) {
		n := new(atomic.Int64)
		return origin(t, func(c net.Conn, br *bufio.Reader) {
			for {
				if _, err := readRequest(br); err != nil {
					return
				}
				n.Add(1)
				if io.WriteString(c, response); after != nil {
					after(c)
					return
				}
			}
		}), n
	}
	closes := func(net.Conn) {}
	resets := func(c net.Conn) { c.(*net.TCPConn).SetLinger(0) }
	try := func(response string, after func(net.Conn), want proxy.MirrorResult) {
		t.Helper()
		addr, n := says(response, after)
		f(addr, want, n)
	}
	f(gone, proxy.MirrorError, nil)
	try("", closes, proxy.MirrorError)
	try("", resets, proxy.MirrorError)
	try("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", nil, proxy.MirrorError)
	try("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", closes, proxy.MirrorError)
	try("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n", closes, proxy.MirrorError)
	try("SSH-2.0-x\r\n\r\n", closes, proxy.MirrorError)
	try("HTTP/1.1 101 Switching Protocols\r\n\r\n", nil, proxy.MirrorError)
	try(strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 20), nil, proxy.MirrorError)
	try("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", nil, proxy.MirrorOK)
	try("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", nil, proxy.MirrorOK)
	try("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-T: 1\r\n\r\n", nil, proxy.MirrorOK)
	try("HTTP/1.1 200 OK\r\n\r\nuntil the end", closes, proxy.MirrorOK)
	try("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", closes, proxy.MirrorOK) // and closes what could be used again
}

// TestMirrorReadsOnlySoMuch: an answer without an end is not read to its end.
func TestMirrorReadsOnlySoMuch(t *testing.T) {
	closed := make(chan struct{})
	canary := origin(t, func(c net.Conn, br *bufio.Reader) {
		readRequest(br)
		io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
		for piece := strings.Repeat("x", 1<<16); ; {
			if _, err := io.WriteString(c, piece); err != nil {
				close(closed)
				return
			}
		}
	})
	l := mirroring(t, route.Mirror{}, answering(t, ok, nil), canary)
	l.ask(get("/"))
	l.became(proxy.MirrorOK)
	<-closed
}

// TestMirrorConnections: copies have connections of their own, which they use
// again.
func TestMirrorConnections(t *testing.T) {
	var conns atomic.Int64
	canary := origin(t, func(c net.Conn, br *bufio.Reader) {
		conns.Add(1)
		for {
			if _, err := readRequest(br); err != nil {
				return
			}
			io.WriteString(c, ok)
		}
	})
	l := mirroring(t, route.Mirror{}, answering(t, ok, nil), canary)
	for range 20 {
		l.ask(get("/"))
		l.became(proxy.MirrorOK)
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections for 20 copies in turn", n)
	}
	if len(l.pool.sites) != 1 || len(l.mirrors.pool.sites) != 1 {
		t.Errorf("the requests know %d instances, the copies %d", len(l.pool.sites), len(l.mirrors.pool.sites))
	}
	l.Forget(canary)
	for _, s := range l.mirrors.pool.sites {
		s.mu.Lock()
		if len(s.idle) != 0 {
			t.Error("connections to an instance that left are kept")
		}
		s.mu.Unlock()
	}
}

// TestMirrorBodies: a body reaches the instance as it comes, and the canary
// when it is whole and not too long.
func TestMirrorBodies(t *testing.T) {
	f := func(request, want string, result proxy.MirrorResult) {
		t.Helper()
		seen, copies := make(chan string, 1), make(chan string, 1)
		l := mirroring(t, route.Mirror{Methods: []string{"POST"}, MaxBody: 10}, answering(t, ok, seen), answering(t, ok, copies))
		if r, _ := l.ask(request); r.StatusCode != 200 {
			t.Fatalf("%q: %d", request, r.StatusCode)
		}
		<-seen
		l.became(result)
		if result != proxy.MirrorOK {
			if len(copies) > 0 {
				t.Errorf("%q: copied", request)
			}
			return
		}
		got := <-copies
		if _, body, _ := strings.Cut(got, "\r\n\r\n"); body != want || head(got, "Content-Length") != fmt.Sprint(len(want)) || head(got, "Transfer-Encoding") != "-" {
			t.Errorf("%q: the canary got\n%s", request, got)
		}
	}
	post := "POST / HTTP/1.1\r\nHost: a\r\n"
	f(post+"Content-Length: 0\r\n\r\n", "", proxy.MirrorOK)
	f(post+"Content-Length: 10\r\n\r\n0123456789", "0123456789", proxy.MirrorOK)
	f(post+"Content-Length: 11\r\n\r\n0123456789a", "", proxy.MirrorBody)
	f(post+"Transfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n", "0123456789", proxy.MirrorOK)
	f(post+"Transfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n6\r\n56789a\r\n0\r\n\r\n", "", proxy.MirrorBody)
	f(post+"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "", proxy.MirrorOK)
}

// TestMirrorDoesNotHoldBodies: what the client has sent is at the instance
// while the rest is to come, and one who does not send the rest has no copy.
func TestMirrorDoesNotHoldBodies(t *testing.T) {
	first := make(chan string)
	stable := origin(t, func(c net.Conn, br *bufio.Reader) {
		var b strings.Builder
		for !strings.HasSuffix(b.String(), "\r\n\r\n01234") {
			ch, err := br.ReadByte()
			if err != nil {
				return
			}
			b.WriteByte(ch)
		}
		first <- b.String()
		io.CopyN(io.Discard, br, 5)
		io.WriteString(c, ok)
	})
	copies := make(chan string, 1)
	l := mirroring(t, route.Mirror{Methods: []string{"POST"}, MaxBody: 10}, stable, answering(t, ok, copies))
	c := l.dial()
	c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n01234")
	<-first
	if len(copies) > 0 || l.underWay() != 1 {
		t.Error("the canary has the request before its body")
	}
	c.send("56789")
	if r, body := c.whole("POST"); r.StatusCode != 200 || body != "ok" {
		t.Errorf("got %d %q", r.StatusCode, body)
	}
	l.became(proxy.MirrorOK)
	if got := <-copies; !strings.HasSuffix(got, "\r\n\r\n0123456789") {
		t.Errorf("the canary got\n%s", got)
	}

	c = l.dial()
	c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n01234")
	<-first
	c.Close()
	l.became(proxy.MirrorBody)
	if n := l.underWay(); n != 0 || len(copies) > 0 {
		t.Errorf("%d copies under way, %d at the canary", n, len(copies))
	}
}

// TestMirrorOverHTTP2: streams are copied like other requests.
func TestMirrorOverHTTP2(t *testing.T) {
	copies := make(chan string, 1)
	l := mirroring(t, route.Mirror{Methods: []string{"POST"}, MaxBody: 10}, answering(t, ok, nil), answering(t, ok, copies))
	r, err := l.h2().Post("http://"+l.addr+"/x", "text/plain", strings.NewReader("hello"))
	if err != nil || r.StatusCode != 200 {
		t.Fatal(r, err)
	}
	r.Body.Close()
	l.became(proxy.MirrorOK)
	if got := <-copies; line(got) != "POST /x HTTP/1.1" || !strings.HasSuffix(got, "\r\n\r\nhello") {
		t.Errorf("the canary got\n%s", got)
	}
}

// TestUpgradesAreNotMirrored: nobody could speak for the client.
func TestUpgradesAreNotMirrored(t *testing.T) {
	copies := make(chan string, 1)
	l := mirroring(t, route.Mirror{}, answering(t, ok, nil), answering(t, ok, copies))
	l.ask(handshake)
	l.outcome()
	if len(copies)+len(l.results) > 0 || l.underWay() != 0 {
		t.Error("a WebSocket handshake was copied")
	}
}

// TestMirrorPanics: a panic in a copy is contained.
func TestMirrorPanics(t *testing.T) {
	l := mirroring(t, route.Mirror{}, answering(t, ok, nil), answering(t, ok, nil))
	l.once.Do(l.setup)
	m := &mirrors{s: l.Server, open: map[string]int{}} // without a pool
	if !m.enter("web", 1) || m.enter("web", 1) {
		t.Fatal("there is not one place")
	}
	(&shadow{m: m, service: "web", rule: &route.Mirror{}, method: "GET"}).send()
	m.close()
	l.became(proxy.MirrorError)
	if m.enter("web", 1) {
		t.Error("a copy begins after the end")
	}
}

// TestMirrorPlaces: places come back, and none is left once the server ended.
func TestMirrorPlaces(t *testing.T) {
	l := mirroring(t, route.Mirror{MaxInFlight: 1}, answering(t, ok, nil), answering(t, ok, nil))
	for range 5 {
		l.ask(get("/"))
		l.became(proxy.MirrorOK)
	}
	l.Close()
	if err := <-l.done; err != nil {
		t.Fatal(err)
	}
	l.done <- nil // for the end of the test
	if l.mirrors.enter("web", 100) {
		t.Error("a copy begins after the end")
	}
}
