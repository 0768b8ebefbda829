package nethttp

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"testing"

	"serin/route"
)

// A tag's edits reach the instance and the client, on every protocol, with
// each attempt's own edits, and never an answer of ours.
func TestHeaderEdits(t *testing.T) {
	got := make(chan string, 4)
	resets := origin(t, func(c net.Conn, br *bufio.Reader) {
		req, _ := readRequest(br)
		got <- req
	})
	answers := answering(t, "HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 2\r\n\r\nok", got)
	l := lb(t, "", nil, resets, answers)
	for target := range l.Core.Table().Targets() {
		target.Options = &route.Options{
			Retries: -1,
			RequestHeaders: []route.HeaderEdit{
				{Name: "X-Tag", Value: target.Addr},
				{Op: route.HeaderAdd, Name: "X-More", Value: "ours"},
				{Op: route.HeaderRemove, Name: "X-Gone"},
				{Name: "X-Forwarded-For", Value: "192.0.2.1"},
			},
			ResponseHeaders: []route.HeaderEdit{{Op: route.HeaderRemove, Name: "Server"}, {Name: "X-Answer", Value: target.Addr}},
		}
	}
	f := func(name string, ask func() *http.Response) {
		t.Helper()
		for range 2 { // whichever instance is chosen first
			r := ask()
			if r.Header.Get("X-Answer") != answers || r.Header.Get("Server") != "" {
				t.Errorf("%s: the client got %v", name, r.Header)
			}
			for _, addr := range []string{resets, answers}[2-l.outcome().Attempts:] {
				g := <-got
				if head(g, "X-Tag") != addr || head(g, "X-Gone") != "-" || head(g, "X-Forwarded-For") != "127.0.0.1" || head(g, "X-More") != "theirs" {
					t.Errorf("%s: the instance %s got\n%s", name, addr, g)
				}
			}
		}
	}
	f("HTTP/1.1", func() *http.Response {
		r, _ := l.ask("GET / HTTP/1.1\r\nHost: web.test\r\nX-More: theirs\r\nX-Gone: 1\r\n\r\n")
		return r
	})
	f("HTTP/2", func() *http.Response {
		req, _ := http.NewRequestWithContext(context.Background(), "GET", "http://"+l.addr+"/", nil)
		req.Header = http.Header{"X-More": {"theirs"}, "X-Gone": {"1"}}
		r, err := l.h2().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, r.Body)
		r.Body.Close()
		return r
	})

	// An answer of ours is nobody's to edit.
	l = lb(t, "", nil, "127.0.0.1:1")
	for target := range l.Core.Table().Targets() {
		target.Options = &route.Options{ResponseHeaders: []route.HeaderEdit{{Name: "X-Answer", Value: "x"}}}
	}
	if r, _ := l.ask(get("/")); r.StatusCode != 502 || r.Header.Get("X-Answer") != "" {
		t.Errorf("an answer of ours: %d %v", r.StatusCode, r.Header)
	}
}

func TestHeaderEditsOfAnUpgrade(t *testing.T) {
	got := make(chan string, 1)
	l := lb(t, "", nil, answering(t, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nServer: x\r\n\r\n", got))
	for target := range l.Core.Table().Targets() {
		target.Options = &route.Options{
			RequestHeaders:  []route.HeaderEdit{{Name: "X-Tag", Value: "1"}, {Op: route.HeaderRemove, Name: "Upgrade"}},
			ResponseHeaders: []route.HeaderEdit{{Op: route.HeaderRemove, Name: "Server"}, {Name: "X-Answer", Value: "1"}, {Op: route.HeaderRemove, Name: "Connection"}},
		}
	}
	c := l.dial()
	c.send("GET / HTTP/1.1\r\nHost: web.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
	r := c.response("GET")
	if r.StatusCode != 101 || r.Header.Get("Server") != "" || r.Header.Get("X-Answer") != "1" || r.Header.Get("Upgrade") != "websocket" {
		t.Errorf("the client got %d %v", r.StatusCode, r.Header)
	}
	if g := <-got; head(g, "X-Tag") != "1" || head(g, "Upgrade") != "websocket" {
		t.Errorf("the instance got\n%s", g)
	}
}
