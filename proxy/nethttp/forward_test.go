package nethttp

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"serin/proxy"
	"serin/route"
)

// line returns the first line of a request on the wire.
func line(s string) string { return s[:strings.Index(s, "\r\n")] }

// head returns the value of a header of a request on the wire, "-" for none.
func head(s, name string) string {
	for l := range strings.SplitSeq(s, "\r\n") {
		if k, v, ok := strings.Cut(l, ": "); ok && strings.EqualFold(k, name) {
			return v
		}
	}
	return "-"
}

func TestTargetIsForwardedByteForByte(t *testing.T) {
	got := make(chan string, 1)
	l := lb(t, "", nil, answering(t, ok, got))
	f := func(target, want string) {
		t.Helper()
		r, _ := l.ask("OPTIONS " + target + " HTTP/1.1\r\nHost: web.test\r\n\r\n")
		if r.StatusCode != 200 {
			t.Errorf("%s: status %d", target, r.StatusCode)
			return
		}
		if g := <-got; line(g) != "OPTIONS "+want+" HTTP/1.1" {
			t.Errorf("%s\n got %s\nwant %s", target, line(g), want)
		}
	}
	f("/a?b;c=d", "/a?b;c=d")
	f("/a?b;c=d&e=%zz", "/a?b;c=d&e=%zz")
	f("/a?", "/a?")
	f("/a??x=/?", "/a??x=/?")
	f("/%2f%5c/./x//y", "/%2f%5c/./x//y")
	f("/%41%7e/a%20b", "/%41%7e/a%20b")
	f("http://web.test/a?b", "/a?b")
	f("http://web.test?b", "/?b")
	f("http://web.test", "/")
}

func TestPathAndHostOptions(t *testing.T) {
	f := func(options, target, want, wantHost string) {
		t.Helper()
		got := make(chan string, 1)
		addr := answering(t, ok, got)
		l := lb(t, options, nil, addr)
		l.ask(get(target))
		g := <-got
		if wantHost == "dst" {
			wantHost = addr
		}
		if line(g) != "GET "+want+" HTTP/1.1" || head(g, "Host") != wantHost {
			t.Errorf("%s: %s\n got %s, Host %s\nwant %s, Host %s", options, target, line(g), head(g, "Host"), want, wantHost)
		}
	}
	f("strip=/api", "/api/v%31?x", "/v%31?x", "web.test")
	f("strip=/api", "/api", "/", "web.test")
	f("strip=/api", "/apix", "/x", "web.test")
	f("strip=/api", "/other", "/other", "web.test")
	f("strip=/api", "/ap%69/v1", "/v1", "web.test")         // the encoded prefix is the prefix
	f("strip=/api", "/api../secret", "/secret", "web.test") // the cut makes no dot segment
	f("prepend=/p", "/a?b", "/p/a?b", "web.test")
	f("strip=/api prepend=/p", "/api/a", "/p/a", "web.test")
	f("host=other.test", "/", "/", "other.test")
	f("host=dst", "/", "/", "dst")
}

// Another instance of the service may strip another prefix.
func TestPrefixIsTheTargets(t *testing.T) {
	got := make(chan string, 2)
	resets := origin(t, func(c net.Conn, br *bufio.Reader) {
		req, _ := readRequest(br)
		got <- req
	})
	f := func(first, second, want string) {
		t.Helper()
		l := lb(t, "", nil, resets, answering(t, ok, got))
		table := l.Core.Table()
		for target := range table.Targets() {
			target.Options = &route.Options{Strip: second, Retries: -1}
			if target.Addr == resets {
				target.Options = &route.Options{Strip: first, Retries: -1}
			}
		}
		for range 2 { // whichever instance is chosen first
			l.ask(get("/a/b"))
			g := <-got
			if l.outcome().Attempts == 2 {
				g = <-got
			}
			if p := head(g, "X-Forwarded-Prefix"); p != want {
				t.Errorf("strip=%s, then strip=%s: prefix %q, want %q", first, second, p, want)
			}
		}
	}
	f("/a", "/a/b", "/a/b")
	f("/a", "", "-")
	f("", "/a", "/a")
}

func TestDialFault(t *testing.T) {
	f := func(err error, class proxy.Class, status int) {
		t.Helper()
		got := dialFault("10.0.0.1:80", err)
		if got.class != class || got.status != status || !errors.Is(got.err, err) || !strings.Contains(got.err.Error(), "10.0.0.1:80") {
			t.Errorf("%v: got %s %d %v, want %s %d", err, got.class, got.status, got.err, class, status)
		}
	}
	dial := func(call string, e syscall.Errno) error {
		return &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError(call, e)}
	}
	f(dial("socket", syscall.EMFILE), proxy.Answered, 503)
	f(dial("socket", syscall.ENFILE), proxy.Answered, 503)
	f(dial("connect", syscall.EADDRNOTAVAIL), proxy.Answered, 503)
	f(dial("connect", syscall.ECONNREFUSED), proxy.ConnectError, 0)
	f(dial("connect", syscall.EHOSTUNREACH), proxy.ConnectError, 0)
	f(os.ErrDeadlineExceeded, proxy.ConnectError, 0)
	f(errors.New("tls: handshake failure"), proxy.ConnectError, 0)
}

// TestNamesAreJudgedWhenTheyAreResolved: what a name stands for is asked about
// for every connection, and only that; addresses are the table's business.
func TestNamesAreJudgedWhenTheyAreResolved(t *testing.T) {
	instance := answering(t, ok, nil)
	_, port, _ := net.SplitHostPort(instance)
	for name, want := range map[string]int{instance: 200, "localhost:" + port: 502} {
		var asked atomic.Int64
		l := lb(t, "retries=0", func(s *Server) {
			s.CheckResolved = func(n string, addr netip.AddrPort) error {
				asked.Add(1)
				if n != name || !addr.Addr().IsLoopback() {
					t.Errorf("asked about %s, %s", n, addr)
				}
				return errors.New("not there")
			}
		}, name)
		res, err := http.Get("http://" + l.addr)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		http.DefaultClient.CloseIdleConnections()
		if got := l.outcome().Status; got != want || asked.Load() > 0 != (want == 502) {
			t.Errorf("%s: %d after %d questions, want %d", name, got, asked.Load(), want)
		}
	}
}

func TestShare(t *testing.T) {
	f := func(left time.Duration, attempt, attempts int, want time.Duration) {
		t.Helper()
		if got := share(left, attempt, attempts); got != want {
			t.Errorf("attempt %d of %d, %v left: got %v, want %v", attempt, attempts, left, got, want)
		}
	}
	const s = time.Second
	f(8*s, 1, 3, 4*s)
	f(4*s, 2, 3, 2*s)
	f(2*s, 3, 3, 2*s)
	f(4*s, 2, 2, 4*s)
	f(8*s, 1, 1, 8*s)
	f(0, 1, 3, 0) // no limit
}

func TestRequestHeader(t *testing.T) {
	got := make(chan string, 1)
	l := lb(t, "", func(s *Server) { s.Core.Headers.ClientIP = "X-Who" }, answering(t, ok, got))
	r, _ := l.ask("GET / HTTP/1.1\r\nHost: web.test\r\nConnection: x-forwarded-for, x-who, x-own, host\r\nX-Own: 1\r\nX-Who: evil\r\n" +
		"Proxy: evil\r\nX_Forwarded_For: 6.6.6.6\r\nX-Forwarded-For: 6.6.6.6\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nTE: trailers\r\n\r\n")
	if r.StatusCode != 200 {
		t.Fatal(r.Status)
	}
	g := <-got
	for name, want := range map[string]string{
		"X-Who": "127.0.0.1", "X-Forwarded-For": "127.0.0.1", "X-Own": "-", "Proxy": "-", "X_Forwarded_For": "-", "Upgrade": "-",
		"HTTP2-Settings": "-", "Connection": "-", "User-Agent": "-", "Accept-Encoding": "-", "Host": "web.test", "Content-Length": "-", "Transfer-Encoding": "-",
	} {
		if v := head(g, name); v != want {
			t.Errorf("%s: got %q, want %q", name, v, want)
		}
	}
}

func TestRequestBody(t *testing.T) {
	got := make(chan string, 1)
	l := lb(t, "", nil, answering(t, ok, got))
	f := func(request, wantFraming, wantBody string) {
		t.Helper()
		r, _ := l.ask(request)
		g := <-got
		_, body, _ := strings.Cut(g, "\r\n\r\n")
		framing := head(g, "Content-Length") + " " + head(g, "Transfer-Encoding") + " " + head(g, "Trailer")
		if r.StatusCode != 200 || framing != wantFraming || body != wantBody {
			t.Errorf("%q\n got %d %q %q\nwant 200 %q %q", request, r.StatusCode, framing, body, wantFraming, wantBody)
		}
	}
	f("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", "3 - -", "abc")
	f("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "0 - -", "")
	f("POST / HTTP/1.1\r\nHost: a\r\n\r\n", "0 - -", "")
	f("DELETE / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "0 - -", "")
	f("DELETE / HTTP/1.1\r\nHost: a\r\n\r\n", "- - -", "")
	f("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi", "2 - -", "hi")
	f("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n3;ext=1\r\nabc\r\n0\r\nX-T: evil\r\n\r\n", "- chunked -", "3\r\nabc\r\n0\r\n\r\n")
	f("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "- chunked -", "0\r\n\r\n")
}

func TestRefusals(t *testing.T) {
	contacted := make(chan string, 100)
	l := lb(t, "", nil, answering(t, ok, contacted))
	f := func(request string, want int) {
		t.Helper()
		c := l.dial()
		defer c.Close()
		c.send("%s", request)
		if r, _ := c.whole("GET"); r.StatusCode != want || !r.Close {
			t.Errorf("%.60q: got %d, close %t; want %d and close", request, r.StatusCode, r.Close, want)
		}
		c.closed()
		if o := l.outcome(); o.Status != want || o.Class != proxy.ClientError {
			t.Errorf("%.60q: outcome %d %s", request, o.Status, o.Class)
		}
	}
	const h = " HTTP/1.1\r\nHost: web.test\r\n"
	f("CONNECT web.test:80"+h+"\r\n", 405)                                                                  // G1, S11
	f("TRACE /"+h+"\r\n", 405)                                                                              // G20
	f("POST /"+h+"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smug"+h+"\r\n", 400) // G7, S01
	f("GET /"+h+"X: a\n\r\n", 400)                                                                          // G8
	f("GET evil:80"+h+"\r\n", 400)                                                                          // G9
	f("GET *"+h+"\r\n", 400)                                                                                // G10
	f("GET /a#b"+h+"\r\n", 400)
	f("GET / HTTP/1.1\r\nHost: \r\n\r\n", 400)    // G14
	f("GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", 400) // G15
	f("GET ftp://evil/"+h+"\r\n", 400)
	f("GET /"+strings.Repeat("a", 9000)+h+"\r\n", 414) // G16, S18
	f("GET /"+h+"X: "+strings.Repeat("a", 17000)+"\r\n\r\n", 431)
	f("GET /"+h+strings.Repeat("X: a\r\n", 101)+"\r\n", 431)
	if len(contacted) > 0 {
		t.Errorf("an instance was contacted: %q", <-contacted)
	}
}

func TestEveryMalformedResponseIsA502(t *testing.T) {
	f := func(response string) {
		t.Helper()
		l := lb(t, "", func(s *Server) { s.Core.Settings.Attempts = 1 }, origin(t, func(c net.Conn, br *bufio.Reader) {
			readRequest(br)
			io.WriteString(c, response)
			br.ReadByte()
		}))
		c := l.dial()
		c.send("%s", get("/"))
		r := c.response("GET")
		for r.StatusCode == 103 {
			r = c.response("GET")
		}
		if o := l.outcome(); r.StatusCode != 502 || o.Class != proxy.Reset || o.Err == nil {
			t.Errorf("%.60q: got %d, outcome %s %v", response, r.StatusCode, o.Class, o.Err)
		}
	}
	f("HTTP/1.1 099 X\r\n\r\n") // G18
	f("HTTP/1.1 99 X\r\n\r\n")
	f("HTTP/1.1 +20 X\r\n\r\n")
	f("HTTP/1.1 2000 X\r\n\r\n")
	f("HTTP/1.1\r\n\r\n")
	f("HTTP/2.0 200 OK\r\n\r\n")
	f("hello\r\n\r\n")
	f("\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	f("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok")
	f("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok")
	f("HTTP/1.1 200 OK\r\nContent-Length: 2,2\r\n\r\nok")
	f("HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok")
	f("HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok")
	f("HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nok")
	f("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nok")
	f("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
	f("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n")
	f("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
	f("HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n")
	f("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
	f("HTTP/1.1 200 OK\r\nX : a\r\nContent-Length: 0\r\n\r\n")
	f("HTTP/1.1 200 OK\r\n: a\r\nContent-Length: 0\r\n\r\n")
	f("HTTP/1.1 200 OK\r\nX\r\nContent-Length: 0\r\n\r\n")
	f("HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n")
	f("HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 0\r\n\r\n")
	f("HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 0\r\n\r\n")
	f("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("a", 300<<10) + "\r\n\r\n")
	f("HTTP/1.1 200 OK\r\n" + strings.Repeat("X: aaaaaaaaaaaaaaaaaaa\r\n", 20000) + "\r\n")
	f("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	f(strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 11) + ok) // G20
	f(strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 11) + ok)
}

func TestResponsesPassAsTheyAre(t *testing.T) {
	f := func(method, response, wantHead, wantBody string) {
		t.Helper()
		l := lb(t, "", nil, origin(t, func(c net.Conn, br *bufio.Reader) {
			readRequest(br)
			io.WriteString(c, response)
		}))
		c := l.dial()
		defer c.Close()
		c.send("%s / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", method)
		raw, err := io.ReadAll(c)
		h, body, _ := strings.Cut(string(raw), "\r\n\r\n")
		h = strings.ReplaceAll(h, "\r\nConnection: close", "")
		for l := range strings.SplitSeq(h, "\r\n") {
			if strings.HasPrefix(l, "Date: ") && len(l) > 20 {
				h = strings.ReplaceAll(h, "\r\n"+l, "")
			}
		}
		if err != nil || h != strings.ReplaceAll(wantHead, "|", "\r\n") || body != wantBody {
			t.Errorf("%s %q\n got %q %q %v\nwant %q %q", method, response, h, body, err, wantHead, wantBody)
		}
	}
	f("GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n<html", "HTTP/1.1 200 OK|Content-Length: 5", "<html") // G19
	f("GET", "HTTP/1.1 200 Fine\r\nDate: now\r\nContent-Length: 0\r\nContent-Type: a/b\r\n\r\n", "HTTP/1.1 200 OK|Content-Length: 0|Content-Type: a/b|Date: now", "")
	f("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "HTTP/1.1 200 OK|Content-Length: 5", "")
	f("GET", "HTTP/1.1 204 No Content\r\nX: 1\r\n\r\n", "HTTP/1.1 204 No Content|X: 1", "")
	f("GET", "HTTP/1.1 304 Not Modified\r\nEtag: \"x\"\r\nContent-Length: 5\r\n\r\n", "HTTP/1.1 304 Not Modified|Etag: \"x\"", "")
	f("GET", "HTTP/1.1 200 OK\r\n\r\nuntil the end", "HTTP/1.1 200 OK|Transfer-Encoding: chunked", "d\r\nuntil the end\r\n0\r\n\r\n")
	f("GET", "HTTP/1.0 200 OK\nContent-Length: 2\n\nok", "HTTP/1.1 200 OK|Content-Length: 2", "ok")
	f("GET", "HTTP/1.1 599 X\r\nKeep-Alive: timeout=5\r\nConnection: X-A\r\nX-A: 1\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 599 status code 599|Content-Length: 0", "")
	f("GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T, Content-Length\r\n\r\n2\r\nok\r\n0\r\nX-T: 1\r\nX-U: 2\r\nContent-Length: 9\r\n\r\n",
		"HTTP/1.1 200 OK|Trailer: X-T|Transfer-Encoding: chunked", "2\r\nok\r\n0\r\nX-T: 1\r\nX-U: 2\r\n\r\n")
}

func TestEarlyHints(t *testing.T) {
	l := lb(t, "", nil, answering(t, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x\r\n\r\n"+ok, nil))
	c := l.dial()
	c.send("%s", get("/"))
	if r := c.response("GET"); r.StatusCode != 103 || r.Header.Get("Link") != "</a>" || r.Header.Get("Connection") != "" {
		t.Errorf("got %d %v", r.StatusCode, r.Header)
	}
	if r, body := c.whole("GET"); r.StatusCode != 200 || body != "ok" || r.Header.Get("Link") != "" {
		t.Errorf("got %d %v %q", r.StatusCode, r.Header, body)
	}
	c.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n")
	if r, _ := c.whole("GET"); r.StatusCode != 200 {
		t.Errorf("HTTP/1.0 got %d", r.StatusCode)
	}
}

func TestTruncatedResponsesAreVisible(t *testing.T) { // G21, F19
	f := func(version, response string) {
		t.Helper()
		l := lb(t, "", nil, origin(t, func(c net.Conn, br *bufio.Reader) {
			readRequest(br)
			io.WriteString(c, response)
			if strings.HasSuffix(response, "RST") {
				c.(*net.TCPConn).SetLinger(0)
			}
		}))
		c := l.dial()
		defer c.Close()
		c.send("GET / HTTP/%s\r\nHost: a\r\n\r\n", version)
		raw, err := io.ReadAll(c)
		visible := err != nil || len(raw) == 0 || strings.HasPrefix(string(raw), "HTTP/1.1") && !strings.HasSuffix(string(raw), "0\r\n\r\n") &&
			(strings.Contains(string(raw), "chunked") || strings.Contains(string(raw), "Length: 10"))
		o := l.outcome()
		if !visible || o.Class != proxy.Truncated || o.Attempts != 1 {
			t.Errorf("%s %q: got %q, %v; outcome %s %d", version, response, raw, err, o.Class, o.Attempts)
		}
	}
	f("1.1", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
	f("1.1", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nRST")
	f("1.1", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc")
	f("1.1", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
	f("1.1", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n")
	f("1.1", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcXX1\r\na\r\n0\r\n\r\n")
	f("1.0", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
}

func TestExtraBytesNeverReachAnotherClient(t *testing.T) { // S13b
	l := lb(t, "", nil, answering(t, ok+"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison", nil))
	for range 20 {
		if r, body := l.ask(get("/")); r.StatusCode != 200 || body != "ok" {
			t.Fatalf("got %d %q", r.StatusCode, body)
		}
	}
}

// The trailers that an instance declares and sends cost no more than they are
// long, and are bounded as a head's lines are.
func TestManyTrailers(t *testing.T) {
	head := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + strings.Repeat("Trailer: "+strings.Repeat("a,", 1800)+"b\r\n", 65) + "\r\n0\r\n"
	l := lb(t, "", nil, answering(t, head+"B: 1\r\n\r\n", nil))
	if r, _ := l.ask(get("/")); len(r.Trailer) != 2 || r.Trailer.Get("B") != "1" {
		t.Errorf("got trailers %v", r.Trailer)
	}
	l = lb(t, "", nil, answering(t, head+strings.Repeat("c:\r\n", 10000)+"\r\n", nil))
	start := time.Now()
	c := l.dial()
	c.send("%s", get("/"))
	_, _ = io.Copy(io.Discard, c)
	if o, d := l.outcome(), time.Since(start); !o.Class.Failed() || d > 2*time.Second {
		t.Errorf("outcome %s %v after %v", o.Class, o.Err, d)
	}
}

func TestEarlyResponseToAnUpload(t *testing.T) { // G2
	l := lb(t, "", nil, origin(t, func(c net.Conn, br *bufio.Reader) {
		br.ReadString('\n')
		io.WriteString(c, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig")
		io.Copy(io.Discard, br)
	}))
	for _, framing := range []string{"Content-Length: 1000000000", "Content-Length: 100", "Transfer-Encoding: chunked"} {
		c := l.dial()
		c.send("POST / HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n1\r\na\r\n", framing)
		start := time.Now()
		r, body := c.whole("POST")
		if r.StatusCode != 413 || body != "big" || !r.Close {
			t.Errorf("%s: got %d %q, close %t", framing, r.StatusCode, body, r.Close)
		}
		if d := time.Since(start); d > 300*time.Millisecond {
			t.Errorf("%s: the response came after %v", framing, d)
		}
		io.WriteString(c.Conn, strings.Repeat("a", 100_000)) // is read and dropped
		c.Conn.(*net.TCPConn).CloseWrite()
		c.closed()
		if o := l.outcome(); o.Class != proxy.OK || o.Status != 413 {
			t.Errorf("%s: outcome %d %s", framing, o.Status, o.Class)
		}
	}
}

func TestBidirectionalStreaming(t *testing.T) {
	l := lb(t, "", nil, origin(t, func(c net.Conn, br *bufio.Reader) {
		for l := ""; l != "\r\n"; l, _ = br.ReadString('\n') {
		}
		io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		io.Copy(c, br) // the chunks as they come
	}))
	c := l.dial()
	c.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
	r := c.response("POST")
	for i := range 5 {
		want := fmt.Sprint("ping", i)
		c.send("%x\r\n%s\r\n", len(want), want)
		p := make([]byte, len(want))
		if _, err := io.ReadFull(r.Body, p); err != nil || string(p) != want {
			t.Fatalf("got %q %v, want %q", p, err, want)
		}
	}
	c.send("0\r\n\r\n")
	if rest, err := io.ReadAll(r.Body); len(rest) > 0 || err != nil {
		t.Errorf("rest %q %v", rest, err)
	}
}

func TestExpectContinue(t *testing.T) {
	asked := make(chan bool, 1)
	l := lb(t, "", nil, origin(t, func(c net.Conn, br *bufio.Reader) {
		for {
			var head string
			for !strings.HasSuffix(head, "\r\n\r\n") {
				l, err := br.ReadString('\n')
				if head += l; err != nil {
					return
				}
			}
			if strings.HasPrefix(head, "POST /no") {
				io.WriteString(c, "HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n")
				n, _ := br.Discard(1)
				asked <- n > 0
				return
			}
			if !strings.Contains(head, "Expect: 100-continue\r\n") || br.Buffered() > 0 {
				asked <- true
				return
			}
			if strings.HasPrefix(head, "POST /yes") {
				io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n")
			}
			br.Discard(3)
			io.WriteString(c, ok)
		}
	}))
	const rest = " HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
	for _, path := range []string{"/yes", "/silent"} {
		c := l.dial()
		c.send("POST %s%s", path, rest)
		if r := c.response("POST"); r.StatusCode != 100 {
			t.Fatalf("%s: got %d, want 100 first", path, r.StatusCode)
		}
		c.send("abc")
		if r, body := c.whole("POST"); r.StatusCode != 200 || body != "ok" || r.Close {
			t.Errorf("%s: got %d %q close %t", path, r.StatusCode, body, r.Close)
		}
	}
	c := l.dial()
	c.send("POST /no%s", rest)
	if r, _ := c.whole("POST"); r.StatusCode != 417 || !r.Close {
		t.Errorf("got %d, close %t", r.StatusCode, r.Close)
	}
	if <-asked {
		t.Error("the body was sent although nobody said 100")
	}
}

func TestClientFaultsAreTheClients(t *testing.T) { // G6
	l := lb(t, "", nil, origin(t, func(c net.Conn, br *bufio.Reader) { io.Copy(io.Discard, br) }))
	c := l.dial()
	c.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcXX")
	if r, _ := c.whole("POST"); r.StatusCode != 400 {
		t.Errorf("got %d", r.StatusCode)
	}
	if o := l.outcome(); o.Class != proxy.ClientError || o.FirstClass.Failed() || o.Attempts != 1 {
		t.Errorf("outcome %s, first %s, %d attempts", o.Class, o.FirstClass, o.Attempts)
	}

	c = l.dial()
	c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
	c.Close()
	if o := l.outcome(); o.Class != proxy.ClientGone || o.Status != 499 {
		t.Errorf("outcome %d %s %v", o.Status, o.Class, o.Err)
	}
}

func TestSlowBodyOfAClientIsA408(t *testing.T) { // S31
	l := lb(t, "", func(s *Server) { s.Core.Timeouts.BodyIdle = 50 * time.Millisecond },
		origin(t, func(c net.Conn, br *bufio.Reader) { io.Copy(io.Discard, br) }))
	c := l.dial()
	c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
	if r, _ := c.whole("POST"); r.StatusCode != 408 || !r.Close {
		t.Errorf("got %d, close %t", r.StatusCode, r.Close)
	}
	if o := l.outcome(); o.Class != proxy.ClientError {
		t.Errorf("outcome %s %v", o.Class, o.Err)
	}
}

// An instance that gives up on a client which stopped in the middle of its body
// is not at fault: else a few such clients had it ejected.
func TestStalledBodyIsNotTheInstances(t *testing.T) {
	arrived := make(chan net.Conn, 1)
	l := lb(t, "", nil, origin(t, func(c net.Conn, br *bufio.Reader) {
		br.ReadString('c')
		arrived <- c
		io.Copy(io.Discard, br)
	}))
	c := l.dial()
	c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
	instance := <-arrived
	time.AfterFunc(clientSilence+100*time.Millisecond, func() { instance.Close() })
	if r, _ := c.whole("POST"); r.StatusCode != 408 || !r.Close {
		t.Errorf("got %d, close %t", r.StatusCode, r.Close)
	}
	if o := l.outcome(); o.Class != proxy.ClientError || o.FirstClass.Failed() {
		t.Errorf("outcome %s, first %s, %v", o.Class, o.FirstClass, o.Err)
	}
}

func TestClientGoneCancelsTheInstance(t *testing.T) { // F42
	arrived, gone := make(chan bool), make(chan bool, 1)
	l := lb(t, "", nil, origin(t, func(c net.Conn, br *bufio.Reader) {
		readRequest(br)
		arrived <- true
		br.ReadByte()
		gone <- true
	}))
	c := l.dial()
	c.send("%s", get("/"))
	<-arrived
	start := time.Now()
	c.Close()
	<-gone
	if d := time.Since(start); d > 100*time.Millisecond {
		t.Errorf("the instance was told after %v", d)
	}
	if o := l.outcome(); o.Class != proxy.ClientGone || o.Status != 499 || o.FirstClass != proxy.ClientGone || o.FirstByte != 0 || o.FirstTook <= 0 {
		t.Errorf("outcome %d %s", o.Status, o.Class)
	}
}

func TestTimeouts(t *testing.T) {
	silent := func(text string) string {
		return origin(t, func(c net.Conn, br *bufio.Reader) {
			readRequest(br)
			io.WriteString(c, text)
			br.ReadByte()
		})
	}
	short := func(s *Server) {
		s.Core.Timeouts.ResponseHeader, s.Core.Timeouts.BodyIdle = 100*time.Millisecond, 100*time.Millisecond
	}
	t.Run("no head", func(t *testing.T) { // F21
		l := lb(t, "", short, silent(""))
		for _, request := range []string{"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", get("/")} {
			r, _ := l.ask(request)
			if o := l.outcome(); r.StatusCode != 504 || o.Class != proxy.Timeout {
				t.Errorf("got %d, outcome %s %v", r.StatusCode, o.Class, o.Err)
			}
		}
	})
	t.Run("a head in small pieces", func(t *testing.T) {
		l := lb(t, "", short, origin(t, func(c net.Conn, br *bufio.Reader) {
			readRequest(br)
			io.WriteString(c, "HTTP/1.1 200 OK\r\nX: ")
			for tick := time.NewTicker(10 * time.Millisecond); ; <-tick.C {
				if _, err := c.Write([]byte("x")); err != nil {
					return
				}
			}
		}))
		start := time.Now()
		if r, _ := l.ask(get("/")); r.StatusCode != 504 || time.Since(start) > time.Second {
			t.Errorf("got %d after %v", r.StatusCode, time.Since(start))
		}
	})
	t.Run("half for a retriable one", func(t *testing.T) {
		l := lb(t, "", short, silent(""), answering(t, ok, nil))
		for range 2 {
			start := time.Now()
			if r, _ := l.ask(get("/")); r.StatusCode != 200 || time.Since(start) > 95*time.Millisecond {
				t.Errorf("got %d after %v", r.StatusCode, time.Since(start))
			}
		}
	})
	t.Run("all tries together", func(t *testing.T) {
		limit := 400 * time.Millisecond
		l := lb(t, "", func(s *Server) { s.Core.Timeouts.ResponseHeader = limit }, silent(""), silent(""), silent(""))
		start := time.Now()
		r, _ := l.ask(get("/"))
		if o, d := l.outcome(), time.Since(start); r.StatusCode != 504 || o.Attempts != 3 || d < limit || d > limit*3/2 {
			t.Errorf("got %d after %d attempts in %v", r.StatusCode, o.Attempts, d)
		}
	})
	t.Run("body", func(t *testing.T) { // F22
		l := lb(t, "", short, silent("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"))
		c := l.dial()
		c.send("%s", get("/"))
		if raw, err := io.ReadAll(c); err == nil && strings.HasSuffix(string(raw), "\r\n\r\n") {
			t.Errorf("got %q", raw)
		}
		if o := l.outcome(); o.Class != proxy.Truncated {
			t.Errorf("outcome %s %v", o.Class, o.Err)
		}
	})
}

func TestEventStreamIsFlushedAndLong(t *testing.T) {
	next := make(chan string)
	l := lb(t, "", func(s *Server) { s.Core.Timeouts.BodyIdle = 30 * time.Millisecond; s.Core.Drain = new(proxy.Drain) },
		origin(t, func(c net.Conn, br *bufio.Reader) {
			readRequest(br)
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
			for text := range next {
				io.WriteString(c, text)
			}
		}))
	c := l.dial()
	c.send("%s", get("/"))
	r := c.response("GET") // before any event
	if n := l.Core.Drain.Open(proxy.Stream); n != 1 {
		t.Errorf("%d streams are open", n)
	}
	for i := range 3 {
		<-time.After(50 * time.Millisecond) // longer than BodyIdle
		want := fmt.Sprintf("data: %d\n\n", i)
		next <- want
		p := make([]byte, len(want))
		if _, err := io.ReadFull(r.Body, p); err != nil || string(p) != want {
			t.Fatalf("got %q %v", p, err)
		}
	}
	close(next)
	if _, err := io.ReadAll(r.Body); err != nil {
		t.Error(err)
	}
}

func TestPanicIsContained(t *testing.T) { // F43
	l := lb(t, "", func(s *Server) {
		calls := 0
		s.Core.Rand = func() uint64 {
			if calls++; calls == 1 {
				panic("injected")
			}
			return 0
		}
	}, answering(t, ok, nil))
	if r, _ := l.ask(get("/")); r.StatusCode != 500 {
		t.Errorf("got %d", r.StatusCode)
	}
	if o := l.outcome(); o.Status != 500 || o.Err == nil || o.Class.Failed() {
		t.Errorf("outcome %+v", o)
	}
	if r, _ := l.ask(get("/")); r.StatusCode != 200 {
		t.Errorf("then got %d", r.StatusCode)
	}
}

func TestNoRouteAndNoInstance(t *testing.T) {
	l := lb(t, "", nil)
	if r, body := l.ask(get("/")); r.StatusCode != 404 && r.StatusCode != 503 || len(body) < 2 || !strings.HasSuffix(body, "\n") {
		t.Errorf("got %d %q", r.StatusCode, body)
	}
	if o := l.outcome(); o.Class != proxy.NoTarget || o.Target != nil {
		t.Errorf("outcome %+v", o)
	}
}
