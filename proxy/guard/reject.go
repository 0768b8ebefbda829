package guard

import (
	"crypto/rand"
	"fmt"
)

// Rejection says why a head was refused, and which answer it deserves.
type Rejection struct {
	Status int // 400, 405, 408, 414, 417, 431, 501 or 505
	// Reason is a sentence for logs. It quotes what the client sent (quoted as
	// in Go, at most 64 octets): not for the response.
	Reason string
	// RequestLine is the offending request's first line, quoted likewise: at
	// most 256 octets, and no more than had come.
	RequestLine string

	uri string
}

func refuse(status int, format string, args ...any) *Rejection {
	return &Rejection{Status: status, Reason: fmt.Sprintf(format, args...)}
}

// clip bounds what a message quotes.
func clip(b []byte, n int) []byte { return b[:min(len(b), n)] }

// sentinel gives r a target that no client can guess and returns the request
// that stands for the refused one.
func (r *Rejection) sentinel() []byte {
	r.uri = "/" + rand.Text()
	return []byte("GET " + r.uri + " HTTP/1.1\r\nHost: rejected\r\nConnection: close\r\n\r\n")
}

// BodyError is what reading a request's body returns when the client's framing
// of it is wrong. It is never the instance's fault. Every later read returns
// it too.
type BodyError struct {
	Status int // 400, or 431 for trailers beyond the limits
	Reason string
}

// Error returns the reason.
func (e *BodyError) Error() string { return "request body: " + e.Reason }
