package route

import (
	"strings"
	"testing"

	fabio "github.com/gobwas/glob"
	"pgregory.net/rapid"
)

// TestGlobIsFabios holds that patterns mean what they mean in Fabio's library.
func TestGlobIsFabios(t *testing.T) {
	piece := rapid.SampledFrom([]string{"a", "b", "c", "ab", "*", "*", "**", "?", "[", "]", "{", "}", ",", "!", "-", `\`, "[ab]", "[!ab]", "[a-c]", "[!b-c]", "{a,b}", "{a*,?b}", "{a,{b,c}}", "{,a}", "{}", "[]", "[a-]", "[-a]", `[\]]`, "[c-a]"})
	rapid.Check(t, func(t *rapid.T) {
		pattern := strings.Join(rapid.SliceOfN(piece, 0, 7).Draw(t, "pattern"), "")
		want, wantErr := fabio.Compile(pattern)
		got, err := compileGlob(pattern)
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("%q: %v, want %v", pattern, err, wantErr)
		}
		if err != nil {
			return
		}
		for range 30 {
			s := rapid.StringOfN(rapid.SampledFrom([]rune(`abc,]}-!`)), 0, 8, -1).Draw(t, "text")
			if got.match(s) != want.Match(s) {
				t.Fatalf("%q matches %q: %v, want %v", pattern, s, got.match(s), want.Match(s))
			}
		}
	})
}

func TestBadGlobs(t *testing.T) {
	for _, test := range []struct{ pattern, err string }{
		{"/a[b", `pattern "/a[b", byte 2: a "[" is not closed`},
		{"/a{b", `pattern "/a{b", byte 4: a "{" is not closed`},
		{"/[]", `pattern "/[]", byte 1: a class has no character`},
		{"/[b-a]", `pattern "/[b-a]", byte 1: the range "b-a" is empty`},
		{"/[a-cx]", `pattern "/[a-cx]", byte 1: a class is either one range, as in [a-z], or a list, as in [abc]`},
		{`/a\`, `pattern "/a\\", byte 3: nothing follows the "\"`},
		{"/é", `pattern "/é", byte 1: it must be ASCII`},
		{"/[é]", `pattern "/[é]", byte 1: a class must be of ASCII`},
		{"/" + strings.Repeat("{a,b}", 12), "use fewer braces"},
		{"/" + strings.Repeat("a", maxGlob), "257 bytes: 256 are allowed"},
	} {
		if err := checkGlob(test.pattern); err == nil || !strings.Contains(err.Error(), test.err) {
			t.Errorf("%.40q: %v, want %q", test.pattern, err, test.err)
		}
	}
}

func FuzzGlob(f *testing.F) {
	for _, s := range []string{"/a*", "*.{a,b}?", "[!a-c]*[xyz]", `\*{{a,b},c}`, "[", "{,}", "**", ""} {
		f.Add(s, "/abc")
	}
	f.Fuzz(func(t *testing.T, pattern, s string) {
		g, err := compileGlob(pattern)
		if err != nil {
			return
		}
		size := 0
		for _, parts := range g.alternatives {
			for _, p := range parts {
				size += p.size()
			}
		}
		if size > maxGlobSize {
			t.Fatalf("%q has %d characters", pattern, size)
		}
		g.match(s)
		if literal(pattern) == len(pattern) && !strings.ContainsAny(pattern, "{}") && g.match(s) != (pattern == s) {
			t.Fatalf("%q matches %q", pattern, s)
		}
	})
}
