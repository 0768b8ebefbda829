// Package casefile reads the files of canary documents and what is to become of
// them, which several tests share: canary/testdata/valid.txt and invalid.txt.
package casefile

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Case is a document and what is said of it: its form, or why it is refused.
type Case struct{ Doc, Want string }

// copies stand for a text that is too long to be written out: <<70000 "a">>.
var copies = regexp.MustCompile(`<<(\d+) ("(?:[^"\\]|\\.)*")>>`)

// Read returns the cases of a file, at least thirty: the lines of a document up
// to one that begins with "=> ", which is what is said of it. Between cases empty
// lines are skipped, and everywhere those that begin with #.
func Read(t testing.TB, path string) (out []Case) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var doc []string
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		want, end := strings.CutPrefix(line, "=> ")
		switch {
		case end:
			out, doc = append(out, Case{expand(t, strings.Join(doc, "\n")), want}), nil
		case strings.HasPrefix(line, "#"), line == "" && doc == nil:
		default:
			doc = append(doc, line)
		}
	}
	if len(out) < 30 {
		t.Fatalf("only %d cases in %s", len(out), path)
	}
	return out
}

// expand writes the copies out.
func expand(t testing.TB, doc string) string {
	return copies.ReplaceAllStringFunc(doc, func(s string) string {
		m := copies.FindStringSubmatch(s)
		n, err1 := strconv.Atoi(m[1])
		unit, err2 := strconv.Unquote(m[2])
		if err1 != nil || err2 != nil {
			t.Fatalf("%s: %v %v", s, err1, err2)
		}
		return strings.Repeat(unit, n)
	})
}
