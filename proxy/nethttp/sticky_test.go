package nethttp

import (
	"regexp"
	"strings"
	"testing"

	"serin/route"
)

// TestOwnCookie: it is set for a client that has none, hidden from caches and
// from the instance, and keeps the client in its arm.
func TestOwnCookie(t *testing.T) {
	seen := make(chan string, 1)
	response := "HTTP/1.1 200 OK\r\nCache-Control: public, max-age=60\r\nCDN-Cache-Control: max-age=60\r\nSurrogate-Control: max-age=60\r\nSet-Cookie: a=b\r\nContent-Length: 2\r\n\r\nok"
	instance := answering(t, response, seen)
	split := &route.Split{Ratio: 0.5, Method: route.Hash, Secret: [2]uint64{1, 2}, Sticky: route.Sticky{
		By:     []route.KeySource{{Kind: route.KeyCookie, Name: "lb_canary", Mint: true}, {Kind: route.KeyIP}},
		Cookie: route.Cookie{Name: "lb_canary", SameSite: "Lax"},
	}}
	l := start(t, tableOf("", split, []string{instance}, []string{instance}), nil)

	r, _ := l.ask(get("/"))
	<-seen
	first := l.outcome()
	set := r.Header.Values("Set-Cookie")
	if len(set) != 2 || set[0] != "a=b" || !strings.HasPrefix(set[1], "lb_canary=") || !strings.HasSuffix(set[1], "; Path=/; HttpOnly; SameSite=Lax") {
		t.Fatalf("cookies %q", set)
	}
	if got := r.Header.Get("Cache-Control") + r.Header.Get("Cdn-Cache-Control") + r.Header.Get("Surrogate-Control"); got != "no-store" {
		t.Errorf("caches are told %q", got)
	}
	own, _, _ := strings.Cut(set[1], ";")
	if !regexp.MustCompile("^lb_canary=[0-9a-f]{16}$").MatchString(own) {
		t.Errorf("the cookie is no id: %s", own)
	}

	r, _ = l.ask("GET / HTTP/1.1\r\nHost: web.test\r\nCookie: x=1; " + own + "; y=2\r\nCookie: " + own + "\r\n\r\n")
	if got := <-seen; strings.Contains(got, "lb_canary") || head(got, "Cookie") != "x=1; y=2" {
		t.Errorf("the instance got\n%s", got)
	}
	if r.Header.Get("Cache-Control") != "public, max-age=60" || len(r.Header.Values("Set-Cookie")) != 1 {
		t.Errorf("a client that has the cookie got %v", r.Header)
	}
	if o := l.outcome(); o.Key != first.Key || o.Arm != first.Arm || !o.HasKey {
		t.Errorf("the client stood at %x in %v, and now at %x in %v", first.Key, first.Arm, o.Key, o.Arm)
	}
}
