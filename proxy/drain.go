package proxy

import (
	"context"
	"sync"
)

// Kind is what an open exchange is.
type Kind uint8

const (
	Exchange Kind = iota // a request and its response
	Stream               // an event stream, or another response without an end in sight
	Upgraded             // a connection handed over (WebSocket)
)

var kindNames = [...]string{"request", "stream", "upgraded"}

// String returns the label used in metrics and logs.
func (k Kind) String() string { return kindNames[k] }

// Drain counts what is open, so that a stop can wait for it. The zero value is
// ready, nil counts nothing; all methods are safe for concurrent use.
type Drain struct {
	mu   sync.Mutex
	n    [len(kindNames)]int
	idle chan struct{} // closed when nothing is open; nil when nobody waits
}

// Begin counts one exchange; End(k) ends it. A request that turns out to be a
// stream is moved with Become.
func (d *Drain) Begin(k Kind) { d.add(k, 1) }

// End ends what Begin began.
func (d *Drain) End(k Kind) { d.add(k, -1) }

// Become counts an open exchange of one kind as another.
func (d *Drain) Become(from, to Kind) {
	d.add(to, 1)
	d.add(from, -1)
}

func (d *Drain) add(k Kind, delta int) {
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.n[k] += delta
	if d.n[k] < 0 {
		panic("BUG: an exchange ended twice: " + k.String())
	}
	if d.idle != nil && d.total() == 0 {
		close(d.idle)
		d.idle = nil
	}
}

func (d *Drain) total() (n int) {
	for _, k := range d.n {
		n += k
	}
	return n
}

// Open returns how many exchanges of kind k are open.
func (d *Drain) Open(k Kind) int {
	if d == nil {
		return 0
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.n[k]
}

// Wait returns nil as soon as nothing is open, or ctx's error. Exchanges that
// begin while it waits are waited for too.
func (d *Drain) Wait(ctx context.Context) error {
	if d == nil {
		return nil
	}
	d.mu.Lock()
	if d.total() == 0 {
		d.mu.Unlock()
		return nil
	}
	if d.idle == nil {
		d.idle = make(chan struct{})
	}
	idle := d.idle
	d.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
