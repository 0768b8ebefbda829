package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSchemaIsGenerated(t *testing.T) {
	page, err := os.ReadFile("../../docs/CANARY.md")
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../canary.json")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, document(string(page))) {
		t.Error("schema/canary.json is not what the types and docs/CANARY.md make of it: go generate ./schema")
	}
}

// What an editor shows of a field is what the page says of it.
func TestEveryFieldIsDescribed(t *testing.T) {
	page, err := os.ReadFile("../../docs/CANARY.md")
	if err != nil {
		t.Fatal(err)
	}
	about := descriptions(string(page))
	for typ, fields := range paths() {
		for name, path := range fields {
			if about[path] == "" && !strings.HasSuffix(path, "-") && path != "steps.pause." {
				t.Errorf("%s.%s (%s) is in no table of docs/CANARY.md", typ.Name(), name, path)
			}
		}
	}
}

func TestDescriptions(t *testing.T) {
	got := descriptions("| field | type | default | meaning |\n|---|---|---|---|\n" +
		"| `ratio` | number | 0 | the **share**, see [x](y.md) |\n| `match.to` | `\"a\"` | says `x`\\|y |\n| `a` or b | c | d |\n")
	for path, want := range map[string]string{"ratio": "the share, see x (default: 0)", "match.to": "says x|y"} {
		if got[path] != want {
			t.Errorf("%s\n got %q\nwant %q", path, got[path], want)
		}
	}
	if len(got) != 2 {
		t.Errorf("got %v", got)
	}
}
