package route

import (
	"strings"
	"testing"
)

// requestLine is a request as "METHOD ?query Name:value…".
type requestLine []string

func (l requestLine) Method() string   { return l[0] }
func (l requestLine) RawQuery() string { return strings.TrimPrefix(l[1], "?") }
func (l requestLine) Header(name string) (string, bool) {
	for _, h := range l[2:] {
		if n, v, _ := strings.Cut(h, ":"); n == name {
			return v, true
		}
	}
	return "", false
}

func TestConditionHolds(t *testing.T) {
	f := func(options, request string, want bool) {
		t.Helper()
		o, _, err := ParseOptions(options)
		if err != nil {
			t.Fatalf("%s: %v", options, err)
		}
		if got := o.Condition.Holds(requestLine(strings.Fields(request))); got != want {
			t.Errorf("%s holds for %s: %v, want %v", options, request, got, want)
		}
	}
	f("", "GET ?", true)
	f("methods=GET,POST", "POST ?", true)
	f("methods=GET,POST", "HEAD ?", false)
	f("methods=get", "GET ?", true)
	f("header=x-beta:yes", "GET ? X-Beta:yes", true)
	f("header=X-Beta:yes", "GET ? X-Beta:Yes", false)
	f("header=X-Beta:yes", "GET ? X-Beta:no X-Beta:yes", false) // the first counts
	f("header=X-Beta:yes", "GET ?", false)
	f("header=X-Beta:", "GET ? X-Beta:", true)
	f("header=X-Beta:", "GET ?", false)
	f("header=X-Beta:*", "GET ? X-Beta:", true)
	f("header=X-Beta:*", "GET ?", false)
	f("header=X-Beta:y*", "GET ? X-Beta:yes", true)
	f("header=X-Beta:y*", "GET ? X-Beta:no", false)
	f("header=X-Beta:~^(yes|ja)$", "GET ? X-Beta:ja", true)
	f("header=X-Beta:~^(yes|ja)$", "GET ? X-Beta:jaja", false)
	f("header=X-A:1 header=X-B:2", "GET ? X-B:2 X-A:1", true)
	f("header=X-A:1 header=X-B:2", "GET ? X-A:1", false)
	f("query=v:2*", "GET ?a=1&v=2.1", true)
	f("query=v:2*", "GET ?v=1&v=2", false)
	f("query=v:*", "GET ?v", true)
	f("query=v:*", "GET ?w=1", false)
	f("query=a%3Ab:x%20y", "GET ?a%3ab=x+y", true)
	f("methods=GET header=X-A:1 query=v:2", "GET ?v=2 X-A:1", true)
	f("methods=GET header=X-A:1 query=v:2", "PUT ?v=2 X-A:1", false)
	f("methods=GET header=X-A:1 query=v:2", "GET ?v=3 X-A:1", false)
}

// Conditions are the same when their strings are, however they were written.
func TestConditionString(t *testing.T) {
	f := func(a, b string, same bool) {
		t.Helper()
		o, _, err := ParseOptions(a)
		p, _, err2 := ParseOptions(b)
		if err != nil || err2 != nil || (o.Condition.String() == p.Condition.String()) != same {
			t.Errorf("%q and %q, %v, %v", o.Condition, p.Condition, err, err2)
		}
	}
	f("methods=GET,POST", "methods=post,get,post", true)
	f("header=A:b header=C:d", "header=c:d header=a:b", true)
	f("query=a:b methods=GET strip=/x", "methods=GET query=a:b weight=1", true)
	f("header=A:b", "query=A:b", false)
	f("header=A:b", "header=A:b*", false)
	f("header=A:*", "header=A:%2A", true)
	f("", "strip=/x", true)
	if s := (*Condition)(nil).String(); s != "" {
		t.Errorf("nil is %q", s)
	}
	if s := (&Condition{Methods: []string{"GET"}}).String(); s != "methods=GET" {
		t.Errorf("got %q", s)
	}
}

func TestParsePattern(t *testing.T) {
	f := func(text string, kind PatternKind, rest string) {
		t.Helper()
		p, err := ParsePattern(text)
		if err != nil || p.Kind != kind || p.Text != rest || (p.RE != nil) != (kind == Regexp) || p.String() != text {
			t.Errorf("%q: %+v %v", text, p, err)
		}
	}
	f("", Exact, "")
	f("abc", Exact, "abc")
	f("abc*", Prefix, "abc")
	f("*", Present, "")
	f("~a*b", Regexp, "a*b")
	f("~", Regexp, "")
	for _, bad := range []string{"a*b", "**", "*a", "~(", "~[", "~a{1001}"} {
		if p, err := ParsePattern(bad); err == nil {
			t.Errorf("%q: %+v", bad, p)
		}
	}
}

func TestConditionDoesNotAllocate(t *testing.T) {
	o, _, err := ParseOptions("methods=GET header=X-A:a* query=v:2")
	if err != nil {
		t.Fatal(err)
	}
	var r ConditionRequest = requestLine{"GET", "?x=1&v=2", "X-A:abc"}
	if n := testing.AllocsPerRun(100, func() {
		if !o.Condition.Holds(r) {
			t.Fatal("does not hold")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
