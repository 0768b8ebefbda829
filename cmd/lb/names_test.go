package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"serin/canary"
	"serin/registry"
)

func TestNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		known, asked := map[string][]netip.Addr{}, 0
		var last canary.Addresses
		n := newNames(func(a canary.Addresses) { mu.Lock(); defer mu.Unlock(); last = a }, hclog.NewNullLogger())
		n.lookUp = func(ctx context.Context, host string) ([]netip.Addr, error) {
			mu.Lock()
			defer mu.Unlock()
			asked++
			switch addrs, ok := known[host]; {
			case host == "hangs":
				mu.Unlock()
				<-ctx.Done()
				mu.Lock()
				return nil, ctx.Err()
			case !ok:
				return nil, errors.New("no such host")
			default:
				return slices.Clone(addrs), nil
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- n.Run(ctx) }()
		is := func(want string) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			var got []string
			for kind, m := range map[string]map[string][]netip.Addr{"host": last.Hosts, "service": last.Services} {
				for _, name := range slices.Sorted(maps.Keys(m)) {
					got = append(got, fmt.Sprintf("%s %s%v", kind, name, m[name]))
				}
			}
			slices.Sort(got)
			if text := strings.Join(got, " "); text != want {
				t.Errorf("\n got %s\nwant %s", text, want)
			}
		}
		set := func(host string, addrs ...string) {
			mu.Lock()
			defer mu.Unlock()
			delete(known, host)
			for _, a := range addrs {
				known[host] = append(known[host], netip.MustParseAddr(a))
			}
		}
		set("a", "192.0.2.2", "::ffff:192.0.2.1", "192.0.2.2")
		n.want([]string{"a", "b"}, []string{"batch"})
		is("host a[192.0.2.1 192.0.2.2] host b[]")
		// The catalog has the addresses of services, healthy or not.
		n.snapshot(registry.New(&registry.Service{Name: "batch", Instances: []registry.Instance{
			{Service: "batch", ID: "2", Addr: "10.0.0.2:80"}, {Service: "batch", ID: "1", Addr: "10.0.0.1:81", Ready: true}, {Service: "batch", ID: "3", Addr: "name:1"},
		}}))
		is("host a[192.0.2.1 192.0.2.2] host b[] service batch[10.0.0.1 10.0.0.2]")
		n.snapshot(registry.New())
		is("host a[192.0.2.1 192.0.2.2] host b[] service batch[]")
		// Looked up again every 30 s; what cannot be looked up stays as it was.
		set("b", "192.0.2.9")
		set("a")
		time.Sleep(29 * time.Second)
		is("host a[192.0.2.1 192.0.2.2] host b[] service batch[]")
		time.Sleep(2 * time.Second)
		is("host a[192.0.2.1 192.0.2.2] host b[192.0.2.9] service batch[]")
		set("a", "192.0.2.3")
		time.Sleep(lookUpEvery)
		is("host a[192.0.2.3] host b[192.0.2.9] service batch[]")
		// Others are asked for: those that are known are not asked for again, and
		// one that hangs holds up its own answer for 5 s.
		mu.Lock()
		asked = 0
		mu.Unlock()
		n.want([]string{"a", "hangs"}, nil)
		is("host a[192.0.2.3]")
		time.Sleep(lookUpTimeout)
		is("host a[192.0.2.3] host hangs[]")
		mu.Lock()
		if asked != 1 {
			t.Errorf("%d names were looked up, want one", asked)
		}
		mu.Unlock()
		// Nor does it delay what others stand for.
		n.want([]string{"b"}, nil)
		is("host b[192.0.2.9]")
		n.want([]string{"hangs", "a"}, nil)
		time.Sleep(tellEvery)
		is("host a[192.0.2.3]")
		time.Sleep(lookUpTimeout)
		is("host a[192.0.2.3] host hangs[]")
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestOpenConfigServer opens all forms, and nothing else.
func TestOpenConfigServer(t *testing.T) {
	b := &balancer{log: hclog.NewNullLogger(), canaries: &canary.Controller{}}
	b.canaries.SetSelf(canary.Self{Node: "n1"})
	f := func(address, want string) {
		t.Helper()
		s, err := b.openConfigServer(address, time.Second)
		got := fmt.Sprintf("%T", s)
		switch s := s.(type) {
		case *canary.HTTPSource:
			got = fmt.Sprintf("%s %v %s", s.URL, s.Every, s.Self().Node)
		case *canary.FileSource:
			got = fmt.Sprintf("%s %v", s.Path, s.Every)
		}
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s\n got %s\nwant %s", address, got, want)
		}
	}
	f("http://c.example/web", "http://c.example/web 1s n1")
	f("https://c.example/web?x=1", "https://c.example/web?x=1 1s n1")
	f("file:/etc/lb/web%20a.json", "/etc/lb/web a.json 1s")
	f("consul://10.0.0.1:8500/canary/web", "canary.SourceFunc")
	f("consul://10.0.0.1:8500", `"consul://10.0.0.1:8500": want consul://host:port/key`)
	f("ftp://x/y", `"ftp://x/y": want consul://host:port/key, https://host/path or file:/path`)

	s, err := b.openConfigServer("consul://169.254.169.254:80/latest", 0)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := s.Run(ctx, func(ev canary.Event) {
		if ev.Err == nil || !strings.Contains(ev.Err.Error(), "link-local") {
			t.Errorf("the metadata service: %v", ev.Err)
		}
		cancel()
	}); err != nil {
		t.Error(err)
	}
}
