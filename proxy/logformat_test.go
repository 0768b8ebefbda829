package proxy

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"serin/registry"
	"serin/route"
)

func TestLogFormat(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		var got LogFormat
		if err := got.UnmarshalText([]byte(text)); err != nil {
			if err.Error() != want {
				t.Errorf("%q:\n got %v\nwant %s", text, err, want)
			}
		} else if got.String() != want {
			t.Errorf("%q: got %v, want %s", text, got, want)
		}
	}
	f("", "json")
	f("json", "json")
	f("common", "common")
	f("combined", "combined")
	f("$request", "$request")
	f("$request costs $$5", "$request costs $$5")
	f("clf", `access log format "clf": want json, common, combined, or a template such as "$remote_host $request $response_status"`)
	f("a $", "access log format: at offset 2: a $ without a field: write $$ for a dollar")
	f("$request_methd x", "access log format: at offset 0: unknown field $request_methd (did you mean $request_method?)")
	f("$remote_host $responsetime_ms", "access log format: at offset 13: unknown field $responsetime_ms (did you mean $response_time_ms?)")
	f("$zzzzzzzz", "access log format: at offset 0: unknown field $zzzzzzzz")
	f("$request\n$request", "access log format: at offset 8: the character '\\n' has no place in a line")
	f("$request \x1b[m", "access log format: at offset 9: the character '\\x1b' has no place in a line")
	f("$request \xff", "access log format: at offset 9: the character '\ufffd' has no place in a line")
	f("$header.", "access log format: at offset 0: $header. without a name: write $header.NAME")
	f("$header.authorization", "access log format: at offset 0: $header.Authorization is a secret, which never gets into a log")
	f("$header.Proxy-Authorization", "access log format: at offset 0: $header.Proxy-Authorization is a secret, which never gets into a log")
	f("x $header.COOKIE", "access log format: at offset 2: $header.Cookie is a secret, which never gets into a log")
	f("$header.set-cookie", "access log format: at offset 0: $header.Set-Cookie is a secret, which never gets into a log")
	f("$request"+strings.Repeat("x", 4096), "access log format: it has 4104 bytes, more than 4096")
	var many strings.Builder
	for i := range 33 {
		fmt.Fprintf(&many, "$header.A%d ", i)
	}
	f(many.String(), "access log format: at offset 374: more than 32 headers")
}

func logFormat(t testing.TB, text string) LogFormat {
	t.Helper()
	var f LogFormat
	if err := f.UnmarshalText([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestLogFields(t *testing.T) {
	o := exampleOutcome()
	o.Logged, o.UpstreamPath = []string{"first", "", `a "b"`}, "/y"
	o.Target = &route.Target{Instance: &registry.Instance{Addr: "[fd00::1]:80", ID: "web-1"}, Options: &route.Options{Proto: route.HTTPS}}
	answered := &Outcome{Start: o.Start, Method: "GET", Host: "a.test", Path: "/", HTTPVersion: "HTTP/1.1", Scheme: "http", Status: 404, Class: NoTarget, Reason: ReasonNoRoute, Err: errors.New("no\nroute")}
	seen := map[string]bool{}
	f := func(text, want, wantAnswered string) {
		t.Helper()
		seen[text] = true
		format := logFormat(t, "$"+text)
		for _, c := range []struct {
			o    *Outcome
			want string
		}{{o, want}, {answered, wantAnswered}} {
			if got := string(AppendLog(nil, format, c.o)); got != c.want+"\n" {
				t.Errorf("$%s: got %q, want %q", text, got, c.want)
			}
		}
	}
	f("remote_addr", "10.0.0.1:5000", "-")
	f("remote_host", "10.0.0.1", "-")
	f("remote_port", "5000", "-")
	f("client", "203.0.113.7", "-")
	f("request", "GET /x?q=1 HTTP/1.1", "GET / HTTP/1.1")
	f("request_args", "q=1", "-")
	f("request_host", "a.test", "a.test")
	f("request_id", "id1", "-")
	f("request_method", "GET", "GET")
	f("request_proto", "HTTP/1.1", "HTTP/1.1")
	f("request_scheme", "https", "http")
	f("request_uri", "/x?q=1", "/")
	f("request_url", "https://a.test/x?q=1", "http://a.test/")
	f("request_body_size", "3", "0")
	f("response_body_size", "42", "0")
	f("response_status", "200", "404")
	f("response_time_ms", "0.001", "0.000")
	f("response_time_us", "0.001234", "0.000000")
	f("response_time_ns", "0.001234567", "0.000000000")
	f("time_common", "22/Nov/2026:12:00:00 +0100", "22/Nov/2026:12:00:00 +0100")
	f("time_rfc3339", "2026-11-22T11:00:00Z", "2026-11-22T11:00:00Z")
	f("time_rfc3339_ms", "2026-11-22T11:00:00.123Z", "2026-11-22T11:00:00.123Z")
	f("time_rfc3339_us", "2026-11-22T11:00:00.123000Z", "2026-11-22T11:00:00.123000Z")
	f("time_rfc3339_ns", "2026-11-22T11:00:00.123000000Z", "2026-11-22T11:00:00.123000000Z")
	f("time_unix_ms", "1795345200123", "1795345200123")
	f("time_unix_us", "1795345200123000", "1795345200123000")
	f("time_unix_ns", "1795345200123000000", "1795345200123000000")
	f("upstream_addr", "[fd00::1]:80", "-")
	f("upstream_host", "fd00::1", "-")
	f("upstream_port", "80", "-")
	f("upstream_id", "web-1", "-")
	f("upstream_request_scheme", "https", "-")
	f("upstream_request_uri", "/y?q=1", "-")
	f("upstream_request_url", "https://[fd00::1]:80/y?q=1", "-")
	f("upstream_service", "web", "-")
	f("arm", "canary", "stable")
	f("why", "sticky", "default")
	f("class", "ok", "no_target")
	f("reason", "-", "no_route")
	f("attempts", "2", "0")
	f("error", "-", `no\x0aroute`)
	for _, name := range slices.Sorted(maps.Keys(logFields)) {
		if !seen[name] {
			t.Errorf("no row for $%s", name)
		}
	}
	f("header.X-A", "first", "-")
	f("header.x-a|$header.X-B|$header.X-C|$header.x-A", `first|-|a \"b\"|first`, "-|-|-|-")
	f("header.User-Agent", `curl/8 \"x\"`, "-")
	f("header.referer", "http://b.test/", "-")
	f("header.Host.$response_status$$", "a.test.200$", "a.test.404$")

	if got := logFormat(t, "$header.x-a $header.Host $header.User-Agent $header.X-B $header.X-A").Headers(); !slices.Equal(got, []string{"X-A", "X-B"}) {
		t.Errorf("headers %q", got)
	}
	var none *AccessLog
	if LogCombined.Headers() != nil || none.Headers() != nil {
		t.Error("the combined format needs headers that an Outcome has")
	}

	all := make([]string, 0, len(logFields)+1)
	for _, name := range slices.Sorted(maps.Keys(logFields)) {
		all = append(all, "$"+name)
	}
	format := logFormat(t, strings.Join(append(all, "$header.X-A"), " "))
	b := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() { b = AppendLog(b[:0], format, o) }); n > 0 {
		t.Errorf("a line allocates %v times", n)
	}
}

// FuzzLogFormat: whatever a template says and a client sends, the format is
// refused, or a line is one line.
func FuzzLogFormat(f *testing.F) {
	for name := range logFields {
		f.Add("$"+name+` "$header.X-A" x$$`, "/x\r\n")
	}
	f.Add("$header.Cookie", "")
	f.Add("$header.", "")
	f.Add("$$$", "\x00\x7f\xff")
	f.Fuzz(func(t *testing.T, text, sent string) {
		var format LogFormat
		if err := format.UnmarshalText([]byte(text)); err != nil {
			return
		}
		if text != "" && format.String() != text {
			t.Fatalf("%q is printed as %q", text, format)
		}
		for _, name := range format.Headers() {
			if name == "Cookie" || name == "Authorization" {
				t.Fatalf("%q logs %s", text, name)
			}
		}
		o := &Outcome{
			Remote: netip.MustParseAddrPort("10.0.0.1:1"), Method: sent, Host: sent, Path: sent, Query: sent, HTTPVersion: sent, Scheme: "http",
			UserAgent: sent, Referer: sent, RequestID: sent, Service: sent, UpstreamPath: sent, Target: &route.Target{Instance: &registry.Instance{Addr: sent, ID: sent}}, Err: errors.New(sent),
		}
		for range format.Headers() {
			o.Logged = append(o.Logged, sent)
		}
		line := AppendLog(nil, format, o)
		for i, c := range line {
			if c < ' ' && c != '\t' && (c != '\n' || i != len(line)-1) || c == 0x7f {
				t.Fatalf("%q, %q: control byte %#x at %d of %q", text, sent, c, i, line)
			}
		}
		if !strings.HasSuffix(string(line), "\n") || len(line) > len(text)*(16*logField+100)+20_000 {
			t.Fatalf("%q, %q: a line of %d bytes", text, sent, len(line))
		}
	})
}
