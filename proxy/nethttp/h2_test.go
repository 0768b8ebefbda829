package nethttp

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"serin/proxy"
)

// h2 returns a client that speaks HTTP/2 with prior knowledge.
func (l *lab) h2() *http.Client {
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: &protocols, DisableCompression: true}
	l.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 2 * patience}
}

func TestH2(t *testing.T) {
	got := make(chan string, 1)
	l := lb(t, "", nil, answering(t, "HTTP/1.1 200 OK\r\nConnection: close, x-a\r\nX-A: 1\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n2\r\nok\r\n0\r\nX-T: 1\r\nX-U: 2\r\n\r\n", got))
	c := l.h2()
	f := func(method string, body io.Reader, wantFraming, wantBody string) {
		t.Helper()
		req, _ := http.NewRequest(method, "http://"+l.addr+"/a?b;c=d", body)
		req.Host = "web.test"
		r, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r.Body)
		r.Body.Close()
		g := <-got
		_, sent, _ := strings.Cut(g, "\r\n\r\n")
		framing := head(g, "Content-Length") + " " + head(g, "Transfer-Encoding")
		if err != nil || r.StatusCode != 200 || string(b) != "ok" || r.Trailer.Get("X-T") != "1" || r.Trailer.Get("X-U") != "2" || r.Header.Get("X-A") != "" {
			t.Errorf("%s: got %d %q %v, trailers %v", method, r.StatusCode, b, err, r.Trailer)
		}
		if line(g) != method+" /a?b;c=d HTTP/1.1" || head(g, "Host") != "web.test" || framing != wantFraming || sent != wantBody {
			t.Errorf("%s: the instance got %q\nwant framing %q body %q", method, g, wantFraming, wantBody)
		}
		if o := l.outcome(); o.HTTPVersion != "HTTP/2.0" || o.Class != proxy.OK {
			t.Errorf("outcome %+v", o)
		}
	}
	f("GET", nil, "- -", "")
	f("POST", nil, "0 -", "")
	f("POST", strings.NewReader("abc"), "3 -", "abc")
	f("PUT", io.MultiReader(strings.NewReader("abc")), "- chunked", "3\r\nabc\r\n0\r\n\r\n")
}

func TestH2TruncationIsVisible(t *testing.T) {
	l := lb(t, "", nil, origin(t, func(c net.Conn, br *bufio.Reader) {
		readRequest(br)
		io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab")
	}))
	r, err := l.h2().Get("http://" + l.addr)
	if err == nil {
		_, err = io.ReadAll(r.Body)
		r.Body.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "INTERNAL_ERROR") {
		t.Errorf("got %v", err)
	}
	if o := l.outcome(); o.Class != proxy.Truncated {
		t.Errorf("outcome %s", o.Class)
	}
}

func TestH2EarlyResponse(t *testing.T) {
	l := lb(t, "", nil, origin(t, func(c net.Conn, br *bufio.Reader) {
		br.ReadString('\n')
		io.WriteString(c, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig")
		io.Copy(io.Discard, br)
	}))
	body, w := io.Pipe()
	defer w.Close()
	r, err := l.h2().Post("http://"+l.addr, "", body)
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := io.ReadAll(r.Body); r.StatusCode != 413 || string(b) != "big" {
		t.Errorf("got %d %q", r.StatusCode, b)
	}
	r.Body.Close()
}

func TestH2ClientGone(t *testing.T) {
	arrived := make(chan bool)
	l := lb(t, "", nil, origin(t, func(c net.Conn, br *bufio.Reader) {
		readRequest(br)
		arrived <- true
		br.ReadByte()
		arrived <- true
	}))
	ctx, cancel := context.WithCancel(context.Background())
	req, _ := http.NewRequestWithContext(ctx, "GET", "http://"+l.addr, nil)
	c := l.h2()
	go func() {
		<-arrived
		cancel()
	}()
	if _, err := c.Do(req); err == nil {
		t.Error("no error")
	}
	<-arrived
	if o := l.outcome(); o.Class != proxy.ClientGone || o.Status != 499 {
		t.Errorf("outcome %d %s", o.Status, o.Class)
	}
}

// framer is a raw HTTP/2 connection.
type framer struct {
	*http2.Framer
	net.Conn
	t   testing.TB
	buf bytes.Buffer
	enc *hpack.Encoder
}

func (l *lab) framer() *framer {
	c := l.dial()
	f := &framer{Framer: http2.NewFramer(c.Conn, c.Reader), Conn: c.Conn, t: l.t}
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	f.enc = hpack.NewEncoder(&f.buf)
	c.send("%s", http2.ClientPreface)
	f.WriteSettings()
	return f
}

func (f *framer) request(stream uint32, end bool, fields ...string) {
	f.buf.Reset()
	for i := 0; i < len(fields); i += 2 {
		f.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: f.buf.Bytes(), EndHeaders: true, EndStream: end})
}

// answer returns the status that the stream was answered with, or the name of
// the error that reset it or ended the connection.
func (f *framer) answer(stream uint32) string {
	f.t.Helper()
	for {
		fr, err := f.ReadFrame()
		if err != nil {
			return err.Error()
		}
		switch fr := fr.(type) {
		case *http2.MetaHeadersFrame:
			if fr.StreamID == stream {
				return fr.PseudoValue("status")
			}
		case *http2.RSTStreamFrame:
			if fr.StreamID == stream {
				return fr.ErrCode.String()
			}
		case *http2.GoAwayFrame:
			if fr.ErrCode != http2.ErrCodeNo {
				return fr.ErrCode.String()
			}
		}
	}
}

func TestH2Refusals(t *testing.T) { // G1, S11, S12
	contacted := make(chan string, 100)
	l := lb(t, "", nil, answering(t, ok, contacted))
	f := func(want string, fields ...string) {
		t.Helper()
		fr := l.framer()
		defer fr.Close()
		fr.request(1, false, fields...)
		fr.WriteData(1, false, []byte("GET /smug HTTP/1.1\r\nHost: a\r\n\r\n"))
		if got := fr.answer(1); got != want {
			t.Errorf("%q: got %s, want %s", fields, got, want)
		}
	}
	base := func(method, path, authority string, more ...string) []string {
		return append([]string{":method", method, ":scheme", "http", ":path", path, ":authority", authority}, more...)
	}
	f("405", ":method", "CONNECT", ":authority", "web.test:80")
	f("405", base("TRACE", "/", "a")...)
	f("PROTOCOL_ERROR", base("CONNECT", "/", "a", ":protocol", "websocket")...)
	f("400", base("GET / HTTP/1.1", "/", "a")...)
	f("400", base("GET", "/a b", "a")...)
	f("400", base("GET", "/a#b", "a")...)
	f("400", base("GET", `/a\b`, "a")...)
	f("400", base("GET", "/\xc3\xa9", "a")...)
	f("400", base("GET", "/", "a,b")...)
	f("PROTOCOL_ERROR", base("GET", "/", "u@a")...)
	f("400", base("GET", "/", "a:80x")...)
	f("400", base("GET", "/", "")...)
	f("400", base("GET", "/", "a", "host", "b")...)
	f("PROTOCOL_ERROR", base("GET", "/", "a", "x", "a\r\nb: c")...)
	f("PROTOCOL_ERROR", base("GET", "/", "a", "x:y", "a")...)
	f("400", base("GET", "/", "a", "transfer-encoding", "chunked")...)
	f("400", base("GET", "/", "a", "connection", "close")...)
	f("400", base("GET", "/", "a", "te", "chunked")...)
	f("400", base("GET", "*", "a")...)
	f("400", base("GET", "/", "a:65536")...)
	f("400", base("GET", "/", strings.Repeat("a", 256))...)
	f("431", base("GET", "/", "a", "x", strings.Repeat("a", 17000))...)
	f("431", base("GET", "/", "a", strings.Repeat("x", 257), "a")...)
	f("414", base("GET", "/"+strings.Repeat("a", 9000), "a")...)
	f("431", base("GET", "/", "a", strings.Split(strings.Repeat("x,y,", 101)+"x,y", ",")...)...)
	f("PROTOCOL_ERROR", ":method", "GET", ":scheme", "http://x/?", ":path", "/", ":authority", "a")
	if len(contacted) > 0 {
		t.Errorf("an instance was contacted: %q", <-contacted)
	}
}

// HTTP/2 is judged as HTTP/1.1 is.
func TestVersionsAgree(t *testing.T) {
	l := lb(t, "", nil, answering(t, ok, nil))
	f := func(method, target, host, name, value string) {
		t.Helper()
		r, _ := l.ask(method + " " + target + " HTTP/1.1\r\nHost: " + host + "\r\n" + name + ": " + value + "\r\n\r\n")
		fr := l.framer()
		defer fr.Close()
		fr.request(1, true, ":method", method, ":scheme", "http", ":path", target, ":authority", host, name, value)
		if got := fr.answer(1); got != strconv.Itoa(r.StatusCode) {
			t.Errorf("%s %.40q at %.40q with %.40q: HTTP/1.1 %d, HTTP/2 %s", method, target, host, name+": "+value, r.StatusCode, got)
		}
	}
	long := func(n int) string { return strings.Repeat("a", n) }
	f("GET", "/", "a", "x", "y")
	for _, host := range []string{"a:0", "a:65535", "a:65536", "a:", "a_b", "[::1]:80", "[::1", "[1.2.3.4]", long(255), long(256)} {
		f("GET", "/", host, "x", "y")
	}
	for _, target := range []string{"/%41", "/?%zz", "/" + long(8<<10-14), "/" + long(8<<10-13)} {
		f("GET", target, "a", "x", "y")
	}
	f("OPTIONS", "*", "a", "x", "y")
	f("GET", "*", "a", "x", "y")
	f("GET", "/", "a", "x", long(16<<10-3))
	f("GET", "/", "a", "x", long(16<<10-2))
	f("GET", "/", "a", long(256), "y")
	f("GET", "/", "a", long(257), "y")
}

func TestH2LengthMismatchIsTheClientsFault(t *testing.T) {
	l := lb(t, "", nil, origin(t, func(c net.Conn, br *bufio.Reader) { io.Copy(io.Discard, br) }))
	fr := l.framer()
	fr.request(1, false, ":method", "POST", ":scheme", "http", ":path", "/", ":authority", "a", "content-length", "5")
	fr.WriteData(1, true, []byte("abc"))
	if got := fr.answer(1); got != "400" && got != "PROTOCOL_ERROR" {
		t.Errorf("got %s", got)
	}
	if o := l.outcome(); o.Class.Failed() || o.FirstClass.Failed() {
		t.Errorf("outcome %s, first %s: %v", o.Class, o.FirstClass, o.Err)
	}
}

func TestRapidResetIsCutOff(t *testing.T) { // S32
	l := lb(t, "", nil, origin(t, func(c net.Conn, br *bufio.Reader) { io.Copy(io.Discard, br) }))
	fr := l.framer()
	for i := range uint32(5000) {
		fr.request(2*i+1, true, ":method", "GET", ":scheme", "http", ":path", "/", ":authority", "a")
		if fr.WriteRSTStream(2*i+1, http2.ErrCodeCancel) != nil {
			return // cut off
		}
	}
	for {
		switch f, err := fr.ReadFrame(); f := f.(type) {
		case *http2.GoAwayFrame:
			if f.ErrCode != http2.ErrCodeNo {
				return
			}
		default:
			if err != nil {
				return
			}
		}
	}
}

func TestStreamsEndedRule(t *testing.T) {
	f := func(n, resets int, window time.Duration, want bool) {
		t.Helper()
		c, cut := &conn{}, false
		now := time.Unix(1000, 0)
		for i := range n {
			cut = cut || c.streamEnded(now.Add(window*time.Duration(i)/time.Duration(n)), i < resets)
		}
		if cut != want {
			t.Errorf("%d streams, %d reset in %v: cut off %t", n, resets, window, cut)
		}
	}
	f(499, 499, time.Second, false)
	f(500, 251, time.Second, true)
	f(500, 250, time.Second, false)
	f(600, 600, 10*time.Second, false)
}

// A stream on which nothing is written for longer than BodyIdle lives on.
func TestH2EventStreamIsLong(t *testing.T) {
	next := make(chan bool)
	l := lb(t, "", func(s *Server) { s.Core.Timeouts.BodyIdle = 30 * time.Millisecond }, origin(t, func(c net.Conn, br *bufio.Reader) {
		readRequest(br)
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
		<-next
		io.WriteString(c, "data: 2\n\n")
	}))
	r, err := l.h2().Get("http://" + l.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	<-time.After(100 * time.Millisecond)
	close(next)
	if b, err := io.ReadAll(r.Body); err != nil || string(b) != "data: 1\n\ndata: 2\n\n" {
		t.Errorf("got %q %v", b, err)
	}
}
