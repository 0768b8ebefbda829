package guard

import (
	"cmp"
	"time"
)

// Options are the limits of one listener's requests and what it speaks. The
// zero value is the default in every field.
type Options struct {
	RequestLine int // octets of a request line without its CRLF; 0 means 8 KiB; beyond: 414
	HeaderLine  int // octets of a header line without its CRLF; 0 means 16 KiB; beyond: 431
	HeaderName  int // octets of a header's name; 0 means 256; beyond: 431
	HeaderTotal int // octets of a whole head, line ends included: also the most memory a connection holds; 0 means 64 KiB; beyond: 431
	HeaderCount int // header lines of a head, and of a body's trailers; 0 means 100; beyond: 431
	ChunkExt    int // octets of all chunk extensions of one body; 0 means 1 KiB; beyond: 400

	// ReadHeader is how long a head may take from its first octet to its last;
	// then it is answered 408. Zero means 10 s, negative no limit.
	ReadHeader time.Duration
	// H2C lets a connection that begins with HTTP/2's preface pass unread:
	// what comes then is for net/http to judge. Without it the preface is
	// answered 505.
	H2C bool
	// Scheme is what a target in absolute form must name: http or https;
	// empty means http.
	Scheme string
}

func (o Options) withDefaults() Options {
	o.RequestLine = cmp.Or(o.RequestLine, 8<<10)
	o.HeaderLine = cmp.Or(o.HeaderLine, 16<<10)
	o.HeaderName = cmp.Or(o.HeaderName, 256)
	o.HeaderTotal = cmp.Or(o.HeaderTotal, 64<<10)
	o.HeaderCount = cmp.Or(o.HeaderCount, 100)
	o.ChunkExt = cmp.Or(o.ChunkExt, 1<<10)
	o.ReadHeader = cmp.Or(o.ReadHeader, 10*time.Second)
	o.Scheme = cmp.Or(o.Scheme, "http")
	return o
}
