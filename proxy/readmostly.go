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
func (r *readMostly[V]) orMake(key string, make func() V) V {
	if v, ok := r.get(key); ok {
		return v
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if v, ok := r.get(key); ok {
		return v
	}
	m := maps.Clone(r.all())
	if m == nil {
		m = map[string]V{}
	}
	v := make()
	m[key] = v
	r.m.Store(&m)
	return v
}

// drop forgets key and returns what it had.
func (r *readMostly[V]) drop(key string) (V, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v, ok := r.get(key)
	if ok {
		m := maps.Clone(r.all())
		delete(m, key)
		r.m.Store(&m)
	}
	return v, ok
}
