package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"serin/e2e/load"
	"serin/internal/agent"
	"serin/internal/casefile"
)

// An invalid document changes nothing, and is seen in all its places: API,
// metrics, log, the balancer's own check in Consul, and lb canary status.
func TestInvalidDocumentChangesNothing(t *testing.T) {
	l := &lab{t: t, consul: agent.Start(t, agent.Config{}).Addr()}
	l.web(1, 1)
	b := l.lb("-registry.consul.register.checkInterval", "1s")
	l.warm(b, 2)
	l.kvPut("lb/canary/web", `{"ratio":0.5}`)
	eventually(t, 2*time.Second, "the document is applied", func() error { return applied(b, "web", 0.5) })
	f := l.flow(load.Config{Addrs: []string{b.traffic}, Rate: 200})

	docs := casefile.Read(t, "../canary/testdata/invalid.txt")
	if n := size(t).InvalidChecks; len(docs) < n {
		t.Fatalf("%d documents in canary/testdata/invalid.txt, want at least %d", len(docs), n)
	}
	shown, newest := 0, uint64(0)
	for i, c := range docs {
		if len(c.Doc) > 500<<10 { // Consul itself refuses values above 512 KiB
			continue
		}
		l.kvPut("lb/canary/web", c.Doc)
		eventually(t, 2*time.Second, fmt.Sprintf("document %d is refused in the API: %.80q", i, c.Doc), func() error {
			var s struct {
				State     string
				Effective float64
				Index     uint64
				Error     *struct {
					Path         string
					Line, Column int
				}
			}
			if err := getJSON("http://"+b.admin+"/api/v1/canary/web/status", &s); err != nil {
				return err
			}
			if s.Index <= newest {
				return fmt.Errorf("the text at index %d is still that of before", s.Index)
			}
			if s.State != "invalid" || s.Error == nil || s.Error.Line == 0 || s.Effective != 0.5 {
				return fmt.Errorf("state %q, effective %g, error %+v", s.State, s.Effective, s.Error)
			}
			if out, _ := l.cli("canary", "status", "web", "--addr", b.admin); !strings.Contains(out, "lb/canary/web:"+c.Want) {
				return fmt.Errorf("lb canary status does not show %q:\n%s", c.Want, out)
			}
			if !strings.Contains(b.out.String(), "canary document refused") {
				return fmt.Errorf("the log does not say so")
			}
			newest = s.Index
			return nil
		})
		shown++
	}
	t.Logf("%d invalid documents refused and shown", shown)
	if n := strings.Count(b.out.String(), "canary document refused"); n != shown {
		t.Errorf("%d lines of the log say so, want one for each of %d documents", n, shown)
	}
	last := docs[len(docs)-1].Want
	eventually(t, 5*time.Second, "the shared state tells of the last", func() error {
		body, err := l.call("GET", "/v1/kv/lb/state/web?raw", "")
		var s struct{ Phase, Invalid string }
		if err == nil {
			err = json.Unmarshal([]byte(body), &s)
		}
		if err != nil || s.Phase != "idle" || !strings.Contains(s.Invalid, last) {
			return fmt.Errorf("%v: %s", err, body)
		}
		return nil
	})

	metrics := mustGet(t, "http://"+b.admin+"/metrics")
	for _, want := range []string{`lb_canary_config_valid{service="web"} 0`, `lb_canary_share{kind="effective",service="web"} 0.5`} {
		if !strings.Contains(metrics, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
	eventually(t, 5*time.Second, "the balancer's own check warns", func() error { return ownCheck(l, "warning") })
	f.measure(t, "after all invalid documents", 0.5, 400)
	failed(t, "load during invalid documents", f.end())

	// The way back.
	l.kvPut("lb/canary/web", `{"ratio":0.25}`)
	eventually(t, 2*time.Second, "a valid document is applied", func() error { return applied(b, "web", 0.25) })
	eventually(t, 5*time.Second, "the balancer's own check passes", func() error { return ownCheck(l, "passing") })
}

// ownCheck returns nil when the balancer's check in Consul has the status.
func ownCheck(l *lab, want string) error {
	body, err := l.call("GET", "/v1/health/checks/lb", "")
	if err != nil {
		return err
	}
	var checks []struct{ Status, Output string }
	if err := json.Unmarshal([]byte(body), &checks); err != nil {
		return err
	}
	if len(checks) != 1 || checks[0].Status != want {
		return fmt.Errorf("checks of lb: %+v, want one that is %s", checks, want)
	}
	return nil
}

func mustGet(t *testing.T, url string) string {
	t.Helper()
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body := readAll(resp.Body)
	if resp.StatusCode != 200 {
		t.Fatalf("%s: %s", url, resp.Status)
	}
	return body
}

// A tag that cannot be parsed changes nothing for its neighbours: neither for
// other services, nor for the good tags beside it.
func TestBadTagChangesNothing(t *testing.T) {
	n := size(t)
	l := &lab{t: t, consul: agent.Start(t, agent.Config{}).Addr()}
	l.stub("good", "good", "urlprefix-good.test/", "passing")
	b := l.lb()
	eventually(t, 5*time.Second, "good is routed", func() error { return want(b, "good.test", 200, "good") })
	bad := badTags(n.BadTags)
	for i, tag := range bad {
		// Ten services at a time, each with a good tag beside its bad one.
		id := fmt.Sprintf("bad-%d", i%10)
		s := &stub{l: l, id: id, addr: "127.0.0.1:1"}
		host, port, _ := strings.Cut(s.addr, ":")
		tags, err := json.Marshal([]string{tag, "urlprefix-" + id + ".test/"})
		if err != nil {
			t.Fatal(err)
		}
		l.must("PUT", "/v1/agent/service/register", fmt.Sprintf(
			`{"ID":%q,"Name":%q,"Address":%q,"Port":%s,"Tags":%s,"Check":{"TTL":"1h","Status":"critical"}}`, id, id, host, port, tags))
		if i%10 == 9 || i == len(bad)-1 {
			eventually(t, 5*time.Second, "the good tags of these services are routed, the bad ones reported", func() error {
				var problems []struct{ Service, Tag, Error string }
				if err := getJSON("http://"+b.admin+"/api/v1/problems", &problems); err != nil {
					return err
				}
				for j := i - i%10; j <= i; j++ {
					id := fmt.Sprintf("bad-%d", j%10)
					if code, _, err := b.ask(id+".test", "/"); err != nil || code != 503 {
						return fmt.Errorf("the good tag beside %q answers %d %v, want 503: its only instance is critical", bad[j], code, err)
					}
					reported := false
					for _, p := range problems {
						// A long tag is shown cut.
						reported = reported || p.Service == id && p.Error != "" && strings.HasPrefix(p.Tag, bad[j][:min(len(bad[j]), 40)])
					}
					if !reported {
						return fmt.Errorf("tag %q of %s is not among the %d problems", bad[j], id, len(problems))
					}
				}
				return want(b, "good.test", 200, "good")
			})
		}
	}
	t.Logf("%d bad tags, none changed anything", len(bad))
	// The watch is alive: a new service still gets its route.
	l.stub("late", "late", "urlprefix-late.test/", "passing")
	eventually(t, 5*time.Second, "a new service is routed", func() error { return want(b, "late.test", 200, "late") })
}

// badTags generates tags that no parser may accept, from the mistakes that
// people and programs make.
func badTags(n int) (tags []string) {
	options := []string{
		"weight=abc", "weight=Inf", "weight=-Inf", "weight=NaN", "weight=-1", "weight=1o", "weight=", "weight=1,5", "weight=0x1p-2000x",
		"strip=", "prepend=", "strip", "host=", "host=a b", "proto=gopher", "proto=", "tlsskipverify=maybe",
		"redirect=301", "redirect=200,http://x/", "redirect=abc,http://x/", "redirect=301,javascript:alert(1)", "redirect=301,", "redirect=301,ftp://x/",
		"weigth=0.1", "allow=ip:10.0.0.0/99", "unknown=1", "=", "=x", "weight=0.1 weight=0.2",
	}
	places := []string{"x.test/", "/p", "x.test/a/b", "*.x.test/", "/"}
	for _, o := range options {
		for _, p := range places {
			tags = append(tags, "urlprefix-"+p+" "+o)
		}
	}
	for _, p := range []string{
		"", "[", "exa mple/", "a..b/", ".test/", "x.test:99999/", "x.test:port/", "x.test:/", "http://x.test/", "x_/\x00", "/\x01", "/a\x7f",
		"/a\r\nroute add", "x.test/%zz", "x.test/%", "/%00", "{a.test/", "a[b.test/", "[::1/", "::1]/", "x@y/", "x,y/", "/a#b", "/a?b", "\u202ex.test/",
		strings.Repeat("a", 3000) + "/", "/" + strings.Repeat("b", 3000), strings.Repeat("a", 64) + ".test/",
	} {
		tags = append(tags, "urlprefix-"+p)
	}
	for i := 0; len(tags) < n; i++ {
		tags = append(tags, fmt.Sprintf("urlprefix-x%d.test/ option%d=%d", i, i, i))
	}
	return tags
}
