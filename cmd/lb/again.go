package main

import (
	"context"
	"time"
)

// again calls try until that reports that it is done, or ctx ends, with pauses
// that grow from half a second to 30 s.
func again(ctx context.Context, try func() (done bool)) {
	for wait := 500 * time.Millisecond; !try() && ctx.Err() == nil; wait = min(2*wait, 30*time.Second) {
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}
