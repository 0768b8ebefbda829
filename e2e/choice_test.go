package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"serin/internal/agent"
)

// serving registers an instance that answers with h.
func (l *lab) serving(service, id, tag string, h http.HandlerFunc) {
	l.t.Helper()
	s := &stub{l: l, id: id}
	s.srv = httptest.NewServer(h)
	l.t.Cleanup(s.srv.Close)
	s.addr = s.srv.Listener.Addr().String()
	s.register(service, tag, "passing")
}

// routed waits until the route for host has all of its n instances.
func (b *balancer) routed(t *testing.T, host string, n int) {
	t.Helper()
	eventually(t, 10*time.Second, host, func() error {
		var targets []struct{ Host, Target string }
		if err := getJSON("http://"+b.admin+"/api/v1/routes?format=targets", &targets); err != nil {
			return err
		}
		found := 0
		for _, target := range targets {
			if target.Host == host && target.Target != "" {
				found++
			}
		}
		if found != n {
			return fmt.Errorf("%d instances, want %d", found, n)
		}
		return nil
	})
}

// strategy=round_robin takes turns, where the other routes do not.
func TestStrategyOfARoute(t *testing.T) {
	l := &lab{t: t, consul: agent.Start(t, agent.Config{}).Addr()}
	var served [3]atomic.Int32
	for i := range served {
		l.serving("turns", fmt.Sprintf("turns-%d", i), "urlprefix-turns.test/ strategy=rr", func(http.ResponseWriter, *http.Request) { served[i].Add(1) })
	}
	b := l.lb("-proxy.strategy", "random") // now, so that no instance is new to it and has a slow start
	b.routed(t, "turns.test", len(served))
	for n := 1; n <= 20; n++ {
		for range served {
			if status, _, err := b.ask("turns.test", "/"); err != nil || status != 200 {
				t.Fatal(status, err)
			}
		}
		for i := range served {
			if got := served[i].Load(); got != int32(n) {
				t.Fatalf("after %d turns instance %d has had %d", n, i, got)
			}
		}
	}
}

// retries=0 shows the client what retries=1 and the default hide.
func TestRetriesOfARoute(t *testing.T) {
	l := &lab{t: t, consul: agent.Start(t, agent.Config{}).Addr()}
	cases := []struct {
		service, options string
		hidden           bool
	}{{"never", "retries=0", false}, {"once", "retries=1", true}, {"usual", "", true}}
	cuts := make([]atomic.Int32, len(cases))
	for i, c := range cases {
		tag := "urlprefix-" + c.service + ".test/ strategy=rr " + c.options
		l.serving(c.service, c.service+"-good", tag, func(http.ResponseWriter, *http.Request) {})
		l.serving(c.service, c.service+"-bad", tag, func(http.ResponseWriter, *http.Request) {
			cuts[i].Add(1)
			panic(http.ErrAbortHandler) // the connection is closed without an answer
		})
	}
	b := l.lb() // now, so that no instance is new to it and has a slow start
	for i, c := range cases {
		host := c.service + ".test"
		b.routed(t, host, 2)
		failed := int32(0)
		for range 4 {
			status, _, err := b.ask(host, "/")
			if err != nil {
				t.Fatal(err)
			}
			if status != 200 {
				failed++
			}
		}
		switch n := cuts[i].Load(); {
		case n == 0:
			t.Errorf("%q: no request went to the instance that fails", c.options)
		case c.hidden && failed != 0:
			t.Errorf("%q: %d requests failed", c.options, failed)
		case !c.hidden && failed != n:
			t.Errorf("%q: %d requests failed of %d that the instance cut", c.options, failed, n)
		}
	}
}

// maxconn=1 lets one request in at a time, and the next when it is done.
func TestMaxConnOfARoute(t *testing.T) {
	l := &lab{t: t, consul: agent.Start(t, agent.Config{}).Addr()}
	b := l.lb()
	entered, leave := make(chan struct{}), make(chan struct{})
	l.serving("narrow", "narrow-1", "urlprefix-narrow.test/ maxconn=1", func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			entered <- struct{}{}
			<-leave
		}
	})
	b.routed(t, "narrow.test", 1)
	done := make(chan error, 1)
	go func() {
		status, _, err := b.ask("narrow.test", "/slow")
		if err == nil && status != 200 {
			err = fmt.Errorf("status %d", status)
		}
		done <- err
	}()
	select {
	case <-entered:
	case err := <-done:
		t.Fatalf("the first request never reached the instance: %v", err)
	}
	resp, _, err := b.do("GET", "narrow.test", "/", nil)
	if err != nil || resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("a second request at once: %v, %v; want 503 with Retry-After", resp, err)
	}
	close(leave)
	if err := <-done; err != nil {
		t.Errorf("the first request: %v", err)
	}
	eventually(t, 5*time.Second, "the place is free again", func() error {
		status, _, err := b.ask("narrow.test", "/")
		if err == nil && status != 200 {
			err = fmt.Errorf("status %d", status)
		}
		return err
	})
}
