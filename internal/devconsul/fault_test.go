package devconsul

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// ask sends one request and returns status and body; a broken connection is "cut".
func ask(s *Server, method, path, body string) (status int, text string) {
	rec := httptest.NewRecorder()
	defer func() {
		if r := recover(); r != nil {
			if err, ok := r.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
				panic(r)
			}
			status, text = rec.Code, "cut"
		}
	}()
	s.ServeHTTP(rec, httptest.NewRequest(method, path, strings.NewReader(body)))
	return rec.Code, rec.Body.String()
}

func mustPut(t *testing.T, s *Server, path, body string) string {
	t.Helper()
	status, text := ask(s, "PUT", path, body)
	if status != 200 {
		t.Fatalf("PUT %s: %d %s", path, status, text)
	}
	return text
}

func TestFaults(t *testing.T) {
	const health, kv = "/v1/health/service/web", "/v1/kv/lb/canary?raw"
	for _, f := range []struct {
		fault      Fault
		path       string
		wantStatus int
		wantBody   string // contained
		healthy    string // a path that is not concerned
	}{
		{Fault{Error500, ""}, health, 500, "No cluster leader", ""},
		{Fault{Error429, "/v1/health/"}, health, 429, "too many concurrent connections", kv},
		{Fault{Forbidden, "/v1/kv/"}, kv, 403, "Permission denied", health},
		{Fault{Empty, "/v1/health/"}, health, 200, "[]", kv},
		{Fault{Empty, "/v1/catalog/services"}, "/v1/catalog/services", 200, "{}", health},
		{Fault{Empty, "/v1/kv/"}, kv, 404, "", health},
		{Fault{Truncated, "/v1/health/"}, health, 200, `"Node"`, kv},
		{Fault{Cut, "/v1/kv/lb/"}, kv, 200, "cut", health},
		{Fault{HTML, "/v1/"}, health, 200, "<!doctype html>", ""},
	} {
		s := New()
		mustPut(t, s, "/v1/agent/service/register", `{"Name":"web","Port":1}`)
		mustPut(t, s, "/v1/kv/lb/canary", `{"ratio":0.1}`)
		_, good := ask(s, "GET", f.path, "")
		heal := s.Break(f.fault)
		status, body := ask(s, "GET", f.path, "")
		if status != f.wantStatus || !strings.Contains(body, f.wantBody) || body == good {
			t.Errorf("%+v: GET %s: %d %q; want %d %q", f.fault, f.path, status, body, f.wantStatus, f.wantBody)
		}
		if f.healthy != "" {
			if status, body := ask(s, "GET", f.healthy, ""); status != 200 {
				t.Errorf("%+v: GET %s: %d %q; want 200", f.fault, f.healthy, status, body)
			}
		}
		heal()
		heal() // once is enough, twice does no harm
		if status, body := ask(s, "GET", f.path, ""); status != 200 || body != good {
			t.Errorf("%+v: healed: %d %q; want 200 %q", f.fault, status, body, good)
		}
	}
}

// waiter is a blocking query on its way.
type waiter struct {
	rec  *httptest.ResponseRecorder
	done chan struct{}
}

func wait(s *Server, path string) waiter {
	w := waiter{httptest.NewRecorder(), make(chan struct{})}
	go func() {
		defer close(w.done)
		s.ServeHTTP(w.rec, httptest.NewRequest("GET", path, nil))
	}()
	return w
}

func (w waiter) over() bool {
	select {
	case <-w.done:
		return true
	default:
		return false
	}
}

func TestFaultEndsBlockingQuery(t *testing.T) {
	for _, f := range []struct {
		name   string
		break_ func(*Server)
		want   int
		text   string
	}{
		{"500", func(s *Server) { s.Break(Fault{Kind: Error500}) }, 500, "No cluster leader"},
		{"empty", func(s *Server) { s.Break(Fault{Kind: Empty}) }, 200, "[]"},
		{"not blocking", func(s *Server) { s.Break(Fault{Kind: NoBlock}) }, 200, "[]"},
		{"wipe", (*Server).Wipe, 500, "the client connection is closing"},
		{"index reset", (*Server).ResetIndex, 500, "the client connection is closing"},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := New()
			w := wait(s, "/v1/health/service/web?index=100&wait=1m")
			synctest.Wait()
			if w.over() {
				t.Fatalf("%s: answered too early: %s", f.name, w.rec.Body)
			}
			f.break_(s)
			synctest.Wait()
			if !w.over() || w.rec.Code != f.want || !strings.Contains(w.rec.Body.String(), f.text) {
				t.Errorf("%s: over %v, %d %s; want %d %s", f.name, w.over(), w.rec.Code, w.rec.Body, f.want, f.text)
			}
			<-w.done
		})
	}
}

func TestHangGoesOnWhenHealed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New()
		heal := s.Break(Fault{Kind: Hang})
		w := wait(s, "/v1/status/leader")
		time.Sleep(time.Hour)
		synctest.Wait()
		if w.over() {
			t.Fatal("answered while it should hang")
		}
		heal()
		<-w.done
		if w.rec.Code != 200 {
			t.Errorf("healed: %d, want 200", w.rec.Code)
		}
	})
}

func TestNoBlockAndIndexZero(t *testing.T) {
	s := New()
	s.Break(Fault{Kind: NoBlock})
	rec := httptest.NewRecorder()
	s.ServeHTTP(rec, httptest.NewRequest("GET", "/v1/kv/none?index=100", nil))
	if rec.Code != 404 {
		t.Errorf("NoBlock: %d, want 404 at once", rec.Code)
	}
	s.Break(Fault{Kind: IndexZero})
	rec = httptest.NewRecorder()
	s.ServeHTTP(rec, httptest.NewRequest("GET", "/v1/catalog/services", nil))
	if got := rec.Header().Get("X-Consul-Index"); got != "0" {
		t.Errorf("IndexZero: X-Consul-Index %q, want 0", got)
	}
}

// After state loss the old index blocks for the whole wait, as it does in Consul.
func TestIndexOfAnotherLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New()
		for range 50 {
			mustPut(t, s, "/v1/kv/a", time.Now().String())
			time.Sleep(time.Second)
		}
		s.Wipe()
		if _, body := ask(s, "GET", "/v1/kv/?keys", ""); strings.TrimSpace(body) != "[]" {
			t.Errorf("after a wipe: keys %s, want none", body)
		}
		start := time.Now()
		w := wait(s, "/v1/kv/a?index=60&wait=16s")
		time.Sleep(time.Second)
		mustPut(t, s, "/v1/kv/a", "new")
		<-w.done
		if took := time.Since(start); took < 16*time.Second || took > 17*time.Second {
			t.Errorf("answered after %v, want 16 s to 17 s", took)
		}
		if !strings.Contains(w.rec.Body.String(), "bmV3") {
			t.Errorf("got %s, want the new value", w.rec.Body)
		}
	})
}

func TestClientGoesAway(t *testing.T) {
	srv := httptest.NewServer(New())
	defer srv.Close()
	client := http.Client{Timeout: 50 * time.Millisecond, Transport: &http.Transport{DisableKeepAlives: true}}
	if resp, err := client.Get(srv.URL + "/v1/kv/a?index=100"); err == nil {
		b, _ := io.ReadAll(resp.Body)
		t.Errorf("answered %d %s, want nothing", resp.StatusCode, b)
	}
	// srv.Close waits for the handler: it must have seen that the client left.
}
