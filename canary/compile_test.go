package canary

import (
	"encoding/json"
	"math"
	"net/netip"
	"testing"
	"time"

	"serin/canary/rollout"
	"serin/route"
)

func TestCompile(t *testing.T) {
	f := func(doc, want string) {
		t.Helper()
		d, err := Parse("k", []byte(doc))
		if err != nil {
			t.Fatal(err)
		}
		s := Compile(d, Applied{Service: "web"})
		got, _ := json.Marshal(struct {
			M route.Method
			S route.Sticky
			B route.Balance
			H bool
			N int
		}{s.Method, s.Sticky, s.Balance, s.HasBalance, s.MinHealthy})
		if string(got) != want {
			t.Errorf("Compile(%s)\n got %s\nwant %s", doc, got, want)
		}
	}
	const unsticky = `"S":{"By":null,"Cookie":{"Name":"","MaxAge":0,"Domain":"","SameSite":""},"Instance":0}`
	f(`{}`, `{"M":0,`+unsticky+`,"B":0,"H":false,"N":1}`)
	f(`{"method":"round_robin","balance":"random","limits":{"min_healthy":3}}`, `{"M":1,`+unsticky+`,"B":3,"H":true,"N":3}`)
	f(`{"sticky":false}`, `{"M":0,`+unsticky+`,"B":0,"H":false,"N":1}`)
	f(`{"method":"hash"}`, `{"M":2,"S":{"By":[{"Kind":2,"Name":"","Mint":false}],"Cookie":{"Name":"","MaxAge":0,"Domain":"","SameSite":""},"Instance":0},"B":0,"H":false,"N":1}`)
	f(`{"sticky":true}`, `{"M":2,"S":{"By":[{"Kind":0,"Name":"lb_canary","Mint":true},{"Kind":2,"Name":"","Mint":false}],"Cookie":{"Name":"lb_canary","MaxAge":0,"Domain":"","SameSite":"Lax"},"Instance":0},"B":0,"H":false,"N":1}`)
	f(`{"sticky":"cookie:uid"}`, `{"M":2,"S":{"By":[{"Kind":0,"Name":"uid","Mint":false}],"Cookie":{"Name":"lb_canary","MaxAge":0,"Domain":"","SameSite":"Lax"},"Instance":0},"B":0,"H":false,"N":1}`)
	f(`{"sticky":{"by":["header:X-User","cookie:uid"],"cookie":{"name":"uid","max_age":"1h","domain":"a.b","same_site":"None"},"instance":true}}`,
		`{"M":2,"S":{"By":[{"Kind":1,"Name":"X-User","Mint":false},{"Kind":0,"Name":"uid","Mint":true}],"Cookie":{"Name":"uid","MaxAge":3600,"Domain":"a.b","SameSite":"None"},"Instance":1},"B":0,"H":false,"N":1}`)
}

func TestCompileRules(t *testing.T) {
	d, err := Parse("k", []byte(`{"match":[{"header":{"B":"x*","A":"~^[0-9]+$"},"query":{"q":"*"},"path":"/a","method":"post","cidr":["10.1.2.3/8","::ffff:192.168.0.0/112","2001:db8::1"],"to":"canary"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	r := Compile(d, Applied{}).Match[0]
	if a, b := r.Headers[0], r.Headers[1]; a.Name != "A" || a.Pattern.Kind != route.Regexp || !a.Pattern.RE.MatchString("42") ||
		b.Name != "B" || b.Pattern.Kind != route.Prefix || b.Pattern.Text != "x" {
		t.Errorf("headers %+v", r.Headers)
	}
	if r.Query[0].Pattern.Kind != route.Present || r.Path.Kind != route.Exact || r.Path.Text != "/a" || r.Methods[0] != "POST" || r.To != route.Canary {
		t.Errorf("rule %+v", r)
	}
	for i, want := range []string{"10.0.0.0/8", "192.168.0.0/16", "2001:db8::1/128"} {
		if r.CIDRs[i] != netip.MustParsePrefix(want) {
			t.Errorf("network %d is %v, want %s", i, r.CIDRs[i], want)
		}
	}
}

func TestEffective(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	f := func(doc string, s SourceState, after time.Duration, wantRatio float64, wantBecause string) {
		t.Helper()
		d, err := Parse("k", []byte(doc))
		if err != nil {
			t.Fatal(err)
		}
		ratio, because := Effective(d, rollout.Position{Ratio: d.wanted()}, s, start.Add(after))
		if ratio != wantRatio || because != wantBecause {
			t.Errorf("Effective(%s, %+v, +%v)\n got %v %q\nwant %v %q", doc, s, after, ratio, because, wantRatio, wantBecause)
		}
	}
	const lost, disk = "stale: the source is lost since 2026-01-02T03:04:05Z", "stale: restored from disk, the source has not answered yet"
	fine, gone, restored := SourceState{}, SourceState{LostSince: start}, SourceState{Restored: true}
	f(`{}`, fine, time.Hour, 0, "")
	f(`{"ratio":0.5}`, fine, time.Hour, 0.5, "")
	f(`{"ratio":0.5}`, gone, 30*time.Second-1, 0.5, "")
	f(`{"ratio":0.5}`, gone, 30*time.Second, 0, lost)
	f(`{"ratio":0.5,"stale_after":"0s"}`, gone, 0, 0, lost)
	f(`{"ratio":0.5,"on_stale":"stable","stale_after":"1h"}`, gone, time.Minute, 0.5, "")
	f(`{"ratio":0.5,"on_stale":"hold"}`, gone, time.Hour, 0.5, "")
	f(`{"ratio":0}`, gone, time.Hour, 0, "")
	f(`{"ratio":0.5}`, restored, 0, 0, disk)
	f(`{"ratio":0.5,"on_stale":"hold"}`, restored, 0, 0.5, "")
}

func TestAssertShare(t *testing.T) {
	f := func(v, want float64, wantOK bool) {
		t.Helper()
		if got, ok := assertShare(v); got != want || ok != wantOK {
			t.Errorf("assertShare(%v)\n got %v %v\nwant %v %v", v, got, ok, want, wantOK)
		}
	}
	f(0, 0, true)
	f(1, 1, true)
	f(0.3, 0.3, true)
	f(-0.1, 0, false)
	f(1.1, 0, false)
	f(math.NaN(), 0, false)
	f(math.Inf(1), 0, false)
}
