package guard

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// input is a connection from which in can be read, at most step() octets at a
// time, and then EOF.
type input struct {
	net.Conn // nil: nothing else is called
	in       []byte
	step     func() int
}

func (c *input) Read(p []byte) (int, error) {
	if len(c.in) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.in[:min(len(c.in), c.step())])
	if c.in = c.in[n:]; len(c.in) == 0 && n%2 == 0 {
		return n, io.EOF // as crypto/tls may
	}
	return n, nil
}

func (c *input) SetReadDeadline(time.Time) error { return nil }

// heard is what the guard made of some input.
type heard struct {
	out    string // what it handed on, without the sentinel
	status int    // of the rejection, or 0
	fault  int    // status of the BodyError, or 0
}

// listen reads all the guard hands on, with buffers of page() octets. Upgrades
// are refused as soon as they are asked for.
func listen(t testing.TB, in []byte, o Options, step, page func() int) heard {
	t.Helper()
	c := New(&input{in: in, step: step}, o)
	var out []byte
	for range 4 * (len(in) + 100) {
		p := make([]byte, page())
		n, err := c.Read(p)
		if n > len(p) || n < 0 || n == 0 && err == nil {
			t.Fatalf("Read(%d octets) = %d, %v", len(p), n, err)
		}
		c.Release()
		if out = append(out, p[:n]...); err == nil {
			continue
		}
		h := heard{out: string(out)}
		var body *BodyError
		switch r := c.rejection.Load(); {
		case errors.As(err, &body):
			if h.fault = body.Status; c.Fault() != body {
				t.Fatalf("Read returned %v, Fault %v", body, c.Fault())
			}
		case err != io.EOF:
			t.Fatalf("Read: %v", err)
		case r != nil:
			var found bool
			if h.out, found = strings.CutSuffix(h.out, "GET "+r.uri+" HTTP/1.1\r\nHost: rejected\r\nConnection: close\r\n\r\n"); !found {
				t.Fatalf("after a rejection, the sentinel is not the last thing handed on: %q", out)
			}
			if got, ok := c.Rejection(r.uri); !ok || got != r {
				t.Fatalf("Rejection(%q) = %v, %v", r.uri, got, ok)
			}
			h.status = r.Status
		}
		if c.page != nil && len(c.buf[c.r:c.w]) == 0 && c.state == atHead {
			t.Fatal("an idle connection holds a buffer")
		}
		return h
	}
	t.Fatal("Read does not come to an end")
	return heard{}
}

func always(n int) func() int { return func() int { return n } }

// message is a request as naively read from canonical octets.
type message struct {
	method, uri, proto, host string
	fields                   []string // "name: value", sorted as they came, Host left out
	length                   int64    // -1: chunked
	body                     string
	whole                    bool
}

// naive reads requests the simplest way: it is right only for octets that
// leave no doubt.
func naive(t testing.TB, out string) (all []message) {
	t.Helper()
	for out != "" {
		head, rest, found := strings.Cut(out, "\r\n\r\n")
		if !found {
			t.Fatalf("an incomplete head was handed on: %q", out)
		}
		lines := strings.Split(head, "\r\n")
		first := strings.Split(lines[0], " ")
		if len(first) != 3 {
			t.Fatalf("request line %q", lines[0])
		}
		m := message{method: first[0], uri: first[1], proto: first[2], whole: true}
		for _, line := range lines[1:] {
			name, val, found := strings.Cut(line, ":")
			if !found || strings.ContainsAny(line, "\r\n\x00") {
				t.Fatalf("header line %q", line)
			}
			val = strings.Trim(val, " \t")
			switch strings.ToLower(name) {
			case "host":
				m.host = val
				continue
			case "content-length":
				m.length, _ = strconv.ParseInt(val, 10, 64)
			case "transfer-encoding":
				m.length = -1
				continue
			}
			m.fields = append(m.fields, strings.ToLower(name)+": "+val)
		}
		switch {
		case m.length >= 0:
			n := min(m.length, int64(len(rest)))
			m.body, rest, m.whole = rest[:n], rest[n:], n == m.length
		default:
			for m.whole {
				size, after, found := strings.Cut(rest, "\r\n")
				n, err := strconv.ParseInt(size, 16, 64)
				if !found || err != nil || n > int64(len(after)) {
					m.body += after[:min(int64(len(after)), max(n, 0))]
					m.whole, rest = false, ""
					break
				}
				m.body, rest = m.body+after[:n], after[n:]
				if !strings.HasPrefix(rest, "\r\n") {
					m.whole, rest = false, ""
					break
				}
				if rest = rest[2:]; n == 0 {
					break
				}
			}
		}
		if !m.whole {
			rest = ""
		}
		all = append(all, m)
		out = rest
	}
	return all
}

// agree fails unless net/http reads out as naive does.
func agree(t testing.TB, out string) []message {
	t.Helper()
	want := naive(t, out)
	br := bufio.NewReader(strings.NewReader(out))
	for i, m := range want {
		r, err := http.ReadRequest(br)
		if err != nil {
			t.Fatalf("request %d of %q: net/http: %v", i+1, out, err)
		}
		host := m.host
		if !strings.HasPrefix(m.uri, "/") && m.uri != "*" {
			_, host, _ = strings.Cut(m.uri, "://")
			host = host[:min(len(host), len(host)-len(strings.TrimLeftFunc(host, func(r rune) bool { return r != '/' && r != '?' })))]
		}
		if r.Method != m.method || r.RequestURI != m.uri || r.Proto != m.proto || r.Host != host {
			t.Fatalf("request %d: net/http reads %s %s %s for %q, want %s %s %s for %q", i+1, r.Method, r.RequestURI, r.Proto, r.Host, m.method, m.uri, m.proto, host)
		}
		if r.ContentLength != m.length || (len(r.TransferEncoding) > 0) != (m.length < 0) {
			t.Fatalf("request %d: net/http reads length %d, coding %q; want %d", i+1, r.ContentLength, r.TransferEncoding, m.length)
		}
		header := http.Header{}
		for _, f := range m.fields {
			name, val, _ := strings.Cut(f, ": ")
			header.Add(name, val)
		}
		if header.Get("Pragma") == "no-cache" && header["Cache-Control"] == nil {
			header.Set("Cache-Control", "no-cache") // net/http adds it
		}
		if len(r.Trailer) > 0 || fmt.Sprint(r.Header) != fmt.Sprint(header) {
			t.Fatalf("request %d: net/http reads\n%v %v, want\n%v", i+1, r.Header, r.Trailer, header)
		}
		body, err := io.ReadAll(r.Body)
		if string(body) != m.body || (err == nil) != m.whole || len(r.Trailer) > 0 {
			t.Fatalf("request %d: net/http reads body %q, %v, %v; want %q, whole %v", i+1, body, r.Trailer, err, m.body, m.whole)
		}
		if err != nil {
			return want
		}
	}
	if rest, _ := io.ReadAll(br); len(rest) > 0 {
		t.Fatalf("net/http leaves %q of %q", rest, out)
	}
	return want
}

type vector struct {
	file, name, verdict string
	in                  []byte
}

func (v vector) requests() int {
	n, _, _ := strings.Cut(v.verdict, "+")
	i, err := strconv.Atoi(n)
	if err != nil {
		panic(err)
	}
	return i
}

func vectors(t testing.TB) (all []vector) {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("testdata: %q, %v", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(text), "\n") {
			if line == "" || line[0] == '#' {
				continue
			}
			f := strings.Fields(line)
			in, err := strconv.Unquote(strings.TrimSpace(line[strings.Index(line, `"`):]))
			if err != nil {
				t.Fatalf("%s:%d: %v", file, i+1, err)
			}
			for strings.Contains(in, "{{") {
				before, rest, _ := strings.Cut(in, "{{")
				repeat, after, _ := strings.Cut(rest, "}}")
				star := strings.LastIndex(repeat, "*")
				n, err := strconv.Atoi(repeat[star+1:])
				if err != nil {
					t.Fatalf("%s:%d: %v", file, i+1, err)
				}
				in = before + strings.Repeat(strings.ReplaceAll(repeat[:star], "~", "\r\n"), n) + after
			}
			all = append(all, vector{filepath.Base(file), f[0], f[1], []byte(in)})
		}
	}
	return append(all, grid()...)
}

// grid hides Transfer-Encoding behind every control and every octet beyond
// ASCII, in four places.
func grid() (all []vector) {
	for x := range 256 {
		if x == 0 || x >= ' ' && x < 0x7f {
			continue
		}
		for place, field := range map[string]string{
			"before-name":  "%sTransfer-Encoding: chunked",
			"after-name":   "Transfer-Encoding%s: chunked",
			"before-value": "Transfer-Encoding:%schunked",
			"after-value":  "Transfer-Encoding: chunked%s",
		} {
			verdict := "0+400"
			if x == '\t' && strings.HasSuffix(place, "value") {
				verdict = "1" // optional white space
			}
			in := "POST / HTTP/1.1\r\nHost: a\r\n" + fmt.Sprintf(field, string([]byte{byte(x)})) + "\r\n\r\n0\r\n\r\n"
			all = append(all, vector{"grid", fmt.Sprintf("te-%s-%02x", place, x), verdict, []byte(in)})
		}
	}
	return all
}

func verdict(h heard, requests int) string {
	switch {
	case h.status > 0:
		return fmt.Sprintf("%d+%d", requests, h.status)
	case h.fault == 400:
		return fmt.Sprintf("%d+body", requests)
	case h.fault > 0:
		return fmt.Sprintf("%d+body%d", requests, h.fault)
	}
	return fmt.Sprint(requests)
}

func TestVectors(t *testing.T) {
	all := vectors(t)
	if len(all) < 134+640 {
		t.Fatalf("only %d vectors", len(all))
	}
	for _, v := range all {
		t.Run(v.file+"/"+v.name, func(t *testing.T) {
			whole := listen(t, v.in, Options{}, always(1<<20), always(1<<20))
			if got := verdict(whole, len(agree(t, whole.out))); got != v.verdict {
				t.Fatalf("%.200q\n got %s\nwant %s", v.in, got, v.verdict)
			}
			same := func(how string, step, page func() int) {
				t.Helper()
				if h := listen(t, v.in, Options{}, step, page); h != whole {
					t.Errorf("%.200q %s\n got %.200q\nwant %.200q as when read whole", v.in, how, fmt.Sprint(h), fmt.Sprint(whole))
				}
			}
			same("in pages of 4096", always(1<<20), always(4096))
			if len(v.in) < 8<<10 {
				same("octet by octet", always(1), always(4096))
				same("into one octet", always(1<<20), always(1))
			}
			seed := rand.New(rand.NewPCG(uint64(len(v.in)), 1))
			for range 4 {
				most := 1 + seed.IntN(len(v.in)+1)
				same("at random", func() int { return 1 + seed.IntN(most) }, func() int { return 1 + seed.IntN(most) })
			}
			if again := listen(t, []byte(whole.out), Options{}, always(1<<20), always(4096)); again.out != whole.out || again.status != 0 || again.fault != 0 {
				t.Errorf("what was handed on, read again:\n got %.200q\nwant %.200q", fmt.Sprint(again), whole.out)
			}
		})
	}
}

// What is dropped must be gone, and nothing else.
func TestHandedOn(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		for _, step := range []int{1 << 20, 1} {
			if got := listen(t, []byte(in), Options{}, always(step), always(4096)).out; got != want {
				t.Errorf("%q\n got %q\nwant %q", in, got, want)
			}
		}
	}
	f("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	f("GET / HTTP/1.1\r\ntrailer: X\r\nHost: a\r\nHTTP2_Settings: b\r\nUpgrade: h2c\r\nX: \ty\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nX: \ty\r\n\r\n")
	f("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0A;x=y\r\n0123456789\r\n00;z\r\nX: y\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n\r\n")
	f("POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\nX: y\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nSec-WebSocket-Key: k\r\nX: y\r\n\r\n")
	f("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", // no key
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n\r\n")
	f("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgraded\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgraded\r\nSec-WebSocket-Key: k\r\n\r\n")
	f("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Key: k\r\n\r\n")
}

// One Read must not hand on octets of two requests: Release of the first would
// be taken for that of the second.
func TestReadStopsBetweenRequests(t *testing.T) {
	one := "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
	two := "GET /2 HTTP/1.1\r\nHost: a\r\n\r\n"
	c := New(&input{in: []byte(one + two + two), step: always(1 << 20)}, Options{})
	p := make([]byte, 4096)
	for i, want := range []string{one, two, two} {
		var got string
		for len(got) < len(want) {
			n, err := c.Read(p)
			if err != nil {
				t.Fatal(err)
			}
			got += string(p[:n])
		}
		if got != want {
			t.Errorf("request %d\n got %q\nwant %q", i+1, got, want)
		}
	}
}

func TestPreface(t *testing.T) {
	h2 := preface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00 and the rest\n\r\x00"
	for _, step := range []int{1 << 20, 14, 1} {
		for _, page := range []int{4096, 14, 1} {
			if got := listen(t, []byte(h2), Options{H2C: true}, always(step), always(page)); got != (heard{out: h2}) {
				t.Errorf("step %d, page %d\n got %q\nwant %q", step, page, fmt.Sprint(got), h2)
			}
		}
		for in, want := range map[string]heard{
			"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX":                   {status: 505},
			"PRI * HTTP/2.0\r\nHost: a\r\n\r\n":                 {status: 505},
			"POST / HTTP/1.1\r\nHost: a\r\n\r\n":                {out: "POST / HTTP/1.1\r\nHost: a\r\n\r\n"},
			"GET / HTTP/1.1\r\nHost: a\r\n\r\n" + preface:       {out: "GET / HTTP/1.1\r\nHost: a\r\n\r\n", status: 505},
			"PRI * HTTP/2.0\r\n\r\n":                            {},
			"PRI /x HTTP/1.1\r\nHost: a\r\n\r\n":                {out: "PRI /x HTTP/1.1\r\nHost: a\r\n\r\n"},
			"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\n\r\n": {out: "GET / HTTP/1.1\r\nHost: a\r\n\r\n"},
		} {
			if got := listen(t, []byte(in), Options{H2C: true}, always(step), always(4096)); got != want {
				t.Errorf("%q\n got %q\nwant %q", in, fmt.Sprint(got), fmt.Sprint(want))
			}
		}
	}
}

func TestScheme(t *testing.T) {
	in := "GET %s://a/ HTTP/1.1\r\nHost: a\r\n\r\n"
	for _, listener := range []string{"http", "https"} {
		for _, uri := range []string{"http", "https"} {
			got := listen(t, fmt.Appendf(nil, in, uri), Options{Scheme: listener}, always(1<<20), always(4096))
			if (got.status == 0) != (uri == listener) {
				t.Errorf("%s:// on a listener of %s: status %d", uri, listener, got.status)
			}
		}
	}
}

func TestRejectionSaysWhy(t *testing.T) {
	c := New(&input{in: []byte("GET /path HTTP/1.1\r\nHost: a\r\nX_\x00: y\r\n\r\n"), step: always(7)}, Options{})
	if _, err := io.ReadAll(c); err != nil {
		t.Fatal(err)
	}
	r := c.rejection.Load()
	if got, want := r.Reason, `header name "X_\x00" is not a token`; !strings.Contains(got, "is not a token") || strings.ContainsAny(got, "\x00") {
		t.Errorf("Reason\n got %s\nwant %s", got, want)
	}
	if got, want := r.RequestLine, `"GET /path HTTP/1.1"`; got != want {
		t.Errorf("RequestLine\n got %s\nwant %s", got, want)
	}
	f := func(in, want string) {
		t.Helper()
		c := New(&input{in: []byte(in), step: always(1 << 20)}, Options{RequestLine: 300})
		if _, err := io.ReadAll(c); err != nil {
			t.Fatal(err)
		}
		if r := c.rejection.Load(); r == nil || r.RequestLine != want {
			t.Errorf("%.64q\n got %+v\nwant %s", in, r, want)
		}
	}
	f("GET /a\r\n\r\n", `"GET /a"`)
	f("\r\nTRACE / HTTP/1.1\r\nHost: a\r\n\r\n", `"TRACE / HTTP/1.1"`)
	f("GET /a\x1b HTTP/1.1\r\n\r\n", `"GET /a\x1b HTTP/1.1"`)
	f("GET /a HTTP/1.1\nHost: a\n\n", `"GET /a HTTP/1.1"`)
	f("GET /"+strings.Repeat("a", 300)+" HTTP/1.1\r\n\r\n", `"GET /`+strings.Repeat("a", 251)+`"`)
	f("\x16\x03\x01", `"\x16\x03\x01"`)
	for _, uri := range []string{"", "/", "/path"} {
		if r, ok := c.Rejection(uri); ok {
			t.Errorf("Rejection(%q) = %v", uri, r)
		}
	}
}

func FuzzGuard(f *testing.F) {
	for _, v := range vectors(f) {
		if v.file != "grid" && len(v.in) < 1000 {
			f.Add(v.in, uint8(3))
		}
	}
	f.Fuzz(func(t *testing.T, in []byte, split uint8) {
		for _, o := range []Options{{}, {H2C: true, RequestLine: 40, HeaderLine: 60, HeaderName: 20, HeaderTotal: 200, HeaderCount: 4, ChunkExt: 10}} {
			whole := listen(t, in, o, always(1<<20), always(1<<16))
			pieces := listen(t, in, o, always(1+int(split)), always(1+int(split)/2))
			if pieces != whole {
				t.Fatalf("%q in pieces of %d\n got %q\nwant %q as when read whole", in, 1+int(split), fmt.Sprint(pieces), fmt.Sprint(whole))
			}
			if o.H2C && bytes.HasPrefix(in, []byte(preface)) {
				continue
			}
			agree(t, whole.out)
			if again := listen(t, []byte(whole.out), o, always(1<<20), always(4096)); again != (heard{out: whole.out}) {
				t.Fatalf("what was handed on, read again:\n got %q\nwant %q", fmt.Sprint(again), whole.out)
			}
		}
	})
}

func TestCheck(t *testing.T) {
	f := func(method, uri, host string, header http.Header, want int) {
		t.Helper()
		got := 0
		if bad := (Options{}).Check(&http.Request{Method: method, RequestURI: uri, Host: host, Header: header}); bad != nil {
			got = bad.Status
		}
		if got != want {
			t.Errorf("%s %.40q at %.40q: got %d, want %d", method, uri, host, got, want)
		}
	}
	f("GET", "/%41?%zz", "a:0", http.Header{"Host": {"a:0"}, "X": {"", strings.Repeat("a", 16<<10-3)}}, 0)
	f("OPTIONS", "*", "[::1]:80", nil, 0)
	f("GET", "*", "a", nil, 400)
	f("GET", "", "a", nil, 400)
	f("GET", "http://a/", "a", nil, 400)
	f("GET", "/%zz", "a", nil, 400)
	f("GET", "/a b", "a", nil, 400)
	f("", "/", "a", nil, 400)
	f("G T", "/", "a", nil, 400)
	f("GET", "/", "", nil, 400)
	f("GET", "/", "a", http.Header{"Host": {"b"}}, 400)
	f("GET", "/", "a", http.Header{"Host": {"a", "a"}}, 400)
	f("GET", "/"+strings.Repeat("a", 8<<10-14), "a", nil, 0)
	f("GET", "/"+strings.Repeat("a", 8<<10-13), "a", nil, 414)
	f("GET", "/", "a", http.Header{"X": {strings.Repeat("a", 16<<10-2)}}, 431)
	f("GET", "/", "a", http.Header{strings.Repeat("X", 257): {""}}, 431)
	f("GET", "/", "a", http.Header{"X": make([]string, 101)}, 431)
	f("GET", "/", "a", http.Header{
		"A": {strings.Repeat("a", 16000)}, "B": {strings.Repeat("a", 16000)},
		"C": {strings.Repeat("a", 16000)}, "D": {strings.Repeat("a", 16000)}, "E": {strings.Repeat("a", 1600)},
	}, 431)
}
