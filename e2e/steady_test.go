package e2e

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// steady calls get every 2 ms, in the background, until the returned function
// is called or the test ends. The function reports failures as errors.
func steady(t *testing.T, what string, get func() error) (end func()) {
	t.Helper()
	var asked, failures atomic.Int64
	var first atomic.Value
	stop, ended := make(chan struct{}), make(chan struct{})
	var once sync.Once
	halt := func() { once.Do(func() { close(stop) }); <-ended }
	t.Cleanup(halt)
	go func() {
		defer close(ended)
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			asked.Add(1)
			if err := get(); err != nil {
				failures.Add(1)
				first.CompareAndSwap(nil, err.Error())
			}
		}
	}()
	return func() {
		t.Helper()
		halt()
		t.Logf("FIGURE %s: %d of %d requests failed", what, failures.Load(), asked.Load())
		if failures.Load() > 0 || asked.Load() == 0 {
			t.Errorf("%s: %d of %d requests failed, the first: %v", what, failures.Load(), asked.Load(), first.Load())
		}
	}
}
