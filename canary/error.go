package canary

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"

	"serin/internal/spelling"
)

// Error is why a document was refused, and where in it.
type Error struct {
	Key    string `json:"key"`            // the document's key or address
	Path   string `json:"path,omitempty"` // such as match[0].cidr; "" is the whole document
	Line   int    `json:"line"`           // from 1
	Column int    `json:"column"`         // from 1, in characters
	Msg    string `json:"message"`
	Hint   string `json:"hint,omitempty"` // what to write instead
}

// Error returns one sentence:
//
//	lb/canary/web:1:2: unknown field "raito" (did you mean "ratio"?)
//	lb/canary/web:1:11: ratio must be 0..1; write 0.1 or "10%"
func (e *Error) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", e.Key, e.Line, e.Column, e.Sentence())
}

// Sentence is the error without its place.
func (e *Error) Sentence() string {
	switch {
	case strings.HasSuffix(e.Hint, "?"):
		return e.Msg + " (" + e.Hint + ")"
	case e.Hint != "":
		return e.Msg + "; " + e.Hint
	}
	return e.Msg
}

// position tells the line and column of a byte offset.
func position(src []byte, off int) (line, column int) {
	before := src[:min(off, len(src))]
	start := bytes.LastIndexByte(before, '\n') + 1
	return bytes.Count(before, []byte("\n")) + 1, utf8.RuneCount(before[start:]) + 1
}

// didYouMean returns a hint when one of known looks like what was written.
func didYouMean(written string, known []string) string {
	if near := spelling.Nearest(written, known); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return ""
}
