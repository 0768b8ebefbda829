package canary

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Change sets or removes one field of a document.
type Change struct {
	Field string // "ratio", or "limits.min_healthy" for one inside an object
	Value any    // what encoding/json makes of it is written; nil removes the field, and an object that held nothing else
}

// ParseShare reads a share as people type it: "25%", "0.25", "0" or "1".
// A bare number above 1 is refused, because 25 could be meant either way.
func ParseShare(s string) (float64, error) {
	if v, err := parsePercent(s); err == nil && v <= 1 {
		return v, nil
	}
	v, err := strconv.ParseFloat(s, 64)
	switch {
	case err == nil && v >= 0 && v <= 1:
		return v, nil
	case err == nil && v > 1 && v <= 100:
		percent := strconv.FormatFloat(v, 'f', -1, 64) + "%"
		share, _ := parsePercent(percent)
		return 0, fmt.Errorf("%s is not a share: write %s or %s", s, percent, strconv.FormatFloat(share, 'f', -1, 64))
	}
	return 0, fmt.Errorf("%q is not a share: write 10%% or 0.1", s)
}

// Set returns doc, the document at key, with the changes made and everything
// else as it was: order, spacing, comment and x-* fields. An empty doc is `{}`.
// The result is checked; doc itself need only be a JSON object, so that an
// invalid field can be repaired.
func Set(key string, doc []byte, changes ...Change) ([]byte, error) {
	if len(bytes.TrimSpace(doc)) == 0 {
		doc = []byte("{}")
	}
	for _, c := range changes {
		root, e := readNode(key, doc)
		if e != nil {
			return nil, e
		}
		if root.kind != '{' {
			break // Parse says so
		}
		var err error
		if doc, err = setField(doc, root, strings.Split(c.Field, "."), c.Value); err != nil {
			return nil, fmt.Errorf("set %s in %s: %w", c.Field, key, err)
		}
	}
	if _, err := Parse(key, doc); err != nil {
		return nil, err
	}
	return doc, nil
}

// setField sets one field of the object.
func setField(doc []byte, object node, path []string, value any) ([]byte, error) {
	i := slices.IndexFunc(object.members, func(m member) bool { return m.name == path[0] })
	switch {
	case i >= 0 && len(path) > 1:
		inner := object.members[i].value
		if inner.kind != '{' {
			return nil, fmt.Errorf("%s is not an object", path[0])
		}
		if held := inner.members; len(path) == 2 && value == nil && len(held) == 1 && held[0].name == path[1] {
			return setField(doc, object, path[:1], nil) // rather than leave {}
		}
		return setField(doc, inner, path[1:], value)
	case i >= 0 && value == nil:
		from, to := cut(object, i)
		return slices.Concat(doc[:from], doc[to:]), nil
	case value == nil:
		return doc, nil
	}
	for _, outer := range slices.Backward(path[1:]) {
		value = map[string]any{outer: value}
	}
	text, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	if i >= 0 {
		old := object.members[i].value
		return slices.Concat(doc[:old.off], text, doc[old.end:]), nil
	}
	added := fmt.Appendf(nil, "%q: %s", path[0], text)
	at := object.off + 1
	if n := len(object.members); n > 0 {
		// Behind the last one, with the space that stands in front of it.
		last := object.members[n-1]
		at = last.value.end
		space := doc[object.off+1 : object.members[0].off]
		if n > 1 {
			before := object.members[n-2].value.end
			space = doc[before+bytes.IndexByte(doc[before:], ',')+1 : last.off]
		} else if len(space) == 0 {
			space = []byte(" ")
		}
		added = slices.Concat([]byte(","), space, added)
	}
	return slices.Concat(doc[:at], added, doc[at:]), nil
}

// cut returns the bytes of a member and of the comma that goes with it.
func cut(object node, i int) (from, to int) {
	switch {
	case i > 0:
		return object.members[i-1].value.end, object.members[i].value.end
	case len(object.members) > 1:
		return object.members[0].off, object.members[1].off
	}
	return object.members[0].off, object.members[0].value.end
}

// Diff shows what changed between two documents, line by line: "- " in front
// of what is gone, "+ " of what is new, two spaces of what stays. Equal
// documents give "".
func Diff(old, new []byte) string {
	if bytes.Equal(bytes.TrimSpace(old), bytes.TrimSpace(new)) {
		return ""
	}
	a, b := lines(old), lines(new)
	head, tail := 0, 0
	for head < min(len(a), len(b)) && a[head] == b[head] {
		head++
	}
	for tail < min(len(a), len(b))-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
	}
	var out strings.Builder
	write := func(mark string, lines []string) {
		for _, l := range lines {
			out.WriteString(mark + l + "\n")
		}
	}
	write("  ", a[:head])
	write("- ", a[head:len(a)-tail])
	write("+ ", b[head:len(b)-tail])
	write("  ", a[len(a)-tail:])
	return out.String()
}

func lines(doc []byte) []string {
	text := strings.TrimSpace(string(doc))
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}
