package main

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"serin/admin"
	"serin/control"
	"serin/internal/devconsul"
	"serin/registry/consul"
	"serin/route"
)

func pairs(keysAndValues ...string) (out []consul.Pair) {
	for i := 0; i < len(keysAndValues); i += 2 {
		out = append(out, consul.Pair{Key: keysAndValues[i], Value: []byte(keysAndValues[i+1]), Index: uint64(i + 1)})
	}
	return out
}

func TestTexts(t *testing.T) {
	f := func(want string, sets ...[]consul.Pair) {
		t.Helper()
		got := ""
		for _, c := range texts(sets) {
			got += c.Source + "=" + c.Text + " "
		}
		if strings.TrimSpace(got) != want {
			t.Errorf("texts\n got %s\nwant %s", got, want)
		}
	}
	f("")
	f("", nil, nil)
	f("b=1 b/a=2 a=3", pairs("b", "1", "b/a", "2"), pairs("a", "3"))
	f("lb/routes/x=1 lb/routes=2 lb/routes/y=3", pairs("lb/routes/x", "1"), pairs("lb/routes", "2", "lb/routes/x", "1", "lb/routes/y", "3"))
}

func TestSource(t *testing.T) {
	f := func(where, want string) {
		t.Helper()
		if got := source(where); got != want {
			t.Errorf("source(%q)\n got %q\nwant %q", where, got, want)
		}
	}
	f("lb/routes/10-web:3:14", "lb/routes/10-web")
	f("lb/routes/a:1:3:14", "lb/routes/a:1")
	f("nothing", "")
}

// commandsOf is what a set of overrides says, a line each.
func commandsOf(o *route.Overrides) string {
	out := ""
	for i := range o.Commands {
		c := &o.Commands[i]
		out += fmt.Sprintf("%s:%d: %s\n", c.Source, c.Line, c)
	}
	for _, p := range o.Problems {
		out += fmt.Sprintf("%s: %s\n", p.Where, p.Error)
	}
	return out
}

func TestOverridesAreFollowedAndEdited(t *testing.T) {
	agent := httptest.NewServer(devconsul.New())
	defer agent.Close()
	client, err := Consul{Addr: agent.URL}.client(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	put := func(key, value string) {
		t.Helper()
		if err := client.Put(t.Context(), key, []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	put("lb/routes-old", "route del old")
	put("lb/routes/20-b", "route del b\nroute ad oops")
	put("lb/routes/10-a", "# first\nroute del a")
	put("fabio/config", "route del fabio")

	published := make(chan *route.Overrides, 100)
	o := newOverrides(client, []string{"lb/routes/", "", "/fabio/config", "lb/routes"}, func(o *route.Overrides) { published <- o }, hclog.NewNullLogger())
	if got := strings.Join(o.Paths(), " "); got != "lb/routes fabio/config" {
		t.Errorf("paths %s", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, len(o.followers))
	for _, f := range o.followers {
		go func() { done <- f.Run(ctx) }()
	}
	defer func() {
		cancel()
		for range o.followers {
			<-done
		}
	}()
	expect := func(want string) {
		t.Helper()
		got := "nothing was published"
		for deadline := time.After(10 * time.Second); got != want; {
			select {
			case p := <-published:
				got = commandsOf(p)
			case <-deadline:
				t.Fatalf("published last\n%s\nwant\n%s", got, want)
			}
		}
	}
	expect("lb/routes/10-a:2: route del a\nlb/routes/20-b:1: route del b\nfabio/config:1: route del fabio\nlb/routes/20-b:2:7: unknown command \"ad\": want add, del or weight\n")
	for _, f := range o.followers {
		<-f.First()
	}

	list := o.List()
	if len(list) != 3 || list[0].Key != "lb/routes/10-a" || list[1].Problems[0].Where != "lb/routes/20-b:2:7" || list[2].Text != "route del fabio" || list[2].Index == 0 {
		t.Errorf("list %+v", list)
	}
	text, index, ok, err := o.Get(ctx, "lb/routes/20-b")
	if err != nil || !ok || text != "route del b\nroute ad oops" {
		t.Fatalf("get: %q %t %v", text, ok, err)
	}
	now, ok, err := o.Put(ctx, "lb/routes/20-b", "route del c", index)
	if err != nil || !ok || now <= index {
		t.Fatalf("put: %d %t %v, index was %d", now, ok, err, index)
	}
	expect("lb/routes/10-a:2: route del a\nlb/routes/20-b:1: route del c\nfabio/config:1: route del fabio\n")
	if _, ok, err = o.Put(ctx, "lb/routes/20-b", "route del d", index); ok || err != nil {
		t.Errorf("put over a newer one: %t %v", ok, err)
	}
	if ok, err = o.Delete(ctx, "lb/routes/20-b", index); ok || err != nil {
		t.Errorf("delete of a newer one: %t %v", ok, err)
	}
	if ok, err = o.Delete(ctx, "lb/routes/20-b", now); !ok || err != nil {
		t.Errorf("delete: %t %v", ok, err)
	}
	expect("lb/routes/10-a:2: route del a\nfabio/config:1: route del fabio\n")
}

// A start without Consul has the commands of the run before.
func TestOverridesAreRestored(t *testing.T) {
	client, err := Consul{Addr: "127.0.0.1:1"}.client(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var last *route.Overrides
	o := newOverrides(client, []string{"lb/routes"}, func(o *route.Overrides) { last = o }, hclog.NewNullLogger())
	o.followers[0].Restore([]control.Document{{Key: "lb/routes/10-a", Value: []byte("route del a"), Index: 7}})
	if last == nil || commandsOf(last) != "lb/routes/10-a:1: route del a\n" {
		t.Errorf("published %v", last)
	}
	if list := o.List(); len(list) != 1 || list[0].Index != 7 {
		t.Errorf("list %+v", list)
	}
	var _ admin.Overrides = o
}

func TestFollowPage(t *testing.T) {
	client, err := Consul{Addr: "127.0.0.1:1"}.client(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var got []string
	f := followPage(client, "/lb/noroute.html", func(page []byte) { got = append(got, string(page)) }, hclog.NewNullLogger())
	f.apply(pairs("lb/noroute.html", "<p>nothing here</p>"))
	f.apply(pairs("lb/noroute.html", strings.Repeat("x", maxPage+1)))
	f.apply(nil)
	if f.path != "lb/noroute.html" || strings.Join(got, "|") != "<p>nothing here</p>|" {
		t.Errorf("path %s, pages %q", f.path, got)
	}
}
