package route

import (
	"math/bits"
	"slices"
)

// trie is a persistent map from strings of ASCII without NUL to V that finds
// the keys that are prefixes of a text. The zero value is empty. A trie is a
// value: a copy stays as it is whatever is done to the other, because an edit
// copies the nodes from the root to the key and shares all others.
//
// It is a radix tree that looks at no byte that distinguishes nothing (Bagwell,
// Bernstein, Finch: "qp trie"): a node knows the offset of the one byte on
// which the keys below it part, and the key that was found is compared once, at
// the end. So a lookup reads one cache line for each parting, not one for each
// byte or comparison: on 50,000 paths it takes a third of a binary search.
type trie[V any] struct {
	leaf  *leaf[V]  // of a node without twigs; nil when the trie is empty
	twigs []trie[V] // by the byte at off, ascending; 0 stands for the end of the key
	has   [2]uint64 // which bytes have a twig
	off   uint32    // all keys below are the same before off
}

type leaf[V any] struct {
	key   string
	value V
}

// text is what keys are compared with.
type text struct {
	s    string
	n    int  // what follows the first n bytes is not there
	fold bool // letters are lower case
	back bool // the last byte of s is the first
}

func (t *text) at(i int) byte {
	if t.back {
		i = len(t.s) - 1 - i
	}
	c := t.s[i]
	if t.fold && 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// common returns how many bytes the text and key have in common.
func (t *text) common(key string) int {
	n := min(t.n, len(key))
	if !t.fold && !t.back {
		if t.s[:n] == key[:n] {
			return n
		}
		return commonPrefix(t.s, key)
	}
	for i := range n {
		if t.at(i) != key[i] {
			return i
		}
	}
	return n
}

func commonPrefix(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// twig returns the place of c's twig in n.twigs and whether it is there.
// c is below 128.
func (n *trie[V]) twig(c byte) (i int, ok bool) {
	has, bit := n.has[c>>6&1], uint64(1)<<(c&63)
	i = bits.OnesCount64(has & (bit - 1))
	if c >= 64 {
		i += bits.OnesCount64(n.has[0])
	}
	return i, has&bit != 0
}

func (n *trie[V]) empty() bool { return n.leaf == nil && n.twigs == nil }

// longest returns the longest key that is a prefix of t; nil when none is.
func (n *trie[V]) longest(t text) *leaf[V] {
	for {
		found := n.blind(t)
		if found == nil {
			return nil
		}
		same := t.common(found.key)
		if same == len(found.key) {
			return found
		}
		t.n = same // what is found in this is right: it does not differ before
	}
}

// blind returns the only key that can be the longest prefix of t, and which is
// one if any key of its length is.
func (n *trie[V]) blind(t text) (last *leaf[V]) {
	for n.twigs != nil {
		off := int(n.off)
		if off > t.n {
			return last
		}
		if n.has[0]&1 != 0 {
			last = n.twigs[0].leaf
		}
		if off == t.n {
			return last
		}
		c := t.at(off)
		if c == 0 || c >= 128 {
			return last
		}
		i, ok := n.twig(c)
		if !ok {
			return last
		}
		n = &n.twigs[i]
	}
	if n.leaf != nil && len(n.leaf.key) <= t.n {
		return n.leaf
	}
	return last
}

// shortest returns the shortest key of at least the given length that is a
// prefix of t. All of t must be a key, as longest finds it.
func (n *trie[V]) shortest(t text, length int) *leaf[V] {
	for n.twigs != nil {
		off := int(n.off)
		if off > t.n {
			return nil
		}
		if off >= length && n.has[0]&1 != 0 {
			return n.twigs[0].leaf
		}
		if off == t.n {
			return nil
		}
		i, ok := n.twig(t.at(off))
		if !ok {
			return nil
		}
		n = &n.twigs[i]
	}
	if n.leaf != nil && length <= len(n.leaf.key) && len(n.leaf.key) <= t.n {
		return n.leaf
	}
	return nil
}

// symbol is the byte of key at off as it stands in trie.has.
func symbol(key string, off int) byte {
	if off < len(key) {
		return key[off]
	}
	return 0
}

// get returns the leaf of key; nil when there is none.
func (n *trie[V]) get(key string) *leaf[V] {
	for n.twigs != nil {
		i, ok := n.twig(symbol(key, int(n.off)))
		if !ok {
			return nil
		}
		n = &n.twigs[i]
	}
	if n.leaf == nil || n.leaf.key != key {
		return nil
	}
	return n.leaf
}

// set gives key a value. When the caller owns the trie, because nobody else
// has seen it, nothing is copied for the sake of others.
func (n *trie[V]) set(key string, value V, owned bool) {
	l := &leaf[V]{key, value}
	if n.empty() {
		n.leaf = l
		return
	}
	near := n // where key is, or one that has as much in common with it as any
	for near.twigs != nil {
		i, ok := near.twig(symbol(key, int(near.off)))
		if !ok {
			i = 0
		}
		near = &near.twigs[i]
	}
	same := commonPrefix(near.leaf.key, key)
	known := same == len(key) && same == len(near.leaf.key)
	for n.twigs != nil && (known || int(n.off) < same) {
		i, _ := n.twig(symbol(key, int(n.off)))
		n = n.open(i, owned)
	}
	switch c := symbol(key, same); {
	case known:
		n.leaf = l
	case n.twigs != nil && int(n.off) == same:
		i, _ := n.twig(c)
		twigs := make([]trie[V], len(n.twigs)+1)
		copy(twigs, n.twigs[:i])
		twigs[i].leaf = l
		copy(twigs[i+1:], n.twigs[i:])
		n.twigs = twigs
		n.has[c>>6&1] |= 1 << (c & 63)
	default:
		other := symbol(near.leaf.key, same)
		twigs := make([]trie[V], 2)
		if c < other {
			twigs[0].leaf, twigs[1] = l, *n
		} else {
			twigs[0], twigs[1].leaf = *n, l
		}
		*n = trie[V]{twigs: twigs, off: uint32(same)}
		n.has[c>>6&1] |= 1 << (c & 63)
		n.has[other>>6&1] |= 1 << (other & 63)
	}
}

// delete removes key; owned is as in set.
func (n *trie[V]) delete(key string, owned bool) {
	if n.get(key) == nil {
		return
	}
	if n.twigs == nil {
		*n = trie[V]{}
		return
	}
	for {
		c := symbol(key, int(n.off))
		i, _ := n.twig(c)
		if n.twigs[i].twigs != nil {
			n = n.open(i, owned)
			continue
		}
		if len(n.twigs) == 2 {
			*n = n.twigs[1-i]
			return
		}
		n.twigs = slices.Concat(n.twigs[:i], n.twigs[i+1:])
		n.has[c>>6&1] &^= 1 << (c & 63)
		return
	}
}

// open returns the i-th twig of n for writing.
func (n *trie[V]) open(i int, owned bool) *trie[V] {
	if !owned {
		n.twigs = slices.Clone(n.twigs)
	}
	return &n.twigs[i]
}

// all calls yield with every leaf, in descending order of the keys' bytes (so
// a longer key comes before its prefixes), until it returns false.
func (n *trie[V]) all(yield func(*leaf[V]) bool) bool {
	if n.leaf != nil {
		return yield(n.leaf)
	}
	for i := len(n.twigs) - 1; i >= 0; i-- {
		if !n.twigs[i].all(yield) {
			return false
		}
	}
	return true
}
