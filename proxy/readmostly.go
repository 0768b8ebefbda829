package proxy

import (
	"maps"
	"sync"
	"sync/atomic"
)

// readMostly is a map that is read without a lock and without allocating, and
// copied whole to be written: for keys that change with the catalog, not with
// requests. The zero value is empty.
type readMostly[V any] struct {
	mu sync.Mutex // held by writers
	m  atomic.Pointer[map[string]V]
}

func (r *readMostly[V]) all() map[string]V {
	if m := r.m.Load(); m != nil {
		return *m
	}
	return nil
}

func (r *readMostly[V]) get(key string) (V, bool) {
	v, ok := r.all()[key]
	return v, ok
}

// orMake returns the value of key, made if there is none.
func (r *readMostly[V]) orMake(key string, make func() V) (v V) {
	r.edit(func(d *draft[V]) { v = d.orMake(key, make) })
	return v
}

// edit lets f write, and readers see all that it wrote at once; f may read r
// but not write it in another way.
func (r *readMostly[V]) edit(f func(*draft[V])) {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := draft[V]{m: r.all()}
	if f(&d); d.own {
		r.m.Store(&d.m)
	}
}

// draft is the next state of a readMostly: copied at the first write.
type draft[V any] struct {
	m   map[string]V
	own bool
}

func (d *draft[V]) copy() {
	if d.own {
		return
	}
	if d.own, d.m = true, maps.Clone(d.m); d.m == nil {
		d.m = map[string]V{}
	}
}

func (d *draft[V]) orMake(key string, make func() V) V {
	v, ok := d.m[key]
	if !ok {
		d.copy()
		v = make()
		d.m[key] = v
	}
	return v
}

func (d *draft[V]) drop(key string) {
	d.copy()
	delete(d.m, key)
}
