package canary

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
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
	if len(written) > 64 || len(known) == 0 {
		return ""
	}
	lower := strings.ToLower(written)
	best := slices.MinFunc(known, func(a, b string) int {
		return cmp.Compare(distance(lower, strings.ToLower(a)), distance(lower, strings.ToLower(b)))
	})
	if distance(lower, strings.ToLower(best)) > max(1, len(written)/3) {
		return ""
	}
	return fmt.Sprintf("did you mean %q?", best)
}

// distance counts the insertions, deletions, replacements and swaps of
// neighbours that turn a into b (optimal string alignment).
func distance(a, b string) int {
	var before, above []int // the two rows above the present one
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, above, row = above, row, make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			replace := above[j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			row[j] = min(above[j]+1, row[j-1]+1, replace)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return row[len(b)]
}
