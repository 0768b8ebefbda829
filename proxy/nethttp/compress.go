package nethttp

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"serin/proxy"
)

// maxEncoders is how many responses are compressed at one moment; further ones
// are sent as they are. It bounds the memory: an encoder has at most 2 MiB.
const maxEncoders = 512

// Compression says which responses are compressed, and how. Nil compresses
// nothing. It is made by NewCompression and safe for concurrent use.
//
// A response is compressed when its content type matches and it is not known
// to be small, whatever its status; but not one that has no body (204, 304),
// is part of another (206), has a Content-Encoding, says no-transform, or is an
// event stream or gRPC, where every message is small and must go at once. A
// body of unknown length is compressed as it comes, and what came is sent
// before more is waited for.
type Compression struct {
	types     *regexp.Regexp
	minSize   int64
	encodings []*encoding // in order of preference
	inUse     atomic.Int64
}

// An encoding is a content coding and its idle encoders.
type encoding struct {
	name  string
	alias string // which clients may call it too
	idle  sync.Pool
}

// encoder is what all encoders have in common.
type encoder interface {
	io.WriteCloser
	Flush() error
	Reset(io.Writer)
}

// encoders makes one encoder of each encoding that there is: at levels that
// cost little, with windows that keep it small (about 1 MiB).
var encoders = map[string]func() encoder{
	"gzip": func() encoder {
		w, _ := gzip.NewWriterLevel(nil, 5) // the level exists
		return w
	},
	"br": func() encoder {
		return brotli.NewWriterOptions(nil, brotli.WriterOptions{Quality: 3, LGWin: 18})
	},
	"zstd": func() encoder {
		w, _ := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), // no goroutine
			zstd.WithWindowSize(256<<10), zstd.WithLowerEncoderMem(true)) // the options exist
		return w
	},
}

// NewCompression returns the Compression of responses whose Content-Type
// contains a match of the regular expression types, and whose length is not
// known to be below minSize bytes. The encodings are zstd, br and gzip; of
// those that a client likes best the first one is used. It returns nil where
// types is "", and an error for a regular expression or an encoding that is
// none.
func NewCompression(types string, minSize int64, encodings []string) (*Compression, error) {
	if types == "" {
		return nil, nil
	}
	re, err := regexp.Compile(types)
	if err != nil {
		return nil, fmt.Errorf("the content types to compress, %q, are no regular expression: %w", types, err)
	}
	c := &Compression{types: re, minSize: minSize}
	for _, name := range encodings {
		newEncoder := encoders[name]
		switch {
		case newEncoder == nil:
			return nil, fmt.Errorf("encoding %q: there are zstd, br and gzip", name)
		case slices.ContainsFunc(c.encodings, func(e *encoding) bool { return e.name == name }):
			return nil, fmt.Errorf("encoding %q is named twice", name)
		}
		e := &encoding{name: name, alias: name}
		if name == "gzip" {
			e.alias = "x-gzip" // RFC 9110, 8.4.1.3
		}
		e.idle.New = func() any { return newEncoder() }
		c.encodings = append(c.encodings, e)
	}
	if len(c.encodings) == 0 {
		return nil, fmt.Errorf("content types to compress are given, but no encoding: there are zstd, br and gzip")
	}
	return c, nil
}

// eligible reports whether a response may be compressed for a client that
// wants it: what it depends on is the response alone, so that all clients get
// the same Vary. length is that of the body, -1 where it is unknown.
func (c *Compression) eligible(status int, length int64, h http.Header) bool {
	switch status {
	case http.StatusNoContent, http.StatusResetContent, http.StatusPartialContent, http.StatusNotModified:
		return false
	}
	if status < 200 || length >= 0 && length < max(c.minSize, 1) || len(h["Content-Range"]) > 0 ||
		encoded(h) || lists(h["Cache-Control"], "no-transform") {
		return false
	}
	return c.matches(h)
}

// encoded reports whether a response has a content coding already.
func encoded(h http.Header) bool {
	for _, v := range h["Content-Encoding"] {
		if !strings.EqualFold(v, "identity") && v != "" {
			return true
		}
	}
	return false
}

func (c *Compression) matches(h http.Header) bool {
	types := h["Content-Type"]
	return len(types) == 1 && c.types.MatchString(types[0]) && !isStream(types[0])
}

// isStream reports whether a content type is one of messages that go at once.
func isStream(contentType string) bool {
	return hasPrefixFold(contentType, "text/event-stream") || hasPrefixFold(contentType, "application/grpc")
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// choose returns the encoding for the client of a request whose response is
// eligible, nil for none. A client of HTTP/1.0 gets none: it could not tell a
// whole response from one that was cut, and would lose its connection.
func (c *Compression) choose(major, minor int, h http.Header) *encoding {
	if major == 1 && minor == 0 || len(h["Range"]) > 0 || lists(h["Cache-Control"], "no-transform") {
		return nil
	}
	return c.accepted(h["Accept-Encoding"])
}

// accepted returns the encoding of ours that Accept-Encoding likes best (RFC
// 9110, 12.5.3), nil where that is none. Of those that it likes equally it is
// the one we prefer; none is liked less than any, unless the client says how
// much.
func (c *Compression) accepted(lines []string) (best *encoding) {
	liked := max(quality(lines, "identity", "identity"), 1)
	for _, e := range c.encodings {
		if q := quality(lines, e.name, e.alias); q > liked || q == liked && q > 0 && best == nil {
			best, liked = e, q
		}
	}
	return best
}

// quality returns how much an Accept-Encoding header likes a coding, in
// thousandths: what it says of it, or of "*", which we take for codings only.
func quality(lines []string, name, alias string) int {
	q := 0
	for _, line := range lines {
		for element := range strings.SplitSeq(line, ",") {
			coding, params, _ := strings.Cut(element, ";")
			switch coding = strings.TrimSpace(coding); {
			case strings.EqualFold(coding, name), strings.EqualFold(coding, alias):
				return weight(params)
			case coding == "*" && name != "identity":
				q = weight(params)
			}
		}
	}
	return q
}

// weight reads "q=0.5" as 500. What is no weight is 0: who cannot say how much
// he likes something does not get it.
func weight(params string) int {
	params = strings.TrimSpace(params)
	if params == "" {
		return 1000
	}
	name, value, _ := strings.Cut(params, "=")
	if !strings.EqualFold(strings.TrimSpace(name), "q") {
		return 0
	}
	value = strings.TrimSpace(value)
	whole, fraction, _ := strings.Cut(value, ".")
	if len(whole) != 1 || whole[0] > '1' || whole[0] < '0' || len(fraction) > 3 {
		return 0
	}
	q := int(whole[0]-'0') * 1000
	for i, unit := 0, 100; i < len(fraction); i, unit = i+1, unit/10 {
		if fraction[i] < '0' || fraction[i] > '9' {
			return 0
		}
		q += int(fraction[i]-'0') * unit
	}
	return min(q, 1000)
}

// digests are the headers and trailers that a body no longer fits once it is
// compressed (RFC 1864, RFC 3230, RFC 9530).
var digests = [...]string{"Content-Md5", "Digest", "Content-Digest", "Repr-Digest"}

// compress decides whether the response is compressed, and makes its head say
// so. The head of a HEAD is the one that the GET would get.
func (x *exchange) compress(h http.Header) {
	c, length := x.s.Compress, x.reply.length
	if x.r.Method == "HEAD" {
		length = -1
		if v := h["Content-Length"]; len(v) == 1 {
			length, _ = strconv.ParseInt(v[0], 10, 64) // framing has read it
		}
	}
	if !c.eligible(x.reply.status, length, h) {
		if x.reply.status == http.StatusNotModified {
			c.notModified(x.r.Header, h)
		}
		return
	}
	vary(h)
	e := c.choose(x.r.ProtoMajor, x.r.ProtoMinor, x.r.Header)
	if e == nil {
		return
	}
	if x.r.Method != "HEAD" {
		if c.inUse.Add(1) > maxEncoders {
			c.inUse.Add(-1)
			return
		}
		x.squeeze = &squeeze{x: x, c: c, e: e, w: e.idle.Get().(encoder)}
		x.squeeze.w.Reset(x.squeeze)
	}
	h["Content-Encoding"] = []string{e.name}
	delete(h, "Content-Length")
	delete(h, "Accept-Ranges") // ranges are those of the body as it was
	for _, name := range digests {
		delete(h, name)
	}
	weaken(h)
}

// notModified makes the head of a 304 what it would be if it were the 200
// (RFC 9110, 15.4.5), as far as it says what that is: a client that has the
// compressed body knows its weak entity tag.
func (c *Compression) notModified(request, h http.Header) {
	if len(h["Content-Type"]) > 0 && !c.matches(h) || encoded(h) || lists(h["Cache-Control"], "no-transform") {
		return
	}
	vary(h)
	if tag := h.Get("Etag"); strings.HasPrefix(tag, `"`) && lists(request["If-None-Match"], "W/"+tag) {
		weaken(h)
	}
}

// vary says that the response depends on what the client accepts.
func vary(h http.Header) {
	if v := h["Vary"]; !lists(v, "Accept-Encoding") && !lists(v, "*") {
		h["Vary"] = append(v[:len(v):len(v)], "Accept-Encoding")
	}
}

// weaken makes the entity tag a weak one: the same bytes it names no more.
func weaken(h http.Header) {
	if tag := h["Etag"]; len(tag) > 0 && !strings.HasPrefix(tag[0], "W/") {
		h["Etag"] = []string{"W/" + tag[0]}
	}
}

// squeeze compresses the body of one response. What the encoder gives it goes
// to the client.
type squeeze struct {
	x     *exchange
	c     *Compression
	e     *encoding
	w     encoder
	dirty bool  // the encoder may hold back what was written
	fault fault // of a write to the client
}

// Write is the encoder's.
func (s *squeeze) Write(p []byte) (int, error) {
	if s.fault.err == nil {
		s.fault = s.x.write(p)
	}
	if s.fault.err != nil {
		return 0, s.fault.err
	}
	return len(p), nil
}

// pass takes a piece of the body.
func (s *squeeze) pass(p []byte) fault {
	s.dirty = true
	return s.failed(s.w.Write(p))
}

// flush sends the client all that was passed. An error shows at the next write.
func (s *squeeze) flush() {
	if s.dirty {
		s.dirty = false
		if s.failed(0, s.w.Flush()).err == nil {
			_ = s.x.rc.Flush()
		}
	}
}

// end ends the compressed body. It must not be called for one that was cut: its
// end would say that it is whole.
func (s *squeeze) end() fault { return s.failed(0, s.w.Close()) }

func (s *squeeze) failed(_ int, err error) fault {
	if err != nil && s.fault.err == nil {
		s.fault = fault{class: proxy.Answered, err: fmt.Errorf("%s: %w", s.e.name, err)}
	}
	return s.fault
}

// release gives the encoder back; one that did not come to its end is dropped.
func (s *squeeze) release(whole bool) {
	s.c.inUse.Add(-1)
	if whole {
		s.w.Reset(nil)
		s.e.idle.Put(s.w)
	}
	s.w = nil
}
