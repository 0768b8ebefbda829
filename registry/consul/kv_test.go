package consul

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"
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
	a := startAgent(t, "")
	a.up()
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
