package main

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"serin/control"
	"serin/registry/consul"
)

func TestFollowedNext(t *testing.T) {
	denied := errors.New("permission denied")
	a1, a2 := consul.Pair{Key: "k/a", Value: []byte("1"), Index: 1}, consul.Pair{Key: "k/a", Value: []byte("2"), Index: 2}
	b := consul.Pair{Key: "k/b", Index: 3}
	show := func(f followed) string {
		out := ""
		for _, p := range f.pairs {
			out += p.Key + "=" + string(p.Value) + " "
		}
		if f.answered {
			out += "answered "
		}
		if key, err := f.trouble("k"); err != nil {
			out += key + ": " + err.Error()
		}
		return out
	}
	f := func(name string, had followed, ev consul.KVEvent, want string, wantChanged bool) {
		t.Helper()
		if got, changed := had.next(ev); show(got) != want || changed != wantChanged {
			t.Errorf("%s\n got %q %t\nwant %q %t", name, show(got), changed, want, wantChanged)
		}
	}
	set := func(pairs ...consul.Pair) []consul.Pair { return pairs }
	restored, known := followed{pairs: set(a1)}, followed{pairs: set(a1, b), answered: true}
	lost := followed{pairs: set(a1, b), answered: true, lost: map[string]error{"k/b": denied}}
	f("first answer", followed{}, consul.KVEvent{Pairs: set(a1)}, "k/a=1 answered ", true)
	f("first answer: nothing", followed{}, consul.KVEvent{}, "answered ", true)
	f("no answer at all", followed{}, consul.KVEvent{Err: denied}, "k: permission denied", false)
	f("no answer after a restart", restored, consul.KVEvent{Err: denied}, "k/a=1 k: permission denied", false)
	f("first answer after a restart, the same", restored, consul.KVEvent{Pairs: set(a1)}, "k/a=1 answered ", true)
	f("first answer after a restart: nothing", restored, consul.KVEvent{}, "answered ", true)
	f("another value", known, consul.KVEvent{Pairs: set(a2, b)}, "k/a=2 k/b= answered ", true)
	f("the same value, written again", known, consul.KVEvent{Pairs: set(consul.Pair{Key: "k/a", Value: []byte("1"), Index: 9}, b)}, "k/a=1 k/b= answered ", true)
	f("the same", known, consul.KVEvent{Pairs: set(a1, b)}, "k/a=1 k/b= answered ", false)
	f("a key gone", known, consul.KVEvent{Pairs: set(a1)}, "k/a=1 answered ", true)
	f("all keys gone", known, consul.KVEvent{}, "answered ", true)
	f("Consul gone", known, consul.KVEvent{Pairs: set(a1, b), Err: denied}, "k/a=1 k/b= answered k: permission denied", false)
	f("one key lost, another changed", known, consul.KVEvent{Pairs: set(a2, b), Lost: lost.lost}, "k/a=2 k/b= answered k/b: permission denied", true)
	f("one key lost", known, consul.KVEvent{Pairs: set(a1, b), Lost: lost.lost}, "k/a=1 k/b= answered k/b: permission denied", false)
	f("found again", lost, consul.KVEvent{Pairs: set(a1, b)}, "k/a=1 k/b= answered ", false)
}

// A follower hands on what changed, saves what Consul said, and says once what is
// wrong and once that it no longer is.
func TestFollower(t *testing.T) {
	denied := errors.New("permission denied")
	var did []string
	note := func(text string) { did = append(did, text) }
	pair := func(value string, index uint64) []consul.Pair {
		return []consul.Pair{{Key: "lb/x", Value: []byte(value), Index: index}}
	}
	var log strings.Builder
	var f *follower
	watch := func(_ context.Context, path string, emit func(consul.KVEvent)) error {
		select {
		case <-f.First():
			t.Error("First before an event")
		default:
		}
		for _, ev := range []consul.KVEvent{
			{Err: denied},
			{Err: denied},
			{Pairs: pair("two", 2)},
			{Pairs: pair("two", 2), Lost: map[string]error{"lb/x": denied}},
			{Pairs: nil},
		} {
			emit(ev)
			<-f.First()
			note("warning " + f.Warning())
		}
		note("watched " + path)
		return nil
	}
	f = newFollower(watch, "/lb/x/", func(pairs []consul.Pair) {
		for _, p := range pairs {
			note("apply " + string(p.Value))
		}
		if len(pairs) == 0 {
			note("apply nothing")
		}
	}, hclog.New(&hclog.LoggerOptions{Output: &log, DisableTime: true}))
	f.save = func(path string, keys []control.Document) {
		for _, k := range keys {
			note("save " + path + " " + k.Key + "=" + string(k.Value))
		}
	}
	f.Restore(nil)
	f.Restore([]control.Document{{Key: "lb/x", Value: []byte("one"), Index: 1}})
	if err := f.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"apply one",
		"warning lb/x cannot be read, what was read last counts: permission denied",
		"warning lb/x cannot be read, what was read last counts: permission denied",
		"apply two", "save lb/x lb/x=two", "warning ",
		"warning lb/x cannot be read, what was read last counts: permission denied",
		"apply nothing", "warning ",
		"watched lb/x",
	}
	if got := strings.Join(did, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
	wantLog := "[WARN]  a key cannot be read, what was read last counts: key=lb/x error=\"permission denied\"\n[INFO]  keys are read again: path=lb/x\n"
	if log.String() != wantLog+wantLog {
		t.Errorf("log\n got %s\nwant %s", log.String(), wantLog+wantLog)
	}
}
