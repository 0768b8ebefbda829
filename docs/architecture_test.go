package docs_test

import (
	"path"
	"path/filepath"
	"strings"
	"testing"
)

// The files that the page names for each concept are there: a name without a
// folder is beside the one before it.
func TestArchitectureNamesFilesThatExist(t *testing.T) {
	_, text, _ := strings.Cut(section(t, page(t, "ARCHITECTURE.md"), "The rooms"), "### What is where")
	seen := 0
	for _, row := range rows(text) {
		folder := ""
		for _, name := range quoted(row[1]) {
			if strings.Contains(name, "/") {
				folder = path.Dir(name)
			} else {
				name = path.Join(folder, name)
			}
			if files, err := filepath.Glob(path.Join("..", name)); len(files) == 0 {
				t.Errorf("%s: there is no file %s (%v)", row[0], name, err)
			}
			seen++
		}
	}
	if seen < 40 {
		t.Errorf("only %d files were found on the page: the test does not see them", seen)
	}
}
