package canary

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type parsing struct{ doc, want string }

// cases reads testdata/valid.txt or invalid.txt.
func cases(t testing.TB, file string) (out []parsing) {
	text, err := os.ReadFile(file)
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
				n, err1 := strconv.Atoi(m[1])
				unit, err2 := strconv.Unquote(m[2])
				if err1 != nil || err2 != nil {
					t.Fatalf("%s: %v %v", s, err1, err2)
				}
				return strings.Repeat(unit, n)
			})
			out = append(out, parsing{full, want})
			doc = nil
		case strings.HasPrefix(line, "#"), line == "" && doc == nil:
		default:
			doc = append(doc, line)
		}
	}
	return out
}

func TestParseRefuses(t *testing.T) {
	invalid := cases(t, "testdata/invalid.txt")
	if len(invalid) < 30 {
		t.Fatalf("only %d cases", len(invalid))
	}
	for _, c := range invalid {
		_, err := Parse("lb/canary/web", []byte(c.doc))
		got := fmt.Sprint(err)
		if want := "lb/canary/web:" + c.want; got != want {
			t.Errorf("Parse(%.200s)\n got %s\nwant %s", c.doc, got, want)
		}
	}
}

func TestParseAccepts(t *testing.T) {
	for _, c := range cases(t, "testdata/valid.txt") {
		d, err := Parse("lb/canary", []byte(c.doc))
		if err != nil {
			t.Errorf("Parse(%s)\n got %v\nwant %s", c.doc, err, c.want)
			continue
		}
		got, err := json.Marshal(d)
		if err != nil || string(got) != c.want {
			t.Errorf("Parse(%s)\n got %s, %v\nwant %s", c.doc, got, err, c.want)
		}
	}
}

func TestErrorIsJSON(t *testing.T) {
	_, err := Parse("lb/canary/web", []byte(`{"raito": 0.5}`))
	got, _ := json.Marshal(err)
	want := `{"key":"lb/canary/web","path":"raito","line":1,"column":2,"message":"unknown field \"raito\"","hint":"did you mean \"ratio\"?"}`
	if string(got) != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}

// FuzzParse: nothing panics; what is accepted compiles, and its JSON form means
// the same.
func FuzzParse(f *testing.F) {
	for _, file := range []string{"testdata/valid.txt", "testdata/invalid.txt"} {
		for _, c := range cases(f, file) {
			if len(c.doc) < 2000 {
				f.Add([]byte(c.doc))
			}
		}
	}
	f.Add([]byte(`{"ratio":"12.5%","sticky":{"by":["cookie:uid","ip"],"cookie":{"name":"uid"},"instance":"node"},"balance":"p2c"}`))
	f.Add([]byte(`{"canary":{"meta":{"v":"2"}},"match":[{"header":{"A":"*"},"path":"~^/a","cidr":["::ffff:1.2.3.0/120"],"to":"canary"}],"stale_after":"1h"}`))
	f.Add([]byte(`{"id":"2","steps":[{"ratio":"1%","for":"1h"},{"pause":"10m"},{"mirror":0.5}],"analysis":{"slow":"auto"},"mirror":{"ratio":0.1},"expires":"2026-11-22T10:00:00+01:00"}`))
	f.Add([]byte(`{"ramp":{"start":"2026-11-22T10:00:00.25Z","end":"2027-11-22T10:00:00Z"},"notify":[{"url":"env:A","on":"step"}],"limits":{"overload":1e-3},` +
		`"environments":[{"name":"<","when":{"tag":"t"},"limits":{"max_ratio":0.5},"comment":1},{"name":"b","when":{"cidr":"::/0"},"ramp":null,"ratio":"1%","sticky":{"by":"ip"}}]}`))
	f.Fuzz(func(t *testing.T, value []byte) {
		d, err := Parse("k", value)
		if err != nil {
			e := err.(*Error)
			if e.Line < 1 || e.Column < 1 || e.Msg == "" || strings.ContainsAny(e.Error(), "\n\x00") {
				t.Fatalf("Parse(%q): %#v", value, e)
			}
			return
		}
		split := Compile(d, Applied{Service: "web", Ratio: d.wanted()})
		if !(split.Ratio >= 0 && split.Ratio <= 1) {
			t.Fatalf("Parse(%q): ratio %v", value, split.Ratio)
		}
		once, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse("k", once)
		if err != nil {
			t.Fatalf("Parse(%q) is accepted, its JSON form %s is not: %v", value, once, err)
		}
		if !reflect.DeepEqual(d, again) {
			t.Fatalf("Parse(%q): its JSON form %s means something else", value, once)
		}
		if p := d.Plan("web", "k", 1, "h"); p != nil && (string(p.Control) != d.Control || p.Ratio != d.wanted() || len(p.Steps) != len(d.Steps)) {
			t.Fatalf("Parse(%q): plan %+v", value, p)
		}
		for _, e := range d.Environments {
			base, err := Merge(value, []byte(`{"environments":null}`))
			if err != nil {
				t.Fatal(err)
			}
			own, err := Merge(base, e.Patch)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Parse("k", own); err != nil {
				t.Fatalf("Parse(%q) is accepted, but its environment %q makes %s: %v", value, e.Name, own, err)
			}
		}
	})
}
