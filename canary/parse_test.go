package canary

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"serin/internal/casefile"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestParseRefuses(t *testing.T) {
	for _, c := range casefile.Read(t, "testdata/invalid.txt") {
		_, err := Parse("lb/canary/web", []byte(c.Doc))
		got := fmt.Sprint(err)
		if want := "lb/canary/web:" + c.Want; got != want {
			t.Errorf("Parse(%.200s)\n got %s\nwant %s", c.Doc, got, want)
		}
	}
}

func TestParseAccepts(t *testing.T) {
	for _, c := range casefile.Read(t, "testdata/valid.txt") {
		d, err := Parse("lb/canary", []byte(c.Doc))
		if err != nil {
			t.Errorf("Parse(%s)\n got %v\nwant %s", c.Doc, err, c.Want)
			continue
		}
		got, err := json.Marshal(d)
		if err != nil || string(got) != c.Want {
			t.Errorf("Parse(%s)\n got %s, %v\nwant %s", c.Doc, got, err, c.Want)
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
		for _, c := range casefile.Read(f, file) {
			if len(c.Doc) < 2000 {
				f.Add([]byte(c.Doc))
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
