package nethttp

import (
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/hashicorp/go-hclog"

	"serin/proxy"
)

func TestHTTPSInstances(t *testing.T) { // S42
	var names []string
	o := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		names = append(names, r.TLS.ServerName+" "+r.Proto)
		io.WriteString(w, "secret")
	}))
	o.EnableHTTP2 = true // but we speak HTTP/1.1
	o.Config.ErrorLog = hclog.NewNullLogger().StandardLogger(nil)
	o.StartTLS()
	defer o.Close()
	trusting := func(s *Server) {
		s.UpstreamTLS = o.Client().Transport.(*http.Transport).TLSClientConfig
	}
	f := func(name, options string, configure func(*Server), want int) {
		t.Helper()
		names = nil
		l := lb(t, options, configure, o.Listener.Addr().String())
		for range 2 { // the second on the same connection
			r, body := l.ask(get("/"))
			if r.StatusCode != want || want == 200 && body != "secret" {
				t.Errorf("%s: got %d %q", name, r.StatusCode, body)
			}
			if out := l.outcome(); want != 200 && out.Class != proxy.ConnectError {
				t.Errorf("%s: outcome %s %v", name, out.Class, out.Err)
			}
		}
	}
	f("trusted", "proto=https", trusting, 200)
	f("name of the certificate", "proto=https host=example.com", trusting, 200)
	if len(names) == 0 || names[0] != "example.com HTTP/1.1" {
		t.Errorf("the instance was asked for %q", names)
	}
	f("another name", "proto=https host=other.test", trusting, 502)
	f("unknown authority", "proto=https", nil, 502)
	f("skipverify, not allowed", "proto=https tlsskipverify=true", nil, 502)
	f("skipverify, allowed", "proto=https tlsskipverify=true", func(s *Server) { s.AllowSkipVerify = true }, 200)
	f("skipverify, allowed, with own settings", "proto=https tlsskipverify=true", func(s *Server) {
		s.AllowSkipVerify, s.UpstreamTLS = true, &tls.Config{MinVersion: tls.VersionTLS13}
	}, 200)
}
