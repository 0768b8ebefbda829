package agent

import (
	"runtime"
	"strings"
	"testing"
)

// ending is a test that ends itself in one of two ways.
type ending struct {
	testing.TB
	how string
}

func (e *ending) Helper()               {}
func (e *ending) Fatal(...any)          { e.end("fatal") }
func (e *ending) Fatalf(string, ...any) { e.end("fatal") }
func (e *ending) Skip(args ...any) {
	if !strings.Contains(args[0].(string), "make consul") {
		e.end("skipped without a hint")
	}
	e.end("skip")
}

func (e *ending) end(how string) { e.how = how; runtime.Goexit() }

// A missing Consul skips a test on a developer's machine and fails it in CI.
func TestMissingBinary(t *testing.T) {
	for _, f := range []struct{ bin, ci, want string }{
		{"", "", "skip"},
		{"", "true", "fatal"},
		{"/nonexistent/consul", "", "fatal"},
	} {
		t.Setenv("CONSUL_BIN", f.bin)
		t.Setenv("CI", f.ci)
		t.Setenv("PATH", "")
		t.Chdir(t.TempDir())
		e := &ending{TB: t}
		done := make(chan struct{})
		go func() {
			defer close(done)
			Binary(e)
			e.how = "found"
		}()
		<-done
		if e.how != f.want {
			t.Errorf("CONSUL_BIN=%q CI=%q: %s, want %s", f.bin, f.ci, e.how, f.want)
		}
	}
}
