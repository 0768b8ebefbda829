package consul

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"serin/internal/agent"
)

// keysSeen is the last event of a KV watch.
type keysSeen struct{ last atomic.Pointer[KVEvent] }

func followKV(t *testing.T, c *Client, prefix string) *keysSeen {
	k := new(keysSeen)
	running(t, func(ctx context.Context) { c.WatchPrefix(ctx, prefix, func(e KVEvent) { k.last.Store(&e) }) })
	return k
}

// is tells whether the last event had these keys and this error.
func (k *keysSeen) is(keys string, err error) bool {
	e := k.last.Load()
	if e == nil {
		return false
	}
	var got []string
	for _, p := range e.Pairs {
		got = append(got, p.Key)
	}
	return strings.Join(got, " ") == keys && errors.Is(e.Err, err)
}

func put(t *testing.T, c *Client, key, value string) {
	t.Helper()
	if err := c.Put(t.Context(), key, []byte(value)); err != nil {
		t.Fatal(err)
	}
}

func TestKVWithRealAgent(t *testing.T) {
	t.Parallel()
	a := startAgent(t, agent.Config{})
	c, ctx := a.client(""), t.Context()

	all := followKV(t, c, "lb/canary")
	one := new(keysSeen)
	running(t, func(ctx context.Context) {
		c.WatchKey(ctx, "lb/canary/web", func(e KVEvent) { one.last.Store(&e) })
	})
	eventually(t, time.Second, "an empty set is told", func() bool { return all.is("", nil) && one.is("", nil) })

	put(t, c, "lb/canary-old", "x")
	put(t, c, "lb/canary", "{}")
	put(t, c, "lb/canary/web", `{"ratio":0.1}`)
	eventually(t, time.Second, "both keys", func() bool { return all.is("lb/canary lb/canary/web", nil) && one.is("lb/canary/web", nil) })

	list, err := c.List(ctx, "lb/canary")
	if err != nil || len(list) != 2 || list[0].Key != "lb/canary" || string(list[1].Value) != `{"ratio":0.1}` || list[1].Index == 0 {
		t.Errorf("List: %v %v", list, err)
	}
	if list, err := c.List(ctx, "lb/can"); err != nil || len(list) != 0 {
		t.Errorf("List of the beginning of a name: %v %v", list, err)
	}
	p, ok, err := c.Get(ctx, "lb/canary/web")
	if err != nil || !ok || string(p.Value) != `{"ratio":0.1}` {
		t.Fatalf("%v %v %v", p, ok, err)
	}
	if ok, err := c.CAS(ctx, p.Key, []byte("new"), p.Index-1); ok || err != nil {
		t.Errorf("CAS with an old index: %v, %v", ok, err)
	}
	if ok, err := c.CAS(ctx, p.Key, []byte("new"), p.Index); !ok || err != nil {
		t.Errorf("CAS: %v, %v", ok, err)
	}
	eventually(t, time.Second, "the new value", func() bool { return string(one.last.Load().Pairs[0].Value) == "new" })
	if ok, err := c.DeleteCAS(ctx, p.Key, p.Index); ok || err != nil {
		t.Errorf("DeleteCAS with an old index: %v, %v", ok, err)
	}
	if err := c.Delete(ctx, "lb/canary/web"); err != nil {
		t.Fatal(err)
	}
	took := eventually(t, time.Second, "the deletion", func() bool { return all.is("lb/canary", nil) && one.is("", nil) })
	t.Logf("deletion seen after %v", took)
	if err := c.Delete(ctx, "lb/canary"); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Second, "the last key's deletion", func() bool { return all.is("", nil) })
	if _, ok, err := c.Get(ctx, "lb/canary"); ok || err != nil {
		t.Errorf("Get of a missing key: %v, %v", ok, err)
	}
}

// keyRecorder follows a prefix of a fake Consul in a synctest bubble.
type keyRecorder struct {
	keysSeen
	n atomic.Int32
}

func recordKV(t *testing.T, c *Client, prefix string) *keyRecorder {
	k := new(keyRecorder)
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.WatchPrefix(t.Context(), prefix, func(e KVEvent) { k.last.Store(&e); k.n.Add(1) })
	}()
	t.Cleanup(func() { <-done })
	return k
}

func (k *keyRecorder) want(t *testing.T, keys string, err error) {
	t.Helper()
	synctest.Wait()
	if !k.is(keys, err) {
		t.Fatalf("last event is %+v, want %q and %v", k.last.Load(), keys, err)
	}
}

func TestKeysAreLostNotDeleted(t *testing.T) {
	denied := func(path string, list, get int) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			status := get
			if r.URL.Query().Has("recurse") {
				status = list
			}
			return strings.HasPrefix(r.URL.Path, path) && status != 200 && answers(status, http.Header{"X-Consul-Index": {"13"}}, "x")(w, r)
		}
	}
	for _, tt := range []struct {
		name      string
		list, get int // 200: as it is
		err       error
	}{
		{"anonymous token without key:read", 404, 403, ErrDenied},
		{"token deleted", 403, 403, ErrDenied},
		{"no leader", 500, 500, ErrServer},
		{"list empty, key there", 404, 200, nil},
		{"list empty, leader gone", 404, 500, ErrServer},
		{"busy", 429, 429, ErrBusy},
		{"hung up", 444, 444, ErrUnreachable},
		{"HTML", 200 + 3, 200, ErrDecode},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				f.put("lb/canary", "1")
				f.put("lb/canary/web", "2")
				f.put("lb/canary-old", "3")
				k := recordKV(t, f.client(t), "/lb/canary/")
				k.want(t, "lb/canary lb/canary/web", nil)
				f.misbehave(denied("/v1/kv/", tt.list, tt.get))
				time.Sleep(time.Second)
				k.want(t, "lb/canary lb/canary/web", tt.err)
				if n := k.n.Load(); tt.err == nil && n != 1 {
					t.Errorf("%d events for nothing", n)
				}
				for range 12 {
					before := k.n.Load()
					time.Sleep(10 * time.Second)
					k.want(t, "lb/canary lb/canary/web", tt.err)
					if n := k.n.Load() - before; tt.err != nil && (n < 1 || n > 10) {
						t.Errorf("%d events in 10 s of loss", n)
					}
				}
				f.put("lb/canary/api", "4")
				f.misbehave(nil)
				time.Sleep(3 * time.Second)
				k.want(t, "lb/canary lb/canary/api lb/canary/web", nil)
			})
		})
	}
}

func TestFirstReadWithoutPermission(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.put("lb/canary", "1")
		f.misbehave(func(w http.ResponseWriter, r *http.Request) bool {
			status := 403
			if r.URL.Query().Has("recurse") {
				status = 404
			}
			return answers(status, http.Header{"X-Consul-Index": {"9"}}, "")(w, r)
		})
		k := recordKV(t, f.client(t), "lb/canary")
		k.want(t, "", ErrDenied)
		f.misbehave(nil)
		time.Sleep(3 * time.Second)
		k.want(t, "lb/canary", nil)
	})
}

func TestKeysOfARebornConsul(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.put("lb/canary/web", "2")
		f.put("lb/canary/api", "2")
		k := recordKV(t, f.client(t), "lb/canary")
		k.want(t, "lb/canary/api lb/canary/web", nil)
		f.misbehave(answers(444, nil, ""))
		f.reborn()
		time.Sleep(time.Second)
		f.misbehave(nil)
		time.Sleep(2 * time.Second)
		k.want(t, "lb/canary/api lb/canary/web", ErrStateLost)
		f.put("lb/canary/api", "5")
		time.Sleep(2 * time.Second)
		if v := string(k.last.Load().Pairs[0].Value); v != "5" {
			t.Errorf("a key that was written again still is %q", v)
		}
		k.want(t, "lb/canary/api lb/canary/web", nil)
		lost := k.last.Load().Lost
		if err := lost["lb/canary/web"]; len(lost) != 1 || !errors.Is(err, ErrStateLost) {
			t.Errorf("lost is %v, want lb/canary/web alone, as Consul lost its state", lost)
		}
		f.change(func() { delete(f.kv, "lb/canary/api") }) // a deletion since the loss is one
		time.Sleep(2 * time.Second)
		k.want(t, "lb/canary/web", ErrStateLost)
		f.put("lb/canary/api", "6")
		time.Sleep(10 * time.Minute)
		k.want(t, "lb/canary/api", nil)
	})
}
