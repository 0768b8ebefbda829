package main

import (
	"errors"
	"fmt"
	"slices"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/printer"
	"github.com/goccy/go-yaml/token"
)

// fileValue is one value of the configuration file.
type fileValue struct {
	text    string // a list is joined with commas
	at      string // file:line:column
	excerpt string // the lines around it, with a caret
}

// parseFile reads a YAML (or JSON) configuration file into values by option
// key. Keys may be nested, dotted, or both. The error joins every mistake, each
// with its place; what is right is returned all the same.
func parseFile(name string, data []byte) (map[string]*fileValue, error) {
	f, err := parser.ParseBytes(data, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	r := fileReader{name: name, values: map[string]*fileValue{}}
	for _, doc := range f.Docs {
		if doc.Body != nil {
			r.read("", doc.Body)
		}
	}
	return r.values, errors.Join(r.errs...)
}

type fileReader struct {
	name   string
	values map[string]*fileValue
	errs   []error
}

func (r *fileReader) at(t *token.Token) string {
	return fmt.Sprintf("%s:%d:%d", r.name, t.Position.Line, t.Position.Column)
}

func (r *fileReader) bad(t *token.Token, format string, args ...any) {
	r.errs = append(r.errs, fmt.Errorf("%s: %s\n%s", r.at(t), fmt.Sprintf(format, args...), excerpt(t)))
}

func excerpt(t *token.Token) string {
	var p printer.Printer
	return p.PrintErrorToken(t, false)
}

// read walks one node; key is that of the mappings around it.
func (r *fileReader) read(key string, n ast.Node) {
	switch n := n.(type) {
	case *ast.MappingNode:
		for _, v := range n.Values {
			r.read(key, v)
		}
	case *ast.MappingValueNode:
		r.entry(key, n)
	case *ast.NullNode: // a section whose lines are all commented out
	default:
		r.bad(n.GetToken(), "want a mapping of options, not a %s", n.Type())
	}
}

func (r *fileReader) entry(key string, n *ast.MappingValueNode) {
	t := n.Key.GetToken()
	if key != "" {
		key += "."
	}
	key += t.Value
	i := slices.IndexFunc(options, func(o *option) bool { return o.key == key })
	switch v := n.Value.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		r.read(key, v)
		return
	case *ast.NullNode:
		if i >= 0 {
			r.bad(t, "%s has no value: write one, or remove the line", key)
		} else if !isSection(key) {
			r.unknown(t, key)
		}
		return
	}
	if i < 0 {
		r.unknown(t, key)
		return
	}
	if _, many := n.Value.(*ast.SequenceNode); many && !options[i].list() {
		r.bad(n.Value.GetToken(), "%s takes one value, not a list", key)
		return
	}
	text, err := scalar(n.Value)
	if err != nil {
		r.bad(n.Value.GetToken(), "%s: %v", key, err)
		return
	}
	if old := r.values[key]; old != nil {
		r.bad(t, "%s is set twice, first at %s", key, old.at)
		return
	}
	r.values[key] = &fileValue{text: text, at: r.at(t), excerpt: excerpt(n.Value.GetToken())}
}

func (r *fileReader) unknown(t *token.Token, key string) {
	keys := make([]string, len(options))
	for i, o := range options {
		keys[i] = o.key
	}
	r.bad(t, "unknown option %q%s", key, didYouMean(key, keys))
}

func isSection(key string) bool {
	return slices.ContainsFunc(options, func(o *option) bool {
		return len(o.key) > len(key) && o.key[:len(key)] == key && o.key[len(key)] == '.'
	})
}

// scalar returns the text of a plain value, or of a list of them.
func scalar(n ast.Node) (string, error) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, nil
	case *ast.LiteralNode:
		return n.Value.Value, nil
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value, nil
	case *ast.SequenceNode:
		var text string
		for i, v := range n.Values {
			if _, nested := v.(*ast.SequenceNode); nested {
				return "", errors.New("want a list of plain values, not a list of lists")
			}
			s, err := scalar(v)
			if err != nil {
				return "", err
			}
			if i > 0 {
				text += ","
			}
			text += s
		}
		return text, nil
	}
	return "", fmt.Errorf("want a plain value or a list of them, not a %s", n.Type())
}
