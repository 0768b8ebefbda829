package route

import (
	"errors"
	"strings"
)

// ErrBadPath says that a path can match nothing and must not be forwarded: it
// does not start with "/", has a raw control byte, an encoded NUL, CR or LF,
// or a "%" that no two hexadecimal digits follow.
var ErrBadPath = errors.New("path is not valid")

// CleanPath returns the one form of a raw path that every decision is made on
// (RFC 3986, 6.2.2): what may stand unencoded is decoded, once, everything else
// is encoded with capital digits, "//" is one slash, and dot segments are
// resolved. An encoded slash stays encoded: it separates nothing. The empty
// path is "/" (RFC 9110, 4.2.3). A slash at the end stays.
//
// CleanPath(CleanPath(p)) is CleanPath(p), so an instance that normalises what
// is forwarded to it decides on the same path as Serin. It does not allocate
// when raw already has that form. The error is [ErrBadPath].
func CleanPath(raw string) (string, error) {
	if p, ok := cleanPath(raw); ok {
		return p, nil
	}
	return "", ErrBadPath
}

func cleanPath(raw string) (string, bool) {
	if isClean(raw) {
		return raw, true
	}
	if raw == "" {
		return "/", true
	}
	b, ok := encode(raw)
	if !ok {
		return "", false
	}
	return string(resolve(b)), true
}

// Classes of bytes in a path.
const (
	foreign = iota // must be encoded
	pchar          // stands for itself (RFC 3986, 3.3)
	control        // never stands raw
	fatal          // control that is refused encoded too
)

var pathClass = func() (t [256]byte) {
	for c := range t {
		if c < ' ' || c == 0x7f {
			t[c] = control
		}
	}
	for _, c := range []byte("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~!$&'()*+,;=:@") {
		t[c] = pchar
	}
	t[0], t['\r'], t['\n'] = fatal, fatal, fatal
	return t
}()

// isClean reports whether s is what cleanPath would make of it.
func isClean(s string) bool {
	if s == "" || s[0] != '/' {
		return false
	}
	for i := 1; i < len(s); i++ {
		switch c := s[i]; c {
		case '/':
			if s[i-1] == '/' {
				return false
			}
		case '.':
			if s[i-1] == '/' && isDots(s[i:]) {
				return false
			}
		case '%':
			if i+2 >= len(s) || !isUpperHex(s[i+1]) || !isUpperHex(s[i+2]) {
				return false
			}
			if class := pathClass[unhex(s[i+1])<<4|unhex(s[i+2])]; class == pchar || class == fatal {
				return false
			}
			i += 2
		default:
			if pathClass[c] != pchar {
				return false
			}
		}
	}
	return true
}

// isDots reports whether s starts with the segment "." or "..".
func isDots(s string) bool {
	s = s[1:]
	if s != "" && s[0] == '.' {
		s = s[1:]
	}
	return s == "" || s[0] == '/'
}

// encode writes every byte of raw as it stands in a clean path.
func encode(raw string) ([]byte, bool) {
	if raw == "" || raw[0] != '/' {
		return nil, false
	}
	const digits = "0123456789ABCDEF"
	out := make([]byte, 0, len(raw)+16)
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		if c == '/' {
			out = append(out, c)
			continue
		}
		class := pathClass[c]
		if c == '%' {
			if i+2 >= len(raw) || !isHex(raw[i+1]) || !isHex(raw[i+2]) {
				return nil, false
			}
			c = unhex(raw[i+1])<<4 | unhex(raw[i+2])
			i += 2
			if class = pathClass[c]; class == control {
				class = foreign
			}
		}
		switch class {
		case pchar:
			out = append(out, c)
		case foreign:
			out = append(out, '%', digits[c>>4], digits[c&15])
		default:
			return nil, false
		}
	}
	return out, true
}

// resolve removes empty and dot segments from b, in place.
func resolve(b []byte) []byte {
	w := 1 // b[:w] is done and ends with the slash before the next segment
	for r := 1; r < len(b); r++ {
		end := r
		for end < len(b) && b[end] != '/' {
			end++
		}
		switch seg := b[r:end]; string(seg) {
		case "", ".":
		case "..":
			for w > 1 {
				if w--; b[w-1] == '/' {
					break
				}
			}
		default:
			w += copy(b[w:], seg)
			if end < len(b) {
				b[w] = '/'
				w++
			}
		}
		r = end
	}
	return b[:w]
}

func isHex(c byte) bool      { return isUpperHex(c) || 'a' <= c && c <= 'f' }
func isUpperHex(c byte) bool { return '0' <= c && c <= '9' || 'A' <= c && c <= 'F' }

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c&^0x20 - 'A' + 10
}

// Rewrite returns the path to forward for a raw path that matched: without the
// prefix Strip, and with Prepend in front. The client's own bytes are kept
// where they mean the same as the path that was decided on; where they do not
// (an encoded prefix, dot segments that would reach outside Prepend) the clean
// path is forwarded instead. So
//
//	CleanPath(Rewrite(p)) == CleanPath(Prepend + (CleanPath(p) without Strip))
//
// always. Where the options have a PathRewrite and its expression matches the
// clean path, what becomes of that is forwarded, as a clean path:
//
//	CleanPath(Rewrite(p)) == Rewrite(p) == CleanPath(PathRewrite of CleanPath(p))
//
// or the clean path as it is when the result is no path. Rewrite allocates only
// for Prepend, PathRewrite and paths that are not clean.
func (o *Options) Rewrite(rawPath string) string {
	if o.PathRewrite != nil {
		return o.PathRewrite.rewrite(rawPath)
	}
	if o.Strip == "" && o.Prepend == "" {
		return rawPath
	}
	want, ok := cleanPath(rawPath)
	if !ok {
		return rawPath // matched nothing: never forwarded
	}
	raw := rawPath
	if strip, ok := cleanPath(o.Strip); ok && o.Strip != "" && strings.HasPrefix(want, strip) {
		rest := want[len(strip):]
		switch {
		case !strings.HasPrefix(raw, strip),
			!strings.HasSuffix(strip, "/") && !strings.HasPrefix(rest, "/"): // "/foo" of "/foo../x": the cut makes a dot segment
			raw = ""
		default:
			raw = rooted(raw[len(strip):])
		}
		want, _ = cleanPath(rooted(rest))
	}
	if prefix, ok := cleanPath(o.Prepend); ok && o.Prepend != "" {
		prefix = strings.TrimSuffix(prefix, "/")
		if raw != "" && raw != want {
			raw = prefix + raw
		} else {
			raw = ""
		}
		want = prefix + want
	}
	if raw == "" || raw == want {
		return want
	}
	if clean, ok := cleanPath(raw); ok && clean == want {
		return raw
	}
	return want
}

// Strips reports whether Rewrite takes the prefix Strip off the raw path.
func (o *Options) Strips(rawPath string) bool {
	if o.Strip == "" {
		return false
	}
	clean, ok := cleanPath(rawPath)
	strip, ok2 := cleanPath(o.Strip)
	return ok && ok2 && strings.HasPrefix(clean, strip)
}

func rooted(p string) string {
	if strings.HasPrefix(p, "/") {
		return p
	}
	return "/" + p
}
