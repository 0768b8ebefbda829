package demo

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newService() *Service {
	s := &Service{Name: "web", Version: "v2"}
	s.SetInstance("web-1")
	return s
}

// ask sends a request straight to the handler and returns the answer as a map.
func ask(t *testing.T, s *Service, method, url, body string) (*httptest.ResponseRecorder, map[string]any) {
	t.Helper()
	rec := httptest.NewRecorder()
	req := httptest.NewRequest(method, url, strings.NewReader(body))
	req.Header.Set("X-Request-Id", "r1")
	s.ServeHTTP(rec, req)
	var v map[string]any
	if err := json.Unmarshal(rec.Body.Bytes(), &v); err != nil {
		t.Fatalf("%s %s: %v: %s", method, url, err, rec.Body)
	}
	return rec, v
}

func TestAnswers(t *testing.T) {
	s := newService()
	for _, f := range []struct {
		method, url, body string
		want              int
		field             string
		value             any
	}{
		{"GET", "/", "", 200, "service", "web"},
		{"GET", "/", "", 200, "version", "v2"},
		{"GET", "/", "", 200, "instance", "web-1"},
		{"GET", "/a%2Fb/c?x=1", "", 200, "path", "/a%2Fb/c"},
		{"GET", "/a?x=1;y", "", 200, "query", "x=1;y"},
		{"GET", "/", "", 200, "id", "r1"},
		{"POST", "/p", `{"id":"p1"}`, 200, "id", "p1"},
		{"POST", "/p", `{"id":"p1"}`, 200, "size", 11.0},
		{"POST", "/p", strings.Repeat("x", 200_000), 200, "size", 200_000.0},
		{"DELETE", "/p", "", 200, "method", "DELETE"},
		{"GET", "/health", "", 200, "status", "passing"},
		{"POST", "/health?status=warning", "", 200, "status", "warning"},
		{"GET", "/health", "", 429, "status", "warning"},
		{"POST", "/health?status=critical", "", 200, "status", "critical"},
		{"GET", "/health", "", 503, "status", "critical"},
		{"POST", "/health?status=passing", "", 200, "status", "passing"},
		{"POST", "/health?status=good", "", 400, "error", `status "good": want passing, warning or critical`},
		{"GET", "/fail", "", 200, "rate", 0.0},
		{"GET", "/fail?rate=1", "", 500, "instance", "web-1"},
		{"GET", "/fail?rate=0", "", 200, "rate", 0.0},
		{"GET", "/fail?rate=NaN", "", 400, "error", `rate "NaN": want a number from 0 to 1`},
		{"POST", "/fail?rate=1.1", "", 400, "error", `rate "1.1": want a number from 0 to 1`},
		{"POST", "/fail?rate=1", "", 200, "rate", 1.0},
		{"GET", "/fail", "", 200, "rate", 1.0},
		{"GET", "/x", "", 500, "error", "failing as told: the error rate is 1"},
		{"GET", "/health", "", 200, "status", "passing"},
		{"POST", "/fail?rate=0", "", 200, "rate", 0.0},
		{"GET", "/x", "", 200, "path", "/x"},
		{"GET", "/slow?ms=1", "", 200, "waited_ms", 1.0},
		{"GET", "/slow?ms=-1", "", 400, "error", `ms "-1": want a whole number, zero or more`},
		{"GET", "/stream?n=x", "", 400, "error", `n "x": want a whole number, zero or more`},
	} {
		rec, v := ask(t, s, f.method, f.url, f.body)
		if rec.Code != f.want || v[f.field] != f.value {
			t.Errorf("%s %s: %d %s = %v; want %d %v", f.method, f.url, rec.Code, f.field, v[f.field], f.want, f.value)
		}
	}
}

func TestDrain(t *testing.T) {
	s := newService()
	s.Drain()
	if rec, v := ask(t, s, "GET", "/health", ""); rec.Code != 503 || v["status"] != "draining" {
		t.Errorf("/health: %d %v, want 503 draining", rec.Code, v)
	}
	if rec, _ := ask(t, s, "GET", "/x", ""); rec.Code != 200 || rec.Header().Get("Connection") != "close" {
		t.Errorf("/x: %d, Connection %q; want 200, close", rec.Code, rec.Header().Get("Connection"))
	}
}

func TestSeen(t *testing.T) {
	s := newService()
	ask(t, s, "POST", "/p", `{"id":"a"}`)
	ask(t, s, "POST", "/p", `{"id":"a"}`)
	ask(t, s, "GET", "/p", "")
	// A body that breaks off was not received.
	rec := httptest.NewRecorder()
	s.ServeHTTP(rec, httptest.NewRequest("POST", "/p", io.MultiReader(strings.NewReader(`{"id":"b"}`), brokenReader{})))
	if rec.Code != 400 {
		t.Errorf("broken body: %d, want 400", rec.Code)
	}
	// A response that nobody takes was not completed.
	s.ServeHTTP(brokenWriter{httptest.NewRecorder()}, httptest.NewRequest("POST", "/p", strings.NewReader(`{"id":"c"}`)))
	_, v := ask(t, s, "GET", "/seen?id=a&id=b&id=c", "")
	want := map[string]string{"a": "map[completed:2 received:2]", "b": "map[completed:0 received:0]", "c": "map[completed:0 received:1]"}
	for id, w := range want {
		if got := fmt.Sprint(v["seen"].(map[string]any)[id]); got != w {
			t.Errorf("%s: %s, want %s", id, got, w)
		}
	}
	if _, v := ask(t, s, "GET", "/seen", ""); len(v["seen"].(map[string]any)) != 3 { // a, c, r1
		t.Errorf("all seen: %v, want 3 ids", v["seen"])
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

type brokenWriter struct{ *httptest.ResponseRecorder }

func (brokenWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestLedgerIsBounded(t *testing.T) {
	var l ledger
	for i := range maxSeen + 10 {
		l.at(fmt.Sprint(i)).Received++
	}
	if len(l.byID) != maxSeen || l.forgotten != 10 || l.byID["9"] != nil || l.byID["10"] == nil {
		t.Errorf("%d ids, %d forgotten, 9 known: %v, 10 known: %v", len(l.byID), l.forgotten, l.byID["9"] != nil, l.byID["10"] != nil)
	}
}

func TestSlowIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		if _, v := ask(t, newService(), "GET", "/slow?ms=2000000000", ""); v["waited_ms"] != 60000.0 {
			t.Errorf("waited %v ms, want 60000", v["waited_ms"])
		}
		if took := time.Since(start); took != maxSlow {
			t.Errorf("took %v, want %v", took, maxSlow)
		}
	})
}

func TestStream(t *testing.T) {
	s := newService()
	srv := httptest.NewServer(s)
	defer srv.Close()
	resp, err := srv.Client().Get(srv.URL + "/stream?ms=1")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got := resp.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("Content-Type %q", got)
	}
	lines := bufio.NewScanner(resp.Body)
	for ticks := 0; ticks < 3 && lines.Scan(); {
		if lines.Text() == fmt.Sprintf(`data: {"tick":%d,"instance":"web-1"}`, ticks) {
			ticks++
		}
	}
	s.Close() // the stream ends in order
	for lines.Scan() {
	}
	if err := lines.Err(); err != nil {
		t.Errorf("the stream broke: %v", err)
	}
	if resp, err := srv.Client().Get(srv.URL + "/stream?ms=1&n=2"); err != nil {
		t.Error(err)
	} else {
		resp.Body.Close()
	}
}

func TestWebSocketEchoesAndCloses(t *testing.T) {
	s := newService()
	srv := httptest.NewServer(s)
	defer srv.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var all []*websocket.Conn
	for i := range 3 {
		c, _, err := websocket.Dial(ctx, srv.URL+"/ws", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer c.CloseNow()
		all = append(all, c)
		want := fmt.Sprint("hello ", i)
		if err := c.Write(ctx, websocket.MessageText, []byte(want)); err != nil {
			t.Fatal(err)
		}
		if kind, got, err := c.Read(ctx); err != nil || kind != websocket.MessageText || string(got) != want {
			t.Errorf("echo: %v %q %v, want %q", kind, got, err, want)
		}
	}
	var closed sync.WaitGroup
	closed.Go(s.Close)
	for _, c := range all {
		if _, _, err := c.Read(ctx); websocket.CloseStatus(err) != websocket.StatusGoingAway {
			t.Errorf("closed with %v, want status 1001", err)
		}
	}
	closed.Wait()
	late, _, err := websocket.Dial(ctx, srv.URL+"/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer late.CloseNow()
	if _, _, err := late.Read(ctx); websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("after Close: %v, want status 1001", err)
	}
}

func TestLoad(t *testing.T) {
	var n atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-User") == "" {
			t.Error("no X-User")
		}
		if n.Add(1)%2 == 0 {
			w.WriteHeader(500)
		}
	}))
	defer srv.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var seen atomic.Int64
	l := &Load{URL: srv.URL, Rate: 500, Observe: func(status int, _ time.Duration) {
		if seen.Add(1) == 20 {
			cancel()
		}
	}}
	if err := l.Run(ctx); err != nil {
		t.Fatal(err)
	}
	sent, failed, _ := l.Stats()
	if sent < 20 || failed < 5 || failed > sent {
		t.Errorf("sent %d, failed %d; want at least 20, about half of them failed", sent, failed)
	}
	if err := (&Load{URL: "http://[bad"}).Run(t.Context()); err == nil {
		t.Error("a bad URL is no error")
	}
}

// A slow service does not slow the load: what does not fit is skipped, and counted.
func TestLoadIsOpenAndBounded(t *testing.T) {
	stuck := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-stuck }))
	defer srv.Close()
	ctx, cancel := context.WithCancel(t.Context())
	l := &Load{URL: srv.URL, Rate: 1000, InFlight: 2}
	var wg sync.WaitGroup
	wg.Go(func() { l.Run(ctx) })
	deadline := time.Now().Add(5 * time.Second)
	for _, _, skipped := l.Stats(); skipped < 5; _, _, skipped = l.Stats() {
		if time.Now().After(deadline) {
			t.Error("nothing was skipped")
			break
		}
		<-time.After(time.Millisecond)
	}
	cancel()
	wg.Wait()
	close(stuck)
	if sent, failed, _ := l.Stats(); sent != 0 || failed != 0 {
		t.Errorf("sent %d, failed %d; requests that we cut off count as neither", sent, failed)
	}
}
