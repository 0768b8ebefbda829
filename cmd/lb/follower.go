package main

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"

	"serin/control"
	"serin/registry/consul"
)

// follower follows one key of Consul's KV, or a key and all that is below it,
// and hands on what is there. What cannot be read keeps its last value. Make one
// with [followKey] or [followPrefix]; its methods may be called concurrently,
// Restore only before Run.
type follower struct {
	path  string
	watch func(ctx context.Context, path string, emit func(consul.KVEvent)) error
	// apply gets the complete set, ordered by key, whenever it changed; never
	// concurrently.
	apply func([]consul.Pair)
	// save, unless nil, gets what Consul really said.
	save func(path string, keys []control.Document)
	log  hclog.Logger

	heard chan struct{} // closed with the first answer or error
	once  sync.Once
	state atomic.Pointer[followed]
}

// followKey follows path alone. A slash in front of it or behind it does not count.
func followKey(c *consul.Client, path string, apply func([]consul.Pair), log hclog.Logger) *follower {
	return newFollower(c.WatchKey, path, apply, log)
}

// followPrefix follows path and the keys below path + "/".
func followPrefix(c *consul.Client, path string, apply func([]consul.Pair), log hclog.Logger) *follower {
	return newFollower(c.WatchPrefix, path, apply, log)
}

func newFollower(watch func(context.Context, string, func(consul.KVEvent)) error, path string, apply func([]consul.Pair), log hclog.Logger) *follower {
	f := &follower{path: strings.Trim(path, "/"), watch: watch, apply: apply, log: log, heard: make(chan struct{})}
	f.state.Store(&followed{})
	return f
}

// followed is what a follower knows at one moment.
type followed struct {
	pairs    []consul.Pair    // as Consul or, before it answered, the disk had them last
	answered bool             // by Consul
	err      error            // why nothing can be read now
	lost     map[string]error // keys that alone cannot be read now, and why
}

// next is what is known after an event, and whether apply has to hear of it.
func (f followed) next(ev consul.KVEvent) (now followed, changed bool) {
	if ev.Err != nil {
		f.err, f.lost = ev.Err, nil
		return f, false
	}
	same := slices.EqualFunc(f.pairs, ev.Pairs, func(a, b consul.Pair) bool {
		return a.Key == b.Key && a.Index == b.Index && string(a.Value) == string(b.Value)
	})
	return followed{pairs: ev.Pairs, answered: true, lost: ev.Lost}, !same || !f.answered
}

// trouble is the key that is worst off and why what is known of it may be old;
// nil when all was read.
func (f followed) trouble(path string) (key string, err error) {
	if f.err != nil {
		return path, f.err
	}
	for _, key := range slices.Sorted(maps.Keys(f.lost)) {
		return key, f.lost[key]
	}
	return "", nil
}

// Restore takes what an earlier run knew, until Consul answers.
func (f *follower) Restore(keys []control.Document) {
	if len(keys) == 0 {
		return
	}
	pairs := make([]consul.Pair, len(keys))
	for i, k := range keys {
		pairs[i] = consul.Pair{Key: k.Key, Value: k.Value, Index: k.Index}
	}
	f.state.Store(&followed{pairs: pairs})
	f.apply(pairs)
}

// Run follows until ctx ends, then returns nil.
func (f *follower) Run(ctx context.Context) error {
	return f.watch(ctx, f.path, func(ev consul.KVEvent) {
		old := *f.state.Load()
		now, changed := old.next(ev)
		f.state.Store(&now)
		if changed {
			f.apply(now.pairs)
			if f.save != nil {
				keys := make([]control.Document, len(now.pairs))
				for i, p := range now.pairs {
					keys[i] = control.Document{Key: p.Key, Value: p.Value, Index: p.Index}
				}
				f.save(f.path, keys)
			}
		}
		_, was := old.trouble(f.path)
		switch key, err := now.trouble(f.path); {
		case err != nil && was == nil:
			f.log.Warn("a key cannot be read, what was read last counts", "key", key, "error", err)
		case err == nil && was != nil:
			f.log.Info("keys are read again", "path", f.path)
		}
		f.once.Do(func() { close(f.heard) })
	})
}

// First is closed when Consul answered, or could not, for the first time.
func (f *follower) First() <-chan struct{} { return f.heard }

// Heard reports whether First is closed.
func (f *follower) Heard() bool {
	select {
	case <-f.heard:
		return true
	default:
		return false
	}
}

// Warning says why what is known may be old; "" when it is not.
func (f *follower) Warning() string {
	key, err := f.state.Load().trouble(f.path)
	if err == nil {
		return ""
	}
	return key + " cannot be read, what was read last counts: " + err.Error()
}

// Lost returns why keys cannot be read now, by key.
func (f *follower) Lost() map[string]error {
	st := f.state.Load()
	if st.err == nil {
		return st.lost
	}
	lost := make(map[string]error, len(st.pairs))
	for _, p := range st.pairs {
		lost[p.Key] = st.err
	}
	return lost
}
