package daemon

// Shares says where the canary's share comes from.
type Shares interface {
	// Share returns the share of a service's clients that go to its canary, 0 to
	// 1. It is false where none is known: everybody then goes to master. It is
	// called for every request, from many goroutines, and must not block.
	Share(service string) (ratio float64, ok bool)
}

// SharesFunc is a function that is Shares.
type SharesFunc func(service string) (ratio float64, ok bool)

// Share implements Shares.
func (f SharesFunc) Share(service string) (ratio float64, ok bool) { return f(service) }
