package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/go-hclog"

	"serin/admin"
	"serin/registry/consul"
	"serin/route"
)

// overrides are the route commands in Consul's KV, as they are followed and as
// the admin API edits them. Its followers must be run; its methods may be called
// concurrently.
type overrides struct {
	followers []*follower // one for each path, in the order in which they apply
	client    *consul.Client
	log       hclog.Logger
	publish   func(*route.Overrides)

	mu     sync.Mutex
	sets   [][]consul.Pair // by follower
	parsed *route.Overrides
}

// newOverrides follows the paths, each a key and what is below it, and publishes
// the commands in them whenever one changes.
func newOverrides(c *consul.Client, paths []string, publish func(*route.Overrides), log hclog.Logger) *overrides {
	o := &overrides{client: c, log: log, publish: publish, parsed: &route.Overrides{}}
	for _, path := range paths {
		i, known := len(o.followers), strings.Trim(path, "/")
		if known == "" || slices.ContainsFunc(o.followers, func(f *follower) bool { return f.path == known }) {
			continue
		}
		o.sets = append(o.sets, nil)
		o.followers = append(o.followers, followPrefix(c, path, func(pairs []consul.Pair) { o.set(i, pairs) }, log))
	}
	return o
}

// set takes in what is at one path.
func (o *overrides) set(i int, pairs []consul.Pair) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sets[i] = pairs
	old := o.parsed
	o.parsed = route.ParseOverrides(texts(o.sets)...)
	o.publish(o.parsed) // the loop logs what is refused
	if n := len(o.parsed.Commands); n != len(old.Commands) || n > 0 {
		o.log.Info("route commands applied", "path", o.followers[i].path, "keys", len(pairs), "commands", n, "refused", len(o.parsed.Problems))
	}
}

// texts joins the sets in the order in which they apply; a key that several
// paths reach counts where it comes first.
func texts(sets [][]consul.Pair) (out []route.CommandText) {
	seen := map[string]bool{}
	for _, pairs := range sets {
		for _, p := range pairs {
			if !seen[p.Key] {
				seen[p.Key] = true
				out = append(out, route.CommandText{Source: p.Key, Text: string(p.Value)})
			}
		}
	}
	return out
}

// Paths are those that are followed.
func (o *overrides) Paths() []string {
	paths := make([]string, len(o.followers))
	for i, f := range o.followers {
		paths[i] = f.path
	}
	return paths
}

// List returns the texts in force, in the order in which they apply.
func (o *overrides) List() []admin.Override {
	lost := map[string]error{}
	for _, f := range o.followers {
		for key, err := range f.Lost() {
			lost[key] = err
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	problems := map[string][]route.Problem{}
	for _, p := range o.parsed.Problems {
		problems[source(p.Where)] = append(problems[source(p.Where)], p)
	}
	out := []admin.Override{}
	seen := map[string]bool{}
	for _, pairs := range o.sets {
		for _, p := range pairs {
			if seen[p.Key] {
				continue
			}
			seen[p.Key] = true
			v := admin.Override{Key: p.Key, Index: p.Index, Text: string(p.Value), Problems: problems[p.Key]}
			if err := lost[p.Key]; err != nil {
				v.Lost = err.Error()
			}
			out = append(out, v)
		}
	}
	return out
}

// source is where without its line and column.
func source(where string) string {
	for range 2 {
		where = where[:max(0, strings.LastIndexByte(where, ':'))]
	}
	return where
}

// Get reads one text from Consul.
func (o *overrides) Get(ctx context.Context, key string) (text string, index uint64, ok bool, err error) {
	p, ok, err := o.client.Get(ctx, key)
	return string(p.Value), p.Index, ok, err
}

// Put writes one text if its index still is index, 0 where there is none, and
// returns its new index.
func (o *overrides) Put(ctx context.Context, key, text string, index uint64) (uint64, bool, error) {
	ok, err := o.client.CAS(ctx, key, []byte(text), index)
	if err != nil || !ok {
		return 0, ok, err
	}
	p, found, err := o.client.Get(ctx, key)
	switch {
	case err != nil:
		return 0, true, fmt.Errorf("it is written, but its index is not known: %w", err)
	case !found || string(p.Value) != text:
		return 0, true, errors.New("it was written, and changed by someone else at once")
	}
	return p.Index, true, nil
}

// Delete removes one text if its index still is index.
func (o *overrides) Delete(ctx context.Context, key string, index uint64) (bool, error) {
	return o.client.DeleteCAS(ctx, key, index)
}

// maxPage bounds the page where no route matches.
const maxPage = 1 << 20

// followPage follows the key of the HTML that is answered where no route
// matches, and hands it to set; nil where there is none. What is too large
// changes nothing.
func followPage(c *consul.Client, key string, set func([]byte), log hclog.Logger) *follower {
	return followKey(c, key, func(pairs []consul.Pair) {
		switch {
		case len(pairs) == 0:
			set(nil)
		case len(pairs[0].Value) > maxPage:
			log.Warn("the page where no route matches is too large, the last one stays", "key", pairs[0].Key, "bytes", len(pairs[0].Value), "most", maxPage)
		default:
			set(pairs[0].Value)
		}
	}, log)
}
