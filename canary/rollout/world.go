package rollout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

const (
	maxState = 64 << 10 // bytes of a state that is read
	maxNode  = 4 << 10  // bytes of what a balancer publishes
)

// world is what the Store shows, decoded. It is never written again.
type world struct {
	states map[string]held            // by service
	nodes  map[string]map[string]Node // by service ("": the balancer itself) and ID
	lock   lock
	cache  map[string]cached
}

// held is a state and the index of its key, 0 for none.
type held struct {
	State
	index uint64
}

// lock is the key of the leader.
type lock struct {
	Self
	session string
}

// cached is what became of one pair.
type cached struct {
	index uint64
	state State
	node  Node
	err   error
}

// learned is a state that was read by itself after a write, and is newer than
// what the watch showed then.
type learned struct {
	held
	at   time.Time
	over uint64 // index in the watch
}

// holds tells whether it still counts where the watch shows index: until that
// has come to it. An index may begin anew, lower, so the wait for it is bounded.
func (l learned) holds(index uint64, now time.Time) bool {
	if l.over != 0 && index == l.over {
		return true
	}
	return index < l.index && now.Sub(l.at) <= storeLimit
}

// watch follows all keys beside the loop.
func (r *run) watch() (ended <-chan error) {
	end := make(chan error, 1)
	r.wg.Go(func() {
		end <- r.f.Store.Watch(r.ctx, StateKeys, func(pairs []Pair, err error) {
			select {
			case r.done <- func() { r.onWatch(pairs, err) }:
			case <-r.ctx.Done():
			}
		})
	})
	return end
}

func (r *run) onWatch(pairs []Pair, err error) {
	r.say("reading the states of rollouts", err, "prefix", StateKeys)
	r.lost = err
	r.dirty = true
	if err != nil {
		r.f.known.Do(func() { close(r.f.first) })
		return
	}
	was := r.world
	r.world = r.decode(pairs, was)
	r.depart(was, r.world, time.Now())
	for service, l := range r.learned {
		if !l.holds(r.world.states[service].index, time.Now()) {
			delete(r.learned, service)
		}
	}
	for service, a := range r.absent {
		if r.world.states[service].index != a.index {
			delete(r.absent, service)
		}
	}
	r.tell()
	r.f.known.Do(func() { close(r.f.first) })
}

// decode reads the pairs that are not those of was. What cannot be read is said
// once per index.
func (r *run) decode(pairs []Pair, was *world) *world {
	w := &world{states: map[string]held{}, nodes: map[string]map[string]Node{}, cache: make(map[string]cached, len(pairs))}
	for _, p := range pairs {
		name, below := strings.CutPrefix(p.Key, StateKeys+"/")
		if !below {
			continue
		}
		var c cached
		fresh := true
		if was != nil {
			if c, fresh = was.cache[p.Key]; fresh && c.index == p.Index {
				fresh = false
			} else {
				fresh = true
			}
		}
		node, isNode := strings.CutPrefix(name, "nodes/")
		switch {
		case name == "nodes/"+leaderName:
			w.lock.session = p.Session
			if len(p.Value) <= maxNode {
				_ = json.Unmarshal(p.Value, &w.lock.Self) // whoever holds it, holds it
			}
			continue
		case isNode:
			id, service, _ := strings.Cut(node, "/")
			if fresh {
				c = cached{index: p.Index}
				c.node, c.err = parseNode(id, p)
			}
			if c.err == nil {
				if w.nodes[service] == nil {
					w.nodes[service] = map[string]Node{}
				}
				w.nodes[service][id] = c.node
			}
		case name == "" || strings.Contains(name, "/"):
			continue
		default:
			if fresh {
				c = r.parseState(name, p, c)
			}
			w.states[name] = held{c.state, p.Index}
		}
		if fresh && c.err != nil {
			r.log.Warn("what a key holds is ignored", "key", p.Key, "index", p.Index, "error", c.err)
		}
		w.cache[p.Key] = c
	}
	return w
}

func (r *run) parseState(service string, p Pair, was cached) cached {
	c := cached{index: p.Index}
	if len(p.Value) > maxState {
		p.Value = nil
	}
	c.state = parseState(p.Value, was.state)
	if c.state.Damaged != "" {
		c.err = errors.New(c.state.Damaged + "; it is held; to begin anew delete the key")
	}
	if r.world != nil && c.err == nil {
		// The same state keeps its identity, so that == finds it unchanged.
		if old := r.world.states[service].State; sameText(old, c.state) {
			c.state = old
		}
	}
	return c
}

func sameText(a, b State) bool {
	x, err1 := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err1 == nil && err2 == nil && string(x) == string(y) && a.Damaged == b.Damaged
}

func parseNode(id string, p Pair) (Node, error) {
	var n Node
	switch {
	case id == "":
		return n, errors.New("it names no balancer")
	case p.Session == "":
		return n, errors.New("no session holds it, so no balancer has written it")
	case len(p.Value) > maxNode:
		return n, fmt.Errorf("%d bytes are more than %d", len(p.Value), maxNode)
	}
	if err := json.Unmarshal(p.Value, &n); err != nil {
		return n, err
	}
	if n.ID != id {
		return n, fmt.Errorf("it is about the balancer %q", n.ID)
	}
	return n, nil
}

// state is the newest that is known of a service.
func (r *run) state(service string) held {
	l, ok := r.learned[service]
	if r.world == nil {
		return l.held
	}
	h := r.world.states[service]
	if ok && l.holds(h.index, time.Now()) {
		return l.held
	}
	return h
}

// absent is a state that the key itself does not hold, although the watch shows
// it: with that index, since then.
type absent struct {
	index uint64
	since time.Time
}

// revival is how long the watch has to show that a state was deleted. After that
// it is gone with Consul's own state, and is written again.
const revival = 2 * time.Second

// tell tells the states to whoever asked for them, when they have changed.
func (r *run) tell() {
	if r.world == nil {
		return
	}
	told := make(map[string]State, len(r.world.states)+len(r.vetoes))
	for service := range r.world.states {
		told[service] = r.state(service).State
	}
	for service := range r.learned {
		told[service] = r.state(service).State
	}
	for service, v := range r.vetoes {
		told[service] = v.state
	}
	if r.told != nil && maps.Equal(r.told, told) {
		return
	}
	r.told, r.dirty = told, true
	if r.f.States != nil {
		r.f.States(told)
	}
}

// services are those of a map, in order.
func services[T any](m map[string]T) []string { return slices.Sorted(maps.Keys(m)) }

// write writes a state by CAS beside the loop and tells what came of it. Until
// that is known no other state of the service is written.
func (r *run) write(service string, old held, next State, then func(written bool, now State)) {
	next.By = r.f.Self.ID
	value, err := json.Marshal(next)
	if err != nil || len(value) > maxState {
		r.log.Error("a state cannot be written", "service", service, "bytes", len(value), "error", err)
		return
	}
	if time.Now().Before(r.refused[service]) {
		return
	}
	index := old.index
	if a, ok := r.absent[service]; ok {
		if time.Since(a.since) < revival {
			return
		}
		index = 0
	}
	r.writing[service] = true
	key := StateKeys + "/" + service
	r.apart(func(ctx context.Context) func() {
		done, err := call(ctx, func(ctx context.Context) (bool, error) { return r.f.Store.CAS(ctx, key, value, index) })
		first := err
		var p Pair
		for {
			// Whether it was written, and the index, only the key itself can tell.
			p, err = call(ctx, func(ctx context.Context) (Pair, error) { return r.f.Store.Get(ctx, key) })
			if err == nil || ctx.Err() != nil {
				break
			}
			select {
			case <-ctx.Done():
			case <-time.After(retryAfter):
			}
		}
		return func() {
			delete(r.writing, service)
			r.say("writing the state of "+service, first, "key", key)
			delete(r.refused, service)
			if first != nil {
				r.refused[service] = time.Now().Add(retryAfter)
			}
			same := string(p.Value) == string(value)
			written := done || first != nil && same
			shown := r.world.states[service].index
			switch {
			case p.Index == 0:
				// Deleted by hand, which the watch will show, or gone with Consul's
				// state, of which it will not.
				delete(r.learned, service)
				if _, ok := r.absent[service]; !ok && shown != 0 {
					r.absent[service] = absent{shown, time.Now()}
				}
			case same:
				delete(r.absent, service)
				r.learned[service] = learned{held{next, p.Index}, time.Now(), shown}
			default:
				delete(r.absent, service)
				c := r.parseState(service, p, cached{state: old.State})
				r.learned[service] = learned{held{c.state, p.Index}, time.Now(), shown}
			}
			r.dirty = true
			then(written, r.state(service).State)
		}
	})
}
