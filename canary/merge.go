package canary

import (
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

// Merge applies a JSON merge patch (RFC 7396) to a document: what the patch
// names is replaced, null removes, objects are merged, lists are not. The names
// of doc keep their order, new ones follow in the order of the patch. The result
// has no spaces. It is an error when either is not JSON, or names a field twice;
// whether the result is a document is for [Parse] to say. Merge is pure.
func Merge(doc, patch []byte) ([]byte, error) {
	d, err := readNode("document", doc)
	if err != nil {
		return nil, err
	}
	p, err := readNode("patch", patch)
	if err != nil {
		return nil, err
	}
	return merged(d, p).append(nil), nil
}

// merged is MergePatch of RFC 7396, section 2. What comes from the patch stays
// where it stood.
func merged(target, patch node) node {
	if patch.kind != '{' {
		return patch
	}
	out := patch
	out.members = nil
	if target.kind == '{' {
		out.members = slices.Clone(target.members)
	}
	for _, m := range patch.members {
		i := slices.IndexFunc(out.members, func(o member) bool { return o.name == m.name })
		switch {
		case m.value.kind == 'n' && i >= 0:
			out.members = slices.Delete(out.members, i, i+1)
		case m.value.kind == 'n':
		case i >= 0:
			out.members[i] = member{m.name, m.off, merged(out.members[i].value, m.value)}
		default:
			out.members = append(out.members, member{m.name, m.off, merged(node{}, m.value)})
		}
	}
	return out
}

// append writes the value as JSON without spaces.
func (n node) append(b []byte) []byte {
	switch n.kind {
	case '"':
		return quote(b, n.text)
	case '[':
		b = append(b, '[')
		for i, e := range n.elems {
			if i > 0 {
				b = append(b, ',')
			}
			b = e.append(b)
		}
		return append(b, ']')
	case '{':
		b = append(b, '{')
		for i, m := range n.members {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(quote(b, m.name), ':')
			b = m.value.append(b)
		}
		return append(b, '}')
	}
	return append(b, n.text...)
}

func quote(b []byte, s string) []byte {
	b, err := jsontext.AppendQuote(b, s)
	if err != nil {
		panic("BUG: readNode let a string pass that is not UTF-8: " + err.Error())
	}
	return b
}
