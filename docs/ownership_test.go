package docs_test

import (
	"testing"

	"serin/route"
)

// The example of ownership rules is one that is read.
func TestOwnershipExample(t *testing.T) {
	examples := blocks(section(t, page(t, "OPERATIONS.md"), "Who may claim what"), "json")
	if len(examples) != 1 {
		t.Fatalf("%d examples", len(examples))
	}
	if rules, err := route.ParseOwnership([]byte(examples[0])); err != nil || len(rules) != 2 {
		t.Errorf("%d rules: %v", len(rules), err)
	}
}
