package proxy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"serin/registry"
	"serin/route"
)

func exampleOutcome() *Outcome {
	return &Outcome{
		Start: time.Date(2026, 11, 22, 12, 0, 0, 123e6, time.FixedZone("", 3600)), Duration: 1234567, FirstByte: 1200000,
		Method: "GET", Host: "a.test", Path: "/x", Query: "q=1", HTTPVersion: "HTTP/1.1", Scheme: "https",
		Client: netip.MustParseAddr("203.0.113.7"), Remote: netip.MustParseAddrPort("10.0.0.1:5000"),
		UserAgent: `curl/8 "x"`, Referer: "http://b.test/", RequestID: "id1",
		Service: "web", Arm: route.Canary, Why: WhySticky, Target: &route.Target{Instance: &registry.Instance{Addr: "10.1.0.1:80", ID: "web-1"}},
		Status: 200, Class: OK, FirstClass: ConnectError, Attempts: 2, Received: 3, Sent: 42,
	}
}

func TestAppendLog(t *testing.T) {
	f := func(format LogFormat, o *Outcome, want string) {
		t.Helper()
		if got := string(AppendLog(nil, format, o)); got != want+"\n" {
			t.Errorf("%v\n got %swant %s", format, got, want)
		}
	}
	o := exampleOutcome()
	f(LogJSON, o, `{"time":"2026-11-22T11:00:00.123Z","client":"203.0.113.7","remote":"10.0.0.1:5000","request_id":"id1","method":"GET","scheme":"https","host":"a.test","path":"/x","query":"q=1","proto":"HTTP/1.1","status":200,"class":"ok","service":"web","arm":"canary","why":"sticky","upstream":"10.1.0.1:80","instance":"web-1","attempts":2,"first_class":"connect_error","received":3,"sent":42,"duration_ms":1.234,"first_byte_ms":1.200,"user_agent":"curl/8 \"x\"","referer":"http://b.test/"}`)
	f(LogCommon, o, `203.0.113.7 - - [22/Nov/2026:12:00:00 +0100] "GET /x?q=1 HTTP/1.1" 200 42`)
	f(LogCombined, o, `203.0.113.7 - - [22/Nov/2026:12:00:00 +0100] "GET /x?q=1 HTTP/1.1" 200 42 "http://b.test/" "curl/8 \"x\""`)

	// Nobody writes a second line, or to the terminal of who reads the log.
	bad := &Outcome{Start: o.Start, Method: "GET", Path: "/\r\n\x1b[31m\x00\x7f\xff\u009b", HTTPVersion: "HTTP/1.1", Status: 404, Class: NoTarget, Err: errors.New("no\nroute")}
	f(LogJSON, bad, `{"time":"2026-11-22T11:00:00.123Z","method":"GET","path":"/\u000d\u000a\u001b[31m\u0000\u007f\ufffd\u009b","proto":"HTTP/1.1","status":404,"class":"no_target","attempts":0,"received":0,"sent":0,"duration_ms":0.000,"error":"no\u000aroute"}`)
	f(LogCombined, bad, `- - - [22/Nov/2026:12:00:00 +0100] "GET /\x0d\x0a\x1b[31m\x00\x7f\xff\xc2\x9b HTTP/1.1" 404 0 "-" "-"`)

	long := AppendLog(nil, LogJSON, &Outcome{Path: strings.Repeat("x", 1<<20), UserAgent: strings.Repeat("€", 1<<20)})
	if len(long) > 10<<10 || !json.Valid(long) {
		t.Errorf("a line of %d bytes, valid JSON: %v", len(long), json.Valid(long))
	}
}

func FuzzAppendLog(f *testing.F) {
	f.Add("GET", "/x", "a\"b\\", "\xf0\x9f\x98", 200)
	f.Add("\x00", "\u2028\u0085\x7f", "\xed\xa0\x80", strings.Repeat("é", 3000), -1)
	f.Fuzz(func(t *testing.T, method, path, agent, service string, status int) {
		o := exampleOutcome()
		o.Method, o.Path, o.UserAgent, o.Service, o.Status, o.Err = method, path, agent, service, status, errors.New(agent)
		line := AppendLog(nil, LogJSON, o)
		var got struct{ Path string }
		if err := json.Unmarshal(line, &got); err != nil {
			t.Fatalf("%v: %q", err, line)
		}
		if len(path) < logField && utf8.ValidString(path) && got.Path != path {
			t.Fatalf("path %q became %q", path, got.Path)
		}
		for _, format := range []LogFormat{LogJSON, LogCommon, LogCombined} {
			line := AppendLog(nil, format, o)
			for i, c := range line {
				if c < ' ' && (c != '\n' || i != len(line)-1) || c == 0x7f {
					t.Fatalf("%v: control byte %#x at %d of %q", format, c, i, line)
				}
			}
			if line[len(line)-1] != '\n' {
				t.Fatalf("%v: no end of line in %q", format, line)
			}
		}
	})
}

// sink is a writer that can be made to hang or to fail.
type sink struct {
	mu   sync.Mutex
	got  bytes.Buffer
	hang chan struct{} // nil: does not
	err  error
}

func (s *sink) Write(b []byte) (int, error) {
	if s.hang != nil {
		<-s.hang
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return 0, s.err
	}
	return s.got.Write(b)
}

func (s *sink) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got.String()
}

func TestAccessLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s sink
		l := NewAccessLog(&s, LogCommon)
		l.Log(exampleOutcome()) // before Run: kept
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- l.Run(ctx) }()
		l.Log(exampleOutcome())
		time.Sleep(logDelay)
		synctest.Wait()
		if got := strings.Count(s.String(), "\n"); got != 2 {
			t.Errorf("%d lines after %v, want 2", got, logDelay)
		}
		l.Log(exampleOutcome())
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if got := strings.Count(s.String(), "\n"); got != 3 {
			t.Errorf("%d lines at the end, want 3", got)
		}
	})
}

// TestAccessLogBlocked: a sink that hangs costs lines, never a request (F36).
func TestAccessLogBlocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sink{hang: make(chan struct{})}
		l := NewAccessLog(&s, LogJSON)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- l.Run(ctx) }()
		line := len(AppendLog(nil, LogJSON, exampleOutcome()))
		start := time.Now()
		n := 3 * logPending / line
		for range n {
			l.Log(exampleOutcome())
		}
		if waited := time.Since(start); waited > 0 {
			t.Errorf("requests waited %v for the log", waited)
		}
		l.mu.Lock()
		pending := len(l.pending)
		l.mu.Unlock()
		if l.Dropped() == 0 || pending > logPending {
			t.Errorf("%d dropped, %d bytes pending", l.Dropped(), pending)
		}
		time.Sleep(logDelay) // until the sink hangs
		synctest.Wait()
		l.Log(exampleOutcome())
		before := l.Dropped()
		cancel()
		if err := <-done; err != nil || time.Since(start) > logPatience+logDelay {
			t.Errorf("a sink that hangs: %v after %v", err, time.Since(start))
		}
		if lost := l.Dropped() - before; lost != 1 {
			t.Errorf("%d lines are lost at the end, want 1", lost)
		}
		dropped := l.Dropped()
		close(s.hang)
		synctest.Wait()
		if got := uint64(strings.Count(s.String(), "\n")); got+dropped < uint64(n)*9/10 {
			t.Errorf("%d written and %d dropped of %d", got, dropped, n)
		}
	})
}

func TestAccessLogFails(t *testing.T) {
	s := sink{err: io.ErrClosedPipe}
	l := NewAccessLog(&s, LogJSON)
	l.Log(exampleOutcome())
	l.Log(exampleOutcome())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Run(ctx); err != nil {
		t.Error(err)
	}
	if l.Dropped() != 2 {
		t.Errorf("%d dropped, want 2", l.Dropped())
	}
}

func BenchmarkAccessLog(b *testing.B) {
	o := exampleOutcome()
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		buf := make([]byte, 0, 1024)
		for b.Loop() {
			buf = AppendLog(buf[:0], LogJSON, o)
		}
	})
	b.Run("template", func(b *testing.B) {
		b.ReportAllocs()
		buf := make([]byte, 0, 1024)
		for b.Loop() {
			buf = AppendLog(buf[:0], LogCombined, o)
		}
	})
	b.Run("log", func(b *testing.B) {
		l := NewAccessLog(io.Discard, LogJSON)
		l.pending = make([]byte, 0, logPending)
		b.ReportAllocs()
		for b.Loop() {
			if l.Log(o); len(l.pending) > logPending-1024 {
				l.pending = l.pending[:0]
			}
		}
	})
}
