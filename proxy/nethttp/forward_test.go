package nethttp

import (
	"testing"

	"serin/proxy"
)

func TestForwardsAPlainGet(t *testing.T) {
	got := make(chan string, 1)
	l := lb(t, "", nil, answering(t, ok, got))
	r, body := l.ask(get("/a?b"))
	if r.StatusCode != 200 || body != "ok" {
		t.Errorf("got %d %q", r.StatusCode, body)
	}
	t.Log(<-got)
	if o := l.outcome(); o.Class != proxy.OK || o.Status != 200 || o.Attempts != 1 || o.Sent != 2 {
		t.Errorf("outcome %+v", o)
	}
}
