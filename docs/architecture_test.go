package docs_test

import (
	"os"
	"path"
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
			if _, err := os.Stat(path.Join("..", name)); err != nil {
				t.Errorf("%s: %v", row[0], err)
			}
			seen++
		}
	}
	if seen < 40 {
		t.Errorf("only %d files were found on the page: the test does not see them", seen)
	}
}
