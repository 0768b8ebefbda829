package canary

import (
	"context"
	"strings"
	"time"
)

// Raw is one document as a source holds it.
type Raw struct {
	Key   string // full key or address it was read from
	Value []byte
	Index uint64 // Consul's ModifyIndex; any number that changes with the value elsewhere
}

// SharedIndex is Index where all balancers that read the document have the same
// one: that of Consul. It is 0, which is compared with none, where the document
// came from a file or over HTTP, since each balancer counts those for itself.
func (r Raw) SharedIndex() uint64 {
	for _, scheme := range [...]string{"http:", "https:", "file:"} {
		if strings.HasPrefix(r.Key, scheme) {
			return 0
		}
	}
	return r.Index
}

// Event is what a Source knows at one moment.
type Event struct {
	// Docs is the complete set of documents by service; "" is the document
	// for services without one of their own. When Err is set it is the last
	// set that was known, and deletions in it are not to be believed.
	Docs map[string]Raw
	// Err says that the source is lost: it did not answer, or it no longer
	// lets us read. A key that is missing for such a reason is never a deletion.
	Err error
	// Lost are documents that alone are lost while the others were read, by
	// service, and why: Docs has them as they were last.
	Lost map[string]error
	// At is when this became known.
	At time.Time
}

// Source delivers documents. Implementations: Consul KV (wired in cmd/lb), an
// HTTP address that is polled, a file.
type Source interface {
	// Run calls emit with the complete set as soon as it is known and at every
	// change, and with Err when it is lost (at once, and again at least every
	// 10 s while it lasts). It never calls emit concurrently, blocks until ctx
	// ends, then returns nil; losing the source is not an error of Run.
	Run(ctx context.Context, emit func(Event)) error
}

// SourceFunc makes a function a Source.
type SourceFunc func(ctx context.Context, emit func(Event)) error

// Run calls f.
func (f SourceFunc) Run(ctx context.Context, emit func(Event)) error { return f(ctx, emit) }
