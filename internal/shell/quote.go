// Package shell writes what people paste into a POSIX shell.
package shell

import (
	"regexp"
	"strings"
)

// word matches what a POSIX shell takes as it is.
var word = regexp.MustCompile(`^[A-Za-z0-9_%+:,./@-]+$`)

// Quote makes text one word of a POSIX shell.
func Quote(text string) string {
	if word.MatchString(text) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
