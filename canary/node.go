package canary

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// maxDepth bounds the nesting of a document; the deepest field has four levels.
const maxDepth = 32

var errTooDeep = fmt.Errorf("more than %d objects and lists inside each other", maxDepth)

// node is a JSON value that remembers where it stood.
type node struct {
	kind    jsontext.Kind // n, t, f, ", 0, { or [
	path    string        // such as match[0].cidr; "" is the document
	off     int           // byte offset of its first byte
	end     int           // byte offset behind its last
	text    string        // a string's value, a number's literal
	members []member
	elems   []node
}

// member is one name and value of an object.
type member struct {
	name  string
	off   int // byte offset of the name
	value node
}

// member returns the named member's value.
func (n node) member(name string) (node, bool) {
	for _, m := range n.members {
		if m.name == name {
			return m.value, true
		}
	}
	return node{}, false
}

// readNode reads the one JSON value that src must be. Duplicate names, invalid
// UTF-8, deep nesting and trailing data are errors.
func readNode(key string, src []byte) (node, *Error) {
	dec := jsontext.NewDecoder(bytes.NewReader(src))
	n, err := next(dec, "")
	if err == nil {
		// The byte that follows is reported as it is: what it starts need not be JSON.
		if rest := bytes.TrimLeft(src[n.end:], " \t\r\n"); len(rest) > 0 {
			line, column := position(src, len(src)-len(rest))
			return n, &Error{Key: key, Line: line, Column: column, Msg: "more data follows the document", Hint: "write one JSON object"}
		}
		return n, nil
	}
	e := &Error{Key: key, Msg: "not JSON: " + err.Error()}
	off := int(dec.InputOffset())
	if s, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		off, e.Path = int(s.ByteOffset), dotted(s.JSONPointer)
		e.Msg = "not JSON: " + strings.TrimPrefix(s.Err.Error(), "jsontext: ")
		if errors.Is(err, jsontext.ErrDuplicateName) {
			e.Msg = fmt.Sprintf(`field "%s" is there twice`, short(s.JSONPointer.LastToken()))
		}
	}
	switch {
	case len(bytes.TrimSpace(src)) == 0:
		e.Msg, e.Hint = "document is empty", "write {} or delete the key"
	case off < len(src) && src[off] == ',':
		e.Msg = "not JSON: a comma that separates nothing"
	case errors.Is(err, errTooDeep):
		e.Msg = err.Error()
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		off, e.Msg = len(src), "not JSON: the document ends too early"
	}
	e.Line, e.Column = position(src, off)
	return n, e
}

// next reads one value whose path is given.
func next(dec *jsontext.Decoder, path string) (node, error) {
	n := node{kind: dec.PeekKind(), path: path}
	if n.kind != '{' && n.kind != '[' {
		raw, err := dec.ReadValue()
		if err != nil {
			return n, err
		}
		n.end = int(dec.InputOffset())
		n.off = n.end - len(raw)
		n.text = string(raw)
		if n.kind == '"' {
			unquoted, err := jsontext.AppendUnquote(nil, raw)
			if err != nil {
				return n, err
			}
			n.text = string(unquoted)
		}
		return n, nil
	}
	if _, err := dec.ReadToken(); err != nil {
		return n, err
	}
	n.off = int(dec.InputOffset()) - 1
	if dec.StackDepth() > maxDepth {
		return n, errTooDeep
	}
	for dec.PeekKind() != '}' && dec.PeekKind() != ']' {
		if n.kind == '[' {
			elem, err := next(dec, fmt.Sprintf("%s[%d]", path, len(n.elems)))
			if err != nil {
				return n, err
			}
			n.elems = append(n.elems, elem)
			continue
		}
		name, err := next(dec, path)
		if err != nil {
			return n, err
		}
		value, err := next(dec, strings.TrimPrefix(path+"."+short(name.text), "."))
		if err != nil {
			return n, err
		}
		n.members = append(n.members, member{name.text, name.off, value})
	}
	_, err := dec.ReadToken()
	n.end = int(dec.InputOffset())
	return n, err
}

// short makes text of the document fit for one line of an error.
func short(s string) string {
	if len(s) > 60 {
		s = strings.ToValidUTF8(s[:60], "") + "…"
	}
	q := strconv.Quote(s)
	return q[1 : len(q)-1]
}

// dotted writes a JSON pointer as we write paths.
func dotted(p jsontext.Pointer) string {
	var b strings.Builder
	for token := range p.Tokens() {
		switch {
		case strings.Trim(token, "0123456789") == "":
			fmt.Fprintf(&b, "[%s]", token)
		case b.Len() > 0:
			b.WriteString("." + short(token))
		default:
			b.WriteString(short(token))
		}
	}
	return b.String()
}
