package rollout

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// memory is a Store for tests: one KV, and a link to it for each balancer that
// can be cut and slowed down. Sessions end as early as Consul may end them.
type memory struct {
	mu       sync.Mutex
	index    uint64
	pairs    map[string]Pair
	sessions map[string]time.Time // deadline
	n        int
	changed  chan struct{}
	writes   []Pair // all values ever written, in order; Value nil: deleted
}

var errCut = errors.New("cannot reach Consul")

func newMemory() *memory {
	return &memory{index: 1, pairs: map[string]Pair{}, sessions: map[string]time.Time{}, changed: make(chan struct{})}
}

// locked runs f with sessions that are over ended.
func (m *memory) locked(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, deadline := range m.sessions {
		if !time.Now().Before(deadline) {
			m.end(id)
		}
	}
	f()
}

func (m *memory) end(id string) {
	delete(m.sessions, id)
	for key, p := range m.pairs {
		if p.Session == id {
			m.delete(key)
		}
	}
}

func (m *memory) change(p Pair) {
	m.index++
	p.Index = m.index
	m.pairs[p.Key] = p
	m.writes = append(m.writes, p)
	close(m.changed)
	m.changed = make(chan struct{})
}

func (m *memory) delete(key string) {
	if _, ok := m.pairs[key]; !ok {
		return
	}
	m.index++
	delete(m.pairs, key)
	m.writes = append(m.writes, Pair{Key: key, Index: m.index})
	close(m.changed)
	m.changed = make(chan struct{})
}

func (m *memory) put(key, value string) {
	m.locked(func() { m.change(Pair{Key: key, Value: []byte(value), Session: m.pairs[key].Session}) })
}

func (m *memory) get(key string) (p Pair) {
	m.locked(func() { p = m.pairs[key] })
	return p
}

func (m *memory) remove(key string) { m.locked(func() { m.delete(key) }) }

// endSessions ends all sessions, as an operator may.
func (m *memory) endSessions() {
	m.locked(func() {
		for id := range m.sessions {
			m.end(id)
		}
	})
}

// wipe loses everything, as Consul in development mode does when it restarts;
// the watches of these go on showing what they had seen, as they do then.
func (m *memory) wipe(all ...*balancer) {
	m.locked(func() {
		for _, b := range all {
			b.link.set(func() { b.ghosts = maps.Clone(m.pairs) })
		}
		clear(m.pairs)
		clear(m.sessions)
		m.index = 1
		close(m.changed)
		m.changed = make(chan struct{})
	})
}

// link is one balancer's way to the KV.
type link struct {
	*memory
	mu      sync.Mutex
	cut     bool
	latency time.Duration
	broken  func(op, key string) error // nil: never; called with mu held
	ghosts  map[string]Pair            // what the watch shows although it is gone
	unsure  bool                       // writes are done, and their answers lost
	changed chan struct{}
	calls   map[string]int // by operation and key
}

func (m *memory) link() *link {
	return &link{memory: m, changed: make(chan struct{}), calls: map[string]int{}}
}

func (l *link) set(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
	close(l.changed)
	l.changed = make(chan struct{})
}

// call is the way to the store.
func (l *link) call(ctx context.Context, op, key string) (unsure bool, err error) {
	l.mu.Lock()
	l.calls[op+" "+key]++
	latency := l.latency
	l.mu.Unlock()
	select {
	case <-time.After(latency):
	case <-ctx.Done():
		return false, ctx.Err()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.cut:
		return false, errCut
	case l.broken != nil:
		return l.unsure, l.broken(op, key)
	}
	return l.unsure, nil
}

func (l *link) Watch(ctx context.Context, prefix string, emit func([]Pair, error)) error {
	var seen uint64
	lost := false
	for {
		l.mu.Lock()
		cut, latency, linkChanged, ghosts := l.cut, l.latency, l.changed, l.ghosts
		l.mu.Unlock()
		var pairs []Pair
		var index uint64
		var changed chan struct{}
		next := time.Hour
		l.locked(func() {
			index, changed = l.index, l.memory.changed
			for key, p := range l.pairs {
				if key == prefix || strings.HasPrefix(key, prefix+"/") {
					pairs = append(pairs, p)
				}
			}
			for key, p := range ghosts {
				if _, ok := l.pairs[key]; !ok {
					pairs = append(pairs, p)
				}
			}
			for _, deadline := range l.sessions {
				next = min(next, time.Until(deadline))
			}
		})
		switch {
		case cut && !lost:
			lost = true
			emit(nil, errCut)
		case !cut && (lost || index != seen):
			time.Sleep(latency)
			lost, seen = false, index
			slices.SortFunc(pairs, func(a, b Pair) int { return strings.Compare(a.Key, b.Key) })
			emit(pairs, nil)
		}
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-changed:
		case <-linkChanged:
		case <-timer.C:
		}
		timer.Stop()
	}
}

func (l *link) Get(ctx context.Context, key string) (Pair, error) {
	if _, err := l.call(ctx, "get", key); err != nil {
		return Pair{}, err
	}
	return l.get(key), nil
}

func (l *link) CAS(ctx context.Context, key string, value []byte, index uint64) (ok bool, err error) {
	unsure, err := l.call(ctx, "cas", key)
	if err != nil {
		return false, err
	}
	l.locked(func() {
		if ok = l.pairs[key].Index == index; ok {
			l.change(Pair{Key: key, Value: value})
		}
	})
	if unsure {
		return false, errCut
	}
	return ok, nil
}

func (l *link) Delete(ctx context.Context, key string) error {
	if _, err := l.call(ctx, "delete", key); err != nil {
		return err
	}
	l.remove(key)
	return nil
}

func (l *link) NewSession(ctx context.Context, _ string, ttl time.Duration) (id string, err error) {
	if _, err := l.call(ctx, "session", ""); err != nil {
		return "", err
	}
	l.locked(func() {
		l.n++
		id = fmt.Sprintf("session-%d", l.n)
		l.sessions[id] = time.Now().Add(ttl)
	})
	return id, nil
}

func (l *link) RenewSession(ctx context.Context, id string) (err error) {
	if _, err := l.call(ctx, "renew", ""); err != nil {
		return err
	}
	l.locked(func() {
		if _, ok := l.sessions[id]; !ok {
			err = ErrNoSession
			return
		}
		l.sessions[id] = time.Now().Add(sessionTTL)
	})
	return err
}

func (l *link) EndSession(ctx context.Context, id string) error {
	if _, err := l.call(ctx, "end", ""); err != nil {
		return err
	}
	l.locked(func() { l.end(id) })
	return nil
}

func (l *link) Acquire(ctx context.Context, key string, value []byte, session string) (ok bool, err error) {
	if _, err := l.call(ctx, "acquire", key); err != nil {
		return false, err
	}
	l.locked(func() {
		if _, alive := l.sessions[session]; !alive {
			err = ErrNoSession
			return
		}
		if holder := l.pairs[key].Session; holder == "" || holder == session {
			ok = true
			l.change(Pair{Key: key, Value: value, Session: session})
		}
	})
	return ok, err
}

// balancer is a Fleet in a test, which applies at once what it is given.
type balancer struct {
	*Fleet
	*link
	t      *testing.T
	end    context.CancelFunc
	done   chan struct{}
	mu     sync.Mutex
	states map[string]State
	told   int
	events []Event
}

// join starts a balancer.
func (m *memory) join(t *testing.T, id string, plans ...*Plan) *balancer {
	return m.joinWith(t, id, func(*Fleet) {}, plans...)
}

func (m *memory) joinWith(t *testing.T, id string, set func(*Fleet), plans ...*Plan) *balancer {
	b := &balancer{link: m.link(), t: t, done: make(chan struct{})}
	b.Fleet = &Fleet{
		Store: b.link, Self: Self{ID: id, Node: "node-" + id},
		States: func(s map[string]State) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.states = s
			b.told++
		},
		Happened: func(e Event, _ *Plan) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.events = append(b.events, e)
		},
	}
	set(b.Fleet)
	b.link.latency = time.Millisecond
	b.apply(plans...)
	var ctx context.Context
	ctx, b.end = context.WithCancel(context.Background())
	go func() {
		defer close(b.done)
		if err := b.Run(ctx); err != nil {
			t.Errorf("Run of %s: %v", id, err)
		}
	}()
	t.Cleanup(b.leave)
	return b
}

// apply gives it all its plans anew, and their documents as applied.
func (b *balancer) apply(plans ...*Plan) {
	all, applied := map[string]*Plan{}, map[string]Applied{}
	for _, p := range plans {
		all[p.Service] = p
		applied[p.Service] = Applied{Index: p.Index, Hash: p.Hash, Ratio: p.Ratio}
	}
	b.SetPlans(all)
	b.SetApplied(applied)
}

// leave stops it in order.
func (b *balancer) leave() {
	b.end()
	<-b.done
}

// kill stops it without a word to anyone.
func (b *balancer) kill() {
	b.link.set(func() { b.cut = true })
	b.leave()
}

func (b *balancer) state(service string) State {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.states[service]
}

func (b *balancer) kinds() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []string
	for _, e := range b.events {
		out = append(out, e.Kind)
	}
	return strings.Join(out, " ")
}

// tried is how often it called the store so.
func (b *balancer) tried(call string) int {
	b.link.mu.Lock()
	defer b.link.mu.Unlock()
	return b.calls[call]
}

// stateOf is what the KV holds.
func (m *memory) stateOf(service string) State {
	return parseState(m.get("lb/state/"+service).Value, State{})
}
