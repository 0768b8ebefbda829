package route

import (
	"math/bits"
	"slices"
)

// hamt is a persistent hash map (a hash array mapped trie): as trie, a copy
// stays as it is whatever is done to the other, and an edit copies a handful of
// small arrays. The zero value is empty. A Go map that is copied for every edit
// costs as much as it has entries, and libraries of persistent maps allocate in
// a lookup or put an interface between; this is all that the hosts need.
type hamt[V any] struct {
	slots []slot[V] // by six bits of the hash, ascending
	has   uint64    // which of the 64 there are; unused below the last level
}

type slot[V any] struct {
	hash  uint64
	key   string
	value V
	below hamt[V] // when it has slots, they are in place of key and value
}

const hashBits = 60 // what is left of the hash when all levels are used is not looked at

// get returns the value of key; nil when there is none.
func (m *hamt[V]) get(hash uint64, key string) *V {
	for used := uint(0); used < hashBits; used += 6 {
		i, ok := m.slot(hash >> used)
		if !ok {
			return nil
		}
		s := &m.slots[i]
		if s.below.slots == nil {
			if s.hash == hash && s.key == key {
				return &s.value
			}
			return nil
		}
		m = &s.below
	}
	for i := range m.slots {
		if m.slots[i].key == key {
			return &m.slots[i].value
		}
	}
	return nil
}

func (m *hamt[V]) slot(hash uint64) (i int, ok bool) {
	bit := uint64(1) << (hash & 63)
	return bits.OnesCount64(m.has & (bit - 1)), m.has&bit != 0
}

// set gives key a value; owned is as in trie.set.
func (m *hamt[V]) set(hash uint64, key string, value V, owned bool) {
	m.put(slot[V]{hash: hash, key: key, value: value}, 0, owned)
}

func (m *hamt[V]) put(s slot[V], used uint, owned bool) {
	if !owned {
		m.slots = slices.Clone(m.slots)
	}
	if used >= hashBits {
		if i := slices.IndexFunc(m.slots, func(o slot[V]) bool { return o.key == s.key }); i >= 0 {
			m.slots[i] = s
		} else {
			m.slots = append(slices.Clip(m.slots), s)
		}
		return
	}
	i, ok := m.slot(s.hash >> used)
	if !ok {
		slots := make([]slot[V], len(m.slots)+1)
		copy(slots, m.slots[:i])
		slots[i] = s
		copy(slots[i+1:], m.slots[i:])
		m.slots = slots
		m.has |= 1 << (s.hash >> used & 63)
		return
	}
	old := &m.slots[i]
	switch {
	case old.below.slots != nil:
		old.below.put(s, used+6, owned)
	case old.hash == s.hash && old.key == s.key:
		*old = s
	default:
		var below hamt[V]
		below.put(*old, used+6, true)
		below.put(s, used+6, true)
		*old = slot[V]{below: below}
	}
}

// delete removes key; owned is as in trie.set.
func (m *hamt[V]) delete(hash uint64, key string, owned bool) {
	if m.get(hash, key) != nil {
		m.drop(hash, key, 0, owned)
	}
}

func (m *hamt[V]) drop(hash uint64, key string, used uint, owned bool) {
	if used >= hashBits {
		m.slots = slices.DeleteFunc(slices.Clone(m.slots), func(o slot[V]) bool { return o.key == key })
		return
	}
	i, _ := m.slot(hash >> used)
	if below := m.slots[i].below; below.slots != nil {
		below.drop(hash, key, used+6, owned)
		if !owned {
			m.slots = slices.Clone(m.slots)
		}
		if s := &m.slots[i]; len(below.slots) == 1 && below.slots[0].below.slots == nil {
			*s = below.slots[0]
		} else {
			s.below = below
		}
		return
	}
	m.slots = slices.Concat(m.slots[:i], m.slots[i+1:])
	m.has &^= 1 << (hash >> used & 63)
}

// all calls yield with every key and its value, in no order, until it returns
// false.
func (m *hamt[V]) all(yield func(key string, value *V) bool) bool {
	for i := range m.slots {
		s := &m.slots[i]
		if s.below.slots != nil {
			if !s.below.all(yield) {
				return false
			}
		} else if !yield(s.key, &s.value) {
			return false
		}
	}
	return true
}
