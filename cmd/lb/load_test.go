package main

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// must loads a configuration that has no mistakes.
func must(t *testing.T, g given) Config {
	t.Helper()
	c, err := load(g)
	if err != nil {
		t.Fatalf("load(%+v): %v", g, err)
	}
	return c
}

func TestDefaultIsValid(t *testing.T) {
	if errs := Default().Validate(); errs != nil {
		t.Error(errs)
	}
	c := must(t, given{})
	if c.sources = nil; !reflect.DeepEqual(c, Default()) {
		t.Errorf("load of nothing\n got %+v\nwant %+v", c, Default())
	}
}

func TestOptionTable(t *testing.T) {
	keys, envs := map[string]bool{}, map[string]bool{}
	for _, o := range options {
		if keys[o.key] || envs[o.env()] {
			t.Errorf("%s, or its variable %s, is there twice", o.key, o.env())
		}
		keys[o.key], envs[o.env()] = true, true
		if slices.Contains(notOptions, o.env()) {
			t.Errorf("%s: its variable %s has another meaning", o.key, o.env())
		}
		if !slices.Contains(groups, o.group) {
			t.Errorf("%s: group %q is not shown", o.key, o.group)
		}
		if o.doc == "" || strings.HasSuffix(o.doc, ".") || strings.Contains(o.doc, "|") {
			t.Errorf("%s: doc %q wants one sentence without a period, and no |", o.key, o.doc)
		}
	}
}

// TestOptionsRoundTrip sets every option to what its text says, twice.
func TestOptionsRoundTrip(t *testing.T) {
	samples := map[string]string{
		"proxy.addr": ":80,127.0.0.1:81", "proxy.trusted": "10.0.0.0/8,192.168.1.1/32", "proxy.retrybody": "1MiB",
		"registry.consul.service.status": "warning,passing", "registry.consul.register.tags": "a,b",
	}
	for _, o := range options {
		def := Default()
		texts := []string{o.text(&def)}
		if s, ok := samples[o.key]; ok {
			texts = append(texts, s)
		}
		if o.zero != "" {
			texts = append(texts, "0")
		}
		for _, text := range append(texts, o.values...) {
			var c Config
			if err := o.set(&c, text); err != nil {
				t.Errorf("%s: set(%q): %v", o.key, text, err)
			} else if got := o.text(&c); got != text {
				t.Errorf("%s: set(%q) prints\n got %q\nwant %q", o.key, text, got, text)
			}
		}
	}
}

// TestEveryFieldHasAnOption walks Config: what no option sets, nobody can.
func TestEveryFieldHasAnOption(t *testing.T) {
	var c Config
	set := map[any]bool{}
	for _, o := range options {
		set[reflect.ValueOf(o.field(&c)).Pointer()] = true
	}
	var walk func(v reflect.Value, name string)
	walk = func(v reflect.Value, name string) {
		if v.Kind() != reflect.Struct {
			if !set[v.Addr().Pointer()] {
				t.Errorf("no option sets Config%s", name)
			}
			return
		}
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if f.IsExported() && f.Type.PkgPath()+"."+f.Type.Name() != "serin/proxy.Limits" { // some of them have no option
				walk(v.Field(i), name+"."+f.Name)
			}
		}
	}
	walk(reflect.ValueOf(&c).Elem(), "")
}

func TestZeroIsNoLimit(t *testing.T) {
	c := must(t, given{flags: map[string]string{"proxy.responseheadertimeout": "0", "proxy.maxinflight.instance": "0", "proxy.shutdownwait": "0", "proxy.retries": "0"}})
	if c.Proxy.Timeouts.ResponseHeader >= 0 || c.Proxy.Limits.InFlightTarget >= 0 {
		t.Errorf("0 must be told apart from the default: %+v %+v", c.Proxy.Timeouts, c.Proxy.Limits)
	}
	if c.Proxy.Drain != 0 || c.Proxy.settings().Attempts != 1 {
		t.Errorf("0 is 0 where that is meant: %+v", c.Proxy)
	}
}

func TestTokens(t *testing.T) {
	f := func(want string, environ ...string) {
		t.Helper()
		got := "ok"
		if _, err := load(given{environ: environ}); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("with %v\n got %s\nwant %s", environ, got, want)
		}
	}
	f("ok", "CONSUL_HTTP_TOKEN=s3cr3t")
	f("ok", "CONSUL_HTTP_TOKEN=s3cr3t", "CONSUL_HTTP_TOKEN_FILE=/run/token")
	f("ok", "LB_REGISTRY_CONSUL_TOKEN=s3cr3t")
	f("ok", "LB_REGISTRY_CONSUL_TOKEN=", "CONSUL_HTTP_TOKEN=s3cr3t", "LB_UNKNOWN=")
	f(`registry.consul.token.file = "/run/token" (env CONSUL_HTTP_TOKEN_FILE): registry.consul.token is set too (env LB_REGISTRY_CONSUL_TOKEN); set one of them`,
		"LB_REGISTRY_CONSUL_TOKEN=s3cr3t", "CONSUL_HTTP_TOKEN_FILE=/run/token")
}

func TestSecretsAreNotShown(t *testing.T) {
	c := must(t, given{environ: []string{"CONSUL_HTTP_TOKEN=s3cr3t"}})
	if shown := fmt.Sprint(c.show()); strings.Contains(shown, "s3cr3t") || !strings.Contains(shown, redacted) {
		t.Errorf("shown: %s", shown)
	}
}

func TestValues(t *testing.T) {
	f := func(key, text, want string) {
		t.Helper()
		c := Default()
		got := "ok"
		if err := row(key).set(&c, text); err != nil {
			got = err.Error()
		} else if row(key).text(&c) != text {
			got = row(key).text(&c)
		}
		if got != want {
			t.Errorf("%s = %q\n got %s\nwant %s", key, text, got, want)
		}
	}
	f("proxy.strategy", "rr", "round_robin")
	f("proxy.strategy", "rnd", "random")
	f("proxy.strategy", "wrr", `want one of p2c, least_conn, round_robin, random`)
	f("proxy.dialtimeout", "30", "a duration needs its unit: write 30s, not 30")
	f("proxy.dialtimeout", "soon", "want a duration such as 300ms, 30s or 5m")
	f("proxy.dialtimeout", "90s", "1m30s")
	f("proxy.retrybody", "1024KiB", "1MiB")
	f("proxy.retrybody", "1.5MiB", "want a size with its unit, such as 64KiB or 1MiB")
	f("proxy.retrybody", "9999999GiB", "want a size with its unit, such as 64KiB or 1MiB")
	f("proxy.retrybody", "-1B", "want a number of at least 0")
	f("proxy.trusted", "10.1.2.3", "10.1.2.3/32")
	f("proxy.trusted", "fd00::/8,::1", "fd00::/8,::1/128")
	f("proxy.trusted", "10.0.0.0/33", `"10.0.0.0/33": want an address or a network such as 10.0.0.0/8`)
	f("proxy.panic.critical", "maybe", "want true or false")
	f("registry.consul.service.status", "", "want at least one status, such as passing")
	f("log.level", "WARN", "warn")
	f("log.format", "jsn", `want one of auto, text, json (did you mean "json"?)`)
}

func TestListenAddresses(t *testing.T) {
	f := func(addr string, ok, loop bool) {
		t.Helper()
		if err := checkListen(addr); (err == nil) != ok {
			t.Errorf("checkListen(%q) = %v", addr, err)
		}
		if got := loopback(addr); got != loop {
			t.Errorf("loopback(%q)\n got %v\nwant %v", addr, got, loop)
		}
	}
	f(":9999", true, false)
	f("127.0.0.1:0", true, true)
	f("[::1]:80", true, true)
	f("localhost:80", true, true)
	f("0.0.0.0:80", true, false)
	f("127.0.0.1", false, false)
	f("1.2.3.4:99999", false, false)
	f(":9999;proto=https", false, false)
}

func TestDurationText(t *testing.T) {
	f := func(d time.Duration, want string) {
		t.Helper()
		if got := durationText(d); got != want {
			t.Errorf("durationText(%v)\n got %s\nwant %s", d, got, want)
		}
	}
	f(0, "0s")
	f(time.Minute, "1m")
	f(10*time.Minute, "10m")
	f(time.Hour, "1h")
	f(20*time.Hour, "20h")
	f(75*time.Second, "1m15s")
	f(1500*time.Millisecond, "1.5s")
}

func TestDidYouMean(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		if got := didYouMean(text, []string{"proxy.addr", "proxy.maxconn", "ui.addr"}); got != want {
			t.Errorf("didYouMean(%q)\n got %s\nwant %s", text, got, want)
		}
	}
	f("proxy.adr", ` (did you mean "proxy.addr"?)`)
	f("Proxy.Addr", ` (did you mean "proxy.addr"?)`)
	f("prxoy.addr", ` (did you mean "proxy.addr"?)`)
	f("ui.add", ` (did you mean "ui.addr"?)`)
	f("something.else", "")
	f("", "")
}

// FuzzParseFile holds that no file makes the reader panic, that every mistake
// has its place or is the parser's, and that what it took it can load.
func FuzzParseFile(f *testing.F) {
	for _, s := range []string{"proxy:\n  addr: [\":80\"]\n", "proxy.retries: 3", "{\"ui\": {\"addr\": \"x\"}}", "a: &b 1\nc: *b", "proxy: [", "---\n---\n", "? x\n: y", "log.level: |\n  info", "<<: {a: b}", "\x00", "proxy:\n\taddr: x", "- a", "proxy: {addr: !!binary aGk=}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		file := parseFile("lb.yaml", data)
		for _, err := range file.errs {
			if !strings.HasPrefix(err.Error(), "lb.yaml:") {
				t.Errorf("mistake without its place: %v", err)
			}
		}
		for key, v := range file.values {
			if row(key) == nil || !strings.HasPrefix(v.at, "lb.yaml:") {
				t.Errorf("%s = %+v", key, v)
			}
		}
		_, _ = load(given{file: data, name: "lb.yaml"})
	})
}

// What strangers can reach only looks, unless somebody said that it may write.
func TestReadOnly(t *testing.T) {
	for _, c := range []struct {
		addr, access, source string
		want                 bool
	}{
		{"127.0.0.1:9998", "rw", "", false},
		{"localhost:9998", "rw", "", false},
		{"127.0.0.1:9998", "ro", "flag", true},
		{":9998", "rw", "", true},
		{"10.0.0.5:9998", "rw", "", true},
		{":9998", "rw", "flag --ui.access", false},
		{":9998", "ro", "flag --ui.access", true},
	} {
		cfg := Default()
		cfg.UI.Addr, cfg.UI.Access = c.addr, c.access
		if c.source != "" {
			cfg.sources = map[string]string{"ui.access": c.source}
		}
		if got := cfg.readOnly(); got != c.want {
			t.Errorf("%s, %s from %q: read-only %v, want %v", c.addr, c.access, c.source, got, c.want)
		}
	}
}
