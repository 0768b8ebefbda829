package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// fileValue is one value of the configuration file.
type fileValue struct {
	text  string // a list is joined with commas
	at    string // its file:line:column
	token *token.Token
}

// file is a configuration file as it was read.
type file struct {
	name   string
	lines  []string
	values map[string]*fileValue // by option key
	errs   []error
}

// parseFile reads a YAML (or JSON) configuration file. Keys may be nested,
// dotted, or both. Every mistake is in errs with its place; what is right is in
// values all the same.
func parseFile(name string, data []byte) *file {
	r := &file{name: name, lines: strings.Split(string(data), "\n"), values: map[string]*fileValue{}}
	f, err := parser.ParseBytes(data, 0)
	if err != nil {
		r.errs = append(r.errs, r.syntax(err))
		return r
	}
	for _, doc := range f.Docs {
		if doc.Body != nil {
			r.read("", doc.Body)
		}
	}
	return r
}

func (r *file) at(t *token.Token) string {
	return fmt.Sprintf("%s:%d:%d", r.name, t.Position.Line, t.Position.Column)
}

func (r *file) bad(t *token.Token, format string, args ...any) {
	r.errs = append(r.errs, &mistake{file: r, token: t, text: fmt.Sprintf("%s: %s", r.at(t), fmt.Sprintf(format, args...))})
}

// mistake is an error with a place in the file. It shows that line alone, and
// in it no secret.
type mistake struct {
	file  *file
	token *token.Token
	text  string
}

func (m *mistake) Error() string {
	n := m.token.Position.Line
	if n < 1 || n > len(m.file.lines) {
		return m.text
	}
	line := strings.TrimRight(m.file.lines[n-1], "\r")
	for _, o := range options {
		if !o.secret {
			continue
		}
		v, last := m.file.values[o.key], o.key[strings.LastIndex(o.key, ".")+1:]
		if v != nil && v.text != "" && strings.Contains(line, v.text) || strings.Contains(line, last) {
			return m.text
		}
	}
	head := fmt.Sprintf("%5d | ", n)
	return fmt.Sprintf("%s\n%s%s\n%s%s^", m.text, head, line, strings.Repeat(" ", len(head)), under(line, m.token.Position.Column))
}

// under returns the space that stands below what is in front of a column, and
// at most below the whole line: a tab is as wide as the tab above it.
func under(line string, column int) string {
	runes := []rune(line)
	for i, r := range runes {
		if r != '\t' {
			runes[i] = ' '
		}
	}
	return string(runes[:min(max(0, column-1), len(runes))])
}

// syntax makes the parser's error one of ours.
func (r *file) syntax(err error) error {
	e, ok := errors.AsType[interface {
		error
		GetToken() *token.Token
		GetMessage() string
	}](err)
	if !ok || e.GetToken() == nil {
		return fmt.Errorf("%s: %w", r.name, err)
	}
	return &mistake{file: r, token: e.GetToken(), text: fmt.Sprintf("%s: %s", r.at(e.GetToken()), e.GetMessage())}
}

// read walks one node; key is that of the mappings around it.
func (r *file) read(key string, n ast.Node) {
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

func (r *file) entry(key string, n *ast.MappingValueNode) {
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
	r.values[key] = &fileValue{text: text, at: r.at(n.Value.GetToken()), token: n.Value.GetToken()}
}

func (r *file) unknown(t *token.Token, key string) {
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
