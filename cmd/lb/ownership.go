package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"serin/registry/consul"
	"serin/route"
)

// ownership is the policy of who may claim what, as the loop is to have it: its
// rules come from KV or a file, its owners from the state on disk and the
// tables. Make one with [newOwnership]; its methods may be called concurrently.
type ownership struct {
	mode    route.OwnershipMode
	hold    time.Duration // of a place that its owner claims no more
	publish func(*route.Ownership)
	log     hclog.Logger
	woken   chan struct{}

	mu     sync.Mutex // guards what follows
	rules  []route.OwnershipRule
	broken string               // why the newest rules are not in force
	since  map[string]time.Time // when the table began to hold a place
	table  *route.Table         // in force
}

func newOwnership(o Ownership, publish func(*route.Ownership), log hclog.Logger) (*ownership, error) {
	own := &ownership{mode: o.Mode, hold: o.Hold, publish: publish, log: log, woken: make(chan struct{}, 1)}
	if o.Mode == route.OwnershipOff {
		return own, nil
	}
	if o.File != "" {
		text, err := os.ReadFile(o.File)
		if err == nil {
			own.rules, err = route.ParseOwnership(text)
		}
		if err != nil {
			return nil, fmt.Errorf("registry.ownership.file: %w", err)
		}
	}
	own.put(nil)
	return own, nil
}

// follow returns the follower of the rules in KV, nil where they come from a
// file or nobody asks for them.
func (o *ownership) follow(c *consul.Client, cfg Ownership) *follower {
	if o.mode == route.OwnershipOff || cfg.File != "" || cfg.KVPath == "" {
		return nil
	}
	return followKey(c, cfg.KVPath, o.read, o.log)
}

// read takes the rules from KV. Rules that cannot be read change nothing.
func (o *ownership) read(pairs []consul.Pair) {
	var rules []route.OwnershipRule
	broken := ""
	if len(pairs) > 0 {
		var err error
		if rules, err = route.ParseOwnership(pairs[0].Value); err != nil {
			broken = fmt.Sprintf("%s: %v: the last rules stay", pairs[0].Key, err)
			o.log.Warn("ownership rules refused, the last ones stay", "key", pairs[0].Key, "error", err)
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.broken = broken; broken != "" {
		return
	}
	o.rules = rules
	o.log.Info("ownership rules in force", "rules", len(rules))
	o.put(nil)
}

// restore takes the owners that an earlier process knew.
func (o *ownership) restore(owners map[string]string) {
	if o.mode != route.FirstOwner || len(owners) == 0 {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.put(owners)
}

// put publishes the policy; owners are those of an earlier table, nil for those
// of the last one.
func (o *ownership) put(owners map[string]string) {
	o.publish(&route.Ownership{Mode: o.mode, Rules: o.rules, Owners: owners, Hold: o.hold > 0})
}

// published is told every new table.
func (o *ownership) published(t *route.Table) {
	if o.mode != route.FirstOwner {
		return
	}
	o.mu.Lock()
	o.table = t
	o.mu.Unlock()
	select {
	case o.woken <- struct{}{}:
	default:
	}
}

// owners are those of the table in force, for the state on disk.
func (o *ownership) owners() map[string]string {
	o.mu.Lock()
	t := o.table
	o.mu.Unlock()
	return t.Owners()
}

// warning says why the newest rules are not in force.
func (o *ownership) warning() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.broken
}

// Run frees the places whose owners stay away for longer than the hold, until
// ctx ends; then it returns nil.
func (o *ownership) Run(ctx context.Context) error {
	var due <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-o.woken:
		case <-due:
		}
		due = nil
		if next := o.release(time.Now()); !next.IsZero() {
			due = time.After(time.Until(next))
		}
	}
}

// release frees what is overdue, and returns when to look again.
func (o *ownership) release(now time.Time) time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	held := o.table.Held()
	since, overdue, next := away(held, o.since, o.hold, now)
	o.since = since
	if len(overdue) == 0 {
		return next
	}
	owners := o.table.Owners()
	for _, place := range overdue {
		o.log.Info("a place is free again: its owner stayed away", "place", place, "owner", held[place], "for", o.hold)
		delete(owners, place)
	}
	if owners == nil {
		owners = map[string]string{}
	}
	o.put(owners)
	return next
}

// away says since when each held place is without its owner, which of them are
// so for longer than hold, in order, and when the next one will be.
func away(held map[string]string, since map[string]time.Time, hold time.Duration, now time.Time) (still map[string]time.Time, overdue []string, next time.Time) {
	still = make(map[string]time.Time, len(held))
	for _, place := range slices.Sorted(maps.Keys(held)) {
		began, ok := since[place]
		if !ok {
			began = now
		}
		still[place] = began
		switch end := began.Add(hold); {
		case !end.After(now):
			overdue = append(overdue, place)
		case next.IsZero() || end.Before(next):
			next = end
		}
	}
	return still, overdue, next
}
