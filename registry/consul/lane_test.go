package consul

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/consul/api"
)

// overTLS serves the fake over HTTPS, and over HTTP/2 too if h2.
func (f *fakeConsul) overTLS(t *testing.T, h2 bool) (*httptest.Server, *Client) {
	t.Helper()
	s := httptest.NewUnstartedServer(f)
	s.EnableHTTP2 = h2
	s.StartTLS()
	t.Cleanup(s.Close)
	c, err := NewWithConfig(&api.Config{Address: s.URL, TLSConfig: api.TLSConfig{CAPem: pemOf(s)}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return s, c
}

func TestLanesAreFilledInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opened := 0
		l := &lanes{open: func() http.RoundTripper { opened++; return http.DefaultTransport }}
		var taken []*lane
		for range 2*laneStreams + 1 {
			taken = append(taken, l.take())
		}
		if opened != 3 || l.used() != 3 || taken[0] != taken[laneStreams-1] || taken[0] == taken[laneStreams] {
			t.Errorf("%d lanes were opened for %d streams", opened, len(taken))
		}
		l.give(taken[0], 32*time.Second)
		time.Sleep(33 * time.Second)
		if l.take() == taken[0] {
			t.Error("a place was given again before the wait of its stream was over")
		}
		time.Sleep(2 * time.Second)
		if l.take() != taken[0] {
			t.Error("a place was not given again")
		}
	})
}

// Over HTTPS with HTTP/2 every service has a stream; without HTTP/2 the bells
// ring. What goes wrong is survived: 429, truncated answers, an index that went
// back, connections that are shut.
func TestOverTLS(t *testing.T) {
	for _, h2 := range []bool{true, false} {
		t.Run(fmt.Sprint("http2=", h2), func(t *testing.T) {
			t.Parallel()
			f := newFake()
			for i := range 60 {
				f.set(fmt.Sprintf("s%03d", i), "a", "b")
			}
			s, c := f.overTLS(t, h2)
			w := watch(t, c, WatchConfig{Wait: time.Second})
			mode := map[bool]Mode{true: Streams, false: Bell}[h2]
			eventually(t, 3*time.Second, string(mode), func() bool { return w.Status().Mode == mode })
			before := w.snap.Load()
			n := 0
			for what, trouble := range map[string]func(){
				"429": func() { f.misbehave(answers(429, nil, "too many")) },
				"truncated": func() {
					f.misbehave(answers(200, http.Header{"Content-Length": {"500"}, "X-Consul-Index": {"99"}}, `[{"Node":{"Node":"n1"}`))
				},
				"connections shut": s.CloseClientConnections,
				"index went back":  func() { f.change(func() { f.index = 5 }) },
			} {
				trouble()
				time.Sleep(100 * time.Millisecond)
				f.misbehave(nil)
				n++
				name, ids := "s007", []string{"a", "b"}
				for i := range n {
					ids = append(ids, fmt.Sprint("more", i))
				}
				f.set(name, ids...)
				eventually(t, 8*time.Second, what+": the change after it", func() bool {
					return len(w.snap.Load().Service(name).Instances) == len(ids)
				})
			}
			if after := w.snap.Load(); after.Service("s008") != before.Service("s008") {
				t.Error("s008 did not change, but its pointer did")
			}
		})
	}
}

// After a restart no more than 16 streams read without waiting at once.
func TestFirstReadsAreFew(t *testing.T) {
	t.Parallel()
	f := newFake()
	for i := range 300 {
		f.set(fmt.Sprintf("s%03d", i), "a")
	}
	var now, most atomic.Int64
	f.trouble = func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Query().Has("index") || r.URL.Path == "/v1/catalog/services" || r.URL.Path == "/v1/health/service/consul" {
			return false
		}
		n := now.Add(1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		<-time.After(2 * time.Millisecond)
		now.Add(-1)
		return false
	}
	s, c := f.overTLS(t, true)
	w := watch(t, c, WatchConfig{})
	s.CloseClientConnections()
	f.set("s000", "a", "b")
	eventually(t, 8*time.Second, "the change after the connections ended", func() bool { return len(w.snap.Load().Service("s000").Instances) == 2 })
	if got := most.Load(); got > firstReads {
		t.Errorf("%d streams read without waiting at once, want %d at most", got, firstReads)
	}
	if st := w.Status(); st.Connections != 2 || st.Streams != 300 {
		t.Errorf("status %+v", st)
	}
}
