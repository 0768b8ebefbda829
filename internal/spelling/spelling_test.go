package spelling

import (
	"strings"
	"testing"
)

func TestNearest(t *testing.T) {
	f := func(written, want string, known ...string) {
		t.Helper()
		if got := Nearest(written, known); got != want {
			t.Errorf("%q of %q: got %q, want %q", written, known, got, want)
		}
	}
	f("raito", "ratio", "match", "ratio") // two letters swapped
	f("rato", "ratio", "match", "ratio")
	f("rattio", "ratio", "match", "ratio")
	f("RATIO", "ratio", "match", "ratio")
	f("proxy.strategie", "proxy.strategy", "proxy.addr", "proxy.strategy")
	f("retrys", "retries", "retries")
	f("tos", "to", "to", "by")
	f("path", "", "auth", "ratio")
	f("x", "", "y", "by")
	f("", "", "y", "")
	f("nonsense", "", "ratio", "match")
	f("ab", "ac", "ac", "ad") // the first of two
	f("abcdef", "abcdef", "abcdex", "abcdef")
	f("ratio", "")
	long := strings.Repeat("a", 65)
	f(long, "", long)
}

func TestDistance(t *testing.T) {
	f := func(a, b string, want int) {
		t.Helper()
		if got, back := distance(a, b), distance(b, a); got != want || back != want {
			t.Errorf("%q, %q: got %d, and %d the other way, want %d", a, b, got, back, want)
		}
	}
	f("", "", 0)
	f("", "abc", 3)
	f("abc", "abc", 0)
	f("abc", "axc", 1)
	f("abc", "acb", 1)
	f("abc", "ab", 1)
	f("ca", "abc", 3) // a swap is not torn apart
	f("kitten", "sitting", 3)
}
