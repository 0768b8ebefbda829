package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"syscall"
	"testing"
	"time"

	"serin/e2e/load"
	"serin/internal/agent"
)

// A rolling deploy, again and again, under every kind of traffic: a new instance
// starts, the old one deregisters and drains as the demo service does on
// SIGTERM. Nothing fails and nothing is done twice.
func TestRollingDeploys(t *testing.T) {
	n := size(t)
	l := &lab{t: t, consul: agent.Start(t, agent.Config{}).Addr()}
	running, _ := l.web(5, 0)
	b := l.lb()
	l.warm(b, 5)

	f := l.flow(load.Config{
		Addrs: []string{b.traffic}, Rate: 300, WebSockets: 5,
		Kinds: []load.Kind{load.GET, load.POST, load.GET, load.H2C},
	})
	served := map[string]int{} // how often each id was served, by all instances that lived
	for range n.Rolls {
		for i, old := range running {
			fresh := l.demo("web", "v1", "urlprefix-/")
			id := l.id(fresh.addr)
			eventually(t, 10*time.Second, "the new instance passes", func() error { return passing(l, "web", id) })
			running[i] = fresh
			old.signal(syscall.SIGTERM)
			// It drains for 2 s: time enough to ask what it served, at the end.
			<-time.After(1500 * time.Millisecond)
			collect(t, old, served)
			select {
			case <-old.done:
			case <-time.After(10 * time.Second):
				t.Fatalf("an instance still runs 10 s after SIGTERM")
			}
		}
	}
	r := f.end()
	for _, i := range running {
		collect(t, i, served)
	}
	failed(t, fmt.Sprintf("%d rolling deploys of five instances", n.Rolls), r)
	twice, lost := 0, 0
	for _, id := range r.IDs {
		switch c := served[id]; {
		case c > 1:
			twice++
		case c == 0:
			lost++
		}
	}
	t.Logf("FIGURE %d POSTs answered, %d served twice, %d not found at any instance", len(r.IDs), twice, lost)
	if twice > 0 || lost > 0 {
		t.Errorf("of %d POSTs %d were served twice and %d by nobody", len(r.IDs), twice, lost)
	}
	if r.Echoes == 0 || r.Closed == 0 {
		t.Errorf("the WebSocket sessions did not take part: %d echoes, %d closed with 1001", r.Echoes, r.Closed)
	}
}

// passing returns nil when Consul calls the instance passing.
func passing(l *lab, service, id string) error {
	body, err := l.call("GET", "/v1/health/service/"+service+"?passing", "")
	if err != nil {
		return err
	}
	var entries []struct{ Service struct{ ID string } }
	if err := json.Unmarshal([]byte(body), &entries); err != nil {
		return err
	}
	for _, e := range entries {
		if e.Service.ID == id {
			return nil
		}
	}
	return fmt.Errorf("%s is not among the %d passing", id, len(entries))
}

// collect adds what an instance served (ids of POSTs) to served.
func collect(t *testing.T, i *instance, served map[string]int) {
	t.Helper()
	resp, err := http.Get("http://" + i.addr + "/seen")
	if err != nil {
		t.Fatalf("ask what the instance served: %v", err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("ask what the instance served: %s %v", resp.Status, err)
	}
	var answer struct {
		Seen      map[string]struct{ Received, Completed int }
		Forgotten int
	}
	if err := json.Unmarshal(raw, &answer); err != nil || answer.Forgotten > 0 {
		t.Fatalf("what the instance served is not whole: %v, %d forgotten: %.200s", err, answer.Forgotten, raw)
	}
	for id, n := range answer.Seen {
		served[id] += n.Received
	}
}

// The balancer itself is stopped again and again under keep-alive load while a
// second one takes the new connections: no request that was sent on an
// accepted connection stays without its complete right answer.
func TestBalancerStops(t *testing.T) {
	n := size(t)
	l := &lab{t: t, consul: agent.Start(t, agent.Config{}).Addr()}
	l.web(2, 0)
	second := l.lb()
	l.warm(second, 2)
	var all []time.Duration
	for i := range n.Stops {
		first := l.lb("-proxy.deregistergraceperiod", "1s", "-proxy.shutdownwait", "10s")
		l.warm(first, 2)
		f := l.flow(load.Config{
			Addrs: []string{first.traffic, second.traffic}, Rate: 800, Clients: 64,
			Kinds: []load.Kind{load.POST, load.POST, load.POST, load.H2C},
		})
		eventually(t, 5*time.Second, "load flows", func() error {
			if f.total() < 400 {
				return fmt.Errorf("%d answers", f.total())
			}
			return nil
		})
		began := time.Now()
		if code := first.stop(t, 15*time.Second); code != 0 {
			t.Errorf("stop %d: exit code %d, want 0", i, code)
		}
		all = append(all, time.Since(began))
		mark := f.total()
		eventually(t, 5*time.Second, "the second balancer serves", func() error {
			if f.total() < mark+200 {
				return fmt.Errorf("%d answers since the stop", f.total()-mark)
			}
			return nil
		})
		failed(t, fmt.Sprintf("stop %d of %d", i+1, n.Stops), f.end())
	}
	slices.Sort(all)
	t.Logf("FIGURE SIGTERM → exit with a lame duck of 1 s: %s to %s", all[0].Round(time.Millisecond), all[len(all)-1].Round(time.Millisecond))
}
