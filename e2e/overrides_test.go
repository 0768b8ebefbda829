package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"serin/internal/agent"
	"serin/route"
)

// Route commands in KV add, remove and weigh routes while requests are served;
// a line that is wrong is shown and harms no other.
func TestOverridesSteerRoutes(t *testing.T) {
	l := &lab{t: t, consul: agent.Start(t, agent.Config{}).Addr()}
	v1 := l.echo("web", "web-v1", []string{"urlprefix-web.test/", "v1"}, nil, false)
	l.echo("web", "web-v2", []string{"urlprefix-web.test/", "v2"}, nil, false)
	b := l.lb("-registry.consul.kvpath", "lb/routes,/fabio/config")
	share := func(host, id string, n int) (float64, error) {
		hits := 0
		for range n {
			resp, s, err := b.do("GET", host, "/", nil)
			if err != nil {
				return 0, err
			}
			if resp.StatusCode != 200 {
				return 0, fmt.Errorf("%s", resp.Status)
			}
			if s.Instance == id {
				hits++
			}
		}
		return float64(hits) / float64(n), nil
	}
	eventually(t, 10*time.Second, "both are routed", func() error {
		got, err := share("web.test", "web-v2", 20)
		if err == nil && (got == 0 || got == 1) {
			err = fmt.Errorf("share of v2 is %g", got)
		}
		return err
	})

	// A route by hand, in Fabio's place; a line that is wrong beside it.
	l.kvPut("fabio/config/10-extra", "route add extra extra.test/ http://"+v1.addr+"/ opts \"strip=/x\"\nroute ad oops\n")
	eventually(t, 5*time.Second, "the added route", func() error {
		resp, s, err := b.do("GET", "extra.test", "/x/y", nil)
		if err == nil && (resp.StatusCode != 200 || s.URI != "/y") {
			err = fmt.Errorf("%s, %q", resp.Status, s.URI)
		}
		return err
	})
	eventually(t, 5*time.Second, "the wrong line is a problem with its place", func() error {
		var problems []route.Problem
		if err := getJSON("http://"+b.admin+"/api/v1/problems", &problems); err != nil {
			return err
		}
		for _, p := range problems {
			if strings.Contains(p.Where, "fabio/config/10-extra:2:") {
				return nil
			}
		}
		return fmt.Errorf("%+v", problems)
	})

	// A weight for what carries a tag.
	l.kvPut("lb/routes/20-weight", `route weight web web.test/ weight 0.9 tags "v2"`)
	eventually(t, 10*time.Second, "v2 gets 90 %", func() error {
		got, err := share("web.test", "web-v2", 200)
		if err == nil && (got < 0.8 || got > 0.98) {
			err = fmt.Errorf("share of v2 is %g", got)
		}
		return err
	})

	// Del, through the API, by its version.
	url := "http://" + b.admin + "/api/v1/overrides/lb/routes/30-del"
	put := func(match, body string) int {
		req, err := http.NewRequest("PUT", url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "text/plain")
		if match == "" {
			req.Header.Set("If-None-Match", "*")
		} else {
			req.Header.Set("If-Match", match)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		t.Logf("PUT %q: %s %s", body, resp.Status, readAll(resp.Body))
		return resp.StatusCode
	}
	if got := put("", "route del web web.test/ extra words"); got != 422 {
		t.Errorf("a wrong command: %d, want 422", got)
	}
	if got := put("", `route del web tags "v1"`); got/100 != 2 {
		t.Fatalf("a command: %d", got)
	}
	if got := put("", `route del web tags "v2"`); got != 412 {
		t.Errorf("created a second time: %d, want 412", got)
	}
	if got := put(`"1"`, `route del web tags "v2"`); got != 412 {
		t.Errorf("another version: %d, want 412", got)
	}
	eventually(t, 5*time.Second, "v1 gets nothing", func() error {
		got, err := share("web.test", "web-v2", 20)
		if err == nil && got != 1 {
			err = fmt.Errorf("share of v2 is %g", got)
		}
		return err
	})

	// What lb routes prints builds the same table elsewhere, without Consul.
	printed, code := l.cli("routes", "--addr", b.admin)
	if code != 0 {
		t.Fatalf("lb routes: exit code %d: %s", code, printed)
	}
	again := l.offline(t, printed)
	if strip(again) != strip(printed) {
		t.Errorf("printed:\n%s\nread and printed again:\n%s", printed, again)
	}

	// Taken away, all is as before.
	for _, key := range []string{"fabio/config/10-extra", "lb/routes/20-weight", "lb/routes/30-del"} {
		l.kvDelete(key)
	}
	eventually(t, 5*time.Second, "both again, and no extra", func() error {
		got, err := share("web.test", "web-v2", 40)
		if err == nil && (got == 0 || got == 1) {
			err = fmt.Errorf("share of v2 is %g", got)
		}
		if resp, _, e := b.do("GET", "extra.test", "/", nil); err == nil && (e != nil || resp.StatusCode != 404) {
			err = fmt.Errorf("extra.test: %v %v", resp, e)
		}
		return err
	})
}

// strip returns the lines that are commands.
func strip(text string) string {
	var out bytes.Buffer
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "route ") {
			out.WriteString(line)
		}
	}
	return out.String()
}

// Where no route matches clients get the page from KV.
func TestNoRoutePage(t *testing.T) {
	l := &lab{t: t, consul: agent.Start(t, agent.Config{}).Addr()}
	l.kvPut("lb/noroute.html", "<h1>first</h1>")
	b := l.lb("-proxy.noroutestatus", "410")
	for _, page := range []string{"<h1>first</h1>", "<h1>second</h1>"} {
		l.kvPut("lb/noroute.html", page)
		eventually(t, 5*time.Second, "the page", func() error {
			req, err := http.NewRequest("GET", "http://"+b.traffic+"/nothing", nil)
			if err != nil {
				return err
			}
			resp, err := client.Do(req)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			if body := readAll(resp.Body); resp.StatusCode != 410 || body != page || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") {
				return fmt.Errorf("%s %s %q", resp.Status, resp.Header.Get("Content-Type"), body)
			}
			return nil
		})
	}
}

// lb explain tells what then happens.
func TestExplainTellsWhatHappens(t *testing.T) {
	l := &lab{t: t, consul: agent.Start(t, agent.Config{}).Addr()}
	s := l.echo("web", "web-1", []string{"urlprefix-web.test/api strip=/api prepend=/v1", "urlprefix-web.test/old redirect=301,https://new.test$path", "urlprefix-web.test/closed deny=ip:127.0.0.1"}, nil, false)
	b := l.lb()
	eventually(t, 10*time.Second, "web is routed", func() error {
		resp, _, err := b.do("GET", "web.test", "/api/", nil)
		if err == nil && resp.StatusCode != 200 {
			err = fmt.Errorf("%s", resp.Status)
		}
		return err
	})
	for _, c := range []struct {
		url              string
		status           int
		asked, location_ string
	}{
		{"http://web.test/api/x?q=1", 200, "http://" + s.addr + "/v1/x?q=1", ""},
		{"http://web.test/old/y", 301, "", "https://new.test/old/y"},
		{"http://web.test/closed", 403, "", ""},
		{"http://web.test/nothing", 404, "", ""},
	} {
		out, code := l.cli("explain", c.url, "--from", "127.0.0.1", "--json", "--addr", b.admin)
		var e struct {
			Status                         int
			Service, Target, URL, Location string
			Weights                        []struct {
				Target string
				Share  float64
			}
		}
		if err := json.Unmarshal([]byte(out), &e); err != nil {
			t.Errorf("%s: exit code %d, %v: %s", c.url, code, err, out)
			continue
		}
		if e.Status != c.status || e.URL != c.asked || e.Location != c.location_ {
			t.Errorf("explain %s: status %d, url %q, location %q; want %d, %q, %q", c.url, e.Status, e.URL, e.Location, c.status, c.asked, c.location_)
		}
		resp, got, err := b.do("GET", "web.test", strings.TrimPrefix(c.url, "http://web.test"), nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != e.Status || resp.Header.Get("Location") != e.Location || c.asked != "" && "http://"+s.addr+got.URI != e.URL {
			t.Errorf("%s: explained %+v, happened %s %q %q", c.url, e, resp.Status, resp.Header.Get("Location"), got.URI)
		}
	}
}

// offline prints the table that route commands make, without a balancer.
func (l *lab) offline(t *testing.T, commands string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "routes")
	if err := os.WriteFile(file, []byte(commands), 0o600); err != nil {
		t.Fatal(err)
	}
	out, code := l.cli("routes", "--routes", file)
	if code != 0 {
		t.Fatalf("lb routes --routes: exit code %d: %s", code, out)
	}
	return out
}
