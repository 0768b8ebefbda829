package schema_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.uber.org/goleak"

	"serin/canary"
	"serin/internal/casefile"
	"serin/schema"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func compiled(t testing.TB) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema.Canary()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("canary.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("canary.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func validate(s *jsonschema.Schema, doc string) error {
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(doc))
	if err != nil {
		return err
	}
	return s.Validate(v)
}

// What Parse accepts the schema does not refuse, and so the form in which a
// document is written again.
func TestSchemaAcceptsWhatParseAccepts(t *testing.T) {
	s := compiled(t)
	for _, c := range casefile.Read(t, filepath.Join("..", "canary", "testdata", "valid.txt")) {
		for _, doc := range []string{c.Doc, c.Want} {
			if err := validate(s, doc); err != nil {
				t.Errorf("%s\n%v", doc, err)
			}
		}
	}
	pages, _ := filepath.Glob("../docs/*.md")
	seen := 0
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile("(?ms)^```json\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
			if _, err := canary.Parse("k", []byte(m[1])); err != nil {
				continue // JSON of another kind, or a document that is refused
			}
			seen++
			if err := validate(s, m[1]); err != nil {
				t.Errorf("%s: %s\n%v", page, m[1], err)
			}
		}
	}
	if seen < 10 {
		t.Errorf("only %d documents on the pages", seen)
	}
}

// The documents that people copy are valid, for both.
func TestExamples(t *testing.T) {
	s := compiled(t)
	files, _ := filepath.Glob("../examples/canary/*.json")
	if len(files) < 8 {
		t.Fatalf("only %d examples", len(files))
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := canary.Parse(file, text); err != nil {
			t.Error(err)
		}
		if err := validate(s, string(text)); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		if !strings.Contains(string(text), `"$schema": "../../schema/canary.json"`) {
			t.Errorf("%s does not name its schema", file)
		}
	}
}

// beyond are the mistakes that no schema can tell, by Parse's words for them.
// docs/CANARY.md has the same list.
var beyond = []string{
	"not JSON", "is there twice", "more data follows", "bytes long, more than 65536", "inside each other", // of the text
	"contradicts sticky", "which by does not name", "would last no time", "could hold", // of two fields together
	"the end is not after the start",
	"makes a document that is refused", "counts from the first application", "exclude each other; add", "is the name of another environment", // of an environment and its document
	"is not a regular expression", "regular expressions of the document too large", "10.0.0.0/33",
}

func TestSchemaRefusesWhatParseRefuses(t *testing.T) {
	s := compiled(t)
	used := map[string]bool{}
	for _, c := range casefile.Read(t, filepath.Join("..", "canary", "testdata", "invalid.txt")) {
		if validate(s, c.Doc) != nil {
			continue
		}
		known := false
		for _, b := range beyond {
			if strings.Contains(c.Want, b) {
				known, used[b] = true, true
			}
		}
		if !known {
			t.Errorf("the schema accepts %.300s\nParse says %s", c.Doc, c.Want)
		}
	}
	for _, b := range beyond {
		if !used[b] && !strings.HasPrefix(b, "not JSON") && b != "more data follows" {
			t.Errorf("the schema can tell %q, or no case has it", b)
		}
	}
}

// A program that asks the schema gets the place of a mistake.
func TestSchemaNamesThePlace(t *testing.T) {
	err := validate(compiled(t), `{"match": [{"path": "/", "to": "backup"}]}`)
	if err == nil || !strings.Contains(fmt.Sprint(err), "/match/0/to") {
		t.Errorf("got %v", err)
	}
}

// FuzzSchema: what Parse accepts the schema does not refuse.
func FuzzSchema(f *testing.F) {
	for _, name := range []string{"valid.txt", "invalid.txt"} {
		for _, c := range casefile.Read(f, filepath.Join("..", "canary", "testdata", name)) {
			if len(c.Doc) < 2000 {
				f.Add(c.Doc)
			}
		}
	}
	s := compiled(f)
	f.Fuzz(func(t *testing.T, doc string) {
		if _, err := canary.Parse("k", []byte(doc)); err != nil {
			return
		}
		if err := validate(s, doc); err != nil {
			t.Errorf("Parse accepts %s\n%v", doc, err)
		}
	})
}
