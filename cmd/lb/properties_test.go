package main

import (
	"fmt"
	"strings"
	"testing"
)

func TestParseProperties(t *testing.T) {
	f := func(text string, want ...string) {
		t.Helper()
		list, errs := parseProperties("f", text)
		var got []string
		for _, p := range list {
			got = append(got, fmt.Sprintf("%d %s|%s", p.line, p.key, p.value))
		}
		for _, err := range errs {
			got = append(got, err.Error())
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%q\n got %q\nwant %q", text, got, want)
		}
	}
	f("")
	f("# a\n ! b\n\n \t\n")
	f("a = b", "1 a|b")
	f("a=b\r\nc:d\n", "1 a|b", "2 c|d")
	f("\uFEFF  a b c \t\n", "1 a|b c")
	f("a : b\nc == d\ne", "1 a|b", "2 c|= d", "3 e|")
	f("a = :9999,\\\n    :80;proto=tcp\nb = 1", "1 a|:9999,:80;proto=tcp", "3 b|1")
	f("a = b\\\\\nc = d\\", "1 a|b\\", "2 c|d")
	f("a = b\\\n# not a comment", "1 a|b# not a comment")
	f(`a\=b\ c = \n\t\u00e4\:\#`, "1 a=b c|\n\tä:#")
	f("a = 1\na = 2", "1 a|1", "2 a|2")
	f("a = ${b}/${c}\nb = x\nc = ${b}y", "1 a|x/xy", "2 b|x", "3 c|xy")
	f("a = $host $header.X", "1 a|$host $header.X")
	f("a = ${a}", "1 a|${a}", "f:1: ${a} refers to itself")
	f("a = ${b}", "1 a|${b}", "f:1: ${b}: the file has no such key; put the value there")
	f("a = ${b", "1 a|${b", "f:1: ${ is not closed")
	f("\n= 1\nb = 2", "3 b|2", "f:2: the line has no key")
	f(`a = \u12`, `f:1: \u wants four hexadecimal digits`)
	f(`a = \u12g4`, `f:1: \u wants four hexadecimal digits`)
	f("a = \xff", "f:1: the line is not valid UTF-8")
}

func FuzzParseProperties(f *testing.F) {
	f.Add("a = b\\\n c\n# d\ne : ${a}\\u00e4")
	f.Add("a=${b}${b}\nb=${c}${c}\nc=${d}${d}\nd=x\\")
	f.Fuzz(func(t *testing.T, text string) {
		list, errs := parseProperties("f", text)
		if n := strings.Count(text, "\n") + 1; len(list) > n || len(errs) > 2*n {
			t.Fatalf("%d properties and %d errors of %d lines", len(list), len(errs), n)
		}
		last := 0
		for _, p := range list {
			if p.key == "" || p.line <= last {
				t.Fatalf("line %d after %d: %q", p.line, last, p.key)
			}
			last = p.line
		}
	})
}

// Every option of Fabio has one of ours, or a reason why there is none.
func TestFabioOptionsAreMappedOrExplained(t *testing.T) {
	seen := map[string]bool{}
	for _, o := range fabioOptions {
		if (o.to == "") == (o.why == "") || seen[o.key] {
			t.Errorf("%s: to %q, why %q, seen %t", o.key, o.to, o.why, seen[o.key])
		}
		seen[o.key] = true
		if o.to != "" && row(o.to) == nil {
			t.Errorf("%s: there is no option %s", o.key, o.to)
		}
		for _, written := range []string{"FABIO_" + strings.ReplaceAll(o.key, ".", "_"), "fabio_" + strings.ToLower(strings.ReplaceAll(o.key, ".", "_"))} {
			if got, wrong := fabioKey(written); got == nil || got.key != o.key || wrong != "" {
				t.Errorf("%s is not found as %s", o.key, written)
			}
		}
	}
}
