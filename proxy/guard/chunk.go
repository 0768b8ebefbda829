package guard

import (
	"bytes"
	"net/http"
)

// chunks reads the framing of one chunked body: RFC 9112, 7.1.
type chunks struct {
	ext      int // octets of extensions so far
	trailers int // lines, and
	size     int // octets of the trailers so far
}

// sizeDigits are the most a chunk's size may have: net/http reads as many.
const sizeDigits = 16

// line cuts the next line, without its CRLF, off b. It is nil as long as b
// does not hold all of it; a line longer than most is an error before that.
func line(b []byte, most, status int) (text []byte, bad *BodyError) {
	i := bytes.IndexByte(b, '\n')
	n := i + 1
	if i < 0 {
		n = len(b)
	}
	switch {
	case n > most+2:
		return nil, &BodyError{status, "a line of the chunked framing is too long"}
	case i < 0:
		return nil, nil
	case i == 0 || b[i-1] != '\r':
		return nil, &BodyError{http.StatusBadRequest, "a line of the chunked framing ends in a bare line feed"}
	}
	return b[:i-1], nil
}

// head reads the line before a chunk's data.
func (k *chunks) head(text []byte, o *Options) (size int64, bad *BodyError) {
	digits := 0
	for digits < len(text) && octets[text[digits]]&hex != 0 {
		c := lower(text[digits])
		if c >= 'a' {
			c -= 'a' - 10 - '0'
		}
		if digits++; digits > sizeDigits || size >= 1<<58 {
			return 0, &BodyError{http.StatusBadRequest, "a chunk's size is beyond reason"}
		}
		size = size<<4 | int64(c-'0')
	}
	ext := text[digits:]
	k.ext += len(ext)
	switch {
	case digits == 0:
		return 0, &BodyError{http.StatusBadRequest, "a chunk's size is missing"}
	case len(ext) > 0 && ext[0] != ';' || !all(ext, value):
		return 0, &BodyError{http.StatusBadRequest, "a chunk's size is followed by what is no extension"}
	case k.ext > o.ChunkExt:
		return 0, &BodyError{http.StatusBadRequest, "the chunk extensions are too long"}
	}
	return size, nil
}

// trailer reads one line of the trailers, which are all dropped, so it only
// looks for what an instance could mistake for framing.
func (k *chunks) trailer(text []byte, o *Options) *BodyError {
	k.trailers++
	k.size += len(text) + 2
	if k.trailers > o.HeaderCount || k.size > o.HeaderTotal {
		return &BodyError{http.StatusRequestHeaderFieldsTooLarge, "there are too many trailers"}
	}
	name, _, bad := split(text, o)
	if bad != nil {
		return &BodyError{bad.Status, "trailer: " + bad.Reason}
	}
	for _, framing := range [...]string{"content-length", "transfer-encoding", "host", "trailer", "connection", "upgrade", "te", "expect"} {
		if similar(name, framing) {
			return &BodyError{http.StatusBadRequest, "trailer " + framing + " belongs to the head"}
		}
	}
	return nil
}
