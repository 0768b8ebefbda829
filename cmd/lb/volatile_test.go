package main

import "regexp"

// volatile is what differs between two runs of the same session.
var volatile = []struct {
	re   *regexp.Regexp
	word string
}{
	{regexp.MustCompile(`127\.0\.0\.1:[0-9]+`), "ADDRESS"},
	{regexp.MustCompile(`after [0-9]+ ms`), "after N ms"},
	{regexp.MustCompile(`index( "?:?"?|=)[0-9]+`), "index${1}N"},
	{regexp.MustCompile(`"index": [0-9]+`), `"index": N`},
	{regexp.MustCompile(`go1\.[0-9.]+`), "GO"},
}
