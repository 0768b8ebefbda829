package nethttp

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"serin/proxy"
)

// However a request ends, it has one line in the access log and is counted.
func TestEveryOutcomeIsLoggedAndCounted(t *testing.T) {
	const plain = "GET /x?q HTTP/1.1\r\nHost: web.test\r\nX-Trace: t1\r\nCookie: secret\r\nAuthorization: Basic c2VjcmV0\r\n\r\n"
	f := func(name, options, request string, status int, wantLine, wantAnswer string, instances ...string) {
		t.Helper()
		var format proxy.LogFormat
		if err := format.UnmarshalText([]byte(`$response_status $class $reason "$request" $request_host $upstream_request_uri $header.X-Trace`)); err != nil {
			t.Fatal(err)
		}
		var written bytes.Buffer
		access := proxy.NewAccessLog(&written, format)
		registry := prometheus.NewRegistry()
		l := lb(t, options, func(s *Server) {
			m, next := proxy.NewMetrics(registry, nil, nil, access), s.Core.Observe
			s.Core.LogHeaders = access.Headers()
			s.Core.Observe = func(o *proxy.Outcome) {
				m.Observe(o)
				access.Log(o)
				next(o)
			}
		}, instances...)
		c := l.dial()
		c.send("%s", request)
		if r := c.response("GET"); r.StatusCode != status {
			t.Errorf("%s: the client got %d", name, r.StatusCode)
		}
		c.Close()
		o := l.outcome()
		l.quietly()
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		_ = access.Run(ended)
		if got := written.String(); got != wantLine+"\n" || strings.Contains(got, "secret") {
			t.Errorf("%s: logged\n%swant\n%s", name, got, wantLine)
		}
		w := httptest.NewRecorder()
		promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		answers, requests := "", 0
		for line := range strings.Lines(w.Body.String()) {
			if rest, ok := strings.CutPrefix(line, "lb_answers_total"); ok {
				answers += strings.TrimSpace(rest)
			}
			if strings.HasPrefix(line, "lb_requests_total") && strings.HasSuffix(line, fmt.Sprintf(`code="%d",service="%s"} 1`+"\n", status, o.Service)) {
				requests++
			}
		}
		if wantAnswer != "" {
			code, reason, _ := strings.Cut(wantAnswer, " ")
			wantAnswer = fmt.Sprintf(`{code="%s",reason="%s"} 1`, code, reason)
		}
		if answers != wantAnswer || requests != 1 {
			t.Errorf("%s: answers %s, want %s; %d series of requests, want 1", name, answers, wantAnswer, requests)
		}
	}
	answers := answering(t, ok, nil)
	refused := "127.0.0.1:1"
	resets := origin(t, func(c net.Conn, br *bufio.Reader) { _, _ = readRequest(br) })
	const asked = ` "GET /x?q HTTP/1.1" web.test `

	f("served", "", plain, 200, "200 ok -"+asked+"/x?q t1", "", answers)
	f("not found there", "", plain, 404, "404 ok -"+asked+"/x?q t1", "", answering(t, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", nil))
	f("failed there", "", plain, 500, "500 server_error -"+asked+"/x?q t1", "", answering(t, "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", nil))
	f("refused there", "", plain, 502, "502 connect_error -"+asked+"- t1", "", refused)
	f("reset there", "", strings.Replace(plain, "GET", "POST", 1), 502, `502 reset - "POST /x?q HTTP/1.1" web.test /x?q t1`, "", resets)
	f("no route", "", plain, 404, "404 no_target no_route"+asked+"- t1", "4xx no_route")
	f("a redirect", "redirect=302,http://b.test/", plain, 302, "302 answered redirect"+asked+"- t1", "3xx redirect", answers)
	f("access denied", "allow=ip:192.0.2.0/24", plain, 403, "403 answered access"+asked+"- t1", "4xx access", answers)
	f("no password", "auth=staff", plain, 401, "401 answered auth"+asked+"- t1", "4xx auth", answers)
	f("a malformed path", "", "GET /%zz HTTP/1.1\r\nHost: web.test\r\n\r\n", 400, `400 client_error - "GET /%zz HTTP/1.1" - - -`, "4xx bad_request", answers)
	f("a method", "", "TRACE / HTTP/1.1\r\nHost: web.test\r\n\r\n", 405, `405 client_error - "TRACE / HTTP/1.1" - - -`, "4xx bad_request", answers)
	f("the guard: two lengths", "", "POST /x HTTP/1.1\r\nHost: web.test\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400, `400 client_error - "POST /x HTTP/1.1" - - -`, "4xx bad_request", answers)
	f("the guard: no version", "", "GET /x\r\n\r\n", 400, `400 client_error - "GET /x " - - -`, "4xx bad_request", answers)
	f("the guard: a long line", "", "GET /"+strings.Repeat("x", 9000)+" HTTP/1.1\r\nHost: web.test\r\n\r\n", 414, `414 client_error - "GET /`+strings.Repeat("x", 251)+` " - - -`, "4xx bad_request", answers)
}
