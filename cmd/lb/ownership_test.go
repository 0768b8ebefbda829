package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"serin/registry"
	"serin/registry/consul"
	"serin/route"
)

func TestAway(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	held := map[string]string{"a/": "web", "b/": "web", "c/": "api"}
	since := map[string]time.Time{"a/": at(0), "b/": at(5), "gone/": at(1)}
	still, overdue, next := away(held, since, 10*time.Second, at(10))
	if !slices.Equal(overdue, []string{"a/"}) || !next.Equal(at(15)) || !still["c/"].Equal(at(10)) || len(still) != 3 {
		t.Errorf("still %v, overdue %v, next %v", still, overdue, next)
	}
	if still, overdue, next := away(nil, since, time.Second, at(9)); len(still) != 0 || overdue != nil || !next.IsZero() {
		t.Errorf("nothing held: %v, %v, %v", still, overdue, next)
	}
}

// owned is a catalog in which each service, in the order of registration,
// claims shop.test/.
func owned(services ...string) *registry.Snapshot {
	var all []*registry.Service
	for i, name := range services {
		all = append(all, &registry.Service{Name: name, Instances: []registry.Instance{{
			Service: name, ID: name, Node: "n", Addr: fmt.Sprintf("10.0.0.%d:80", i+1), Tags: []string{"urlprefix-shop.test/"},
			Weight: 1, Health: registry.Passing, Ready: true, Created: uint64(i + 1),
		}}})
	}
	return registry.New(all...)
}

// An owner that leaves keeps its place for the hold, and then loses it.
func TestOwnersAreHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var policy *route.Ownership
		o, err := newOwnership(Ownership{Mode: route.FirstOwner, Hold: 10 * time.Minute}, func(p *route.Ownership) {
			mu.Lock()
			defer mu.Unlock()
			policy = p
		}, hclog.NewNullLogger())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- o.Run(ctx) }()
		var b route.Builder
		build := func(s *registry.Snapshot) string {
			mu.Lock()
			p := policy
			mu.Unlock()
			table := b.Build(route.Inputs{Snapshot: s, Ownership: p})
			o.published(table)
			synctest.Wait()
			if r := table.Match("shop.test", "/", false); r != nil {
				var names []string
				for _, p := range r.Parts {
					names = append(names, p.Service)
				}
				return strings.Join(names, ",")
			}
			return ""
		}
		expect := func(what, got, want string) {
			t.Helper()
			if got != want {
				t.Errorf("%s: %q, want %q", what, got, want)
			}
		}
		expect("first", build(owned("web", "intruder")), "web")
		expect("the owner left", build(owned("intruder")), "")
		time.Sleep(9 * time.Minute)
		expect("it may come back", build(owned("intruder", "web")), "web")
		expect("it left again", build(owned("intruder")), "")
		time.Sleep(10*time.Minute + time.Second)
		expect("for good", build(owned("intruder")), "intruder")
		expect("the new owner stays", build(owned("web", "intruder")), "intruder")
		if got := o.owners(); !maps.Equal(got, map[string]string{"shop.test/": "intruder"}) {
			t.Errorf("owners %v", got)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestOwnershipRules(t *testing.T) {
	var got *route.Ownership
	o, err := newOwnership(Ownership{Mode: route.Strict}, func(p *route.Ownership) { got = p }, hclog.NewNullLogger())
	if err != nil || got == nil || got.Mode != route.Strict || got.Rules != nil {
		t.Fatalf("%+v, %v", got, err)
	}
	pair := func(text string) []consul.Pair { return []consul.Pair{{Key: "lb/ownership", Value: []byte(text)}} }
	o.read(pair(`{"rules":[{"services":["web"],"claims":["shop.test/"]}]}`))
	if len(got.Rules) != 1 || o.warning() != "" {
		t.Errorf("%+v, %q", got, o.warning())
	}
	o.read(pair(`{"rules":[{"services":["web"]}]}`))
	if len(got.Rules) != 1 || !strings.Contains(o.warning(), "lb/ownership") || !strings.Contains(o.warning(), "claims") {
		t.Errorf("rules that cannot be read: %+v, %q", got, o.warning())
	}
	o.read(nil)
	if len(got.Rules) != 0 || o.warning() != "" {
		t.Errorf("no rules: %+v, %q", got, o.warning())
	}

	file := filepath.Join(t.TempDir(), "ownership.json")
	if err := os.WriteFile(file, []byte(`{"rules":[{"services":["web"],"claims":["bad host/"]}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := newOwnership(Ownership{Mode: route.Strict, File: file}, func(*route.Ownership) {}, hclog.NewNullLogger()); err == nil || !strings.Contains(err.Error(), "claims[0]") {
		t.Errorf("a file with a mistake: %v", err)
	}
}
