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
	f(`{"limits": {"max_ratio": "50%", "overload": 1.5}, "balance": "hash", "id": "web-2.4.0", "control": "pause"}`,
		`{"balance":"hash","limits":{"max_ratio":0.5,"overload":1.5},"id":"web-2.4.0","control":"pause"}`)
	f(`{"ramp": {"over": "90m"}}`, `{"ramp":{"over":"1h30m0s"}}`)
	f(`{"ramp": {"from": 0, "to": "50%", "end": "2026-11-22T12:00:00.5+01:00", "start": "2026-11-22T10:00:00Z"}}`,
		`{"ramp":{"from":0,"to":0.5,"start":"2026-11-22T10:00:00Z","end":"2026-11-22T11:00:00.5Z"}}`)
	f(`{"steps": [{"mirror": "10%", "for": "1h"}, {"ratio": 0.01, "mirror": 0}, {"pause": true}, {"pause": "1h"}, {"ratio": 1}]}`,
		`{"steps":[{"mirror":0.1,"for":"1h0m0s"},{"ratio":0.01,"mirror":0},{"pause":true},{"pause":"1h0m0s"},{"ratio":1}]}`)
	f(`{"steps": [{"ratio": 0.1}, {"ratio": 0.5}], "analysis": true}`, `{"steps":[{"ratio":0.1},{"ratio":0.5}],"analysis":{}}`)
	f(`{"analysis": {"alpha": 0.01, "beta": 0.1, "margin": 1.5, "max_error_rate": "2%", "slow": "1500ms", "min_requests": 50, "warmup": "0s",
		"failures": "5xx", "on_fail": "pause", "on_inconclusive": "promote", "max_wait": "10m"}}`,
		`{"analysis":{"alpha":0.01,"beta":0.1,"margin":1.5,"max_error_rate":0.02,"slow":"1.5s","min_requests":50,"warmup":"0s",`+
			`"failures":["5xx"],"on_fail":"pause","on_inconclusive":"promote","max_wait":"10m0s"}}`)
	f(`{"analysis": {"slow": "auto"}}`, `{"analysis":{"slow":"auto"}}`)
	f(`{"mirror": "5%"}`, `{"mirror":{"ratio":0.05}}`)
	f(`{"mirror": {"ratio": 0, "methods": "get", "max_body": 0, "timeout": "1s", "max_inflight": 5, "shadow": true}}`,
		`{"mirror":{"ratio":0,"methods":["GET"],"max_body":0,"timeout":"1s","max_inflight":5,"shadow":true}}`)
	f(`{"notify": [{"url": "file:/run/hook", "on": ["rollback", "invalid"], "headers": {"Authorization": "env:HOOK"}}, {"url": "http://10.0.0.1/"}]}`,
		`{"notify":[{"url":"file:/run/hook","on":["rollback","invalid"],"headers":{"Authorization":"env:HOOK"}},{"url":"http://10.0.0.1/"}]}`)
	f(`{"expires": "2026-12-24T18:00:00+01:00"}`, `{"expires":"2026-12-24T17:00:00Z"}`)
	f(`{"environments": [{"ratio": "100%", "name": "a<b", "x-team": 1, "comment": "why", "limits": {"max_ratio": null}, "when": {"node": "n1", "tag": ["a", "b"]}}]}`,
		`{"environments":[{"name":"a\u003cb","when":{"node":["n1"],"tag":["a","b"]},"ratio":"100%","limits":{"max_ratio":null}}]}`)
	f(`{"steps": [{"pause": true}], "environments": [{"name": "a", "when": {"cidr": "10.0.0.0/8", "host": "ci.example", "service": ["vpn"]},
		"roll": {"start": "2026-11-22T10:00:00Z", "end": "2026-11-23T10:00:00Z"}, "steps": null, "ramp": {"start": "2026-11-22T10:00:00Z", "end": "2026-11-23T10:00:00Z"}},
		{"name": "b", "when": {"datacenter": "dc2"}}]}`,
		`{"steps":[{"pause":true}],"environments":[{"name":"a","when":{"cidr":["10.0.0.0/8"],"host":["ci.example"],"service":["vpn"]},`+
			`"roll":{"start":"2026-11-22T10:00:00Z","end":"2026-11-23T10:00:00Z"},"steps":null,"ramp":{"start":"2026-11-22T10:00:00Z","end":"2026-11-23T10:00:00Z"}},`+
			`{"name":"b","when":{"datacenter":["dc2"]}}]}`)
	f(`{"limits": {"max_ratio": 0.2}, "method": "random", "environments": [{"name": "a", "when": {"node": "n1"}, "method": null, "sticky": "ip"}]}`,
		`{"method":"random","limits":{"max_ratio":0.2},"environments":[{"name":"a","when":{"node":["n1"]},"method":null,"sticky":"ip"}]}`)
	f(`{"config_server": "https://config.example:8443/web.json?team=shop"}`, `{"config_server":"https://config.example:8443/web.json?team=shop"}`)
	f(`{"config_server": "file:/etc/lb/web.json"}`, `{"config_server":"file:/etc/lb/web.json"}`)
	f(`{"config_server": "file:///etc/lb/web.json"}`, `{"config_server":"file:///etc/lb/web.json"}`)
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
		if p := d.Plan("web", "k", 1, "h"); p != nil && (p.Control == "" || p.Ratio != d.wanted() || len(p.Steps) != len(d.Steps)) {
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
