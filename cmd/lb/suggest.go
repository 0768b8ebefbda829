package main

import (
	"fmt"

	"serin/internal/spelling"
)

// didYouMean returns ` (did you mean "x"?)` for the candidate closest to text,
// or nothing when none is close.
func didYouMean(text string, candidates []string) string {
	if near := spelling.Nearest(text, candidates); near != "" {
		return fmt.Sprintf(" (did you mean %q?)", near)
	}
	return ""
}
