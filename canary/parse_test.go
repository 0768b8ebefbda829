package canary

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type refusal struct{ doc, want string }

// refusals reads testdata/invalid.txt.
func refusals(t testing.TB) (out []refusal) {
	text, err := os.ReadFile("testdata/invalid.txt")
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
			out = append(out, refusal{full, want})
			doc = nil
		case strings.HasPrefix(line, "#"), line == "" && doc == nil:
		default:
			doc = append(doc, line)
		}
	}
	return out
}

func TestParseRefuses(t *testing.T) {
	cases := refusals(t)
	if len(cases) < 30 {
		t.Fatalf("only %d cases", len(cases))
	}
	for _, c := range cases {
		_, err := Parse("lb/canary/web", []byte(c.doc))
		got := fmt.Sprint(err)
		if want := "lb/canary/web:" + c.want; got != want {
			t.Errorf("Parse(%.200s)\n got %s\nwant %s", c.doc, got, want)
		}
	}
}

func TestParseAccepts(t *testing.T) {
	f := func(doc, want string) {
		t.Helper()
		d, err := Parse("lb/canary", []byte(doc))
		if err != nil {
			t.Errorf("Parse(%s)\n got %v\nwant %s", doc, err, want)
			return
		}
		got, err := json.Marshal(d)
		if err != nil || string(got) != want {
			t.Errorf("Parse(%s)\n got %s, %v\nwant %s", doc, got, err, want)
		}
	}
	f(`{}`, `{}`)
	f(" {\n}\n", `{}`)
	f(`{"ratio": 0}`, `{"ratio":0}`)
	f(`{"ratio": -0.0}`, `{"ratio":0}`)
	f(`{"ratio": 1e-3}`, `{"ratio":0.001}`)
	f(`{"ratio": "10%"}`, `{"ratio":0.1}`)
	f(`{"ratio": "0.1%"}`, `{"ratio":0.001}`)
	f(`{"ratio": "100%"}`, `{"ratio":1}`)
	f(`{"comment": ["any", {"thing": 1}], "$schema": "x", "x-team": null}`, `{}`)
	f(`{"method": "round_robin", "balance": "least_conn"}`, `{"method":"round_robin","balance":"least_conn"}`)
	f(`{"method": "random", "sticky": false}`, `{"method":"random","sticky":false}`)
	f(`{"sticky": true}`, `{"sticky":{"by":["cookie","ip"]}}`)
	f(`{"sticky": "header:X-User"}`, `{"sticky":{"by":["header:X-User"]}}`)
	f(`{"sticky": "ip", "method": "hash"}`, `{"method":"hash","sticky":{"by":["ip"]}}`)
	f(`{"sticky": {}}`, `{"sticky":{"by":["cookie","ip"]}}`)
	f(`{"sticky": {"by": "cookie:uid", "instance": "node"}}`, `{"sticky":{"by":["cookie:uid"],"instance":"node"}}`)
	f(`{"sticky": {"by": ["cookie:uid", "ip"], "cookie": {"name": "uid", "max_age": "24h", "domain": "example.com", "same_site": "None"}, "instance": true}}`,
		`{"sticky":{"by":["cookie:uid","ip"],"cookie":{"name":"uid","max_age":"24h0m0s","domain":"example.com","same_site":"None"},"instance":true}}`)
	f(`{"canary": "v2", "stable": {"meta": {"version": "1"}}, "backup": {"service": "web-old", "tag": "b"}}`,
		`{"canary":{"tag":"v2"},"stable":{"meta":{"version":"1"}},"backup":{"tag":"b","service":"web-old"}}`)
	f(`{"match": [{"header": {"X-Beta": "*"}, "cookie": {"a": "b*"}, "query": {"q": "~^x"}, "path": "/a*", "method": "get", "cidr": ["10.0.0.0/8", "::1"], "to": "canary"}]}`,
		`{"match":[{"header":{"X-Beta":"*"},"cookie":{"a":"b*"},"query":{"q":"~^x"},"path":"/a*","method":["GET"],"cidr":["10.0.0.0/8","::1"],"to":"canary"}]}`)
	f(`{"match": []}`, `{}`)
	f(`{"limits": {"min_healthy": 2}, "on_stale": "hold", "stale_after": "90s", "update_rate": "0"}`,
		`{"limits":{"min_healthy":2},"on_stale":"hold","stale_after":"1m30s","update_rate":"0s"}`)
	f(`{"config_server": "consul://10.0.0.1:8500/lb/canary/web"}`, `{"config_server":"consul://10.0.0.1:8500/lb/canary/web"}`)
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
	for _, c := range refusals(f) {
		if len(c.doc) < 2000 {
			f.Add([]byte(c.doc))
		}
	}
	f.Add([]byte(`{"ratio":"12.5%","sticky":{"by":["cookie:uid","ip"],"cookie":{"name":"uid"},"instance":"node"},"balance":"p2c"}`))
	f.Add([]byte(`{"canary":{"meta":{"v":"2"}},"match":[{"header":{"A":"*"},"path":"~^/a","cidr":["::ffff:1.2.3.0/120"],"to":"canary"}],"stale_after":"1h"}`))
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
		if twice, _ := json.Marshal(again); string(twice) != string(once) {
			t.Fatalf("Parse(%q)\n once %s\ntwice %s", value, once, twice)
		}
	})
}
