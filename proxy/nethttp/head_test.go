package nethttp

import (
	"bufio"
	"bytes"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestParseReply(t *testing.T) {
	f := func(method, text string, want reply) {
		t.Helper()
		h := http.Header{}
		got, err := parseReply(text, method, h)
		if err != nil || got != want {
			t.Errorf("%q\n got %+v %v\nwant %+v", text, got, err, want)
		}
	}
	f("GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", reply{status: 200, length: 5})
	f("GET", "HTTP/1.1 200\r\nContent-Length: 007\r\n\r\n", reply{status: 200, length: 7})
	f("GET", "HTTP/1.1 200 \r\nTransfer-Encoding: Chunked\r\n\r\n", reply{status: 200, length: -1, chunked: true})
	f("GET", "HTTP/1.1 200 OK\r\n\r\n", reply{status: 200, length: -1, last: true})
	f("GET", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", reply{status: 200, length: 5, last: true})
	f("GET", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: x, Keep-Alive\r\n\r\n", reply{status: 200, length: 5})
	f("GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nconnection: x\r\nConnection: Close\r\n\r\n", reply{status: 200, length: 5, last: true})
	f("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", reply{status: 200})
	f("GET", "HTTP/1.1 304 X\r\nContent-Length: 5\r\nKeep-Alive: max=5, timeout=7\r\n\r\n", reply{status: 304, hint: 7 * time.Second})
	f("GET", "HTTP/1.1 103 X\r\n\r\n", reply{status: 103})
}

// What parseReply accepts, net/http understands in the same way.
func FuzzParseReply(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX: a\r\nX: b\r\n\r\n",
		"HTTP/1.0 304 \nA: \t b \n\n", "HTTP/1.1 103 X\r\nLink: </a>\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
	} {
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, b []byte, isGet bool) {
		method := map[bool]string{true: "GET", false: "HEAD"}[isGet]
		text, err := readHead(bufio.NewReader(bytes.NewReader(b)), nil, 4096)
		if err != nil {
			return
		}
		h := http.Header{}
		got, err := parseReply(string(text), method, h)
		if err != nil {
			return
		}
		r, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(text)), &http.Request{Method: method})
		if err != nil {
			t.Fatalf("%q: net/http says %v", text, err)
		}
		if r.StatusCode != got.status || (len(r.TransferEncoding) > 0) != (got.chunked || len(h["Transfer-Encoding"]) > 0) ||
			method == "GET" && r.ContentLength != got.length && r.StatusCode >= 200 {
			t.Fatalf("%q: %+v, net/http says %d %v %d", text, got, r.StatusCode, r.TransferEncoding, r.ContentLength)
		}
		delete(h, "Transfer-Encoding")
		delete(h, "Trailer")
		delete(h, "Cache-Control") // net/http adds one for Pragma
		delete(r.Header, "Cache-Control")
		if len(h) != len(r.Header) || len(h) > 0 && !reflect.DeepEqual(h, r.Header) {
			t.Fatalf("%q: %q, net/http says %q", text, h, r.Header)
		}
	})
}

func TestFrames(t *testing.T) {
	f := func(in string, between bool) {
		t.Helper()
		var whole, split frames
		whole.pass([]byte(in))
		for i := range len(in) {
			split.pass([]byte(in[i : i+1]))
		}
		if whole.between() != between || split.between() != between {
			t.Errorf("%q: between %t, byte by byte %t, want %t", in, whole.between(), split.between(), between)
		}
	}
	f("", true)
	f("\x81\x02hi", true)
	f("\x81\x02h", false)
	f("\x81", false)
	f("\x81\x00\x89\x00", true)
	f("\x81\x82mask", false)
	f("\x81\x82maskhi", true)
	f("\x81\x7e\x00\x80"+strings.Repeat("a", 128), true)
	f("\x81\x7e\x00\x80"+strings.Repeat("a", 127), false)
	f("\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"+strings.Repeat("a", 65536)+"\x88", false)
}
