package nethttp

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"serin/proxy"
)

func compression(t testing.TB, minSize int64, encodings ...string) *Compression {
	t.Helper()
	if encodings == nil {
		encodings = []string{"zstd", "br", "gzip"}
	}
	c, err := NewCompression("^(text/.*|application/json|application/grpc.*)(;.*)?$", minSize, encodings)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestNewCompression(t *testing.T) {
	f := func(types string, encodings []string, want string) {
		t.Helper()
		c, err := NewCompression(types, 1, encodings)
		if err == nil && (c == nil) != (types == "") || fmt.Sprint(err) != want {
			t.Errorf("%q, %q: got %v, %v, want %s", types, encodings, c, err, want)
		}
	}
	f("", []string{"none"}, "<nil>")
	f("text/", []string{"gzip"}, "<nil>")
	f("text/(", []string{"gzip"}, "the content types to compress, \"text/(\", are no regular expression: error parsing regexp: missing closing ): `text/(`")
	f("text/", []string{"deflate"}, `encoding "deflate": there are zstd, br and gzip`)
	f("text/", []string{"br", "gzip", "br"}, `encoding "br" is named twice`)
	f("text/", nil, "content types to compress are given, but no encoding: there are zstd, br and gzip")
}

// parse reads header lines, separated by "\n".
func parseHeader(lines string) http.Header {
	h := http.Header{}
	for line := range strings.Lines(lines) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ": "); ok {
			h.Add(name, value)
		}
	}
	return h
}

func TestAccepted(t *testing.T) {
	c := compression(t, 0)
	f := func(accept, want string) {
		t.Helper()
		got := "-"
		if e := c.accepted(strings.Split(accept, "\n")); e != nil {
			got = e.name
		}
		if got != want {
			t.Errorf("Accept-Encoding: %s\n got %s, want %s", accept, got, want)
		}
	}
	f("", "-")
	f("gzip", "gzip")
	f("x-gzip", "gzip")
	f("GZIP", "gzip")
	f("gzip, deflate, br, zstd", "zstd")
	f("gzip, deflate, br", "br")
	f("gzip\nbr", "br")
	f("br;q=0.5, gzip;q=0.8", "gzip")
	f("br;q=0.8, gzip;q=0.8", "br")
	f("br ; q=0.8,gzip;Q=0.801", "gzip")
	f("gzip;q=0", "-")
	f("gzip;q=0.000", "-")
	f("gzip;q=0.001", "gzip")
	f("gzip;q=1.000", "gzip")
	f("gzip;q=0, *", "zstd")
	f("*", "zstd")
	f("*;q=0", "-")
	f("*;q=0, gzip", "gzip")
	f("zstd;q=0, *;q=0.5, gzip;q=0.4", "br")
	f("identity", "-")
	f("identity;q=0", "-") // nothing else is accepted: what there is, is better than nothing
	f("identity;q=0, gzip", "gzip")
	f("identity;q=0.5, gzip;q=0.4", "-")
	f("identity;q=0.5, gzip;q=0.5", "gzip")
	f("identity, gzip", "gzip")
	f("deflate, compress", "-")
	f("gzip;q=, br;q=2, zstd;q=0.1234", "-")
	f("gzip;q=-1, br;q=1.x, zstd;level=1", "-")
	f("gzipped, gzi, ;, ,", "-")
}

// The rows are: response, request, want: an encoding, "vary" when only this
// client gets none, "-" when nobody does.
func TestCompressionDecision(t *testing.T) {
	c := compression(t, 10240)
	const text, gz = "Content-Type: text/html; charset=utf-8\n", "Accept-Encoding: gzip\n"
	f := func(proto string, status int, length int64, response, request, want string) {
		t.Helper()
		got, h := "-", parseHeader(response)
		if c.eligible(status, length, h) {
			major, minor, _ := http.ParseHTTPVersion(proto)
			got = "vary"
			if e := c.choose(major, minor, parseHeader(request)); e != nil {
				got = e.name
			}
		}
		if got != want {
			t.Errorf("%s %d, %d bytes\n%s%s got %s, want %s", proto, status, length, response, request, got, want)
		}
	}
	f("HTTP/1.1", 200, 10240, text, gz, "gzip")
	f("HTTP/2.0", 200, 10240, text, gz, "gzip")
	f("HTTP/1.1", 200, 10239, text, gz, "-")
	f("HTTP/1.1", 200, 0, text, gz, "-")
	f("HTTP/1.1", 200, -1, text, gz, "gzip")
	f("HTTP/1.1", 200, -1, text, "", "vary")
	f("HTTP/1.0", 200, -1, text, gz, "vary")
	f("HTTP/1.1", 404, -1, text, gz, "gzip")
	f("HTTP/1.1", 500, -1, text, gz, "gzip")
	f("HTTP/1.1", 101, -1, text, gz, "-")
	f("HTTP/1.1", 204, -1, text, gz, "-")
	f("HTTP/1.1", 205, -1, text, gz, "-")
	f("HTTP/1.1", 206, -1, text, gz, "-")
	f("HTTP/1.1", 304, -1, text, gz, "-")
	f("HTTP/1.1", 200, -1, "", gz, "-")
	f("HTTP/1.1", 200, -1, text+text, gz, "-")
	f("HTTP/1.1", 200, -1, "Content-Type: image/png\n", gz, "-")
	f("HTTP/1.1", 200, -1, "Content-Type: application/json\n", gz, "gzip")
	f("HTTP/1.1", 200, -1, "Content-Type: text/event-stream\n", gz, "-")
	f("HTTP/1.1", 200, -1, "Content-Type: Text/Event-Stream; charset=utf-8\n", gz, "-")
	f("HTTP/1.1", 200, -1, "Content-Type: application/grpc+proto\n", gz, "-")
	f("HTTP/1.1", 200, -1, text+"Content-Encoding: br\n", gz, "-")
	f("HTTP/1.1", 200, -1, text+"Content-Encoding: identity\n", gz, "gzip")
	f("HTTP/1.1", 200, -1, text+"Content-Range: bytes 0-1/2\n", gz, "-")
	f("HTTP/1.1", 200, -1, text+"Cache-Control: max-age=1, No-Transform\n", gz, "-")
	f("HTTP/1.1", 200, -1, text, gz+"Cache-Control: no-transform\n", "vary")
	f("HTTP/1.1", 200, -1, text, gz+"Range: bytes=0-1\n", "vary")

	h, request := parseHeader(text), parseHeader("Accept-Encoding: gzip, deflate, br;q=0.9\n")
	if n := testing.AllocsPerRun(100, func() {
		if !c.eligible(200, -1, h) || c.choose(1, 1, request) == nil {
			t.Fatal("not compressed")
		}
	}); n > 0 {
		t.Errorf("the decision allocates %v times", n)
	}
	for name := range encoders { // a default minimum of 0 is no reason to compress nothing
		if c := compression(t, 0, name); c.eligible(200, 0, h) || !c.eligible(200, 1, h) {
			t.Errorf("%s: a minimum of 0", name)
		}
	}
}

// decode returns what an encoded body says.
func decode(encoding string, body io.Reader) (string, error) {
	var err error
	switch encoding {
	case "gzip":
		body, err = gzip.NewReader(body)
	case "br":
		body = brotli.NewReader(body)
	case "zstd":
		var d *zstd.Decoder
		if d, err = zstd.NewReader(body, zstd.WithDecoderConcurrency(1)); err == nil {
			defer d.Close()
			body = d
		}
	}
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(body)
	return string(b), err
}

// tally notes how many bytes are read.
type tally struct {
	io.Reader
	n int64
}

func (c *tally) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += int64(n)
	return n, err
}

func prose(n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "<li>%d: a canary is a bird that sings in a mine %x</li>\n", i, i*i*7919)
	}
	return b.String()[:n]
}

func chunked(body string, size int) string {
	var b strings.Builder
	for len(body) > 0 {
		n := min(size, len(body))
		fmt.Fprintf(&b, "%x\r\n%s\r\n", n, body[:n])
		body = body[n:]
	}
	return b.String()
}

// request sends a GET over HTTP/1.1 or HTTP/2.
func (l *lab) request(h2 bool, header string) *http.Response {
	l.t.Helper()
	client := l.h2()
	if !h2 {
		tr := &http.Transport{DisableCompression: true}
		l.t.Cleanup(tr.CloseIdleConnections)
		client.Transport = tr
	}
	req, _ := http.NewRequestWithContext(context.Background(), "GET", "http://"+l.addr+"/", nil)
	req.Header = parseHeader(header)
	r, err := client.Do(req)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { r.Body.Close() })
	return r
}

func TestCompressedBody(t *testing.T) {
	f := func(name, head, framed, body string) {
		t.Helper()
		l := lb(t, "", func(s *Server) { s.Compress = compression(t, 100) },
			answering(t, "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"+head+"\r\n"+framed, nil))
		for _, h2 := range []bool{false, true} {
			for _, encoding := range []string{"zstd", "br", "gzip"} {
				r := l.request(h2, "Accept-Encoding: "+encoding)
				sent := &tally{Reader: r.Body}
				got, err := decode(r.Header.Get("Content-Encoding"), sent)
				if err != nil || got != body || r.Header.Get("Content-Encoding") != encoding || r.Header.Get("Vary") != "Accept-Encoding" {
					t.Errorf("%s, HTTP/2 %v, %s: %d of %d bytes, %v, %v", name, h2, encoding, len(got), len(body), err, r.Header)
				}
				o := l.outcome()
				if o.Sent != sent.n || o.Class != proxy.OK || len(body) > 4000 && o.Sent > int64(len(body))/2 {
					t.Errorf("%s, HTTP/2 %v, %s: sent %d, counted %d (%v) of %d", name, h2, encoding, sent.n, o.Sent, o.Class, len(body))
				}
			}
			r := l.request(h2, "Accept-Encoding: deflate")
			if got, _ := decode("", r.Body); got != body || r.Header.Get("Content-Encoding") != "" || r.Header.Get("Vary") != "Accept-Encoding" {
				t.Errorf("%s, HTTP/2 %v, as it is: %d bytes, %v", name, h2, len(got), r.Header)
			}
			l.outcome()
		}
		if n := l.Compress.inUse.Load(); n != 0 {
			t.Errorf("%s: %d encoders are in use", name, n)
		}
	}
	small, large := prose(300), prose(1<<20)
	f("a small body", "Content-Length: 300\r\n", small, small)
	f("a large body", fmt.Sprintf("Content-Length: %d\r\n", len(large)), large, large)
	f("chunks", "Transfer-Encoding: chunked\r\n", chunked(large, 1000)+"0\r\n\r\n", large)
	f("one chunk", "Transfer-Encoding: chunked\r\n", chunked(small, 1000)+"0\r\n\r\n", small)
	f("no chunk", "Transfer-Encoding: chunked\r\n", "0\r\n\r\n", "")
}

func TestCompressedHead(t *testing.T) {
	body := prose(20000)
	f := func(request, head, want string) {
		t.Helper()
		l := lb(t, "", func(s *Server) { s.Compress = compression(t, 10240) },
			origin(t, func(c net.Conn, br *bufio.Reader) {
				req, err := readRequest(br)
				if err != nil {
					return
				}
				_, _ = io.WriteString(c, head+"\r\n")
				if strings.HasPrefix(req, "GET") && strings.HasPrefix(head, "HTTP/1.1 200") {
					_, _ = io.WriteString(c, body)
				}
			}))
		c := l.dial()
		c.send("%s", strings.ReplaceAll(request, "\n", "\r\n")+"\r\n")
		method, _, _ := strings.Cut(request, " ")
		r := c.response(method)
		got := ""
		for _, name := range []string{"Content-Encoding", "Content-Length", "Etag", "Vary", "Accept-Ranges", "Digest", "Content-Md5", "Repr-Digest"} {
			if v := r.Header[name]; len(v) > 0 {
				got += name + ": " + strings.Join(v, " | ") + "\n"
			}
		}
		if got != want {
			t.Errorf("%s%s got\n%s\nwant\n%s", request, head, got, want)
		}
		if b, err := io.ReadAll(r.Body); err != nil || method == "HEAD" && len(b) > 0 {
			t.Errorf("%s: %d bytes, %v", request, len(b), err)
		}
	}
	const head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 20000\r\nConnection: close\r\n"
	const gz = " / HTTP/1.1\nHost: web.test\nAccept-Encoding: gzip\n"
	all := head + "ETag: \"x\"\r\nAccept-Ranges: bytes\r\nDigest: md5=x\r\nContent-MD5: x\r\nRepr-Digest: x\r\nVary: Cookie\r\n"
	const compressed = "Content-Encoding: gzip\nEtag: W/\"x\"\nVary: Cookie | Accept-Encoding\n"
	f("GET"+gz, all, compressed)
	f("HEAD"+gz, all, compressed)
	f("HEAD"+gz, strings.Replace(head, "20000", "200", 1), "Content-Length: 200\n")
	f("GET / HTTP/1.1\nHost: web.test\n", all,
		"Content-Length: 20000\nEtag: \"x\"\nVary: Cookie | Accept-Encoding\nAccept-Ranges: bytes\nDigest: md5=x\nContent-Md5: x\nRepr-Digest: x\n")
	f("GET"+gz, head+"ETag: W/\"x\"\r\nVary: accept-encoding\r\n", "Content-Encoding: gzip\nEtag: W/\"x\"\nVary: accept-encoding\n")
	f("GET"+gz, head+"Vary: *\r\n", "Content-Encoding: gzip\nVary: *\n")
	f("GET"+gz, head+"Content-Encoding: br\r\nETag: \"x\"\r\n", "Content-Encoding: br\nContent-Length: 20000\nEtag: \"x\"\n")

	// A 304 is about the body that the client has.
	const notModified = "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nConnection: close\r\n"
	f("GET"+gz+"If-None-Match: \"y\", W/\"x\"\n", notModified, "Etag: W/\"x\"\nVary: Accept-Encoding\n")
	f("GET"+gz+"If-None-Match: \"x\"\n", notModified, "Etag: \"x\"\nVary: Accept-Encoding\n")
	f("GET"+gz+"If-None-Match: W/\"x\"\n", notModified+"Content-Type: image/png\r\n", "Etag: \"x\"\n")
}

// A trailer that no longer fits the body goes; the others come after it.
func TestCompressedTrailers(t *testing.T) {
	body := prose(2000)
	l := lb(t, "", func(s *Server) { s.Compress = compression(t, 100) }, answering(t,
		"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\nTrailer: X-T, Digest\r\n\r\n"+chunked(body, 500)+"0\r\nX-T: 1\r\nDigest: x\r\n\r\n", nil))
	for _, h2 := range []bool{false, true} {
		r := l.request(h2, "Accept-Encoding: br")
		got, err := decode("br", r.Body)
		_, _ = io.Copy(io.Discard, r.Body)
		if err != nil || got != body || r.Trailer.Get("X-T") != "1" || r.Trailer.Get("Digest") != "" {
			t.Errorf("HTTP/2 %v: %d bytes, %v, trailers %v", h2, len(got), err, r.Trailer)
		}
	}
}

// What an instance has sent is at the client before the instance sends more.
func TestCompressedStream(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		for _, encoding := range []string{"zstd", "br", "gzip"} {
			next := make(chan string)
			l := lb(t, "", func(s *Server) { s.Compress = compression(t, 10240) }, origin(t, func(c net.Conn, br *bufio.Reader) {
				if _, err := readRequest(br); err != nil {
					return
				}
				fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n")
				for text := range next { // in pieces that end where a reader might wait
					head, body, tail := fmt.Sprintf("%x\r\n", len(text)), text, "\r\n"
					for _, p := range []string{head, body, tail} {
						fmt.Fprint(c, p)
					}
				}
				fmt.Fprint(c, "0\r\n\r\n")
			}))
			r := l.request(h2, "Accept-Encoding: "+encoding)
			var d io.Reader
			for i := range 50 {
				text := fmt.Sprintf("piece %d of a stream\n", i)
				next <- text
				if d == nil {
					switch encoding {
					case "gzip":
						d, _ = gzip.NewReader(r.Body)
					case "br":
						d = brotli.NewReader(r.Body)
					case "zstd":
						z, _ := zstd.NewReader(r.Body, zstd.WithDecoderConcurrency(1))
						defer z.Close()
						d = z
					}
				}
				got := make([]byte, len(text))
				if _, err := io.ReadFull(d, got); err != nil || string(got) != text {
					t.Fatalf("HTTP/2 %v, %s: got %q, %v, want %q", h2, encoding, got, err, text)
				}
			}
			close(next)
			if rest, err := io.ReadAll(d); err != nil || len(rest) > 0 {
				t.Errorf("HTTP/2 %v, %s: at the end %q, %v", h2, encoding, rest, err)
			}
		}
	}
}

// A body that was cut is no whole body to the client, neither as HTTP nor as
// what was compressed.
func TestCompressedBodyIsCut(t *testing.T) {
	body := prose(50_000)
	f := func(name, response string) {
		t.Helper()
		l := lb(t, "", func(s *Server) { s.Compress = compression(t, 100) }, origin(t, func(c net.Conn, br *bufio.Reader) {
			if _, err := readRequest(br); err == nil {
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"+response)
			}
		}))
		for _, h2 := range []bool{false, true} {
			for _, encoding := range []string{"zstd", "br", "gzip"} {
				r := l.request(h2, "Accept-Encoding: "+encoding)
				raw, err := io.ReadAll(r.Body)
				if err == nil {
					t.Errorf("%s, HTTP/2 %v, %s: %d bytes look like a whole response", name, h2, encoding, len(raw))
				}
				if got, err := decode(encoding, bytes.NewReader(raw)); err == nil {
					t.Errorf("%s, HTTP/2 %v, %s: the %d bytes that came are a whole body of %d", name, h2, encoding, len(raw), len(got))
				}
				if o := l.outcome(); o.Class != proxy.Truncated {
					t.Errorf("%s, HTTP/2 %v, %s: %v %v", name, h2, encoding, o.Class, o.Err)
				}
			}
		}
		if n := l.Compress.inUse.Load(); n != 0 {
			t.Errorf("%s: %d encoders are in use", name, n)
		}
	}
	f("a length", fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body)+1, body))
	f("chunks", "Transfer-Encoding: chunked\r\n\r\n"+chunked(body, 1000))
	f("in a chunk", "Transfer-Encoding: chunked\r\n\r\n"+strings.TrimSuffix(chunked(body, 1000), "\n"))
}

// A client that leaves costs no encoder, and beyond the bound there is none.
func TestCompressionIsBounded(t *testing.T) {
	body := prose(8 << 20)
	l := lb(t, "", func(s *Server) { s.Compress = compression(t, 100) },
		answering(t, fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%s", len(body), body), nil))
	c := l.dial()
	c.send("GET / HTTP/1.1\r\nHost: web.test\r\nAccept-Encoding: gzip\r\n\r\n")
	if r := c.response("GET"); r.Header.Get("Content-Encoding") != "gzip" {
		t.Fatal(r.Header)
	}
	c.Close()
	if o := l.outcome(); o.Class != proxy.ClientGone || l.Compress.inUse.Load() != 0 {
		t.Errorf("%v %v, %d encoders are in use", o.Class, o.Err, l.Compress.inUse.Load())
	}
	l.Compress.inUse.Store(maxEncoders)
	r, got := l.ask("GET / HTTP/1.1\r\nHost: web.test\r\nAccept-Encoding: gzip\r\n\r\n")
	if r.Header.Get("Content-Encoding") != "" || got != body || r.Header.Get("Vary") != "Accept-Encoding" {
		t.Errorf("beyond the bound: %v", r.Header)
	}
	if n := l.Compress.inUse.Load(); n != maxEncoders {
		t.Errorf("%d encoders are in use, want %d", n, maxEncoders)
	}
}

// An answer of ours, and a response of a server without compression, are left
// as they are.
func TestNotCompressed(t *testing.T) {
	body := prose(20000)
	text := "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nETag: \"x\"\r\nContent-Length: 20000\r\n\r\n" + body
	r, got := lb(t, "", nil, answering(t, text, nil)).ask("GET / HTTP/1.1\r\nHost: web.test\r\nAccept-Encoding: gzip\r\n\r\n")
	if got != body || r.Header.Get("Vary") != "" || r.Header.Get("Etag") != `"x"` {
		t.Errorf("without compression: %v", r.Header)
	}
	l := lb(t, "", func(s *Server) { s.Compress = compression(t, 0) })
	r, _ = l.ask("GET / HTTP/1.1\r\nHost: web.test\r\nAccept-Encoding: gzip\r\n\r\n")
	if r.StatusCode/100 == 2 || r.Header.Get("Content-Encoding") != "" {
		t.Errorf("an answer of ours: %d %v", r.StatusCode, r.Header)
	}
}
