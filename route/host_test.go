package route

import (
	"strings"
	"testing"
)

func TestCleanHost(t *testing.T) {
	f := func(host string, tls bool, want string) {
		t.Helper()
		if got := CleanHost(host, tls); got != want {
			t.Errorf("CleanHost(%q, %v)\n got %s\nwant %s", host, tls, got, want)
		}
	}
	f("foo.com", false, "foo.com")
	f("FOO.com.", false, "foo.com")
	f("foo.com:80", false, "foo.com")
	f("foo.com:80", true, "foo.com:80")
	f("foo.com.:443", true, "foo.com")
	f("foo.com:443", false, "foo.com:443")
	f("foo.com.:8080", false, "foo.com:8080")
	f("[::1]", false, "[::1]")
	f("[::1]:80", false, "[::1]")
	f("[FD00::1]:81", false, "[fd00::1]:81")
	f("", false, "")
	f(":80", false, "")
	f("a:80:80", false, "a:80")
	f("É.com", false, "É.com")

	if n := testing.AllocsPerRun(100, func() { _, _ = CleanHost("www.foo.com.:80", false), CleanHost("www.foo.com:8080", false) }); n != 0 {
		t.Errorf("%v allocations for plain hosts", n)
	}
}

func TestParseHost(t *testing.T) {
	f := func(pattern bool, host, want string, offset int) {
		t.Helper()
		got, at, err := parseHost(host, pattern)
		if err != nil {
			got = err.Error()
		}
		if got != want || at != offset {
			t.Errorf("parseHost(%q, %v)\n got %s at %d\nwant %s at %d", host, pattern, got, at, want, offset)
		}
	}
	for _, pattern := range []bool{false, true} {
		f(pattern, "Foo.COM.", "foo.com", 0)
		f(pattern, "a_b.c-d:8080", "a_b.c-d:8080", 0)
		f(pattern, "10.0.0.1:80", "10.0.0.1:80", 0)
		f(pattern, "[FD00::1]", "[fd00::1]", 0)
		f(pattern, "[::ffff:10.0.0.1]:81", "[::ffff:10.0.0.1]:81", 0)
		f(pattern, "[fe80::1%25eth0]", `host "[fe80::1%25eth0]": brackets hold an IPv6 address`, 0)
		f(pattern, "[10.0.0.1]", `host "[10.0.0.1]": brackets hold an IPv6 address`, 0)
		f(pattern, "[::1", `host "[::1": brackets hold an IPv6 address`, 0)
		f(pattern, "[ab]", `host "[ab]": brackets hold an IPv6 address`, 0)
		f(pattern, "::1", `host "::1": ':' cannot be part of a host`, 0)
		f(pattern, "a:b", `host "a:b": ':' cannot be part of a host`, 1)
		f(pattern, "a:", `port "" is not a number from 1 to 65535`, 1)
		f(pattern, "a:65536", `port "65536" is not a number from 1 to 65535`, 1)
		f(pattern, "a..b", `host "a..b": a label has 1 to 63 letters`, 2)
		f(pattern, "a.b@c", `host "a.b@c": '@' cannot be part of a host`, 3)
		f(pattern, "a.-.b"+strings.Repeat("a", 64), `host "a.-.b`+strings.Repeat("a", 56)+`…": a label has 1 to 63 letters`, 4)
		f(pattern, strings.Repeat("a.", 127), strings.Repeat("a.", 126)+"a", 0)
		f(pattern, strings.Repeat("a.", 127)+"b", "host is longer than 253 bytes", 253)
	}
	f(false, "*", `host "*": '*' cannot be part of a host`, 0)
	f(false, "*.foo.com", `host "*.foo.com": '*' cannot be part of a host`, 0)
	f(false, "bücher.example", `host "bücher.example" is not ASCII: write international names in punycode (xn--…)`, 1)

	f(true, "*:8080", "*:8080", 0)
	f(true, "*.Foo.com.", "*.foo.com", 0)
	f(true, "*.foo..com", `host "*.foo..com": a label has 1 to 63 letters`, 6)
	f(true, "web-[a-c]?.{x,y*}.com:8080", "web-[a-c]?.{x,y*}.com:8080", 0)
	f(true, "[!ab]c.d", "[!ab]c.d", 0)
	f(true, "*.*.com", "*.*.com", 0)
	f(true, "a*+b", `host "a*+b": '+' cannot be part of a host`, 2)
	f(true, `a*\*b`, `host "a*\\*b": '\\' cannot be part of a host`, 2)
	f(true, "a{b", `host: pattern "a{b", byte 3: a "{" is not closed`, 0)
	f(true, "a[]b", `host: pattern "a[]b", byte 1: a class has no character`, 0)
	f(true, "*"+strings.Repeat("a.", 127), "host is longer than 253 bytes", 253)
	f(true, "{a,b}"+strings.Repeat("{a,b}", 20), `host: pattern "`+strings.Repeat("{a,b}", 21)+`", byte 40: its alternatives have more than 1024 characters when written out: use fewer braces, or several routes`, 0)

	f(true, "Bücher.Example", "xn--bcher-kva.example", 0)
	f(true, "*.bücher.example.:81", "*.xn--bcher-kva.example:81", 0)
	f(true, "ＦＯＯ．com", "foo.com", 0)
	f(true, "xn--bcher-kva.example", "xn--bcher-kva.example", 0)
	f(true, "faß.de", "xn--fa-hia.de", 0)
	f(true, "b*ü.example", `host "b*ü.example": a glob is written in ASCII, international names in punycode (xn--…)`, 2)
	f(true, "ü:0", `port "0" is not a number from 1 to 65535`, 4)
	f(true, "?..com", `host "?..com": a label has 1 to 63 letters`, 1)
	f(true, "?..", `host "?.": a label has 1 to 63 letters`, 1)
	f(true, "a⒈b", `host "a⒈b" is no international name: idna: disallowed rune U+2488`, 1)
	f(true, "ü／evil.example", `host "ü／evil.example" is no international name: idna: disallowed rune U+FF0F`, 0)
}

func FuzzHost(f *testing.F) {
	for _, s := range []string{"foo.com", "*.foo.com:80", "[::1]:443", "a..b", "A.:80", "*", "web-[a-c]?.{x,y*}.com:8080", "Bücher.example", "*.ü:81", "{a,b}{c,d}", "[!a]b", "?..", "\x80:"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		_ = CleanHost(s, true)
		host, at, err := parseHost(s, true)
		if err != nil {
			if at < 0 || at > len(s) {
				t.Fatalf("%q: offset %d: %v", s, at, err)
			}
			return
		}
		if again, _, err := parseHost(host, true); again != host || err != nil {
			t.Fatalf("%q: %q, then %q, %v", s, host, again, err)
		}
		// Every host that a rule can have is reached by a request for it.
		if kindOf(host, false) != exactHost {
			return
		}
		r := Rule{Host: host, Path: "/"}
		table := tableOf(r)
		for _, tls := range []bool{false, true} {
			if table.Match(host, "/", tls) == nil && !usualElsewhere(host, tls) {
				t.Fatalf("%q is not reached (tls %v)", s, tls)
			}
		}
	})
}

// usualElsewhere reports whether host is bound to the other kind of request by
// its port.
func usualElsewhere(host string, tls bool) bool {
	_, port := splitPort(host)
	return port == ":80" && tls || port == ":443" && !tls
}
