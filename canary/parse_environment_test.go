package canary

import (
	"fmt"
	"strings"
	"testing"
)

// Each environment has the document's regular expressions once more: what all of
// them need is bounded too.
func TestRegexpsOfAllEnvironments(t *testing.T) {
	document := func(environments int) string {
		var list []string
		for i := range environments {
			list = append(list, fmt.Sprintf(`{"name": "e%d", "when": {"tag": "t%d"}}`, i, i))
		}
		return `{"match": [{"path": "~\\pL{20}", "to": "canary"}], "environments": [` + strings.Join(list, ", ") + "]}"
	}
	if _, err := Parse("k", []byte(document(5))); err != nil {
		t.Errorf("5 environments: %v", err)
	}
	_, err := Parse("k", []byte(document(MaxEnvironments)))
	if want := "makes the regular expressions of all environments too large; use fewer regular expressions or environments"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%d environments\n got %v\nwant … %s", MaxEnvironments, err, want)
	}
}

// A mistake is reported where it stands: in the environment, or where the
// environment begins when it is the document's fields that do not fit.
func TestPlaceOfAMistakeInAnEnvironment(t *testing.T) {
	f := func(doc, path string, line int) {
		t.Helper()
		_, err := Parse("k", []byte(doc))
		e, ok := err.(*Error)
		if !ok || e.Path != path || e.Line != line {
			t.Errorf("Parse(%s)\n got %+v\nwant path %s, line %d", doc, err, path, line)
		}
	}
	f("{\n\"environments\": [\n{\"name\": \"a\", \"when\": {\"tag\": \"t\"},\n\"ratio\": 5}]}", "environments[0].ratio", 4)
	f("{\n\"environments\": [\n{\"name\": \"a\", \"when\": {\"tag\": \"t\"},\n\"sticky\": true}],\n\"method\": \"random\"}", "environments[0]", 3)
	f("{\n\"environments\": [\n{\"name\": \"a\", \"when\": {\"tag\": \"t\"},\n\"mirror\": {\"timeout\": \"1s\"}}],\n\"mirror\": 0.1}", "environments[0].mirror", 4)
	f("{\n\"environments\": [\n{\"name\": \"a\", \"when\": {\"tag\": \"t\"},\n\"ratio\": 1}],\n\"ratio\": 5}", "ratio", 5)
}

// Who looks names up does so for all documents, so that none may have very many.
func TestHostsAreBounded(t *testing.T) {
	text := func(n int) []byte {
		var names []string
		for i := range n {
			names = append(names, fmt.Sprintf(`"h%d.example"`, i))
		}
		half := len(names) / 2
		return fmt.Appendf(nil, `{"environments": [{"name": "a", "when": {"host": [%s]}, "ratio": 1}, {"name": "b", "when": {"host": [%s]}}]}`,
			strings.Join(names[:half], ","), strings.Join(names[half:], ","))
	}
	if _, err := Parse("k", text(MaxHosts)); err != nil {
		t.Error(err)
	}
	_, err := Parse("k", text(MaxHosts+1))
	if want := "environments[1].when.host[64] is one DNS name more than the 128 that a document may have"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
}
