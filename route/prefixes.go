package route

import (
	"math/bits"
	"math/rand/v2"
	"slices"
)

// prefixes is a persistent map from strings to V that finds the keys that are
// prefixes of a text. The zero value is empty. It is a value: a copy stays as it
// is whatever is done to the other, because an edit copies what it writes to,
// which is a page of some dozen keys and the list of pages.
//
// It is a hash table that knows which lengths its keys have, and looks the text
// up once for each of them, the longest first; the hash of every prefix comes
// out of one pass over the text. What a lookup costs is cache misses: this one
// has three or four, where a tree of 50,000 paths, or of hosts, has a dozen (a
// radix tree took twice the time, measured), and a Go map would have to be
// copied for every edit.
type prefixes[V any] struct {
	few     []leaf[V]  // all keys, the longest first, as long as they are few
	pages   []*page[V] // afterwards; a power of two
	lengths []keyLength
	size    int
}

const (
	fewKeys  = 8
	pageSize = 64 // twice what it should hold
)

// keyLength says how many keys have a length; ascending.
type keyLength struct{ length, keys int }

// leaf is a key and its value.
type leaf[V any] struct {
	key   string
	value V
}

// page is a small hash table with open addressing.
type page[V any] struct {
	tags   [pageSize]uint8 // of the hash; 0 is free
	places [pageSize]uint8 // in leaves
	leaves []leaf[V]       // what is beyond pageSize had no tag: hashes are as good as random
}

// text is what keys are compared with.
type text struct {
	s    string
	n    int  // what follows the first n bytes is not there
	fold bool // letters are lower case
	back bool // the last byte of s is the first
}

// lower are the letters of ASCII in lower case, and all other bytes.
var lower = func() (t [256]byte) {
	for c := range t {
		if t[c] = byte(c); 'A' <= c && c <= 'Z' {
			t[c] += 'a' - 'A'
		}
	}
	return t
}()

func (t *text) at(i int) byte {
	if t.back {
		i = len(t.s) - 1 - i
	}
	c := t.s[i]
	if t.fold {
		c = lower[c]
	}
	return c
}

// starts reports whether the text starts with key.
func (t *text) starts(key string) bool {
	if len(key) > t.n {
		return false
	}
	if !t.fold && !t.back {
		return t.s[:len(key)] == key
	}
	if t.back && !t.fold {
		s := t.s[len(t.s)-len(key):]
		for i := range len(key) {
			if s[len(s)-1-i] != key[i] {
				return false
			}
		}
		return true
	}
	for i := range len(key) {
		if t.at(i) != key[i] {
			return false
		}
	}
	return true
}

// The hash is a polynomial, so that four bytes can be added at once and every
// prefix has one on the way. It is random for each process: nobody outside can
// choose keys that meet.
var (
	base1 = rand.Uint64() | 1
	base2 = base1 * base1
	base3 = base2 * base1
	base4 = base3 * base1
	mixer = rand.Uint64() | 1
)

// hash adds the bytes from, to to the hash of those before.
func (t *text) hash(h uint64, from, to int) uint64 {
	if !t.fold && !t.back {
		s := t.s[from:to]
		for len(s) >= 4 {
			h = h*base4 + (uint64(s[0])*base3 + uint64(s[1])*base2 + uint64(s[2])*base1 + uint64(s[3]))
			s = s[4:]
		}
		for i := range len(s) {
			h = h*base1 + uint64(s[i])
		}
		return h
	}
	switch {
	case !t.back:
		for _, c := range []byte(t.s[from:to]) {
			h = h*base1 + uint64(lower[c])
		}
	case !t.fold:
		s := t.s[len(t.s)-to : len(t.s)-from]
		for i := len(s) - 1; i >= 0; i-- {
			h = h*base1 + uint64(s[i])
		}
	default:
		for i := from; i < to; i++ {
			h = h*base1 + uint64(t.at(i))
		}
	}
	return h
}

// spread makes all bits of a hash depend on all.
func spread(h uint64) uint64 {
	high, low := bits.Mul64(h^mixer, 0x9e3779b97f4a7c15)
	return high ^ low
}

func hashKey(key string) uint64 {
	t := text{s: key}
	return spread(t.hash(0, 0, len(key)))
}

// in returns the page of a hash.
func (m *prefixes[V]) in(h uint64) int { return int(h>>32) & (len(m.pages) - 1) }

func tagOf(h uint64) uint8 { return max(1, uint8(h>>8)) }

// find returns the leaf whose key is the first n bytes of t, which have the
// hash h.
func (p *page[V]) find(h uint64, t *text, n int) *leaf[V] {
	tag := tagOf(h)
	for range pageSize {
		at := h % pageSize
		if p.tags[at] == 0 {
			return nil
		}
		if p.tags[at] == tag {
			if l := &p.leaves[p.places[at]]; len(l.key) == n && t.starts(l.key) {
				return l
			}
		}
		h++
	}
	for i := pageSize; i < len(p.leaves); i++ {
		if l := &p.leaves[i]; len(l.key) == n && t.starts(l.key) {
			return l
		}
	}
	return nil
}

// put adds a leaf whose key the page does not have. Nobody else has the page,
// but its leaves may be another's as well.
func (p *page[V]) put(h uint64, l leaf[V]) {
	if n := len(p.leaves); n == cap(p.leaves) {
		p.leaves = append(make([]leaf[V], 0, n+4), p.leaves...)
	}
	p.leaves = append(p.leaves, l)
	tag := tagOf(h)
	for range pageSize {
		if at := h % pageSize; p.tags[at] == 0 {
			p.tags[at], p.places[at] = tag, uint8(len(p.leaves)-1)
			return
		}
		h++
	}
}

func (m *prefixes[V]) empty() bool { return m.size == 0 }

// get returns the leaf of a key; nil when there is none.
func (m *prefixes[V]) get(key string) *leaf[V] {
	if m.pages == nil {
		for i := range m.few {
			if m.few[i].key == key {
				return &m.few[i]
			}
		}
		return nil
	}
	h := hashKey(key)
	return m.pages[m.in(h)].find(h, &text{s: key, n: len(key)}, len(key))
}

// longest returns the longest key that is a prefix of t; nil when none is.
func (m *prefixes[V]) longest(t text) *leaf[V] {
	if m.pages == nil {
		for i := range m.few {
			if t.starts(m.few[i].key) {
				return &m.few[i]
			}
		}
		return nil
	}
	to := len(m.lengths)
	for to > 0 && m.lengths[to-1].length > t.n {
		to--
	}
	for to > 0 {
		var hashes [32]uint64
		from := max(0, to-len(hashes))
		h, at := uint64(0), 0
		for i, l := range m.lengths[from:to] {
			h = t.hash(h, at, l.length)
			hashes[i], at = h, l.length
		}
		for i := to - from - 1; i >= 0; i-- {
			h := spread(hashes[i])
			if l := m.pages[m.in(h)].find(h, &t, m.lengths[from+i].length); l != nil {
				return l
			}
		}
		to = from
	}
	return nil
}

// shortest returns the shortest key of at least the given length that is a
// prefix of t; nil when none is.
func (m *prefixes[V]) shortest(t text, length int) *leaf[V] {
	if m.pages == nil {
		for i := len(m.few) - 1; i >= 0; i-- {
			if l := &m.few[i]; len(l.key) >= length && t.starts(l.key) {
				return l
			}
		}
		return nil
	}
	h, at := uint64(0), 0
	for _, l := range m.lengths {
		if l.length > t.n {
			break
		}
		h, at = t.hash(h, at, l.length), l.length
		if l.length >= length {
			h := spread(h)
			if found := m.pages[m.in(h)].find(h, &t, l.length); found != nil {
				return found
			}
		}
	}
	return nil
}

// set gives key a value. When the caller owns the map, because nobody else has
// seen it, nothing is copied for the sake of others.
func (m *prefixes[V]) set(key string, value V, owned bool) {
	if m.pages == nil {
		i, ok := slices.BinarySearchFunc(m.few, key, compareFew[V])
		if ok {
			m.few = slices.Clone(m.few)
			m.few[i].value = value
			return
		}
		if m.size < fewKeys {
			few := make([]leaf[V], len(m.few)+1)
			copy(few, m.few[:i])
			few[i] = leaf[V]{key, value}
			copy(few[i+1:], m.few[i:])
			m.few = few
			m.size++
			return
		}
		few := m.few
		*m = prefixes[V]{pages: []*page[V]{new(page[V])}}
		for i := range few {
			m.set(few[i].key, few[i].value, true)
		}
		owned = true
	}
	h := hashKey(key)
	at := m.in(h)
	old := m.pages[at].find(h, &text{s: key, n: len(key)}, len(key))
	if old == nil && m.size >= len(m.pages)*pageSize/2 {
		pages := m.pages
		m.pages = make([]*page[V], 2*len(pages))
		for i := range m.pages {
			m.pages[i] = new(page[V])
		}
		for _, p := range pages {
			for _, l := range p.leaves {
				h := hashKey(l.key)
				m.pages[m.in(h)].put(h, l)
			}
		}
		at = m.in(h)
	} else if !owned {
		m.pages = slices.Clone(m.pages)
		own := *m.pages[at]
		own.leaves = append(make([]leaf[V], 0, len(own.leaves)+1), own.leaves...)
		m.pages[at] = &own
	}
	p := m.pages[at]
	if old == nil {
		p.put(h, leaf[V]{key, value})
		m.count(len(key), 1)
	} else {
		p.find(h, &text{s: key, n: len(key)}, len(key)).value = value
	}
}

func compareFew[V any](l leaf[V], key string) int {
	if len(l.key) != len(key) {
		return len(key) - len(l.key)
	}
	if l.key < key {
		return -1
	}
	if l.key > key {
		return 1
	}
	return 0
}

// count adds n keys of a length.
func (m *prefixes[V]) count(length, n int) {
	m.size += n
	i, ok := slices.BinarySearchFunc(m.lengths, length, func(l keyLength, length int) int { return l.length - length })
	m.lengths = slices.Clone(m.lengths)
	if !ok {
		m.lengths = slices.Insert(m.lengths, i, keyLength{length: length})
	}
	if m.lengths[i].keys += n; m.lengths[i].keys == 0 {
		m.lengths = slices.Delete(m.lengths, i, i+1)
	}
}

// delete removes key; owned is as in set.
func (m *prefixes[V]) delete(key string, owned bool) {
	if m.pages == nil {
		if i, ok := slices.BinarySearchFunc(m.few, key, compareFew[V]); ok {
			m.few = slices.Concat(m.few[:i], m.few[i+1:])
			m.size--
		}
		return
	}
	h := hashKey(key)
	at := m.in(h)
	gone := m.pages[at].find(h, &text{s: key, n: len(key)}, len(key))
	if gone == nil {
		return
	}
	if m.size == 1 {
		*m = prefixes[V]{}
		return
	}
	left := &page[V]{leaves: make([]leaf[V], 0, len(m.pages[at].leaves)-1)}
	for i := range m.pages[at].leaves {
		if l := &m.pages[at].leaves[i]; l != gone {
			left.put(hashKey(l.key), *l)
		}
	}
	if !owned {
		m.pages = slices.Clone(m.pages)
	}
	m.pages[at] = left
	m.count(len(key), -1)
}

// all calls yield with every leaf, in no order, until it returns false.
func (m *prefixes[V]) all(yield func(*leaf[V]) bool) bool {
	for i := range m.few {
		if !yield(&m.few[i]) {
			return false
		}
	}
	for _, p := range m.pages {
		for i := range p.leaves {
			if !yield(&p.leaves[i]) {
				return false
			}
		}
	}
	return true
}
