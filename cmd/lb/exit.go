package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// Exit codes are part of the interface: scripts and pipelines branch on them.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitConflict    = 4
	exitUnreachable = 5
	exitTimeout     = 6
	exitRolledBack  = 7
	exitInterrupted = 130
)

var exitCodes = []struct {
	code    int
	meaning string
}{
	{exitOK, "all is well; lb run: drained, nothing was cut"},
	{exitFailed, "failure at run time; lb run: it could not start; lb health: not healthy"},
	{exitUsage, "usage, invalid configuration, invalid document"},
	{exitNotFound, "no such service, key or document"},
	{exitConflict, "someone else changed the document meanwhile; lb run: requests were cut at the end of the drain"},
	{exitUnreachable, "Consul or the balancer does not answer"},
	{exitTimeout, "what was waited for did not come in time (--wait, --timeout)"},
	{exitRolledBack, "the rollout was rolled back while its end was waited for (--until)"},
	{exitInterrupted, "a second signal forced the stop"},
}

func exitCodesTopic() *cobra.Command {
	var b strings.Builder
	b.WriteString("Exit codes:\n")
	for _, e := range exitCodes {
		fmt.Fprintf(&b, "\n  %3d  %s", e.code, e.meaning)
	}
	return &cobra.Command{Use: "exit-codes", Short: "What the exit codes mean", Long: b.String()}
}

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

// several are independent mistakes, each reported on its own. Other joined
// errors are one mistake with several causes.
type several []error

// together returns the errors that are not nil as one; nil for none.
func together(errs []error) error {
	var out several
	for _, err := range errs {
		out = append(out, flatten(err)...)
	}
	if out == nil {
		return nil
	}
	return out
}

func (s several) Error() string   { return errors.Join(s...).Error() }
func (s several) Unwrap() []error { return s }

func flatten(err error) []error {
	switch e := err.(type) {
	case nil:
		return nil
	case *exitError:
		return flatten(e.err)
	case several:
		return e
	}
	return []error{err}
}
