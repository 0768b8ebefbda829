package route

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Limits of a pattern. They bound what one registrant's pattern may cost in a
// request: at most maxGlobSize comparisons for each byte of the text, and for
// nearly all patterns two or three.
const (
	maxGlob     = 256  // bytes of a pattern
	maxGlobSize = 1024 // characters of all its alternatives, written out
)

// glob is a compiled pattern in Fabio's language (gobwas/glob without
// separators) for texts of ASCII: "*" and "**" are any characters, "?" is one,
// "[abc]", "[a-c]", "[!abc]" and "[!a-c]" are one of a class, "{a,b*}" is one
// of several patterns, "\c" is the character c.
//
// It is not matched by that library, although tests compare the two: its
// alternatives are tried by backtracking, and with twenty of them a tag of a
// hundred bytes keeps a processor busy for minutes. Here alternatives are
// written out, up to a limit, when the pattern is compiled, and what is left is
// stars, for which the first fit is as good as any.
type glob struct {
	alternatives [][]globPart
}

// globPart is what stands before, between or after stars.
type globPart struct {
	literal string  // when all of it is that
	chars   []class // otherwise
}

type class [2]uint64

func (c *class) has(b byte) bool { return b < 128 && c[b>>6]>>(b&63)&1 != 0 }
func (c *class) add(b byte)      { c[b>>6&1] |= 1 << (b & 63) }

// char is one character of a pattern; a star has no set.
type char struct {
	star bool
	set  class
}

// checkGlob says what is wrong with a pattern, and at which byte; nil when it
// can be compiled.
func checkGlob(pattern string) error {
	_, err := compileGlob(pattern)
	return err
}

func compileGlob(pattern string) (*glob, error) {
	if len(pattern) > maxGlob {
		return nil, fmt.Errorf("pattern %.32q… has %d bytes: %d are allowed", pattern, len(pattern), maxGlob)
	}
	p := globParser{s: pattern}
	all, err := p.sequence(false)
	if err != nil {
		return nil, fmt.Errorf("pattern %q, byte %d: %w", pattern, p.i, err)
	}
	g := &glob{}
	for _, chars := range all {
		g.alternatives = append(g.alternatives, globParts(chars))
	}
	return g, nil
}

type globParser struct {
	s string
	i int
}

var errGlobSize = fmt.Errorf("its alternatives have more than %d characters when written out: use fewer braces, or several routes", maxGlobSize)

// sequence reads up to the end or, inside of braces, up to "," or "}", and
// returns every way in which the alternatives can be chosen.
func (p *globParser) sequence(inside bool) ([][]char, error) {
	all := [][]char{nil}
	for p.i < len(p.s) {
		c := p.s[p.i]
		var next [][]char
		switch {
		case c == 0 || c >= 128:
			return nil, errors.New("it must be ASCII: write other characters of a path percent-encoded, those of a host in punycode")
		case inside && (c == ',' || c == '}'):
			return all, nil
		case c == '{':
			var err error
			if next, err = p.braces(); err != nil {
				return nil, err
			}
		case c == '[':
			set, err := p.class()
			if err != nil {
				return nil, err
			}
			next = [][]char{{{set: set}}}
		case c == '*':
			p.i++
			next = [][]char{{{star: true}}}
		case c == '?':
			p.i++
			next = [][]char{{{set: class{^uint64(0), ^uint64(0)}}}}
		default:
			if c == '\\' {
				if p.i++; p.i == len(p.s) {
					return nil, errors.New(`nothing follows the "\"`)
				}
				if c = p.s[p.i]; c == 0 || c >= 128 {
					continue // to the refusal
				}
			}
			p.i++
			var set class
			set.add(c)
			next = [][]char{{{set: set}}}
		}
		if all = times(all, next); all == nil {
			return nil, errGlobSize
		}
	}
	if inside {
		return nil, errors.New(`a "{" is not closed`)
	}
	return all, nil
}

// times returns every a followed by every b; nil when that is too much.
func times(a, b [][]char) (all [][]char) {
	size := 0
	for _, x := range a {
		for _, y := range b {
			if size += len(x) + len(y) + 1; size > maxGlobSize {
				return nil
			}
		}
	}
	if len(b) == 1 {
		for i := range a {
			a[i] = append(a[i], b[0]...)
		}
		return a
	}
	for _, x := range a {
		for _, y := range b {
			all = append(all, slices.Concat(x, y))
		}
	}
	return all
}

// braces reads "{a,b}".
func (p *globParser) braces() (all [][]char, err error) {
	for more := true; more; {
		p.i++ // the brace or comma
		some, err := p.sequence(true)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
		more = p.s[p.i] == ','
	}
	p.i++
	return all, nil
}

// class reads "[abc]" or "[a-c]", which may not be mixed.
func (p *globParser) class() (set class, err error) {
	s := p.s[p.i+1:]
	not := strings.HasPrefix(s, "!")
	if not {
		s = s[1:]
	}
	n := 0 // of s that is read
	if len(s) >= 4 && s[1] == '-' && s[3] == ']' {
		if s[0] > s[2] || s[2] >= 128 {
			return set, fmt.Errorf("the range %q is empty", s[:3])
		}
		for c := s[0]; c <= s[2]; c++ {
			set.add(c)
		}
		n = 3
	} else if len(s) >= 2 && s[1] == '-' {
		return set, errors.New("a class is either one range, as in [a-z], or a list, as in [abc]")
	} else {
		for ; n < len(s) && s[n] != ']'; n++ {
			if s[n] == '\\' {
				n++
			}
			if n == len(s) || s[n] >= 128 {
				break
			}
			set.add(s[n])
		}
	}
	switch {
	case n >= len(s):
		return set, errors.New(`a "[" is not closed`)
	case s[n] >= 128:
		return set, errors.New("a class must be of ASCII")
	case n == 0:
		return set, errors.New("a class has no character")
	}
	if not {
		set[0], set[1] = ^set[0], ^set[1]
	}
	p.i = len(p.s) - len(s) + n + 1
	return set, nil
}

// globParts cuts the characters at the stars.
func globParts(chars []char) (parts []globPart) {
	from := 0
	for i := 0; i <= len(chars); i++ {
		if i < len(chars) && !chars[i].star {
			continue
		}
		part := globPart{}
		var literal []byte
		for _, c := range chars[from:i] {
			part.chars = append(part.chars, c.set)
			for b := byte(1); b < 128; b++ {
				if only := (class{}); c.set.has(b) {
					if only.add(b); only == c.set {
						literal = append(literal, b)
					}
					break
				}
			}
		}
		if len(literal) == len(part.chars) {
			part = globPart{literal: string(literal)}
		}
		if from = i + 1; part.size() > 0 || len(parts) == 0 || i == len(chars) { // "**" is "*"
			parts = append(parts, part)
		}
	}
	return parts
}

func (p *globPart) size() int { return len(p.literal) + len(p.chars) }

// at reports whether s starts with the part.
func (p *globPart) at(s string) bool {
	if p.chars == nil {
		return strings.HasPrefix(s, p.literal)
	}
	if len(s) < len(p.chars) {
		return false
	}
	for i := range p.chars {
		if !p.chars[i].has(s[i]) {
			return false
		}
	}
	return true
}

// in returns where the part is first found in s, or -1.
func (p *globPart) in(s string) int {
	if p.chars == nil {
		return strings.Index(s, p.literal)
	}
	for i := 0; i+len(p.chars) <= len(s); i++ {
		if p.at(s[i:]) {
			return i
		}
	}
	return -1
}

// match reports whether all of s is what the pattern says. It does not
// allocate. A nil glob matches nothing.
func (g *glob) match(s string) bool {
	if g == nil {
		return false
	}
	for _, parts := range g.alternatives {
		if matchParts(parts, s) {
			return true
		}
	}
	return false
}

func matchParts(parts []globPart, s string) bool {
	first, last := &parts[0], &parts[len(parts)-1]
	if len(parts) == 1 {
		return len(s) == first.size() && first.at(s)
	}
	if len(s) < first.size()+last.size() || !first.at(s) || !last.at(s[len(s)-last.size():]) {
		return false
	}
	s = s[first.size() : len(s)-last.size()]
	for i := 1; i < len(parts)-1; i++ {
		at := parts[i].in(s)
		if at < 0 {
			return false
		}
		s = s[at+parts[i].size():]
	}
	return true
}

// maxMeeting bounds what it costs to compare two patterns: larger ones are said
// to meet.
const maxMeeting = 1 << 14

// globsMeet reports whether some text may match both patterns; of nil, which
// could not be compiled, that is not known.
func globsMeet(a, b *glob) bool {
	if a == nil || b == nil {
		return true
	}
	as, bs := a.sequences(), b.sequences()
	cost := 0
	for _, x := range as {
		for _, y := range bs {
			if cost += (len(x) + 1) * (len(y) + 1); cost > maxMeeting || charsMeet(x, y) {
				return true
			}
		}
	}
	return false
}

// sequences returns the alternatives as characters and stars.
func (g *glob) sequences() (all [][]char) {
	for _, parts := range g.alternatives {
		var chars []char
		for i, p := range parts {
			if i > 0 {
				chars = append(chars, char{star: true})
			}
			for k := range len(p.literal) {
				var set class
				set.add(p.literal[k])
				chars = append(chars, char{set: set})
			}
			for _, set := range p.chars {
				chars = append(chars, char{set: set})
			}
		}
		all = append(all, chars)
	}
	return all
}

// charsMeet reports whether some text is what both a and b say.
func charsMeet(a, b []char) bool {
	row := make([]bool, len(b)+1) // what is left of a, and of b from each place on, meet
	for i := len(a); i >= 0; i-- {
		below := false // of the row before, one place further on
		for j := len(b); j >= 0; j-- {
			was := row[j]
			switch {
			case i == len(a) && j == len(b):
				row[j] = true
			case i < len(a) && a[i].star:
				row[j] = was || j < len(b) && row[j+1]
			case j < len(b) && b[j].star:
				row[j] = row[j+1] || i < len(a) && was
			default:
				row[j] = i < len(a) && j < len(b) && a[i].set.meets(b[j].set) && below
			}
			below = was
		}
	}
	return row[0]
}

func (c *class) meets(o class) bool { return c[0]&o[0]|c[1]&o[1] != 0 }

// globs finds the patterns that match a text, in descending order of the
// patterns' bytes. As prefixes, a copy stays as it is. Patterns are found by what
// they start with up to the first special character, so that others cost
// nothing.
type globs[V any] struct {
	prefixes[[]globEntry[V]]
}

type globEntry[V any] struct {
	text  string // the pattern, or that of a host from its end
	glob  *glob  // nil matches nothing
	value V
}

// literal returns how many bytes of a pattern, from either end, stand for
// themselves.
func literal(text string) int {
	for i := range len(text) {
		if c := text[i]; c == 0 || c >= 128 || strings.IndexByte(`*?[]{}\`, c) >= 0 {
			return i
		}
	}
	return len(text)
}

// get returns the value of a pattern; nil when it is not there.
func (g *globs[V]) get(text string) *V {
	if l := g.prefixes.get(text[:literal(text)]); l != nil {
		if i, ok := searchGlob(l.value, text); ok {
			return &l.value[i].value
		}
	}
	return nil
}

func searchGlob[V any](entries []globEntry[V], text string) (int, bool) {
	return slices.BinarySearchFunc(entries, text, func(e globEntry[V], text string) int { return strings.Compare(text, e.text) })
}

// set gives a pattern a value; owned is as in prefixes.set. pattern is what text
// is, or from its end.
func (g *globs[V]) set(text, pattern string, value V, owned bool) {
	key := text[:literal(text)]
	e := globEntry[V]{text: text, value: value}
	l := g.prefixes.get(key)
	if l == nil {
		e.glob, _ = compileGlob(pattern)
		g.prefixes.set(key, []globEntry[V]{e}, owned)
		return
	}
	i, ok := searchGlob(l.value, text)
	if ok {
		e.glob = l.value[i].glob
	} else {
		e.glob, _ = compileGlob(pattern)
	}
	if !owned {
		g.prefixes.set(key, slices.Clone(l.value), false)
		l = g.prefixes.get(key)
	}
	if ok {
		l.value[i] = e
	} else {
		l.value = slices.Insert(l.value, i, e)
	}
}

// delete removes a pattern; owned is as in prefixes.set.
func (g *globs[V]) delete(text string, owned bool) {
	key := text[:literal(text)]
	l := g.prefixes.get(key)
	if l == nil {
		return
	}
	i, ok := searchGlob(l.value, text)
	switch {
	case !ok:
	case len(l.value) == 1:
		g.prefixes.delete(key, owned)
	default:
		g.prefixes.set(key, slices.Concat(l.value[:i], l.value[i+1:]), owned)
	}
}

// globCursor is a place among the patterns that may match one text. Those with
// the same literal start are together in a leaf, in order. A leaf's
// patterns with a special character that is above the text's next byte come
// before all that are literal there, the others after them: so the leaves are
// gone through from the shortest start to the longest, and back.
type globCursor[V any] struct {
	in      *leaf[[]globEntry[V]]
	i       int
	deepest int
	back    bool
	done    bool
}

// next moves to the next pattern that matches and returns it; nil when there
// is no more. t and s are the text, s from its start.
func (g *globs[V]) next(c *globCursor[V], t text, s string) *globEntry[V] {
	if c.done {
		return nil
	}
	if c.in == nil {
		l := g.longest(t)
		if l == nil {
			c.done = true
			return nil
		}
		c.in, c.deepest = l, len(l.key)
		if t.n = c.deepest - 1; t.n >= 0 {
			if l := g.shortest(t, 0); l != nil {
				c.in = l
			}
		}
	}
	whole := t
	whole.n = len(t.s)
	t.n = c.deepest
	for {
		after := -1 // the text's byte after the leaf's key
		if len(c.in.key) < whole.n {
			after = int(whole.at(len(c.in.key)))
		}
		for c.i < len(c.in.value) {
			e := &c.in.value[c.i]
			special := -1
			if n := len(c.in.key); n < len(e.text) {
				special = int(e.text[n])
			}
			if !c.back && special <= after {
				break // and all that follow
			}
			c.i++
			if (special > after) != c.back && e.glob.match(s) {
				return e
			}
		}
		c.i = 0
		switch n := len(c.in.key); {
		case !c.back && n < c.deepest:
			c.in = g.shortest(t, n+1)
		case !c.back:
			c.back = true
		default:
			if n > 0 {
				t.n = n - 1
				c.in = g.longest(t)
			}
			if n == 0 || c.in == nil {
				c.done = true
				return nil
			}
		}
	}
}
