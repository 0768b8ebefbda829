package nethttp

import (
	"bufio"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"serin/proxy"
)

// BenchmarkGet measures one proxied GET over keep-alive connections, with the
// client and the instance in the same process: compare the two, not the figures.
func BenchmarkGet(b *testing.B) {
	request := []byte("GET /a/b?c=d HTTP/1.1\r\nHost: web.test\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n")
	response := []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nContent-Length: 130\r\n\r\n" + strings.Repeat("x", 130))
	addr := origin(b, func(c net.Conn, br *bufio.Reader) {
		for {
			for n := 0; n != 2; {
				line, err := br.ReadSlice('\n')
				if err != nil {
					return
				}
				n = len(line)
			}
			c.Write(response)
		}
	})
	run := func(b *testing.B, to string) {
		c, err := net.Dial("tcp", to)
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		br := bufio.NewReader(c)
		b.ReportAllocs()
		for b.Loop() {
			c.Write(request)
			for n := 0; n != 2; {
				line, err := br.ReadSlice('\n')
				if err != nil {
					b.Fatal(err)
				}
				n = len(line)
			}
			if _, err := br.Discard(130); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("serin", func(b *testing.B) {
		l := lb(b, "", func(s *Server) { s.Core.Observe = func(*proxy.Outcome) {} }, addr)
		run(b, l.addr)
	})
	b.Run("ReverseProxy", func(b *testing.B) {
		u, _ := url.Parse("http://" + addr)
		tr := &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true, ResponseHeaderTimeout: 30 * time.Second}
		defer tr.CloseIdleConnections()
		s := httptest.NewUnstartedServer(&httputil.ReverseProxy{Transport: tr, Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(u)
			r.SetXForwarded()
			r.Out.Host = r.In.Host
		}})
		s.Config.ReadHeaderTimeout = 10 * time.Second
		s.Start()
		defer s.Close()
		run(b, s.Listener.Addr().String())
	})
}
