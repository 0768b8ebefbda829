package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"serin/e2e/load"
	"serin/internal/agent"
)

// Half of stable's requests are copied to a canary that answers none of them,
// first one that is well, then one that fails, then one that hangs: clients
// notice nothing.
func TestMirror(t *testing.T) {
	l := &lab{t: t, consul: agent.Start(t, agent.Config{}).Addr()}
	_, v2 := l.web(1, 1)
	b := l.lb()
	l.warm(b, 2)
	l.kvPut("lb/canary/web", `{"ratio": 0, "mirror": {"ratio": 0.5, "methods": ["GET", "POST"], "shadow": true, "timeout": "500ms", "max_inflight": 20}}`)
	eventually(t, 2*time.Second, "the document is applied", func() error { return applied(b, "web", 0) })
	fl := l.flow(load.Config{Addrs: []string{b.traffic}, Rate: 300, Clients: 16, Kinds: []load.Kind{load.GET, load.POST}})
	copied := func() (n int) {
		var seen struct{ Seen map[string]json.RawMessage }
		if err := getJSON("http://"+v2[0].addr+"/seen", &seen); err != nil {
			t.Fatal(err)
		}
		return len(seen.Seen)
	}
	eventually(t, 15*time.Second, "copies reach the canary", func() error {
		if n := copied(); n < 300 {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
	sent, got := fl.total(), copied()
	t.Logf("FIGURE %d requests answered by stable, about %d copied to the canary at 0.5", sent, got)
	if share := float64(got) / float64(sent); share < 0.3 || share > 0.7 {
		t.Errorf("%.2f of the requests were copied, want about 0.5", share)
	}
	f := fleet{lab: l}
	f.fail(1, v2...)
	<-time.After(time.Second)
	v2[0].signal(19) // SIGSTOP: it hangs, connections are still accepted
	<-time.After(2 * time.Second)
	r := fl.end()
	failed(t, "while half was copied", r)
	if v2 := r.Versions["v2"]; v2 > 0 {
		t.Errorf("%d answers of the canary reached clients", v2)
	}
	metrics := mustGet(t, "http://"+b.admin+"/metrics")
	for _, result := range []string{"ok", "error", "timeout", "saturated"} {
		if !slices.ContainsFunc(strings.Split(metrics, "\n"), func(line string) bool {
			var n float64
			_, err := fmt.Sscanf(line, `lb_mirror_requests_total{result="`+result+`",service="web"} %g`, &n)
			return err == nil && n > 0
		}) {
			t.Errorf("no copy ended %q", result)
		}
	}
}

// A rollback is posted to those who want to know, once.
func TestRollbackIsPosted(t *testing.T) {
	var mu sync.Mutex
	var told []string
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var e struct{ Kind, Service, Because string }
		if json.NewDecoder(r.Body).Decode(&e) == nil && r.Header.Get("X-Token") == "hush" {
			mu.Lock()
			told = append(told, e.Service+" "+e.Kind)
			mu.Unlock()
		}
	}))
	t.Cleanup(hook.Close)
	token := t.TempDir() + "/token"
	replace(t, token, "hush\n")
	f := startFleet(t, agent.Config{}, 1, 1)
	f.kvPut("lb/canary/web", fmt.Sprintf(`{"ratio": 0.5, "analysis": {"warmup": "1s"}, "notify": [{"url": %q, "on": ["rollback"], "headers": {"X-Token": "file:%s"}}]}`, hook.URL, token))
	f.everywhere(0.5, 5*time.Second)
	flows := f.flows(load.Config{Rate: 100, Clients: 8})
	for _, fl := range flows { // past the warm-up
		eventually(t, 10*time.Second, "the canary is in use", func() error {
			if n, _ := fl.seen("v2"); n < 100 {
				return fmt.Errorf("%d", n)
			}
			return nil
		})
	}
	f.fail(1, f.v2...)
	f.rolledBack(20 * time.Second)
	eventually(t, 10*time.Second, "the rollback is posted", func() error {
		mu.Lock()
		defer mu.Unlock()
		if !slices.Equal(told, []string{"web rollback"}) {
			return fmt.Errorf("told %q", told)
		}
		return nil
	})
	mu.Lock()
	defer mu.Unlock()
	if len(told) != 1 {
		t.Errorf("told %q, want it once", told)
	}
}
