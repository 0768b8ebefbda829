package consul

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"
)

// Pair is one key of Consul's KV store. Its Value is not to be written to.
type Pair struct {
	Key     string
	Value   []byte
	Index   uint64 // Consul's ModifyIndex, for CAS
	Session string // that holds the key, see [Client.Acquire]; "" when none does
}

// KVEvent is what a KV watch knows at one moment.
type KVEvent struct {
	// Pairs is the complete set, ordered by key. With Err it is the last set
	// that was confirmed, where keys may have changed or gone since.
	Pairs []Pair
	// Err says that none of the keys can be read; see [ErrDenied] and its kin,
	// and [ErrStateLost].
	Err error
	// Lost are keys that alone cannot be read while the others were, and why:
	// Pairs has them as they were last.
	Lost map[string]error
	// At is when this became known.
	At time.Time
}

// ErrStateLost says that a key is gone because Consul lost its state, not
// because somebody deleted the key.
var ErrStateLost = errors.New("Consul lost its state")

// stateLostFor is how long ErrStateLost is believed: after that, what is not
// there is not there.
const stateLostFor = 10 * time.Minute

const (
	// kvWait is shorter than maxWait because a permission that is taken away ends
	// no blocking query: it shows at the end of the wait.
	kvWait   = 10 * time.Second
	kvRetry  = 2 * time.Second // between two looks at keys that were lost
	kvRepeat = 5 * time.Second // between two events with the same Err
)

// Get reads one key. ok is false when it does not exist.
func (c *Client) Get(ctx context.Context, key string) (p Pair, ok bool, err error) {
	p, ok, _, err = c.get(ctx, key, false)
	return p, ok, err
}

func (c *Client) get(ctx context.Context, key string, leader bool) (p Pair, ok bool, index uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, plainTimeout)
	defer cancel()
	kv, meta, err := c.api.KV().Get(key, (&api.QueryOptions{RequireConsistent: leader}).WithContext(ctx))
	if err != nil {
		return Pair{}, false, 0, c.classify(fmt.Sprintf("read key %q", key), err)
	}
	if kv == nil {
		return Pair{}, false, meta.LastIndex, nil
	}
	if kv.Key != key {
		return Pair{}, false, 0, c.classify(fmt.Sprintf("read key %q", key), fmt.Errorf("%w: the answer is about key %q", ErrDecode, kv.Key))
	}
	return pair(kv), true, meta.LastIndex, nil
}

func pair(kv *api.KVPair) Pair {
	return Pair{Key: kv.Key, Value: kv.Value, Index: kv.ModifyIndex, Session: kv.Session}
}

// List reads the key prefix and all keys below prefix + "/", ordered by key. No
// key is no error; one that a policy hides is missing.
func (c *Client) List(ctx context.Context, prefix string) ([]Pair, error) {
	ctx, cancel := context.WithTimeout(ctx, plainTimeout)
	defer cancel()
	kvs, _, err := c.api.KV().List(prefix, new(api.QueryOptions).WithContext(ctx))
	if err != nil {
		return nil, c.classify(fmt.Sprintf("list the keys at %q", prefix), err)
	}
	var out []Pair
	for _, kv := range kvs {
		if kv != nil && (kv.Key == prefix || strings.HasPrefix(kv.Key, prefix+"/")) {
			out = append(out, pair(kv))
		}
	}
	slices.SortFunc(out, func(a, b Pair) int { return strings.Compare(a.Key, b.Key) })
	return out, nil
}

// Put writes one key, whatever it held.
func (c *Client) Put(ctx context.Context, key string, value []byte) error {
	ctx, cancel := context.WithTimeout(ctx, plainTimeout)
	defer cancel()
	_, err := c.api.KV().Put(&api.KVPair{Key: key, Value: value}, new(api.WriteOptions).WithContext(ctx))
	return c.classify(fmt.Sprintf("write key %q", key), err)
}

// CAS writes one key if its Index still is index; with index 0, if the key does
// not exist. It tells whether it did.
func (c *Client) CAS(ctx context.Context, key string, value []byte, index uint64) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, plainTimeout)
	defer cancel()
	ok, _, err := c.api.KV().CAS(&api.KVPair{Key: key, Value: value, ModifyIndex: index}, new(api.WriteOptions).WithContext(ctx))
	return ok, c.classify(fmt.Sprintf("write key %q", key), err)
}

// Delete removes one key. A key that does not exist is no error.
func (c *Client) Delete(ctx context.Context, key string) error {
	ctx, cancel := context.WithTimeout(ctx, plainTimeout)
	defer cancel()
	_, err := c.api.KV().Delete(key, new(api.WriteOptions).WithContext(ctx))
	return c.classify(fmt.Sprintf("delete key %q", key), err)
}

// DeleteCAS removes one key if its Index still is index, and tells whether it did.
func (c *Client) DeleteCAS(ctx context.Context, key string, index uint64) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, plainTimeout)
	defer cancel()
	ok, _, err := c.api.KV().DeleteCAS(&api.KVPair{Key: key, ModifyIndex: index}, new(api.WriteOptions).WithContext(ctx))
	return ok, c.classify(fmt.Sprintf("delete key %q", key), err)
}

// WatchPrefix follows the key prefix and all keys below prefix + "/" until ctx
// ends, then returns nil. It calls emit, never concurrently, with the complete
// set as soon as it is known and at every change; with Err as soon as it is lost
// and at least every 10 s while it is; and when it is back.
//
// A key that is missing from the set is a deletion only when a read of that very
// key by Consul's leader says so, and says so at a later index than the key had:
// without permission Consul leaves keys out of a list, and answers 404 for an
// empty one. A key that is gone because Consul lost its state (its index went
// back, or [Client.Run] had to register again) is lost, with [ErrStateLost], for
// 10 minutes.
func (c *Client) WatchPrefix(ctx context.Context, prefix string, emit func(KVEvent)) error {
	return c.watchKV(ctx, strings.Trim(prefix, "/"), true, emit)
}

// WatchKey does for one key what WatchPrefix does for a prefix.
func (c *Client) WatchKey(ctx context.Context, key string, emit func(KVEvent)) error {
	return c.watchKV(ctx, strings.TrimPrefix(key, "/"), false, emit)
}

// kvWatch is the state of one watch, owned by the goroutine that runs it.
type kvWatch struct {
	c       *Client
	ctx     context.Context
	key     string
	recurse bool
	emit    func(KVEvent)

	known   map[string]Pair
	seen    map[string]time.Time // when each key was last read at first hand
	gone    map[string]time.Time // since when keys are gone with Consul's state
	lost    map[string]error     // keys that are not as Consul has them now
	emitted bool
	err     error     // emitted last: of all, or of one of lost
	at      time.Time // when
}

func (c *Client) watchKV(ctx context.Context, key string, recurse bool, emit func(KVEvent)) error {
	ctx, cancel := context.WithCancel(ctx)
	w := &kvWatch{c: c, ctx: ctx, key: key, recurse: recurse, emit: emit, known: map[string]Pair{}, seen: map[string]time.Time{}, gone: map[string]time.Time{}}
	events := make(chan func())
	do := func(f func()) {
		select {
		case events <- f:
		case <-ctx.Done():
		}
	}
	q := &query[map[string]Pair]{
		fetch: w.fetch,
		same:  samePairs,
		good:  func(got map[string]Pair, _ *api.QueryMeta, _ bool) { do(func() { w.got(got) }) },
		bad:   func(err error) { do(func() { w.lost = nil; w.tell(err, false) }) },
		wait:  func() time.Duration { return c.kvWait },
		lead:  true,
		woken: &c.woken,
	}
	var wg sync.WaitGroup
	wg.Go(func() { q.run(ctx) })
	defer wg.Wait()
	defer cancel()
	for {
		var timer <-chan time.Time
		if w.err != nil {
			timer = time.After(kvRetry)
		}
		select {
		case <-ctx.Done():
			return nil
		case f := <-events:
			f()
		case <-timer:
			w.retry()
		}
	}
}

// fetch reads all keys of the watch. No key is no error.
func (w *kvWatch) fetch(ctx context.Context, q *api.QueryOptions) (map[string]Pair, *api.QueryMeta, error) {
	var kvs api.KVPairs
	var meta *api.QueryMeta
	var err error
	if w.recurse {
		kvs, meta, err = w.c.api.KV().List(w.key, q.WithContext(ctx))
	} else {
		var kv *api.KVPair
		kv, meta, err = w.c.api.KV().Get(w.key, q.WithContext(ctx))
		if kv != nil {
			kvs = api.KVPairs{kv}
		}
	}
	if err == nil && slices.Contains(kvs, nil) {
		err = fmt.Errorf("%w: a list of keys has a hole", ErrDecode)
	}
	if err != nil {
		return nil, nil, w.c.classify(fmt.Sprintf("watch key %q", w.key), err)
	}
	got := make(map[string]Pair, len(kvs))
	for _, kv := range kvs {
		if kv.Key == w.key || w.recurse && strings.HasPrefix(kv.Key, w.key+"/") {
			got[kv.Key] = pair(kv)
		}
	}
	return got, meta, nil
}

// retry looks again at once at what was lost, because a permission that comes
// back ends no blocking query.
func (w *kvWatch) retry() {
	ctx, cancel := context.WithTimeout(w.ctx, plainTimeout)
	defer cancel()
	got, _, err := w.fetch(ctx, &api.QueryOptions{})
	if err != nil {
		w.lost = nil
		w.tell(err, false)
		return
	}
	w.got(got)
}

// got takes a complete answer, and has every key that is missing from it
// confirmed.
func (w *kvWatch) got(got map[string]Pair) {
	started := time.Now()
	got = maps.Clone(got) // the query still compares with it
	missing := make([]string, 0, 1)
	for key := range w.known {
		if _, ok := got[key]; !ok {
			missing = append(missing, key)
		}
	}
	if !w.emitted && len(got) == 0 {
		missing = append(missing, w.key)
	}
	_, lostAt := w.c.Registered()
	var failed error
	lost, gone := map[string]error{}, map[string]time.Time{}
	slices.Sort(missing) // so that the error told is always the same one
	for _, key := range missing {
		p, exists, index, err := w.c.get(w.ctx, key, true)
		old, had := w.known[key]
		if err == nil && !exists && had {
			since := cmp.Or(w.gone[key], started)
			if err = vanished(key, old.Index, index, w.seen[key].Before(lostAt), started.Sub(since)); err != nil {
				gone[key] = since
			}
		}
		switch {
		case err != nil:
			failed = cmp.Or(failed, err)
			if had {
				got[key], lost[key] = old, err
			}
		case exists:
			got[key] = p
		}
	}
	if w.ctx.Err() != nil {
		return
	}
	for key := range got {
		if lost[key] == nil {
			w.seen[key] = started
		}
	}
	same := samePairs(w.known, got) && len(lost) == len(w.lost)
	w.known, w.gone, w.lost = got, gone, lost
	switch {
	case failed != nil:
		w.tell(failed, !same)
	case !same || !w.emitted || w.err != nil:
		w.send(nil)
	}
}

// vanished says why a key that Consul's leader does not have is no deletion; nil
// when it is one. had is the key's index and index that of the answer; reborn
// tells that the agent lost its state since the key was last seen, which is this
// long ago.
func vanished(key string, had, index uint64, reborn bool, ago time.Duration) error {
	if (index <= had || reborn) && ago < stateLostFor {
		return &failure{ErrStateLost, fmt.Sprintf("key %q is gone because Consul lost its state (index %d, was %d). Write the key again", key, index, had), ErrStateLost}
	}
	return nil
}

// tell emits that keys are lost, if that is news or was not said lately.
func (w *kvWatch) tell(err error, news bool) {
	if w.ctx.Err() == nil && (news || w.err == nil || w.err.Error() != err.Error() || time.Since(w.at) >= kvRepeat) {
		w.send(err)
	}
}

func (w *kvWatch) send(err error) {
	w.err, w.at = err, time.Now()
	lost := w.lost
	if err == nil || len(lost) == 0 || len(lost) == len(w.known) {
		lost = nil
	} else {
		err = nil // the others were read
	}
	w.emitted = w.emitted || err == nil
	pairs := make([]Pair, 0, len(w.known))
	for _, key := range slices.Sorted(maps.Keys(w.known)) {
		pairs = append(pairs, w.known[key])
	}
	w.emit(KVEvent{Pairs: pairs, Err: err, Lost: lost, At: w.at})
}

func samePairs(a, b map[string]Pair) bool {
	return maps.EqualFunc(a, b, func(a, b Pair) bool { return a.Index == b.Index && string(a.Value) == string(b.Value) })
}
