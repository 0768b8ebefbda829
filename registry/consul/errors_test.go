package consul

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
)

// class returns which of the sentinels err is; nil when none or several.
func class(err error) (found error) {
	for _, kind := range []error{ErrDenied, ErrUnreachable, ErrBusy, ErrServer, ErrDecode} {
		if errors.Is(err, kind) {
			if found != nil {
				return nil
			}
			found = kind
		}
	}
	return found
}

// TestErrors asks a real HTTP server, because how a connection breaks is not
// something to imitate.
func TestErrors(t *testing.T) {
	body := func(status int, s string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status); fmt.Fprint(w, s) }
	}
	raw := func(s string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				panic(err)
			}
			fmt.Fprint(conn, s)
			conn.Close()
		}
	}
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc // nil: nobody listens
		kind   error
		text   string
	}{
		{"refused", nil, ErrUnreachable, "connection refused. Is the agent running? Try: consul agent -dev, or set CONSUL_HTTP_ADDR"},
		{"closed", raw(""), ErrUnreachable, "closed before an answer came"},
		{"short body", raw("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n[]"), ErrUnreachable, "closed before"},
		{"cut chunk", raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n"), ErrUnreachable, "closed before"},
		{"no HTTP", raw("hello\r\n\r\n"), ErrUnreachable, "malformed HTTP response"},
		{"silence", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, ErrUnreachable, "no answer in time"},
		{"403", body(403, "ACL not found"), ErrDenied, "ACL not found"},
		{"429", body(429, "slow down"), ErrBusy, "http_max_conns_per_client"},
		{"500", body(500, "No cluster leader"), ErrServer, "No cluster leader"},
		{"302 to nowhere", body(302, ""), ErrDecode, "302"},
		{"418", body(418, "teapot"), ErrDecode, "418"},
		{"HTML", body(200, "<html>"), ErrDecode, "Is this a Consul agent?"},
		{"wrong type", body(200, `{"a":1}`), ErrDecode, "Is this a Consul agent?"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			addr := "127.0.0.1:1"
			if tt.answer != nil {
				srv := httptest.NewServer(tt.answer)
				defer srv.Close()
				addr = strings.TrimPrefix(srv.URL, "http://")
			} else {
				l, err := net.Listen("tcp4", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				addr = l.Addr().String()
				l.Close()
			}
			c, err := NewWithConfig(&api.Config{Address: addr})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			w := NewWatcher(c, WatchConfig{}, nil)
			_, _, err = w.readService(ctx, nil, "web", &api.QueryOptions{}, nil)
			if class(err) != tt.kind || !strings.Contains(err.Error(), tt.text) || !strings.Contains(err.Error(), `"web"`) || !strings.Contains(err.Error(), addr) {
				t.Errorf("%v\nclass %v, want %v with %q", err, class(err), tt.kind, tt.text)
			}
		})
	}
}
