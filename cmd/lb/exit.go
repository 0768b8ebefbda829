package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// Exit codes are part of the interface: scripts and pipelines branch on them.
// docs: `lb help exit-codes`.
const (
	exitOK          = 0
	exitFailed      = 1 // failure at run time, or at the start of lb run; lb health: not healthy
	exitUsage       = 2 // usage, invalid configuration or document
	exitNotFound    = 3
	exitConflict    = 4   // a CAS was lost; lb run: requests were cut at the drain's deadline
	exitUnreachable = 5   // Consul or the balancer does not answer
	exitTimeout     = 6   // --timeout reached
	exitRolledBack  = 7   // the rollout was rolled back while waiting
	exitInterrupted = 130 // a second signal
)

// exitError is an error that knows its exit code and how to get out of it.
type exitError struct {
	code int
	err  error
	hint string // one line, or ""
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// fail returns err with an exit code and a hint. It returns nil for nil.
func fail(code int, err error, hint string) error {
	if err == nil {
		return nil
	}
	return &exitError{code: code, err: err, hint: hint}
}

// errDrainExceeded is what run returns when it had to cut requests at the end
// of the drain.
var errDrainExceeded = &exitError{code: exitConflict, err: errors.New("requests were still in flight at the end of proxy.shutdownwait and were cut")}

// report prints err as people read it ("error: …", "hint: …") and returns the
// exit code. Joined errors get a line each.
func report(w io.Writer, err error) int {
	if err == nil {
		return exitOK
	}
	code, hint := exitFailed, ""
	if e, ok := errors.AsType[*exitError](err); ok {
		code, hint = e.code, e.hint
	}
	for _, e := range flatten(err) {
		if text := e.Error(); text != "" {
			fmt.Fprintf(w, "error: %s\n", strings.TrimSuffix(text, "\n"))
		}
	}
	if hint != "" {
		fmt.Fprintf(w, "hint: %s\n", hint)
	}
	return code
}

func flatten(err error) []error {
	if e, ok := err.(*exitError); ok {
		return flatten(e.err)
	}
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		var out []error
		for _, e := range j.Unwrap() {
			out = append(out, flatten(e)...)
		}
		return out
	}
	return []error{err}
}
