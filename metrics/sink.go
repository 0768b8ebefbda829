package metrics

import "context"

// A Sink is where samples go. One goroutine calls it, with one batch after the
// other.
type Sink interface {
	// Name says which sink it is, in logs and as a label.
	Name() string
	// Send delivers samples, which it must not keep or change, and returns
	// when they are handed over, or ctx has ended. After an error, what the
	// samples count is part of a later batch: it may be counted twice where
	// some of it had arrived.
	Send(ctx context.Context, samples []Sample) error
}
