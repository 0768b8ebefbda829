package consul

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/maphash"
)

// scanner reads JSON of a known shape from start to end, once, without building
// anything: the lists of all services and of all checks are megabytes, of which
// a number for each service is wanted. It accepts exactly what is valid JSON.
type scanner struct {
	b []byte
	i int
}

// err tells where an answer is not what it should be.
func (s *scanner) err() error {
	return fmt.Errorf("%w: byte %d of %d: %.40q", ErrDecode, s.i, len(s.b), s.b[min(s.i, len(s.b)):])
}

func (s *scanner) space() {
	for s.i < len(s.b) && (s.b[s.i] == ' ' || s.b[s.i] == '\n' || s.b[s.i] == '\t' || s.b[s.i] == '\r') {
		s.i++
	}
}

// eat takes c, after blanks, if it is next.
func (s *scanner) eat(c byte) bool {
	s.space()
	if s.i < len(s.b) && s.b[s.i] == c {
		s.i++
		return true
	}
	return false
}

// end tells whether nothing but blanks is left.
func (s *scanner) end() bool {
	s.space()
	return s.i == len(s.b)
}

// text takes a string. The result is valid as long as the answer is.
func (s *scanner) text() ([]byte, bool) {
	if !s.eat('"') {
		return nil, false
	}
	plain := true
	for start := s.i; s.i < len(s.b); s.i++ {
		switch c := s.b[s.i]; {
		case c == '"':
			s.i++
			if plain {
				return s.b[start : s.i-1], true
			}
			var v string
			if json.Unmarshal(s.b[start-1:s.i], &v) != nil {
				return nil, false
			}
			return []byte(v), true
		case c == '\\':
			plain = false
			s.i++
		case c < ' ':
			return nil, false
		case c >= 0x80:
			plain = false // may be no UTF-8
		}
	}
	return nil, false
}

// skip takes any value. Deeper than 100 levels nothing of Consul's is.
func (s *scanner) skip(depth int) bool {
	s.space()
	if s.i == len(s.b) || depth > 100 {
		return false
	}
	switch s.b[s.i] {
	case '"':
		_, ok := s.text()
		return ok
	case '{':
		return s.object(func([]byte) bool { return s.skip(depth + 1) })
	case '[':
		return s.list(func() bool { return s.skip(depth + 1) })
	}
	start := s.i
	for s.i < len(s.b) && bytes.IndexByte([]byte(",]} \n\t\r"), s.b[s.i]) < 0 {
		s.i++
	}
	return json.Valid(s.b[start:s.i])
}

// null takes null, if it is next.
func (s *scanner) null() bool {
	s.space()
	if !bytes.HasPrefix(s.b[s.i:], []byte("null")) {
		return false
	}
	s.i += len("null")
	return true
}

// list takes a list, each element with element.
func (s *scanner) list(element func() bool) bool {
	if !s.eat('[') {
		return false
	}
	if s.eat(']') {
		return true
	}
	for element() {
		if s.eat(']') {
			return true
		}
		if !s.eat(',') {
			return false
		}
	}
	return false
}

// object takes an object, each value with value, which is told its key.
func (s *scanner) object(value func(key []byte) bool) bool {
	if !s.eat('{') {
		return false
	}
	if s.eat('}') {
		return true
	}
	for {
		key, ok := s.text()
		if !ok || !s.eat(':') || !value(key) {
			return false
		}
		if s.eat('}') {
			return true
		}
		if !s.eat(',') {
			return false
		}
	}
}

// tags is what matters of the tags of a service, as the catalog lists them: in
// any order, which is another one with every answer.
type tags struct {
	sum    uint64 // changes with any of them
	routed bool   // one of them has the prefix
}

var tagSeed = maphash.MakeSeed()

// scanCatalog reads the names of all services and their tags.
func scanCatalog(body []byte, prefix string) (map[string]tags, error) {
	s := scanner{b: body}
	out := make(map[string]tags, len(body)/64)
	ok := s.object(func(key []byte) bool {
		name := string(key)
		var t tags
		one := func() bool {
			tag, ok := s.text()
			t.sum += maphash.Bytes(tagSeed, tag)
			t.routed = t.routed || bytes.HasPrefix(tag, []byte(prefix))
			return ok
		}
		if !s.null() && !s.list(one) {
			return false
		}
		out[name] = t
		return true
	})
	if !ok || !s.end() {
		return nil, s.err()
	}
	return out, nil
}

// subject is what a check is about: a service, or a node when service is "".
type subject struct{ service, node string }

// sums is one number per subject, which changes with any of its checks.
type sums map[subject]uint64

var checkSeed = maphash.MakeSeed()

// checkSum is a number for what matters of a check.
func checkSum(node, service, id, status, output []byte) uint64 {
	var h maphash.Hash
	h.SetSeed(checkSeed)
	for _, part := range [...][]byte{node, service, id, status, output} {
		h.Write(part)
		h.WriteByte(0xff) // is in no UTF-8
	}
	return h.Sum64()
}

// scanChecks reads a list of checks.
func scanChecks(body []byte) (sums, error) {
	s := scanner{b: body}
	out := make(sums, len(body)/1024)
	ok := s.list(func() bool {
		var node, service, name, id, status, output []byte
		ok := s.object(func(key []byte) bool {
			var into *[]byte
			switch string(key) {
			case "Node":
				into = &node
			case "ServiceID":
				into = &service
			case "ServiceName":
				into = &name
			case "CheckID":
				into = &id
			case "Status":
				into = &status
			case "Output":
				into = &output
			default:
				return s.skip(0)
			}
			var ok bool
			*into, ok = s.text()
			return ok
		})
		if !ok {
			return false
		}
		who := subject{service: string(name)}
		if len(name) == 0 {
			who.node = string(node)
		}
		out[who] += checkSum(node, service, id, status, output)
		return true
	})
	if !ok || !s.end() {
		return nil, s.err()
	}
	return out, nil
}
