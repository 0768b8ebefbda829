package e2e

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"serin/internal/agent"
)

// Responses are compressed as the client likes it, and what must not be
// compressed is not.
func TestCompression(t *testing.T) {
	l := &lab{t: t, consul: agent.Start(t, agent.Config{}).Addr()}
	text := strings.Repeat("what is compressed is smaller. ", 1000)
	s := &stub{l: l, id: "text-1"}
	s.srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Etag", `"v1"`)
		switch r.URL.Path {
		case "/small":
			io.WriteString(w, "small")
		case "/keep":
			w.Header().Set("Cache-Control", "no-transform")
			io.WriteString(w, text)
		default:
			io.WriteString(w, text)
		}
	}))
	t.Cleanup(s.srv.Close)
	s.addr = s.srv.Listener.Addr().String()
	s.register("text", "urlprefix-text.test/", "passing")
	b := l.lb("-proxy.gzip.contenttype", `^(text/.*|application/json)(;.*)?$`)
	plain := &http.Client{Transport: &http.Transport{DisableCompression: true}, Timeout: 5 * time.Second}
	t.Cleanup(plain.CloseIdleConnections)
	get := func(path, accept string) (resp *http.Response, body []byte, err error) {
		req, err := http.NewRequest("GET", "http://"+b.traffic+path, nil)
		if err != nil {
			return nil, nil, err
		}
		req.Host = "text.test"
		if accept != "" {
			req.Header.Set("Accept-Encoding", accept)
		}
		if resp, err = plain.Do(req); err != nil {
			return nil, nil, err
		}
		defer resp.Body.Close()
		body, err = io.ReadAll(resp.Body)
		return resp, body, err
	}
	eventually(t, 10*time.Second, "text is routed", func() error {
		resp, _, err := get("/", "")
		if err == nil && resp.StatusCode != 200 {
			err = fmt.Errorf("%s", resp.Status)
		}
		return err
	})
	for _, c := range []struct{ path, accept, want string }{
		{"/", "", ""},
		{"/", "identity", ""},
		{"/", "gzip", "gzip"},
		{"/", "br;q=0.9, gzip;q=0.5", "br"},
		{"/", "gzip, br, zstd", "zstd"},
		{"/small", "gzip", ""},
		{"/keep", "gzip", ""},
	} {
		resp, body, err := get(c.path, c.accept)
		if err != nil {
			t.Fatal(err)
		}
		if got := resp.Header.Get("Content-Encoding"); got != c.want {
			t.Errorf("%s, Accept-Encoding %q: Content-Encoding %q, want %q", c.path, c.accept, got, c.want)
			continue
		}
		if c.want != "" && (len(body) >= len(text)/10 || resp.Header.Get("Etag") != `W/"v1"` || !strings.Contains(resp.Header.Get("Vary"), "Accept-Encoding")) {
			t.Errorf("%s: %d bytes, Etag %q, Vary %q", c.want, len(body), resp.Header.Get("Etag"), resp.Header.Get("Vary"))
		}
		var r io.Reader = bytes.NewReader(body)
		switch c.want {
		case "gzip":
			if r, err = gzip.NewReader(r); err != nil {
				t.Fatal(err)
			}
		case "br":
			r = brotli.NewReader(r)
		case "zstd":
			d, err := zstd.NewReader(r)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			r = d
		}
		out, err := io.ReadAll(r)
		if want := text; err != nil || c.path != "/small" && string(out) != want {
			t.Errorf("%s %q: %d bytes after decoding, want %d: %v", c.path, c.accept, len(out), len(want), err)
		}
	}
}

// What is counted reaches the metrics systems, and every request, also one
// that is refused or redirected, has its line in the access log.
func TestCountedAndLogged(t *testing.T) {
	l := &lab{t: t, consul: agent.Start(t, agent.Config{}).Addr()}
	statsd, dogstatsd, graphite := newCollector(t, "udp"), newCollector(t, "udp"), newCollector(t, "tcp")
	file := filepath.Join(t.TempDir(), "access.log")
	b := l.lb("-metrics.target", "prometheus,statsd,dogstatsd,graphite", "-metrics.prefix", "lbtest", "-metrics.interval", "500ms",
		"-metrics.statsd.addr", statsd.addr, "-metrics.dogstatsd.addr", dogstatsd.addr, "-metrics.graphite.addr", graphite.addr,
		"-log.access.target", file, "-log.access.format", "$remote_host $request_method $request_host $request_uri $response_status $upstream_service $header.X-Trace")
	l.echo("web", "web-1", []string{"urlprefix-web.test/", "urlprefix-web.test/old redirect=301,https://new.test/", "urlprefix-web.test/closed deny=ip:127.0.0.1", "urlprefix-web.test/once ratelimit=1/m,1"}, nil, false)
	eventually(t, 10*time.Second, "web is routed", func() error {
		resp, _, err := b.do("GET", "web.test", "/", nil)
		if err == nil && resp.StatusCode != 200 {
			err = fmt.Errorf("%s", resp.Status)
		}
		return err
	})
	for _, c := range []struct {
		path   string
		status int
	}{{"/ok", 200}, {"/old", 301}, {"/closed", 403}, {"/once", 200}, {"/once", 429}} {
		resp, _, err := b.do("GET", "web.test", c.path, map[string]string{"X-Trace": "t1"})
		if err != nil || resp.StatusCode != c.status {
			t.Fatalf("%s: %v %v, want %d", c.path, resp, err, c.status)
		}
	}
	if resp, _, err := b.do("GET", "nobody.test", "/lost", nil); err != nil || resp.StatusCode != 404 {
		t.Fatalf("no route: %v %v", resp, err)
	}
	for _, line := range []string{
		"127.0.0.1 GET web.test /ok 200 web t1\n", "127.0.0.1 GET web.test /old 301 web t1\n", "127.0.0.1 GET web.test /closed 403 web t1\n",
		"127.0.0.1 GET web.test /once 429 web t1\n", "127.0.0.1 GET nobody.test /lost 404 ",
	} {
		eventually(t, 5*time.Second, "a line in the access log: "+line, func() error {
			text, err := os.ReadFile(file)
			if err == nil && !strings.Contains(string(text), line) {
				err = fmt.Errorf("not in\n%s", text)
			}
			return err
		})
	}
	metrics := mustGet(t, "http://"+b.admin+"/metrics")
	for _, code := range []string{`"2xx"`, `"3xx"`, `"4xx"`} {
		if !strings.Contains(metrics, code) && !strings.Contains(metrics, strings.ReplaceAll(code, "xx", "00")) {
			t.Errorf("/metrics lacks requests of class %s", code)
		}
	}
	for name, c := range map[string]*collector{"statsd": statsd, "dogstatsd": dogstatsd, "graphite": graphite} {
		eventually(t, 10*time.Second, name+" is told of the requests of web", func() error {
			for line := range strings.Lines(c.out.String()) {
				if strings.HasPrefix(line, "lbtest") && strings.Contains(line, "requests") && strings.Contains(line, "web") {
					return nil
				}
			}
			return fmt.Errorf("got %.2000s", c.out.String())
		})
	}
}

// collector is a metrics system: it keeps what it is sent.
type collector struct {
	addr string
	out  agent.Buffer
}

func newCollector(t *testing.T, network string) *collector {
	t.Helper()
	c := &collector{}
	if network == "udp" {
		conn, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		c.addr = conn.LocalAddr().String()
		go func() {
			buf := make([]byte, 64<<10)
			for {
				n, _, err := conn.ReadFrom(buf)
				if err != nil {
					return
				}
				fmt.Fprintf(&c.out, "%s\n", buf[:n])
			}
		}()
		return c
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	c.addr = ln.Addr().String()
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for lines := bufio.NewScanner(conn); lines.Scan(); {
					fmt.Fprintln(&c.out, lines.Text())
				}
			}()
		}
	}()
	return c
}
