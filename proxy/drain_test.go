package proxy

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d Drain
		if err := d.Wait(t.Context()); err != nil {
			t.Fatalf("nothing is open: %v", err)
		}
		d.Begin(Exchange)
		d.Begin(Exchange)
		d.Become(Exchange, Upgraded)
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := d.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("wait: %v after %v, want the deadline after 1s", err, time.Since(start))
		}
		if e, s, u := d.Open(Exchange), d.Open(Stream), d.Open(Upgraded); e != 1 || s != 0 || u != 1 {
			t.Errorf("open: %d requests, %d streams, %d upgraded; want 1 0 1", e, s, u)
		}
		go func() {
			time.Sleep(time.Minute)
			d.End(Exchange)
			d.Begin(Stream) // begins while the other is waited for
			d.End(Upgraded)
			time.Sleep(time.Minute)
			d.End(Stream)
		}()
		start = time.Now()
		if err := d.Wait(t.Context()); err != nil || time.Since(start) != 2*time.Minute {
			t.Errorf("wait: %v after %v, want nil after 2m", err, time.Since(start))
		}
	})
}

func TestDrainNil(t *testing.T) {
	var d *Drain
	d.Begin(Exchange)
	d.Become(Exchange, Stream)
	d.End(Stream)
	if d.Open(Stream) != 0 || d.Wait(t.Context()) != nil {
		t.Error("a nil Drain counts nothing")
	}
}

func TestDrainEndedTwice(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("an exchange that ends twice must be found")
		}
	}()
	new(Drain).End(Stream)
}
