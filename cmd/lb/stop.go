package main

import (
	"context"
	"time"
)

// stop is the stop sequence. In order: not ready; deregister, without waiting
// for a Consul that may be gone; lame duck: still accepting and serving while
// everyone is told to leave; stop accepting; wait for what is open; cut the
// rest. It returns how many requests were cut.
func (b *balancer) stop(deregister func(context.Context)) (cut int) {
	p := b.cfg.Proxy
	b.draining.Store(true)
	b.log.Info("draining", "lame_duck", p.LameDuck, "drain", p.Drain)

	left := make(chan struct{})
	go func() {
		defer close(left)
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		deregister(ctx)
	}()

	b.engine.LameDuck()
	<-time.After(p.LameDuck)

	ctx, cancel := context.WithTimeout(context.Background(), p.Drain)
	defer cancel()
	b.engine.StopAccepting(ctx)
	_ = b.engine.Drain(ctx) // what it did not wait for is cut, and counted
	cut = b.engine.Close()
	<-left
	return cut
}
