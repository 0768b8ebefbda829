package proxy

import (
	"hash/maphash"
	"iter"
	"maps"
	"sync"
	"sync/atomic"
)

// readMostly is a map that is read without a lock and without allocating: for
// keys that change with the catalog, not with requests. It is many maps, by the
// hash of the key, of which a write copies one. The zero value is empty.
type readMostly[V any] struct {
	mu     sync.Mutex // held by writers
	shards [shards]atomic.Pointer[map[string]V]
	size   atomic.Int64
}

const shards = 256

var shardSeed = maphash.MakeSeed()

func shardOf(key string) uint64 { return maphash.String(shardSeed, key) % shards }

// all yields all keys and values, in no order.
func (r *readMostly[V]) all() iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		for i := range r.shards {
			if m := r.shards[i].Load(); m != nil {
				for k, v := range *m {
					if !yield(k, v) {
						return
					}
				}
			}
		}
	}
}

// len returns the number of keys.
func (r *readMostly[V]) len() int { return int(r.size.Load()) }

func (r *readMostly[V]) get(key string) (v V, ok bool) {
	if m := r.shards[shardOf(key)].Load(); m != nil {
		v, ok = (*m)[key]
	}
	return v, ok
}

// orMake returns the value of key, made if there is none.
func (r *readMostly[V]) orMake(key string, make func() V) (v V) {
	r.edit(func(d *draft[V]) { v = d.orMake(key, make) })
	return v
}

// edit lets f write; f may read r but not write it in another way. Readers see
// what it wrote when it returns.
func (r *readMostly[V]) edit(f func(*draft[V])) {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := draft[V]{of: r}
	f(&d)
	for i, m := range d.own {
		r.shards[i].Store(&m)
	}
	r.size.Add(int64(d.more))
}

// draft is the next state of a readMostly: a shard is copied at its first write.
type draft[V any] struct {
	of   *readMostly[V]
	own  map[uint64]map[string]V
	more int // keys than before
}

func (d *draft[V]) get(key string) (v V, ok bool) {
	if m, own := d.own[shardOf(key)]; own {
		v, ok = m[key]
		return v, ok
	}
	return d.of.get(key)
}

// shard returns the key's shard for writing.
func (d *draft[V]) shard(key string) map[string]V {
	i := shardOf(key)
	m, own := d.own[i]
	if !own {
		if old := d.of.shards[i].Load(); old != nil {
			m = maps.Clone(*old)
		}
		if m == nil {
			m = map[string]V{}
		}
		if d.own == nil {
			d.own = make(map[uint64]map[string]V)
		}
		d.own[i] = m
	}
	return m
}

func (d *draft[V]) orMake(key string, make func() V) V {
	v, ok := d.get(key)
	if !ok {
		v = make()
		d.shard(key)[key] = v
		d.more++
	}
	return v
}

func (d *draft[V]) drop(key string) {
	if _, ok := d.get(key); ok {
		delete(d.shard(key), key)
		d.more--
	}
}

// clear drops all keys.
func (d *draft[V]) clear() {
	d.own = make(map[uint64]map[string]V, shards)
	for i := range uint64(shards) {
		d.own[i] = map[string]V{}
	}
	d.more = -d.of.len()
}
