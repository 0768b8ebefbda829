package docs_test

import (
	"reflect"
	"strings"
	"testing"

	"serin/admin"
	"serin/proxy"
)

// members returns the names of a struct's fields in JSON.
func members(v any) (names []string) {
	for _, f := range reflect.VisibleFields(reflect.TypeOf(v)) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}

func TestExplanations(t *testing.T) {
	text := page(t, "EXPLAIN.md")
	f := func(heading string, v any) {
		t.Helper()
		var onPage []string
		for _, r := range rows(section(t, text, heading)) {
			onPage = append(onPage, quoted(r[0])...)
		}
		compare(t, "member of "+heading, onPage, members(v))
	}
	f("What the JSON says", proxy.Explanation{})
	f("The table", admin.RouteTarget{})
}
