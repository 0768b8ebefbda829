package consul

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/consul/api"
)

func TestScanCatalog(t *testing.T) {
	got, err := scanCatalog([]byte(` { "a":["x","urlprefix-/"] , "b":[], "c":null, "d\u002f":["\u0075rlprefix-/d"] } `), "urlprefix-")
	if err != nil {
		t.Fatal(err)
	}
	var routed []string
	for _, name := range []string{"a", "b", "c", "d/"} {
		v, ok := got[name]
		routed = append(routed, fmt.Sprint(name, ok, v.routed))
	}
	if d := cmp.Diff("a true true b true false c true false d/ true true", strings.Join(strings.Fields(strings.NewReplacer("true", " true", "false", " false").Replace(strings.Join(routed, " "))), " ")); d != "" {
		t.Error(d)
	}
	turned, err := scanCatalog([]byte(`{"a":["urlprefix-/","x"],"b":["x"]}`), "urlprefix-")
	if err != nil || turned["a"] != got["a"] || turned["b"] == got["b"] {
		t.Errorf("the order of tags counts, or their names do not: %v, %v", got, turned)
	}
}

func TestScanChecks(t *testing.T) {
	text := `[{"Node":"n1","CheckID":"service:a","Name":"http","Status":"passing","Notes":"","Output":"HTTP \"200\" \u003cok\u003e ü","ServiceID":"a","ServiceName":"web","ServiceTags":["x"],"Definition":{"Interval":"10s","Deep":[[{}]]},"ExposedPort":0,"CreateIndex":1,"ModifyIndex":20},` +
		`{"Node":"n1","CheckID":"serfHealth","Status":"passing","Output":null}]`
	if _, err := scanChecks([]byte(text)); err == nil {
		t.Error("an output of null is no string")
	}
	text = strings.ReplaceAll(text, `,"Output":null`, "")
	got, err := scanChecks([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := func(change func(*api.HealthCheck)) sums {
		var checks api.HealthChecks
		if err := json.Unmarshal([]byte(text), &checks); err != nil {
			t.Fatal(err)
		}
		change(checks[0])
		return sumEntries("web", []*api.ServiceEntry{{Node: &api.Node{Node: "n1"}, Checks: checks}})
	}
	if d := differ(got, want(func(*api.HealthCheck) {})); len(d) != 0 {
		t.Errorf("a list of checks and the checks of a service differ in %v", d)
	}
	for field, change := range map[string]func(*api.HealthCheck){
		"status":  func(c *api.HealthCheck) { c.Status = "critical" },
		"output":  func(c *api.HealthCheck) { c.Output = "x" },
		"check":   func(c *api.HealthCheck) { c.CheckID = "x" },
		"service": func(c *api.HealthCheck) { c.ServiceID = "x" },
		"node":    func(c *api.HealthCheck) { c.Node = "x" },
	} {
		if d := differ(got, want(change)); len(d) != 1 || d[0] != (subject{service: "web"}) {
			t.Errorf("another %s: %v", field, d)
		}
	}
}

// FuzzScan: the scanner accepts valid JSON only, reads in it what encoding/json
// reads, and gives every other answer back as one that is not Consul's.
func FuzzScan(f *testing.F) {
	for _, bad := range badAnswers {
		f.Add([]byte(bad.body))
	}
	for _, good := range []string{`{}`, `[]`, `{"a":["b"]}`, `[{"Node":"n","ServiceName":"s","X":[1,-2.5e3,true,null,{"a":""}]}]`, "{\"a\":[\"\\ud800\xff\"]}", `{"a":[1]}`, `[{"Node":01}]`} {
		f.Add([]byte(good))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if services, err := scanCatalog(body, "p"); err == nil {
			var want map[string][]string
			if err := json.Unmarshal(body, &want); err != nil || len(want) != len(services) {
				t.Errorf("catalog %q: %d services, want %d; %v", body, len(services), len(want), err)
			}
		} else if !errors.Is(err, ErrDecode) {
			t.Error(err)
		}
		if checks, err := scanChecks(body); err == nil {
			if !json.Valid(body) {
				t.Errorf("%q is no JSON", body)
			}
			var want []map[string]any
			if json.Unmarshal(body, &want) == nil && len(want) < len(checks) {
				t.Errorf("checks %q: %d subjects of %d checks", body, len(checks), len(want))
			}
		} else if !errors.Is(err, ErrDecode) {
			t.Error(err)
		}
	})
}

// BenchmarkScanChecks reads the checks of 10,000 services of two instances.
func BenchmarkScanChecks(b *testing.B) {
	var list []string
	for i := range 20000 {
		list = append(list, fmt.Sprintf(`{"Node":"node-%03d","CheckID":"service:svc-%05d-0","Name":"http","Status":"passing","Notes":"","Output":"HTTP GET: 200 OK","ServiceID":"svc-%05d-0","ServiceName":"svc-%05d","ServiceTags":["urlprefix-svc-%05d.test/"],"Type":"","Interval":"","Timeout":"","ExposedPort":0,"Definition":{"Interval":"0s","Timeout":"0s","DeregisterCriticalServiceAfter":"0s","HTTP":"","Header":null,"Method":"","Body":"","TLSServerName":"","TLSSkipVerify":false,"TCP":"","GRPC":""},"CreateIndex":%d,"ModifyIndex":%d}`, i%100, i/2, i/2, i/2, i/2, i, i))
	}
	body := []byte("[" + strings.Join(list, ",") + "]")
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if _, err := scanChecks(body); err != nil {
			b.Fatal(err)
		}
	}
}
