package docs_test

import (
	"strings"
	"testing"

	"serin/route"
)

func TestRouteCommandsOnThePage(t *testing.T) {
	text := page(t, "OVERRIDES.md")
	seen := 0
	for _, b := range blocks(text, "routes") {
		commands, problems := route.ParseCommands("OVERRIDES.md", b)
		seen += len(commands)
		for _, p := range problems {
			t.Errorf("%s: %s", p.Where, p.Error)
		}
	}
	if seen < 11 {
		t.Errorf("only %d commands were found: the test does not see them", seen)
	}
	refused := rows(section(t, text, "What is refused"))
	for _, r := range refused {
		line := strings.Trim(r[0], "`")
		commands, problems := route.ParseCommands("k", line)
		if len(commands) != 0 || len(problems) != 1 || problems[0].Error != r[1] {
			t.Errorf("the line %q\n   is refused with: %v\nthe page has: %s", line, problems, r[1])
		}
	}
	if len(refused) < 8 {
		t.Errorf("only %d refused lines were found: the test does not see them", len(refused))
	}
}
