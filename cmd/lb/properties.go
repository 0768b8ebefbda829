package main

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// property is one entry of a Java properties file, as Fabio reads them.
type property struct {
	key, value string
	line       int // where it begins, from 1
}

// parseProperties reads "key = value" lines; ":" or a blank may stand for "=", a
// line that begins with # or ! is a comment, a backslash at its end continues it,
// and \n, \t, \r, \f and \uXXXX are escapes. ${key} stands for the value of
// another key. Every mistake is in errs with its line; what is right is in the
// list all the same.
func parseProperties(name, text string) (list []property, errs []error) {
	bad := func(line int, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s:%d: %s", name, line, fmt.Sprintf(format, args...)))
	}
	lines := strings.Split(strings.ReplaceAll(strings.TrimPrefix(text, "\uFEFF"), "\r\n", "\n"), "\n")
	for n := 0; n < len(lines); n++ {
		line, first := strings.TrimLeft(lines[n], " \t\f"), n+1
		if line == "" || line[0] == '#' || line[0] == '!' {
			continue
		}
		for continued(line) {
			line = line[:len(line)-1]
			if n++; n == len(lines) {
				break
			}
			line += strings.TrimLeft(lines[n], " \t\f")
		}
		end := separator(line)
		rest := strings.TrimLeft(line[end:], " \t\f")
		if rest != "" && (rest[0] == '=' || rest[0] == ':') {
			rest = strings.TrimLeft(rest[1:], " \t\f")
		}
		key, err := unescape(line[:end])
		if err == nil && key == "" {
			err = fmt.Errorf("the line has no key")
		}
		value, wrong := unescape(rest)
		if err == nil {
			err = wrong
		}
		if err == nil && !utf8.ValidString(key+value) {
			err = fmt.Errorf("the line is not valid UTF-8")
		}
		if err != nil {
			bad(first, "%v", err)
			continue
		}
		list = append(list, property{key, strings.TrimRight(value, " \t"), first})
	}
	x := references{raw: map[string]string{}, done: map[string]string{}, busy: map[string]bool{}}
	for _, p := range list {
		x.raw[p.key] = p.value
	}
	for i, p := range list {
		value, err := x.expand(p.value)
		if err != nil {
			bad(p.line, "%v", err)
		}
		list[i].value = value
	}
	return list, errs
}

// continued reports whether an odd number of backslashes ends the line.
func continued(line string) bool {
	return (len(line)-len(strings.TrimRight(line, `\`)))%2 == 1
}

// separator is the offset of what ends the key.
func separator(line string) int {
	for i := 0; i < len(line); i++ {
		switch line[i] {
		case '\\':
			i++
		case '=', ':', ' ', '\t', '\f':
			return i
		}
	}
	return len(line)
}

func unescape(s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		switch s[i] {
		case 'n':
			b.WriteByte('\n')
		case 't':
			b.WriteByte('\t')
		case 'r':
			b.WriteByte('\r')
		case 'f':
			b.WriteByte('\f')
		case 'u':
			n, err := strconv.ParseUint(s[i+1:min(i+5, len(s))], 16, 16)
			if err != nil || i+5 > len(s) {
				return "", fmt.Errorf(`\u wants four hexadecimal digits`)
			}
			b.WriteRune(rune(n))
			i += 4
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), nil
}

// references puts values in place of ${key}.
type references struct {
	raw, done map[string]string // by key: as written, and as it is then
	busy      map[string]bool   // keys whose value is being found out
}

// expand returns s with values in it; s itself where one cannot be found.
func (x *references) expand(s string) (string, error) {
	var b strings.Builder
	rest := s
	for {
		head, tail, ok := strings.Cut(rest, "${")
		b.WriteString(head)
		if !ok {
			return b.String(), nil
		}
		key, after, ok := strings.Cut(tail, "}")
		if !ok {
			return s, fmt.Errorf("${ is not closed")
		}
		value, err := x.value(key)
		if err != nil {
			return s, err
		}
		if b.WriteString(value); b.Len() > 1<<20 {
			return s, fmt.Errorf("${%s} makes the value too long", key)
		}
		rest = after
	}
}

func (x *references) value(key string) (string, error) {
	raw, known := x.raw[key]
	switch value, done := x.done[key]; {
	case done:
		return value, nil
	case !known:
		return "", fmt.Errorf("${%s}: the file has no such key; put the value there", key)
	case x.busy[key]:
		return "", fmt.Errorf("${%s} refers to itself", key)
	}
	x.busy[key] = true
	value, err := x.expand(raw)
	delete(x.busy, key)
	if err == nil {
		x.done[key] = value
	}
	return value, err
}
