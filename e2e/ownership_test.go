package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"serin/internal/agent"
	"serin/route"
)

// A service that claims what another has gets none of its requests.
func TestHijackersGetNothing(t *testing.T) {
	rules := `{"rules":[{"services":["shop"],"claims":["shop.test/","*.shop.test/"]},{"services":["other"],"claims":["other.test/"]}]}`
	for _, mode := range []string{"first-owner", "strict"} {
		t.Run(mode, func(t *testing.T) {
			l := &lab{t: t, consul: agent.Start(t, agent.Config{}).Addr()}
			l.echo("shop", "shop-1", []string{"urlprefix-shop.test/", "urlprefix-*.shop.test/"}, nil, false)
			opts := []string{"-registry.ownership.mode", mode}
			if mode == "strict" {
				file := filepath.Join(t.TempDir(), "ownership.json")
				if err := os.WriteFile(file, []byte(rules), 0o600); err != nil {
					t.Fatal(err)
				}
				opts = append(opts, "-registry.ownership.file", file)
			}
			b := l.lb(opts...)
			routed := func(host string) func() error {
				return func() error {
					resp, s, err := b.do("GET", host, "/", nil)
					if err == nil && resp.StatusCode != 200 {
						err = fmt.Errorf("%s %+v", resp.Status, s)
					}
					return err
				}
			}
			eventually(t, 10*time.Second, "shop is routed", routed("shop.test"))

			claims := []string{"shop.test/", "SHOP.test./", "shop.test:80/", "shop.test/cart", "a.shop.test/", "*.a.shop.test/", "shop.test/ priority=9", "shop.test/ methods=GET", "sho[p].test/ priority=9"}
			var tags []string
			for _, c := range claims {
				tags = append(tags, "urlprefix-"+c)
			}
			l.echo("intruder", "intruder-1", append(tags, "urlprefix-intruder.test/"), nil, false)
			l.echo("other", "other-1", []string{"urlprefix-other.test/"}, nil, false)
			eventually(t, 10*time.Second, "what nobody has can be claimed", routed("other.test"))
			eventually(t, 10*time.Second, "each claim is a problem", func() error {
				var problems []route.Problem
				if err := getJSON("http://"+b.admin+"/api/v1/problems", &problems); err != nil {
					return err
				}
				for _, tag := range tags {
					found := false
					for _, p := range problems {
						found = found || p.Service == "intruder" && p.Tag == tag
					}
					if !found {
						return fmt.Errorf("none for %q among %+v", tag, problems)
					}
				}
				return nil
			})

			asked := []struct{ host, path string }{
				{"shop.test", "/"},
				{"shop.test", "/cart"},
				{"shop.test", "/cart/1"},
				{"a.shop.test", "/"},
				{"b.a.shop.test", "/x"},
				{"SHOP.TEST.", "/cart"},
				{"shop.test:80", "/cart"},
				{"shop.test", "//cart"},
				{"shop.test", "/x/../cart"},
				{"shop.test", "/%63art"},
			}
			requests := size(t).Hijack
			reached := 0
			for i := range requests {
				a := asked[i%len(asked)]
				resp, s, err := b.do("GET", a.host, a.path, nil)
				if err != nil {
					t.Fatal(err)
				}
				if resp.StatusCode != 200 {
					t.Fatalf("%s%s: %s", a.host, a.path, resp.Status)
				}
				if strings.HasPrefix(s.Instance, "intruder") {
					reached++
				}
			}
			t.Logf("FIGURE %s: %d of %d requests reached the intruder", mode, reached, requests)
			if reached != 0 {
				t.Errorf("%d of %d requests reached the intruder", reached, requests)
			}
			if mode == "strict" {
				if resp, _, err := b.do("GET", "intruder.test", "/", nil); err != nil || resp.StatusCode != 404 {
					t.Errorf("strict: a claim that no rule allows: %v %v", resp, err)
				}
			}
		})
	}
}

// A target or redirect cannot lead to ourselves, to Consul or to link-local
// addresses, whatever a service registers.
func TestDeniedTargets(t *testing.T) {
	l := &lab{t: t, consul: agent.Start(t, agent.Config{}).Addr()}
	b := l.lb()
	l.echo("web", "web-1", []string{"urlprefix-web.test/"}, nil, false)
	for i, addr := range []string{b.traffic, b.admin, l.consul, "169.254.169.254:80", "localhost:" + strings.Split(b.admin, ":")[1]} {
		host, port, _ := strings.Cut(addr, ":")
		l.must("PUT", "/v1/agent/service/register", fmt.Sprintf(
			`{"ID":"bad-%d","Name":"bad-%d","Address":%q,"Port":%s,"Tags":["urlprefix-bad%d.test/"],"Check":{"TTL":"1h","Status":"passing"}}`, i, i, host, port, i))
	}
	eventually(t, 10*time.Second, "web is routed", func() error {
		resp, _, err := b.do("GET", "web.test", "/", nil)
		if err == nil && resp.StatusCode != 200 {
			err = fmt.Errorf("%s", resp.Status)
		}
		return err
	})
	eventually(t, 10*time.Second, "a problem for each", func() error {
		var problems []route.Problem
		if err := getJSON("http://"+b.admin+"/api/v1/problems", &problems); err != nil {
			return err
		}
		n := 0
		for _, p := range problems {
			if strings.HasPrefix(p.Service, "bad-") {
				n++
			}
		}
		if n != 5 {
			return fmt.Errorf("%d problems of 5: %+v", n, problems)
		}
		return nil
	})
	for i := range 5 {
		resp, _, err := b.do("GET", fmt.Sprintf("bad%d.test", i), "/", nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != 503 && resp.StatusCode != 404 {
			t.Errorf("bad%d.test: %s", i, resp.Status)
		}
	}
}
