package main

import (
	"net/http"
	"strings"
	"testing"
)

// Two balancers of one Consul: a write waits for both, an abort reaches both, and
// the one that is asked tells of the other.
func TestHandOnTwoBalancers(t *testing.T) {
	s := newSite(t)
	ok := func(http.ResponseWriter, *http.Request) {}
	s.instance("web-1", ok, "")
	s.instance("web-2", ok, `{"Tags": ["urlprefix-/", "canary"]}`)
	one, two := s.start(nil).becomesReady(), s.start(nil).becomesReady()
	environ := []string{"CONSUL_HTTP_ADDR=" + s.addr, "LB_ADDR=" + one.looking.Addr().String()}
	f := func(want string, args ...string) {
		t.Helper()
		code, out, talk := session(environ, append([]string{"canary"}, args...)...)
		if code != 0 || !strings.Contains(out+talk, want) {
			t.Errorf("%q\n got %d %s%s\nwant %s", args, code, out, talk, want)
		}
	}
	both := func(share string) {
		t.Helper()
		for _, b := range []*running{one, two} {
			if _, text := b.probe("/api/v1/canary/web/status"); !strings.Contains(text, `"effective": `+share+",") {
				t.Errorf("want %s: %s", share, text)
			}
		}
	}
	eventually(t, "each knows of the other", func() bool {
		code, out, _ := session(environ, "canary", "set", "web", "10%", "--wait", "1s")
		return code == 0 && strings.Contains(out, "applied by 2/2 balancers")
	})
	both("0.1")
	f("applied by 2/2 balancers", "set", "web", "50%")
	both("0.5")
	f("applied by 2/2 balancers", "abort", "web")
	both("0")
	f("applied by 2/2 balancers", "status", "web")
	f("rolled_back", "status", "web", "--until", "rolled_back", "--timeout", "10s")
	eventually(t, "the history tells of it", func() bool {
		code, out, _ := session(environ, "canary", "history", "web")
		return code == 0 && strings.Contains(out, "rollback")
	})
	environ[1] = "LB_ADDR=127.0.0.1:1" // Consul alone knows
	f("applied by 2/2 balancers", "retry", "web")
}
