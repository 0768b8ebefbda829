package docs_test

import (
	"fmt"
	"testing"

	"serin/canary/evidence"
)

// The defaults on the page are those of the code. The figures are held by the
// tests that simulate them, in canary/evidence.
func TestEvidenceDefaults(t *testing.T) {
	want := map[string]string{
		"`alpha`": fmt.Sprint(evidence.DefaultAlpha), "`beta`": fmt.Sprint(evidence.DefaultBeta),
		"`margin`": fmt.Sprint(evidence.DefaultMargin), "`max_error_rate`": fmt.Sprint(evidence.DefaultMaxErrorRate),
		"`min_requests`": fmt.Sprint(evidence.DefaultMinRequests), "`slow`": "not judged",
	}
	for _, row := range rows(section(t, page(t, "EVIDENCE.md"), "Defaults")) {
		if want[row[0]] != row[1] {
			t.Errorf("%s: the page says %s, the code %s", row[0], row[1], want[row[0]])
		}
		delete(want, row[0])
	}
	for name := range want {
		t.Errorf("%s is missing on the page", name)
	}
}
