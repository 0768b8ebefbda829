package canary

import (
	"fmt"
	"testing"
)

func TestParseShare(t *testing.T) {
	f := func(s, want string) {
		t.Helper()
		v, err := ParseShare(s)
		got := fmt.Sprint(v)
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("ParseShare(%q)\n got %s\nwant %s", s, got, want)
		}
	}
	f("25%", "0.25")
	f("0.1%", "0.001")
	f("100%", "1")
	f("0", "0")
	f("1", "1")
	f("0.25", "0.25")
	f("25", "25 is not a share: write 25% or 0.25")
	f("12.5", "12.5 is not a share: write 12.5% or 0.125")
	f("101%", `"101%" is not a share: write 10% or 0.1`)
	f("-1", `"-1" is not a share: write 10% or 0.1`)
	f("NaN", `"NaN" is not a share: write 10% or 0.1`)
	f("", `"" is not a share: write 10% or 0.1`)
}

func TestSet(t *testing.T) {
	f := func(doc, want string, changes ...Change) {
		t.Helper()
		b, err := Set("k", []byte(doc), changes...)
		got := string(b)
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("Set(%s, %v)\n got %s\nwant %s", doc, changes, got, want)
		}
	}
	ratio := Change{"ratio", 0.25}
	f(``, `{"ratio": 0.25}`, ratio)
	f(`{}`, `{"ratio": 0.25}`, ratio)
	f(`{"ratio": 0.1}`, `{"ratio": 0.25}`, ratio)
	f(`{"x-team":"a","ratio":"10%","comment":"why"}`, `{"x-team":"a","ratio":0.25,"comment":"why"}`, ratio)
	f(`{"x-team":"a"}`, `{"x-team":"a", "ratio": 0.25}`, ratio)
	f("{\n  \"comment\": \"a\"\n}\n", "{\n  \"comment\": \"a\",\n  \"ratio\": 0.25\n}\n", ratio)
	f("{ \"comment\": \",\",\n  \"x-b\": 1 }", "{ \"comment\": \",\",\n  \"x-b\": 1,\n  \"ratio\": 0.25 }", ratio)
	f(`{"ratio": 0.1, "sticky": true}`, `{"ratio": 0.1}`, Change{"sticky", nil})
	f(`{"sticky": true, "ratio": 0.1}`, `{"ratio": 0.1}`, Change{"sticky", nil})
	f(`{"sticky": true}`, `{}`, Change{"sticky", nil})
	f(`{}`, `{}`, Change{"sticky", nil})
	f(`{"ratio": 0.1}`, `{"ratio": 0.1, "sticky": true, "canary": "v2"}`, Change{"sticky", true}, Change{"canary", "v2"})
	f(`{}`, `{"limits": {"min_healthy":2}}`, Change{"limits.min_healthy", 2})
	f(`{"limits": {"min_healthy": 1}}`, `{"limits": {"min_healthy": 2}}`, Change{"limits.min_healthy", 2})
	f(`{"limits": {}}`, `{"limits": {"min_healthy": 2}}`, Change{"limits.min_healthy", 2})
	f(`{"ratio": 0.1, "limits": {"min_healthy": 1}}`, `{"ratio": 0.1}`, Change{"limits.min_healthy", nil})
	f(`{"limits": {}}`, `{"limits": {}}`, Change{"limits.min_healthy", nil})
	f(`{}`, `{}`, Change{"limits.min_healthy", nil})
	f(`{"raito": 0.1}`, `{"ratio": 0.25}`, Change{"raito", nil}, ratio)
	f(`{"raito": 0.1}`, `k:1:2: unknown field "raito" (did you mean "ratio"?)`, ratio)
	f(`{"ratio": 0.1`, `k:1:14: not JSON: the document ends too early`, ratio)
	f(`[1]`, `k:1:1: document must be a JSON object, not a list`, ratio)
	f(`{"limits": 1}`, `set limits.min_healthy in k: limits is not an object`, Change{"limits.min_healthy", 2})
	f(`{}`, `k:1:11: ratio must be 0..1; write 0.25 or "25%"`, Change{"ratio", 25})
}

func TestDiff(t *testing.T) {
	f := func(old, new, want string) {
		t.Helper()
		if got := Diff([]byte(old), []byte(new)); got != want {
			t.Errorf("Diff(%q, %q)\n got %q\nwant %q", old, new, got, want)
		}
	}
	f(`{"ratio": 0.1}`, `{"ratio": 0.25}`, "- {\"ratio\": 0.1}\n+ {\"ratio\": 0.25}\n")
	f("{}\n", "{}", "")
	f("", "{}", "+ {}\n")
	f("{}", "", "- {}\n")
	f("{\n \"a\": 1,\n \"b\": 2\n}", "{\n \"a\": 1,\n \"b\": 3\n}", "  {\n   \"a\": 1,\n-  \"b\": 2\n+  \"b\": 3\n  }\n")
	f("{\n}\n}", "{\n}", "  {\n  }\n- }\n")
}
