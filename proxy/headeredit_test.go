package proxy

import (
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"

	"serin/registry"
	"serin/route"
)

func set(name, value string) route.HeaderEdit { return route.HeaderEdit{Name: name, Value: value} }

func add(name, value string) route.HeaderEdit {
	return route.HeaderEdit{Op: route.HeaderAdd, Name: name, Value: value}
}

func remove(name string) route.HeaderEdit {
	return route.HeaderEdit{Op: route.HeaderRemove, Name: name}
}

func TestEditRequest(t *testing.T) {
	c := &Core{Headers: Headers{ClientIP: "X-Our-Client", RequestID: "X-Our-Id", TLS: "X-Our-Tls"}}
	f := func(h Header, want Header, edits ...route.HeaderEdit) {
		t.Helper()
		before := maps.Clone(h)
		for range 2 { // an attempt leaves nothing for the next
			if diff := cmp.Diff(want, c.EditRequest(h, &route.Target{Options: &route.Options{RequestHeaders: edits}})); diff != "" {
				t.Errorf("%v\n%s", edits, diff)
			}
		}
		if diff := cmp.Diff(before, h); diff != "" {
			t.Errorf("%v changed what it was given\n%s", edits, diff)
		}
	}
	spare := append(make([]string, 0, 4), "1")
	f(Header{}, Header{"A": {"1"}}, set("A", "1"))
	f(Header{"A": {"1", "2"}}, Header{"A": {"3"}}, set("A", "3"))
	f(Header{"A": spare}, Header{"A": {"1", "2"}}, add("A", "2"))
	if spare[:2][1] != "" {
		t.Error("an edit wrote to the client's own values")
	}
	f(Header{"A": {"1"}, "B": {"2"}}, Header{"B": {"2"}}, remove("A"))
	f(Header{"A": {"1"}}, Header{"A": {"2", "3"}}, remove("A"), add("A", "2"), add("A", "3"))
	f(Header{"Authorization": {"x"}}, Header{"Authorization": {"y"}}, set("Authorization", "y"))
	for _, name := range []string{
		"X-Forwarded-For", "X-Real-Ip", "X_real_ip", "Forwarded", "X-Our-Client", "X-Our-Id", "X-Our-Tls", "True-Client-Ip", "Proxy",
		"Host", "Content-Length", "Content_length", "Transfer-Encoding", "Connection", "Upgrade", "Te", "Trailer", "Keep-Alive",
	} {
		ours := Header{name: {"ours"}}
		f(ours, ours, set(name, "forged"))
		f(ours, ours, add(name, "forged"))
		f(ours, ours, remove(name))
	}

	h := Header{"A": {"1"}}
	if n := testing.AllocsPerRun(100, func() { c.EditRequest(h, &route.Target{}); c.EditRequest(h, &route.Target{Options: &route.Options{}}) }); n > 0 {
		t.Errorf("%v allocations without an edit", n)
	}
}

// What Serin adds to a response cannot be edited away.
func TestEditResponse(t *testing.T) {
	c := &Core{Headers: Headers{Debug: true}}
	h := Header{"Server": {"x"}, "Content-Length": {"2"}, "Set-Cookie": {"theirs=1"}}
	c.ResponseHeaders(h, &Decision{
		Part: &route.Part{Service: "web"}, SetCookie: "lb=1",
		Target: &route.Target{Instance: &registry.Instance{ID: "web-1"}, Options: &route.Options{ResponseHeaders: []route.HeaderEdit{
			remove("Server"), set("Cache-Control", "max-age=60"), remove("Set-Cookie"), set("X-Frame-Options", "DENY"),
			set("X-Real-Ip", "told"), set("Content-Length", "1"), set("Connection", "close"), add("X-Lb-Service", "forged"),
		}}},
	}, "")
	want := Header{
		"Content-Length": {"2"}, "Set-Cookie": {"lb=1"}, "Cache-Control": {"no-store"}, "X-Frame-Options": {"DENY"}, "X-Real-Ip": {"told"},
		"X-Lb-Service": {"web"}, "X-Lb-Arm": {"stable"}, "X-Lb-Why": {"default"}, "X-Lb-Instance": {"web-1"},
	}
	if diff := cmp.Diff(want, h); diff != "" {
		t.Error(diff)
	}
}
