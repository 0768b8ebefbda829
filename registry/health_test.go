package registry

import (
	"strings"
	"testing"
)

// checks makes checks from words: serf, node, nodemaint, maint, or a name of a
// service check, each followed by =status.
func checks(words string) (out []Check) {
	for w := range strings.FieldsSeq(words) {
		name, status, _ := strings.Cut(w, "=")
		c := Check{ID: "service:" + name, Name: name}
		switch name {
		case "serf":
			c = Check{ID: serfCheck, Name: "Serf Health Status", Node: true}
		case "node":
			c = Check{ID: "disk", Node: true}
		case "nodemaint":
			c = Check{ID: nodeMaintenance, Node: true, Output: "rack moves"}
		case "maint":
			c = Check{ID: serviceMaintenance + "web-1", Output: "deploy"}
		}
		if err := c.Status.UnmarshalText([]byte(status)); err != nil {
			panic(err)
		}
		out = append(out, c)
	}
	return out
}

func TestJudge(t *testing.T) {
	warn := Policy{Status: []Health{Passing, Warning}}
	for _, tt := range []struct {
		checks string
		policy Policy
		health Health
		reason string // empty means ready
	}{
		{"", Policy{}, Passing, "has no health check"},
		{"serf=passing", Policy{}, Passing, "has no health check"},
		{"a=passing", Policy{}, Passing, ""},
		{"a=passing serf=passing node=critical", Policy{}, Passing, ""},
		{"a=passing serf=critical", Policy{}, Critical, "gossip"},
		{"a=passing b=passing c=passing serf=critical d=passing", Policy{}, Critical, "gossip"},
		{"a=critical", Policy{}, Critical, `check "a" is critical`},
		{"a=warning", Policy{}, Warning, `check "a" is warning`},
		{"a=warning", warn, Warning, ""},
		{"a=passing", Policy{Status: []Health{Warning}}, Passing, `check "a" is passing`},
		{"a=critical b=passing", Policy{}, Critical, ""},
		{"a=critical b=passing", Policy{Required: All}, Critical, `check "a" is critical`},
		{"a=passing b=passing", Policy{Required: All}, Passing, ""},
		{"a=passing b=warning", Policy{Required: All}, Warning, `check "b" is warning`},
		{"a=passing b=warning node=critical", Policy{Status: warn.Status, Required: All}, Warning, ""},
		{"a=passing maint=critical", Policy{}, Maintenance, "service is in maintenance: deploy"},
		{"a=passing maint=critical", Policy{Status: []Health{Critical, Passing}}, Maintenance, "service is in maintenance"},
		{"a=passing maint=passing", Policy{}, Passing, ""},
		{"maint=passing", Policy{}, Passing, "has no health check"},
		{"a=passing nodemaint=passing", Policy{}, Maintenance, "node is in maintenance: rack moves"},
		{"serf=critical a=passing nodemaint=critical", Policy{}, Maintenance, "node is in maintenance"},
	} {
		h, ready, reason := Judge(checks(tt.checks), tt.policy)
		if h != tt.health || ready != (tt.reason == "") || !strings.Contains(reason, tt.reason) || ready != (reason == "") {
			t.Errorf("%q, %+v: %v, %v, %q; want %v, %q", tt.checks, tt.policy, h, ready, reason, tt.health, tt.reason)
		}
	}
}

func TestHealthText(t *testing.T) {
	for h := Critical; h <= Passing; h++ {
		var got Health
		b, err := h.MarshalText()
		if err == nil {
			err = got.UnmarshalText(b)
		}
		if err != nil || got != h {
			t.Errorf("%v: %v, %v", h, got, err)
		}
	}
	var h Health
	if err := h.UnmarshalText([]byte("Passing")); err == nil || !strings.Contains(err.Error(), "want one of critical, maintenance, warning, passing") {
		t.Errorf("unknown word: %v", err)
	}
}
