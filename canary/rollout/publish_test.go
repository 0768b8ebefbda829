package rollout

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"serin/canary/evidence"
)

// published counts the values of a key that were written.
func (m *memory) published(key string) (n int) {
	m.locked(func() {
		for _, p := range m.writes {
			if p.Key == key && p.Value != nil {
				n++
			}
		}
	})
	return n
}

func TestPublish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		a := m.join(t, "a", judgedPlan(7))
		time.Sleep(50 * time.Millisecond)
		const key = "lb/state/nodes/a/web"
		var n Node
		if p := m.get(key); json.Unmarshal(p.Value, &n) != nil || p.Session == "" || n.ID != "a" || n.Node != "node-a" || n.Index != 7 || n.Rollout != "v2" || n.Judged == "" {
			t.Fatalf("published %s", m.get(key).Value)
		}
		if m.get("lb/state/nodes/a").Session == "" {
			t.Error("a balancer is not seen without a document")
		}

		// A storm of documents: at most one value in 100 ms, and the last one.
		before := m.published(key)
		for i := range 100 {
			a.apply(judgedPlan(uint64(8 + i)))
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(200 * time.Millisecond)
		if got := m.published(key) - before; got < 8 || got > 12 {
			t.Errorf("%d values in a second", got)
		}
		if json.Unmarshal(m.get(key).Value, &n) != nil || n.Index != 107 {
			t.Errorf("published in the end: %s", m.get(key).Value)
		}

		// Evidence every 5 s, and only where it has changed.
		before = m.published(key)
		time.Sleep(time.Minute)
		if got := m.published(key) - before; got != 0 {
			t.Errorf("%d values although nothing changed", got)
		}
		for range 600 {
			a.Recorder("web").Record(evidence.Sample{Ratio: 0.1})
			time.Sleep(100 * time.Millisecond)
		}
		if got := m.published(key) - before; got < 10 || got > 14 {
			t.Errorf("%d values in a minute of traffic", got)
		}

		// A document that is gone.
		a.apply()
		time.Sleep(time.Second)
		if p := m.get(key); p.Index != 0 {
			t.Errorf("still published: %s", p.Value)
		}
	})
}

func TestPublishedIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		a := m.join(t, "a")
		long := strings.Repeat("ü", 5000)
		a.SetApplied(map[string]Applied{
			"web": {Index: 7, Hash: "h", Because: long, Rejected: 9, Invalid: long},
			"api": {Index: 8, Hash: long, Because: long, Rejected: 9, Invalid: long},
		})
		time.Sleep(time.Second)
		for _, service := range []string{"web", "api"} {
			var n Node
			if p := m.get("lb/state/nodes/a/" + service); len(p.Value) > maxNode || json.Unmarshal(p.Value, &n) != nil || n.Index == 0 || n.Rejected != 9 {
				t.Errorf("%s: %d bytes: %.200s", service, len(p.Value), p.Value)
			}
		}
	})
}

func TestSessionLostAndRegained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		a, b := m.join(t, "a", stepsPlan(7)), m.join(t, "b", stepsPlan(7))
		time.Sleep(3 * time.Second)
		first := m.get("lb/state/nodes/a/web").Session
		m.endSessions()
		time.Sleep(10 * time.Second)
		if got := m.get("lb/state/nodes/a/web").Session; got == "" || got == first {
			t.Errorf("published by the session %q, before by %q", got, first)
		}
		if len(leaders(a, b)) != 1 || len(a.Balancers("web")) != 2 {
			t.Errorf("%d lead, %d publish", len(leaders(a, b)), len(a.Balancers("web")))
		}
		if s := m.stateOf("web"); s.Step != 0 || s.Phase != Running {
			t.Errorf("state %+v", s)
		}

		// Whoever cleans up by hand harms nothing either.
		m.remove("lb/state/nodes/a/web")
		m.remove("lb/state/nodes/leader")
		time.Sleep(10 * time.Second)
		if m.get("lb/state/nodes/a/web").Session == "" || len(leaders(a, b)) != 1 {
			t.Error("what was removed by hand did not come back")
		}
	})
}

func TestStragglers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		a, b, c := m.join(t, "a", judgedPlan(7)), m.join(t, "b", judgedPlan(7)), m.join(t, "c")
		d := m.join(t, "d", judgedPlan(7))
		time.Sleep(3 * time.Second)
		a.apply(judgedPlan(12))
		d.SetApplied(map[string]Applied{"web": {Index: 7, Hash: "h", Rejected: 12, Invalid: "no"}})
		time.Sleep(time.Second)
		for _, x := range []*balancer{a, b, c} {
			got := map[string]bool{}
			for _, n := range x.Balancers("web") {
				got[n.ID] = n.Behind
			}
			if diff := cmp.Diff(map[string]bool{"a": false, "b": true, "c": true, "d": false}, got); diff != "" {
				t.Errorf("behind, as %s sees it: %s", x.Self.ID, diff)
			}
		}
		b.apply(judgedPlan(12))
		c.apply(judgedPlan(12))
		time.Sleep(time.Second)
		for _, n := range a.Balancers("web") {
			if n.Behind {
				t.Errorf("%s is still behind", n.ID)
			}
		}
	})
}

func TestDamagedKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		m.put("lb/state/nodes/x/web", `{"id":"x","index":99}`) // by no session
		for i, junk := range []string{"", "null", "[", `"x"`, `{"id":7}`, strings.Repeat("[", 20000), `{"v":99,"phase":"running"}`, `{"ratio":7,"phase":"running"}`} {
			m.put(fmt.Sprintf("lb/state/junk-%d", i), junk)
			m.locked(func() {
				m.change(Pair{Key: fmt.Sprintf("lb/state/nodes/n%d/web", i), Value: []byte(junk), Session: "somebody"})
			})
		}
		m.put("lb/state/nodes", "x")
		m.put("lb/state/nodes//", "x")
		m.put("lb/state/a/b/c", "x")
		m.put("lb/state/", "x")
		m.put("lb/log/web", "no ring")
		a := m.join(t, "a", stepsPlan(7))
		time.Sleep(3 * time.Second)
		if s := m.stateOf("web"); s.Phase != Running || s.Step != 0 {
			t.Fatalf("state %+v", s)
		}
		if got := a.Balancers("web"); len(got) != 1 {
			t.Errorf("balancers %+v", got)
		}
		if h, err := a.History(t.Context(), "web"); err != nil || h[0].Kind != EventStart {
			t.Errorf("history %+v, %v", h, err)
		}

		// A state that is damaged on the way is held as it was, not written over.
		m.put("lb/state/web", "junk")
		time.Sleep(2 * time.Minute)
		s := a.state("web")
		if s.Damaged == "" || s.Step != 0 || s.Ratio != 0.1 || string(m.get("lb/state/web").Value) != "junk" {
			t.Errorf("told %+v", s)
		}
		if st, _ := a.Status("web"); st.Held == "" {
			t.Error("nobody is told why it is held")
		}
		m.remove("lb/state/web")
		time.Sleep(time.Second)
		if s := a.state("web"); s.Phase != Running || s.Damaged != "" {
			t.Errorf("begun anew: %+v", s)
		}
	})
}

func TestVetoOverDamagedState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		a := m.join(t, "a", judgedPlan(7))
		time.Sleep(3 * time.Second)
		m.put("lb/state/web", "junk")
		time.Sleep(time.Second)
		a.fail(20)
		time.Sleep(100 * time.Millisecond)
		if s := a.state("web"); s.Phase != RolledBack || s.Damaged != "" {
			t.Errorf("told %+v", s)
		}
	})
}
