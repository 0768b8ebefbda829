package schema_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.uber.org/goleak"

	"serin/canary"
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

type parsing struct{ doc, want string }

// cases reads canary/testdata/valid.txt or invalid.txt.
func cases(t testing.TB, name string) (out []parsing) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "canary", "testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	copies := regexp.MustCompile(`<<(\d+) ("(?:[^"\\]|\\.)*")>>`)
	var doc []string
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		want, end := strings.CutPrefix(line, "=> ")
		switch {
		case end:
			full := copies.ReplaceAllStringFunc(strings.Join(doc, "\n"), func(s string) string {
				m := copies.FindStringSubmatch(s)
				n, _ := strconv.Atoi(m[1])
				unit, err := strconv.Unquote(m[2])
				if err != nil {
					t.Fatal(err)
				}
				return strings.Repeat(unit, n)
			})
			out, doc = append(out, parsing{full, want}), nil
		case strings.HasPrefix(line, "#"), line == "" && doc == nil:
		default:
			doc = append(doc, line)
		}
	}
	if len(out) < 30 {
		t.Fatalf("only %d cases in %s", len(out), name)
	}
	return out
}

// What Parse accepts the schema does not refuse, and so the form in which a
// document is written again.
func TestSchemaAcceptsWhatParseAccepts(t *testing.T) {
	s := compiled(t)
	for _, c := range cases(t, "valid.txt") {
		for _, doc := range []string{c.doc, c.want} {
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
	for _, c := range cases(t, "invalid.txt") {
		if validate(s, c.doc) != nil {
			continue
		}
		known := false
		for _, b := range beyond {
			if strings.Contains(c.want, b) {
				known, used[b] = true, true
			}
		}
		if !known {
			t.Errorf("the schema accepts %.300s\nParse says %s", c.doc, c.want)
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
		for _, c := range cases(f, name) {
			if len(c.doc) < 2000 {
				f.Add(c.doc)
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
