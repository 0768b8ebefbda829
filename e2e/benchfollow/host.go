package main

import (
	"fmt"
	"os"
	"testing"
)

// host is what the helper that starts Consul needs of a test, outside of one.
// What is not below is not used by it.
type host struct {
	testing.TB
	cleanups []func()
}

func (h *host) Helper()          {}
func (h *host) Failed() bool     { return false }
func (h *host) Cleanup(f func()) { h.cleanups = append(h.cleanups, f) }
func (h *host) Fatal(v ...any)   { must(fmt.Errorf("%s", fmt.Sprint(v...))) }
func (h *host) Skip(v ...any)    { h.Fatal(v...) }

func (h *host) Fatalf(format string, v ...any) { must(fmt.Errorf(format, v...)) }
func (h *host) Logf(format string, v ...any)   { fmt.Fprintf(os.Stderr, format+"\n", v...) }
func (h *host) Errorf(format string, v ...any) { h.Logf(format, v...) }

func (h *host) TempDir() string {
	dir, err := os.MkdirTemp("", "benchfollow-consul")
	must(err)
	h.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// close does what a test does at its end.
func (h *host) close() {
	for i := len(h.cleanups) - 1; i >= 0; i-- {
		h.cleanups[i]()
	}
}
