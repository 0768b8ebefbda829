package main

import "testing"

func TestMaxConns(t *testing.T) {
	f := func(files uint64, want int) {
		t.Helper()
		if got := maxConns(files); got != want {
			t.Errorf("maxConns(%d) = %d, want %d", files, got, want)
		}
	}
	f(0, 0)
	f(1<<63-1, 0)
	f(64, 16)
	f(128, 32)
	f(256, 153)
	f(1024, 768)
	f(1<<20, 838809)
}
