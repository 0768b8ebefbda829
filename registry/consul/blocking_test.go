package consul

import (
	"errors"
	"fmt"
	"io"
	"testing"
	"time"
)

func TestNext(t *testing.T) {
	fail := errors.New("500")
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	for _, tt := range []struct {
		name  string
		p     progress
		a     answer
		index uint64
		fails int
		then  action
	}{
		{"first answer", progress{tokens: 2}, answer{index: 7, changed: true}, 7, 0, action{}},
		{"time-out after the wait", progress{index: 7, tokens: 0}, answer{index: 7, since: 30 * time.Second}, 7, 0, action{}},
		{"change", progress{index: 7, tokens: 2}, answer{index: 8, changed: true}, 8, 0, action{}},
		{"same index at once, tokens left", progress{index: 7, tokens: 1}, answer{index: 7}, 7, 0, action{}},
		{"same index at once, none left", progress{index: 7, tokens: 0}, answer{index: 7}, 7, 0, action{pause: time.Second}},
		{"index rose for nothing, none left", progress{index: 7, tokens: 0}, answer{index: 8}, 8, 0, action{pause: ms(100)}},
		{"changes without end", progress{index: 7, tokens: 0}, answer{index: 8, changed: true}, 8, 0, action{pause: ms(50)}},
		{"index went back", progress{index: 70, tokens: 2}, answer{index: 7, changed: true}, 0, 0, action{}},
		{"index went back for ever", progress{index: 70, tokens: 0}, answer{index: 7}, 0, 0, action{pause: time.Second}},
		{"index 0 is 1", progress{tokens: 2}, answer{index: 0, changed: true}, 1, 0, action{}},
		{"index 0 again", progress{index: 1, tokens: 0}, answer{index: 0}, 1, 0, action{pause: time.Second}},
		{"huge index", progress{index: 7, tokens: 2}, answer{index: 1<<64 - 1, changed: true}, 1<<64 - 1, 0, action{}},
		{"first error", progress{index: 7}, answer{err: fail}, 0, 1, action{pause: ms(150)}},
		{"second error", progress{fails: 1}, answer{err: fail}, 0, 2, action{pause: ms(250)}},
		{"tenth error", progress{fails: 9}, answer{err: fail}, 0, 10, action{pause: ms(2550)}},
		{"tenth error of a lead", progress{fails: 9, lead: true}, answer{err: fail}, 0, 10, action{pause: ms(1125)}},
		{"EOF in mid-wait", progress{index: 7}, answer{err: fmt.Errorf("get: %w", io.EOF)}, 0, 1, action{pause: ms(50), quiet: true}},
		{"EOF at once", progress{}, answer{err: io.EOF}, 0, 1, action{pause: ms(150)}},
		{"EOF again", progress{fails: 1}, answer{err: io.EOF}, 0, 2, action{pause: ms(250)}},
		{"429", progress{index: 7}, answer{err: ErrBusy}, 0, 1, action{pause: ms(1500)}},
		{"good after errors", progress{fails: 9, tokens: 2}, answer{index: 3}, 3, 0, action{}},
	} {
		p, then := next(tt.p, tt.a, 0.5)
		if p.index != tt.index || p.fails != tt.fails || then != tt.then {
			t.Errorf("%s: index %d, fails %d, %+v; want %d, %d, %+v", tt.name, p.index, p.fails, then, tt.index, tt.fails, tt.then)
		}
	}
}

func TestBackoffStaysInItsBounds(t *testing.T) {
	for fails := 1; fails < 100; fails++ {
		for _, jitter := range []float64{0, 0.999999} {
			if d := backoff(fails, false, false, jitter); d < minBackoff || d > maxBackoff {
				t.Errorf("%d errors: %v", fails, d)
			}
			if d := backoff(fails, true, false, jitter); d < minBackoff || d > leadBackoff {
				t.Errorf("%d errors, lead: %v", fails, d)
			}
		}
	}
}
