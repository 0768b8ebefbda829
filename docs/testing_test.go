package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// Every test that the page names as a promise's exists in the package named
// before it.
func TestPromisesHaveTheirTests(t *testing.T) {
	function := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w+)\(`)
	word := regexp.MustCompile("`([^`]+)`|\\b((?:Test|Fuzz|Benchmark)\\w+)")
	functions := map[string]map[string]bool{} // by package
	read := func(dir string) bool {
		if functions[dir] != nil {
			return true
		}
		files, _ := filepath.Glob(filepath.Join("..", dir, "*_test.go"))
		if len(files) == 0 {
			return false
		}
		functions[dir] = map[string]bool{}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range function.FindAllStringSubmatch(string(text), -1) {
				functions[dir][m[1]] = true
			}
		}
		return true
	}
	named := 0
	for _, row := range rows(section(t, page(t, "TESTING.md"), "What shows what")) {
		dir := ""
		for _, m := range word.FindAllStringSubmatch(row[1], -1) {
			switch {
			case m[1] != "":
				if read(m[1]) {
					dir = m[1]
				}
			case !functions[dir][m[2]]:
				t.Errorf("%s: package %q has no %s", row[0], dir, m[2])
			default:
				named++
			}
		}
	}
	if named < 150 {
		t.Errorf("only %d tests are named", named)
	}
}
