package proxy

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// AuthScheme is one scheme of proxy.auth: a way to ask a client for its
// credentials, which the routes with auth=<Name> use.
type AuthScheme struct {
	Name    string
	Type    string        // "basic", the only one
	File    string        // of users and hashes, as Apache's htpasswd writes it
	Realm   string        // what the client's user is told; the name where none is given
	Refresh time.Duration // how often File is looked at, at least 1 s
}

// minRefresh is the shortest and the usual time between two looks at a file.
const minRefresh = time.Second

// ParseAuthSchemes reads the value of proxy.auth in Fabio's grammar: schemes
// with a comma between them, each of key=value pairs with a semicolon between
// them. A value that begins with a double or single quote may hold both up to
// the same quote; in it a backslash takes the next character as it is. Keys are name, type, file, realm and
// refresh (a duration). "" is no scheme. Errors name the scheme and the byte.
func ParseAuthSchemes(text string) ([]AuthScheme, error) {
	p := pairs{text: text}
	var schemes []AuthScheme
	for {
		s, some, err := p.scheme()
		if err != nil {
			return nil, err
		}
		if some {
			for i := range schemes {
				if schemes[i].Name == s.Name {
					return nil, fmt.Errorf("auth scheme %q is there twice: give each its own name", s.Name)
				}
			}
			schemes = append(schemes, s)
		}
		if p.at == len(p.text) {
			return schemes, nil
		}
		p.at++ // the comma
	}
}

// AuthNames returns the names of schemes, in their order.
func AuthNames(schemes []AuthScheme) []string {
	names := make([]string, len(schemes))
	for i := range schemes {
		names[i] = schemes[i].Name
	}
	return names
}

// pairs reads the grammar.
type pairs struct {
	text string
	at   int // bytes read
}

// scheme reads up to the next comma; some is false where nothing stands there.
func (p *pairs) scheme() (s AuthScheme, some bool, err error) {
	begin := p.at
	seen := map[string]bool{}
	for {
		key, value, empty, err := p.pair()
		switch {
		case err != nil:
			return s, false, err
		case empty:
		case seen[key]:
			return s, false, fmt.Errorf("auth scheme at byte %d: %s is there twice", begin, key)
		default:
			seen[key] = true
			if err := s.set(key, value); err != nil {
				return s, false, fmt.Errorf("auth scheme at byte %d: %w", begin, err)
			}
		}
		if p.at < len(p.text) && p.text[p.at] == ';' {
			p.at++
			continue
		}
		if len(seen) == 0 {
			return s, false, nil
		}
		if err := s.complete(); err != nil {
			return s, false, fmt.Errorf("auth scheme at byte %d: %w", begin, err)
		}
		return s, true, nil
	}
}

// pair reads key=value up to the next comma or semicolon.
func (p *pairs) pair() (key, value string, empty bool, err error) {
	begin := p.at
	end := len(p.text)
	if i := strings.IndexAny(p.text[p.at:], "=,;"); i >= 0 {
		end = p.at + i
	}
	key = strings.TrimSpace(p.text[begin:end])
	if p.at = end; end == len(p.text) || p.text[end] != '=' {
		if key != "" {
			return "", "", false, fmt.Errorf("byte %d: %q has no value: write key=value", begin, key)
		}
		return "", "", true, nil
	}
	p.at++
	value, err = p.value()
	return key, value, false, err
}

// value reads text and quoted text up to the next comma or semicolon.
func (p *pairs) value() (string, error) {
	var b strings.Builder
	for p.at < len(p.text) {
		switch c := p.text[p.at]; {
		case c == ',' || c == ';':
			return strings.TrimSpace(b.String()), nil
		case (c == '"' || c == '\'') && b.Len() == 0: // elsewhere it is a letter
			if err := p.quoted(&b, c); err != nil {
				return "", err
			}
		default:
			b.WriteByte(c)
			p.at++
		}
	}
	return strings.TrimSpace(b.String()), nil
}

func (p *pairs) quoted(b *strings.Builder, quote byte) error {
	begin := p.at
	for p.at++; p.at < len(p.text); p.at++ {
		switch c := p.text[p.at]; c {
		case quote:
			p.at++
			return nil
		case '\\':
			if p.at++; p.at < len(p.text) {
				b.WriteByte(p.text[p.at])
			}
		default:
			b.WriteByte(c)
		}
	}
	return fmt.Errorf("byte %d: the quote %c is not closed", begin, quote)
}

func (s *AuthScheme) set(key, value string) (err error) {
	if value == "" {
		return fmt.Errorf("%s has no value", key)
	}
	for i := range len(value) {
		if c := value[i]; c < ' ' || c == 0x7f {
			return fmt.Errorf("the value %q of %s holds a control character", value, key)
		}
	}
	switch key {
	case "name":
		if strings.ContainsAny(value, " \t") {
			return fmt.Errorf("the name %q holds a blank: an option auth= could not name it", value)
		}
		s.Name = value
	case "type":
		if value != "basic" {
			return fmt.Errorf("type %q is not known: write type=basic", value)
		}
		s.Type = value
	case "file":
		s.File = value
	case "realm":
		s.Realm = value
	case "refresh":
		if s.Refresh, err = time.ParseDuration(value); err != nil || s.Refresh < 0 {
			return fmt.Errorf("refresh %q is no duration: write one such as 5s", value)
		}
	default:
		return fmt.Errorf("%q is not known: want name, type, file, realm or refresh", key)
	}
	return nil
}

// complete checks what must be there, and fills in what need not.
func (s *AuthScheme) complete() error {
	switch {
	case s.Name == "":
		return errors.New("it has no name: write name=…, which routes use as auth=…")
	case s.Type == "":
		return errors.New("scheme " + strconv.Quote(s.Name) + " has no type: write type=basic")
	case s.File == "":
		return errors.New("scheme " + strconv.Quote(s.Name) + " has no file: write file= and the path of an htpasswd file")
	}
	s.Realm = cmp.Or(s.Realm, s.Name)
	s.Refresh = max(s.Refresh, minRefresh)
	return nil
}
