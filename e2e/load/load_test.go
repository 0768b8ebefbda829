package load

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// origin answers as the demo service does, unless fault does first.
func origin(t *testing.T, fault func(w http.ResponseWriter, r *http.Request, n int64) bool) (*httptest.Server, *atomic.Int64) {
	t.Helper()
	var n, conns atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if fault == nil || !fault(w, r, n.Add(1)) {
			right(w, r)
		}
	}))
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	return s, &conns
}

func right(w http.ResponseWriter, r *http.Request) {
	size, _ := io.Copy(io.Discard, r.Body)
	fmt.Fprintf(w, `{"service":"web","version":"v1","id":%q,"size":%d}`, r.Header.Get("X-Request-Id"), size)
}

// raw makes the fault of writing answer as it is and closing the connection.
func raw(answer string) func(http.ResponseWriter, *http.Request, int64) bool {
	return func(w http.ResponseWriter, r *http.Request, _ int64) bool {
		io.Copy(io.Discard, r.Body)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		io.WriteString(conn, strings.ReplaceAll(answer, "$ID", r.Header.Get("X-Request-Id")))
		conn.Close()
		return true
	}
}

func addr(s *httptest.Server) []string { return []string{s.Listener.Addr().String()} }

func TestRightAnswers(t *testing.T) {
	s, conns := origin(t, nil)
	var answers atomic.Int64
	var ids sync.Map
	r := Run(t.Context(), Config{
		Addrs: addr(s), Rate: 2000, Count: 600, Clients: 4, Kinds: []Kind{GET, POST, H2C},
		Header: func(i int) string { return fmt.Sprintf("X-N: %d\r\n", i) },
		Answer: func(i int, a Answer) {
			answers.Add(1)
			if _, twice := ids.LoadOrStore(a.ID, i); twice {
				t.Errorf("id %s was used twice", a.ID)
			}
		},
	})
	if r.Sent != 600 || r.OK != 600 || answers.Load() != 600 || r.Failures() != 0 || r.Versions["v1"] != 600 || len(r.IDs) != 200 || len(r.Samples) > 0 {
		t.Errorf("%s; %d answers, %d ids, samples %q", r, answers.Load(), len(r.IDs), r.Samples)
	}
	if got := conns.Load(); got > 4+4 {
		t.Errorf("4 keep-alive clients and one of HTTP/2 took %d connections", got)
	}
}

// Each fault of an origin is seen as what it is, in every request.
func TestFaultsAreSeen(t *testing.T) {
	stall := make(chan struct{})
	status := func(code int) func(http.ResponseWriter, *http.Request, int64) bool {
		return func(w http.ResponseWriter, r *http.Request, _ int64) bool { w.WriteHeader(code); return true }
	}
	body := func(format string) func(http.ResponseWriter, *http.Request, int64) bool {
		return func(w http.ResponseWriter, r *http.Request, _ int64) bool {
			fmt.Fprintf(w, format, r.Header.Get("X-Request-Id"))
			return true
		}
	}
	for name, f := range map[string]struct {
		fault func(http.ResponseWriter, *http.Request, int64) bool
		kinds []Kind
		want  string // after the kind
	}{
		"500":                  {status(500), []Kind{GET, POST, H2C}, " status 500"},
		"204":                  {status(204), []Kind{GET, POST, H2C}, " status 204"},
		"no answer":            {raw(""), []Kind{GET, POST}, " without an answer"},
		"half a status line":   {raw("HTTP/1.1 20"), []Kind{GET, POST}, " broken"},
		"half a head":          {raw("HTTP/1.1 200 OK\r\nContent-Le"), []Kind{GET, POST}, " broken"},
		"half a body":          {raw("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"), []Kind{GET, POST}, " answer cut"},
		"half a chunked body":  {raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"), []Kind{GET, POST}, " answer cut"},
		"no HTTP":              {raw("SSH-2.0-x\r\n"), []Kind{GET, POST}, " broken"},
		"a cut HTTP/2 stream":  {func(w http.ResponseWriter, r *http.Request, _ int64) bool { panic(http.ErrAbortHandler) }, []Kind{H2C}, " broken"},
		"another's answer":     {body(`{"version":"v1","id":"%.0sother","size":0}`), []Kind{GET, POST, H2C}, " wrong answer"},
		"no id":                {body(`{"version":"v1","size":0}%.0s`), []Kind{GET, POST, H2C}, " wrong answer"},
		"a body lost or grown": {body(`{"version":"v1","id":%q,"size":1}`), []Kind{GET, POST, H2C}, " wrong answer"},
		"no JSON":              {body(`%s`), []Kind{GET, POST, H2C}, " wrong answer"},
		"an answer too much": {
			raw("HTTP/1.1 200 OK\r\nContent-Length: 59\r\n\r\n{\"id\":\"$ID\",\"size\":    0}\n HTTP/1.1 200 OK\r\n\r\n"),
			[]Kind{GET},
			"unasked bytes",
		},
		"no answer in time": {func(http.ResponseWriter, *http.Request, int64) bool { <-stall; return true }, []Kind{GET, POST, H2C}, " timed out"},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := origin(t, f.fault)
			for _, kind := range f.kinds {
				timeout := 10 * time.Second
				if strings.HasSuffix(f.want, "out") {
					timeout = 100 * time.Millisecond
				}
				r := Run(t.Context(), Config{Addrs: addr(s), Rate: 1000, Count: 5, Clients: 5, Kinds: []Kind{kind}, Timeout: timeout})
				want := f.want
				if want[0] == ' ' {
					want = kind.String() + want
				}
				if r.Failed[want] != 5 || r.Failures() != 5 || r.OK != 0 || len(r.Samples) != 5 {
					t.Errorf("%s: want 5 × %q\n%q", r, want, r.Samples)
				}
			}
			if name == "no answer in time" {
				close(stall)
			}
		})
	}
}

// A connection that the origin closes when it is used again: a GET goes to
// another one as with every client, a POST does not and counts as failed.
func TestKeepAliveRace(t *testing.T) {
	fault := func(w http.ResponseWriter, r *http.Request, n int64) bool {
		return n%2 == 0 && raw("")(w, r, n)
	}
	s, _ := origin(t, fault)
	r := Run(t.Context(), Config{Addrs: addr(s), Rate: 1000, Count: 10, Clients: 1, Kinds: []Kind{GET}})
	if r.OK != 10 || r.Stale == 0 || r.Failures() != 0 {
		t.Errorf("GET: %s, %q", r, r.Samples)
	}
	s, _ = origin(t, fault)
	r = Run(t.Context(), Config{Addrs: addr(s), Rate: 1000, Count: 10, Clients: 1, Kinds: []Kind{POST}})
	if r.OK != 5 || r.Stale != 0 || r.Failed["POST without an answer"] != 5 || len(r.IDs) != 5 {
		t.Errorf("POST: %s, %q", r, r.Samples)
	}
}

// A GET on a fresh connection is not written again.
func TestFreshConnectionIsNoExcuse(t *testing.T) {
	s, _ := origin(t, func(w http.ResponseWriter, r *http.Request, n int64) bool { return n == 1 && raw("")(w, r, n) })
	r := Run(t.Context(), Config{Addrs: addr(s), Rate: 1000, Count: 2, Clients: 1})
	if r.OK != 1 || r.Stale != 0 || r.Failed["GET without an answer"] != 1 {
		t.Errorf("%s, %q", r, r.Samples)
	}
}

func TestConnectionCloseIsObeyed(t *testing.T) {
	s, conns := origin(t, func(w http.ResponseWriter, r *http.Request, n int64) bool {
		w.Header().Set("Connection", "close")
		return false
	})
	r := Run(t.Context(), Config{Addrs: addr(s), Rate: 1000, Count: 10, Clients: 1, Kinds: []Kind{POST}})
	if r.OK != 10 || r.Failures() != 0 || conns.Load() != 10 {
		t.Errorf("%s, %q; %d connections", r, r.Samples, conns.Load())
	}
}

// client returns one HTTP/1.1 client as Run has many.
func client(t testing.TB, s *httptest.Server) *h1 {
	c := &h1{run: &run{cfg: Config{Addrs: addr(s), Timeout: 5 * time.Second, Path: "/"}, report: Report{Failed: map[string]int{}, Versions: map[string]int{}}}}
	t.Cleanup(c.hangUp)
	return c
}

// What happens to an idle connection is seen before it is used again.
func TestIdleConnectionsAreLookedAt(t *testing.T) {
	for name, f := range map[string]struct {
		then   string // sent after the first answer, before the connection is closed
		faults int
	}{
		"closed":      {"", 0},
		"unasked for": {"HTTP/1.1 408 Request Timeout\r\n\r\n", 1},
	} {
		t.Run(name, func(t *testing.T) {
			answered := make(chan struct{})
			s, _ := origin(t, func(w http.ResponseWriter, r *http.Request, n int64) bool {
				if n > 1 {
					return false
				}
				conn, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					panic(err)
				}
				body := fmt.Sprintf(`{"id":%q,"size":0}`, r.Header.Get("X-Request-Id"))
				fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
				<-answered
				io.WriteString(conn, f.then)
				conn.Close()
				return true
			})
			c := client(t, s)
			c.do(0, GET, time.Now())
			close(answered)
			for closed, unasked := false, false; !closed && !unasked; {
				closed, unasked = c.look()
			}
			c.do(1, POST, time.Now())
			if r := &c.run.report; r.OK != 2 || r.Stale+r.Unwritten != 0 || r.Failures() != f.faults || r.Failed["unasked bytes"] != f.faults {
				t.Errorf("%s, %q", r, r.Samples)
			}
		})
	}
}

// A write that fails was seen by nobody: it goes elsewhere, whatever it is.
func TestUnwritten(t *testing.T) {
	s, _ := origin(t, nil)
	c := client(t, s)
	conn, err := net.Dial("tcp", addr(s)[0])
	if err != nil {
		t.Fatal(err)
	}
	conn.(*net.TCPConn).CloseWrite()
	c.conn, c.addr, c.used = conn, addr(s)[0], true
	if _, err := c.exchange(0, POST, "id"); cause(POST, err) != "POST never written" {
		t.Errorf("a write to a closed connection: %v", err)
	}
	c.hangUp()
	c.do(1, POST, time.Now())
	if r := &c.run.report; r.OK != 1 {
		t.Errorf("%s, %q", r, r.Samples)
	}
}

func TestRefused(t *testing.T) {
	gone, _ := origin(t, nil)
	nobody := addr(gone)[0]
	gone.Close()
	r := Run(t.Context(), Config{Addrs: []string{nobody}, Rate: 1000, Count: 5, Kinds: []Kind{GET, POST, H2C}})
	if r.Failed["no connection"] != 5 || r.Refused < 5 || r.OK != 0 {
		t.Errorf("%s, %q", r, r.Samples)
	}
	s, _ := origin(t, nil)
	r = Run(t.Context(), Config{Addrs: []string{nobody, addr(s)[0]}, Rate: 1000, Count: 30, Kinds: []Kind{GET, POST, H2C}})
	if r.OK != 30 || r.Refused == 0 || r.Failures() != 0 {
		t.Errorf("%s, %q", r, r.Samples)
	}
}

// Open loop: a stall is charged to all requests that were due in it, and a run
// against an origin that stalls for ever ends all the same.
func TestLatencyCountsFromTheSchedule(t *testing.T) {
	begun, proceed := make(chan time.Time, 1), make(chan struct{})
	s, _ := origin(t, func(w http.ResponseWriter, r *http.Request, n int64) bool {
		if n == 1 {
			begun <- time.Now()
			<-proceed
		}
		return false
	})
	time.AfterFunc(300*time.Millisecond, func() { close(proceed) })
	r := Run(t.Context(), Config{Addrs: addr(s), Rate: 200, Count: 40, Clients: 1})
	if p50 := r.Latency(0.5); r.OK != 40 || p50 < 100*time.Millisecond || r.Latency(1) < 250*time.Millisecond || r.Latency(0) > p50 {
		t.Errorf("%s: half of 40 requests were due in a stall of 300 ms", r)
	}

	stall := make(chan struct{})
	s, _ = origin(t, func(http.ResponseWriter, *http.Request, int64) bool { <-stall; return true })
	began := time.Now()
	r = Run(t.Context(), Config{Addrs: addr(s), Rate: 1000, Count: 500, Clients: 2, Timeout: 200 * time.Millisecond})
	if took := time.Since(began); r.OK != 0 || r.Failures() != 500 || r.Failed["GET not started in time"] == 0 || took > 5*time.Second {
		t.Errorf("%s after %v", r, took)
	}
	close(stall)
}

func TestEndsWithContext(t *testing.T) {
	s, _ := origin(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	r := Run(ctx, Config{Addrs: addr(s), Rate: 200})
	if r.OK != r.Sent || r.Failures() != 0 || r.Sent < 10 || r.Sent > 45 {
		t.Errorf("200 ms at 200 a second: %s, %q", r, r.Samples)
	}
}

func TestBesideTheLoad(t *testing.T) {
	// n is how many sessions have begun; the last one lasts until the client leaves.
	socket := func(serve func(*websocket.Conn, context.Context)) func(http.ResponseWriter, *http.Request, int64) bool {
		return func(w http.ResponseWriter, r *http.Request, n int64) bool {
			if r.URL.Path != "/ws" {
				return false
			}
			c, err := websocket.Accept(w, r, nil)
			if err != nil {
				panic(err)
			}
			defer c.CloseNow()
			serve(c, r.Context())
			return true
		}
	}
	stream := func(send string) func(http.ResponseWriter, *http.Request, int64) bool {
		return func(w http.ResponseWriter, r *http.Request, n int64) bool {
			if r.URL.Path != "/stream" {
				return false
			}
			return raw("HTTP/1.1 200 OK\r\n"+send)(w, r, n)
		}
	}
	events := func(n int) (s string) {
		for i := range n {
			s += fmt.Sprintf("id: %d\nevent: tick\ndata: x\n\n", i)
		}
		return s
	}
	length := func(n int, body string) string { return fmt.Sprintf("Content-Length: %d\r\n\r\n%s", n, body) }
	echo := func(c *websocket.Conn, ctx context.Context, n int) {
		for range n {
			kind, m, err := c.Read(ctx)
			if err != nil || c.Write(ctx, kind, m) != nil {
				return
			}
		}
	}
	whole := events(ticks)
	for name, f := range map[string]struct {
		fault   func(http.ResponseWriter, *http.Request, int64) bool
		sockets bool
		seen    func(*Report) bool
	}{
		"echoes": {
			socket(func(c *websocket.Conn, ctx context.Context) { echo(c, ctx, 1000) }), true,
			func(r *Report) bool { return r.Echoes > 0 && r.Failures() == 0 },
		},
		"closed with 1001": {
			socket(func(c *websocket.Conn, ctx context.Context) { echo(c, ctx, 1); c.Close(websocket.StatusGoingAway, "") }), true,
			func(r *Report) bool { return r.Closed > 0 && r.Failures() == 0 },
		},
		"closed with 1011": {
			socket(func(c *websocket.Conn, ctx context.Context) {
				echo(c, ctx, 1)
				c.Close(websocket.StatusInternalError, "")
			}), true,
			func(r *Report) bool { return r.Failed["WebSocket"] > 0 },
		},
		"cut": {
			socket(func(c *websocket.Conn, ctx context.Context) { echo(c, ctx, 1); c.CloseNow() }), true,
			func(r *Report) bool { return r.Failed["WebSocket"] > 0 },
		},
		"wrong echo": {socket(func(c *websocket.Conn, ctx context.Context) {
			c.Read(ctx)
			c.Write(ctx, websocket.MessageText, []byte("other"))
		}), true, func(r *Report) bool { return r.Failed["WebSocket"] > 0 }},
		"no 101": {
			func(w http.ResponseWriter, _ *http.Request, _ int64) bool { w.WriteHeader(403); return true }, true,
			func(r *Report) bool { return r.Failed["WebSocket"] > 0 },
		},
		"download":            {stream(length(len(whole), whole)), false, func(r *Report) bool { return r.Downloaded > 0 && r.Failures() == 0 }},
		"download ended":      {stream(length(len(events(3)), events(3))), false, func(r *Report) bool { return r.Ended > 0 && r.Failures() == 0 }},
		"download cut":        {stream(length(len(whole), events(3))), false, func(r *Report) bool { return r.Failed["download"] > 0 }},
		"download lost event": {stream(length(16, "id: 0\n\nid: 2\n\n  ")), false, func(r *Report) bool { return r.Failed["download"] > 0 }},
		"download empty":      {stream(length(0, "")), false, func(r *Report) bool { return r.Failed["download"] > 0 }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _ := origin(t, f.fault)
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			cfg := Config{Addrs: addr(s), Rate: 20, Count: 1, Downloads: 1}
			if f.sockets {
				cfg.WebSockets, cfg.Downloads = 1, 0
			}
			cfg.Count = 10
			if r := Run(ctx, cfg); !f.seen(r) {
				t.Errorf("%s, closed %d, ended %d\n%q", r, r.Closed, r.Ended, r.Samples)
			}
		})
	}
}

func BenchmarkGET(b *testing.B) {
	s := httptest.NewServer(http.HandlerFunc(right))
	defer s.Close()
	c := client(b, s)
	b.ReportAllocs()
	for b.Loop() {
		c.do(0, GET, time.Now())
	}
	if c.run.report.Failures() > 0 {
		b.Fatal(c.run.report.Samples)
	}
}
