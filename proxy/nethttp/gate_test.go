package nethttp

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"serin/proxy"
	"serin/registry"
	"serin/route"
)

// ways are how a client may ask, each with extra header fields ("Name: value").
func (l *lab) ways() map[string]func(fields ...string) (*http.Response, string) {
	raw := func(request string) func(...string) (*http.Response, string) {
		return func(fields ...string) (*http.Response, string) {
			l.t.Helper()
			return l.ask(strings.Replace(request, "\r\n", "\r\n"+strings.Join(append(fields, ""), "\r\n"), 1))
		}
	}
	return map[string]func(...string) (*http.Response, string){
		"HTTP/1.1":  raw(get("/")),
		"WebSocket": raw(strings.Replace(handshake, "/ws", "/", 1)),
		"HTTP/2": func(fields ...string) (*http.Response, string) {
			l.t.Helper()
			req, _ := http.NewRequestWithContext(context.Background(), "GET", "http://"+l.addr+"/", nil)
			for _, field := range fields {
				name, value, _ := strings.Cut(field, ": ")
				req.Header.Add(name, value)
			}
			c := l.h2()
			c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
			r, err := c.Do(req)
			if err != nil {
				l.t.Fatal(err)
			}
			defer r.Body.Close()
			b, _ := io.ReadAll(r.Body)
			return r, string(b)
		},
	}
}

// staff makes a server know the user ann with the password secret.
func staff(t *testing.T) func(*Server) {
	file := filepath.Join(t.TempDir(), "htpasswd")
	if err := os.WriteFile(file, []byte("ann:secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	return func(s *Server) {
		s.Core.Auth = proxy.NewAuthenticator([]proxy.AuthScheme{{Name: "staff", Type: "basic", File: file, Realm: "Staff"}}, nil)
	}
}

// What keeps a request out does so on every protocol, before the instance
// hears of it, and is never charged to it.
func TestRefusalsOfARoute(t *testing.T) {
	f := func(options string, status int, body, header, value string, reason proxy.Reason, fields ...string) {
		t.Helper()
		unasked := origin(t, func(net.Conn, *bufio.Reader) { t.Errorf("%s: the instance was asked", options) })
		l := lb(t, options, staff(t), unasked)
		l.Core.Trusted = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		for name, ask := range l.ways() {
			r, got := ask(fields...)
			if r.StatusCode != status || got != body+"\n" || r.Header.Get(header) != value {
				t.Errorf("%s over %s: got %d %q %v", options, name, r.StatusCode, got, r.Header)
			}
			o := l.outcome()
			if o.Status != status || o.Class != proxy.Answered || o.Reason != reason || o.Target != nil || o.Attempts != 0 || o.Service != "web" || o.Route == nil {
				t.Errorf("%s over %s: outcome %+v", options, name, o)
			}
		}
	}
	const denied = "access denied"
	f("allow=ip:10.0.0.0/8", 403, denied, "", "", proxy.ReasonAccess)
	f("deny=ip:127.0.0.0/8", 403, denied, "", "", proxy.ReasonAccess)
	f("allow=ip:127.0.0.0/8", 403, denied, "", "", proxy.ReasonAccess, "X-Forwarded-For: 192.0.2.1")
	f("deny=ip:192.0.2.0/24", 403, denied, "", "", proxy.ReasonAccess, "X-Forwarded-For: 192.0.2.1")
	f("allow=ip:127.0.0.0/8", 403, denied, "", "", proxy.ReasonAccess, "X-Forwarded-For: unknown")
	const failed, challenge = "authorization failed", "Www-Authenticate"
	f("auth=staff", 401, failed, challenge, `Basic realm="Staff", charset="UTF-8"`, proxy.ReasonAuth)
	f("auth=staff", 401, failed, challenge, `Basic realm="Staff", charset="UTF-8"`, proxy.ReasonAuth, "Authorization: Basic YW5uOndyb25n")
	f("auth=nobody", 401, failed, challenge, `Basic realm="nobody", charset="UTF-8"`, proxy.ReasonAuth, "Authorization: Basic YW5uOnNlY3JldA==")
	f("redirect=302,https://b.test/", 302, "302 Found", "Location", "https://b.test/", proxy.ReasonRedirect)
	f("redirect=302,/", 508, "this redirect leads to itself", "", "", proxy.ReasonRedirectLoop)
}

// Who is let in gets through with the credentials, as with Fabio.
func TestAuthorised(t *testing.T) {
	got := make(chan string, 1)
	l := lb(t, "auth=staff allow=ip:127.0.0.1", staff(t), answering(t, ok, got))
	for _, name := range []string{"HTTP/1.1", "HTTP/2"} {
		r, _ := l.ways()[name]("Authorization: Basic YW5uOnNlY3JldA==")
		if g := <-got; r.StatusCode != 200 || head(g, "Authorization") != "Basic YW5uOnNlY3JldA==" {
			t.Errorf("%s: status %d, the instance got\n%s", name, r.StatusCode, g)
		}
	}
}

func TestRateLimit(t *testing.T) {
	l := lb(t, "ratelimit=1/m,2", nil, answering(t, ok, nil))
	for range 2 {
		if r, _ := l.ask(get("/")); r.StatusCode != 200 {
			t.Fatalf("status %d within the burst", r.StatusCode)
		}
		l.outcome()
	}
	for name, ask := range l.ways() {
		r, body := ask()
		if after := r.Header.Get("Retry-After"); r.StatusCode != 429 || after > "60" || len(after) != 2 || body != "too many requests for this route\n" {
			t.Errorf("%s: got %d %q, Retry-After %q", name, r.StatusCode, body, after)
		}
		if o := l.outcome(); o.Reason != proxy.ReasonRateLimit || o.Class != proxy.Answered || o.Target != nil {
			t.Errorf("%s: outcome %+v", name, o)
		}
	}
}

// A route's place is free again however its request ends, and not before.
func TestMaxConnIsFreed(t *testing.T) {
	finish := make(chan bool)
	var panics atomic.Bool
	l := lb(t, "maxconn=1", func(s *Server) {
		s.Log = hclog.NewNullLogger()
		s.Core.Now = func() time.Time {
			if panics.CompareAndSwap(true, false) {
				panic("no time")
			}
			return time.Now()
		}
	}, origin(t, func(c net.Conn, br *bufio.Reader) {
		for {
			request, err := readRequest(br)
			if err != nil {
				return
			}
			const partial = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npart"
			switch _, path, _ := strings.Cut(line(request), " /"); path[:2] {
			case "ok":
				io.WriteString(c, ok)
			case "wh": // whole
				io.WriteString(c, partial)
				<-finish
				io.WriteString(c, "part")
			case "cu": // cut
				io.WriteString(c, partial)
				<-finish
				return
			case "re": // reset
				<-finish
				return
			case "pa": // panic
				<-finish
				panics.Store(true)
				io.WriteString(c, ok)
			case "ha": // hang
				io.WriteString(c, partial)
				br.ReadByte()
				return
			case "ws":
				io.WriteString(c, switching)
				br.ReadByte()
				return
			}
		}
	}))
	// f begins a request, and ends it with what begin returns.
	f := func(name string, class proxy.Class, begin func() (end func())) {
		t.Helper()
		end := begin()
		r, _ := l.ask(get("/ok"))
		if o := l.outcome(); r.StatusCode != 503 || r.Header.Get("Retry-After") != "1" || o.Reason != proxy.ReasonMaxConn || o.Class != proxy.Answered {
			t.Errorf("%s: meanwhile: %d, outcome %+v", name, r.StatusCode, o)
		}
		end()
		if o := l.outcome(); o.Class != class || o.Reason != proxy.NoReason {
			t.Errorf("%s: outcome %+v, want %v", name, o, class)
		}
		r, _ = l.ask(get("/ok"))
		if o := l.outcome(); r.StatusCode != 200 {
			t.Errorf("%s: its place is not free again: %+v", name, o)
		}
	}
	raw := func(request string, head bool, end func(c *client)) func() func() {
		return func() func() {
			c := l.dial()
			c.send("%s", request)
			if head {
				c.response("GET")
			}
			return func() { end(c) }
		}
	}
	finished := func(*client) { finish <- true }
	gone := func(c *client) { c.Close() }
	f("a whole response", proxy.OK, raw(get("/whole"), true, finished))
	f("a response that is cut", proxy.Truncated, raw(get("/cut"), true, finished))
	f("a client that goes", proxy.ClientGone, raw(get("/hang"), true, gone))
	f("a WebSocket", proxy.OK, raw(handshake, true, gone))
	f("a stream that is reset", proxy.ClientGone, func() func() {
		ctx, cancel := context.WithCancel(context.Background())
		req, _ := http.NewRequestWithContext(ctx, "GET", "http://"+l.addr+"/hang", nil)
		r, err := l.h2().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		return func() { cancel(); r.Body.Close() }
	})
	held := func(request string) func() func() {
		return func() func() {
			end := raw(request, false, finished)()
			for n := 0; l.Core.Upstreams.Load(l.instance()) == 0; n++ {
				if n > 5000 {
					t.Fatal("the instance gets no request")
				}
				<-time.After(time.Millisecond)
			}
			return end
		}
	}
	f("an instance that resets", proxy.Reset, held(strings.Replace(get("/reset"), "GET", "POST", 1)))
	f("a panic", proxy.Answered, held(get("/panic")))
}

// instance is the address of the first instance.
func (l *lab) instance() string {
	for t := range l.Core.Table().Targets() {
		return t.Addr
	}
	return ""
}

func TestNoRoutePage(t *testing.T) {
	page := []byte("<h1>Nothing here</h1>")
	l := lb(t, "", func(s *Server) {
		s.Core.NoRoute = func() []byte { return page }
		s.Core.Settings.NoRouteStatus = 421
	})
	f := func(method string, status int, body, kind string) {
		t.Helper()
		r, got := l.ask(strings.Replace(get("/"), "GET", method, 1))
		if r.StatusCode != status || got != body || r.Header.Get("Content-Type") != kind || r.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: got %d %q %v", method, r.StatusCode, got, r.Header)
		}
		if o := l.outcome(); o.Class != proxy.NoTarget || o.Reason != proxy.ReasonNoRoute || o.Sent != int64(len(body)) {
			t.Errorf("%s: outcome %+v", method, o)
		}
	}
	const html, text = "text/html; charset=utf-8", "text/plain; charset=utf-8"
	f("GET", 421, string(page), html)
	f("POST", 421, string(page), html)
	f("HEAD", 421, "", html)
	page = nil // the key is gone
	f("GET", 421, "no route for this host and path\n", text)
	f("HEAD", 421, "", text)
	l.Core.Settings.NoRouteStatus = 204
	page = []byte("x")
	f("GET", 204, "", "")
	l.Core.Settings.NoRouteStatus = 404
	if r, _ := l.ask("GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n"); r.StatusCode != 400 || r.Header.Get("Content-Type") == html {
		t.Errorf("a malformed path gets %d %v", r.StatusCode, r.Header)
	}
}

func TestTimeoutAndRetriesOfTheRoute(t *testing.T) {
	f := func(options string, configure func(*Server), class proxy.Class, status, attempts int, instance func(net.Conn, *bufio.Reader)) {
		t.Helper()
		l := lb(t, options, configure, origin(t, instance), origin(t, instance), origin(t, instance))
		r, _ := l.ask(get("/"))
		if o := l.outcome(); r.StatusCode != status || o.Class != class || o.Attempts != attempts {
			t.Errorf("%s: status %d, %v after %d attempts, want %d, %v after %d", options, r.StatusCode, o.Class, o.Attempts, status, class, attempts)
		}
	}
	silent := func(_ net.Conn, br *bufio.Reader) {
		readRequest(br)
		br.ReadByte()
	}
	resets := func(_ net.Conn, br *bufio.Reader) { readRequest(br) }
	slow := func(c net.Conn, br *bufio.Reader) {
		readRequest(br)
		<-time.After(100 * time.Millisecond)
		io.WriteString(c, ok)
	}
	f("timeout=50ms retries=0", nil, proxy.Timeout, 504, 1, silent)
	f("timeout=60ms retries=1", nil, proxy.Timeout, 504, 2, silent)
	f("timeout=5s retries=0", func(s *Server) { s.Core.Timeouts.ResponseHeader = 20 * time.Millisecond }, proxy.OK, 200, 1, slow)
	f("", nil, proxy.Reset, 502, 3, resets)
	f("retries=0", nil, proxy.Reset, 502, 1, resets)
	f("retries=1", nil, proxy.Reset, 502, 2, resets)
	f("retries=2", func(s *Server) { s.Core.Settings.Attempts = 1 }, proxy.Reset, 502, 3, resets)
}

// Two balancers that send to each other end it as soon as one meets itself, and
// a balancer that sends to itself at once.
func TestCircles(t *testing.T) {
	// The second knows the address of the first only once both listen.
	first := lb(t, "", func(s *Server) { s.Core.Settings.Self = "a1" }, "127.0.0.1:1")
	second := lb(t, "host=other.test", func(s *Server) { s.Core.Settings.Self = "b2" }, first.addr)
	sendTo := func(l *lab, addr string) {
		svc := &registry.Service{Name: "web", Instances: []registry.Instance{{
			Service: "web", ID: "web-0", Node: "n", Addr: addr, Weight: 1, Ready: true, Health: registry.Passing, Tags: []string{"urlprefix-/"},
		}}}
		svc.Normalize()
		table := new(route.Builder).Build(route.Inputs{Snapshot: registry.New(svc)})
		l.Core.Table = func() *route.Table { return table }
		l.Core.Upstreams.Swap(table)
	}
	sendTo(first, second.addr)
	if r, body := first.ask(get("/")); r.StatusCode != 508 || body != "this request has come back to the balancer that sent it\n" {
		t.Errorf("over two: got %d %q", r.StatusCode, body)
	}
	if met, began := first.outcome(), first.outcome(); met.Reason != proxy.ReasonLoop || met.Attempts != 0 || began.Reason != proxy.NoReason || began.Status != 508 {
		t.Errorf("over two: outcomes %+v\n%+v", met, began)
	}
	if o := second.outcome(); o.Status != 508 || o.Attempts != 1 {
		t.Errorf("over two: the second's outcome %+v", o)
	}
	first.quietly()
	second.quietly()

	sendTo(first, first.addr)
	if r, _ := first.ask(get("/")); r.StatusCode != 508 {
		t.Errorf("to itself: got %d", r.StatusCode)
	}
	// Who names a balancer that is not in the way is not hindered.
	sendTo(first, answering(t, ok, nil))
	if r, _ := first.ask("GET / HTTP/1.1\r\nHost: a\r\nX-Lb-Hops: b2, c3\r\n\r\n"); r.StatusCode != 200 {
		t.Errorf("past another: got %d", r.StatusCode)
	}
}

// X-Forwarded-Host is what the client asked for, also where host= gives the
// instance another.
func TestForwardedHostIsTheClients(t *testing.T) {
	got := make(chan string, 1)
	l := lb(t, "host=other.test", nil, answering(t, ok, got))
	l.ask(get("/"))
	if g := <-got; head(g, "Host") != "other.test" || head(g, "X-Forwarded-Host") != "web.test" {
		t.Errorf("the instance got\n%s", g)
	}
}
