package rollout

import (
	"testing"
	"testing/synctest"
	"time"

	"serin/canary/evidence"
)

// stepsPlan is 10 %, 50 %, 100 %, a minute each, without a judge.
func stepsPlan(index uint64) *Plan {
	return &Plan{
		Service: "web", ID: "v2", Key: "lb/canary/web", Index: index, Hash: "h",
		Steps: []Step{{Ratio: new(0.1), For: time.Minute}, {Ratio: new(0.5), For: time.Minute}, {Ratio: new(1.0)}},
	}
}

// judgedPlan is a plain ratio with a judge.
func judgedPlan(index uint64) *Plan {
	return &Plan{
		Service: "web", ID: "v2", Key: "lb/canary/web", Index: index, Hash: "h", Ratio: 0.1,
		Analysis: &Analysis{Failures: Failures{Status5xx: true}},
	}
}

// fail makes a balancer see a canary of 10 % of which n requests fail, and nothing else.
func (b *balancer) fail(n int) {
	for range n {
		b.Recorder("web").Record(evidence.Sample{Canary: true, Ratio: 0.1, Failed: true})
		for range 9 {
			b.Recorder("web").Record(evidence.Sample{Ratio: 0.1})
		}
	}
}

func leaders(all ...*balancer) (out []*balancer) {
	for _, b := range all {
		if s, ok := b.Status("web"); ok && s.Leads {
			out = append(out, b)
		}
	}
	return out
}

func TestOneLeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		a := m.join(t, "a", stepsPlan(7))
		b := m.join(t, "b", stepsPlan(7))
		<-a.First()
		<-b.First()
		time.Sleep(2 * time.Second)
		lead := leaders(a, b)
		if len(lead) != 1 {
			t.Fatalf("%d lead", len(lead))
		}
		for _, x := range []*balancer{a, b} {
			s, ok := x.Status("web")
			if !ok || s.Leader != lead[0].Self.ID || s.Held != "" || len(s.Nodes) != 2 || s.State.Phase != Running || s.State.By != s.Leader {
				t.Errorf("status of %s: %+v", x.Self.ID, s)
			}
			if x.state("web") != s.State || x.state("web").Ratio != 0.1 {
				t.Errorf("%s was told %+v", x.Self.ID, x.state("web"))
			}
		}
		time.Sleep(2*time.Minute + 10*time.Second)
		if s := m.stateOf("web"); s.Phase != Promoted {
			t.Errorf("after all steps: %+v", s)
		}
		if got := lead[0].kinds(); got != "start step step promote" && got != "start step promote" {
			t.Errorf("events %q", got)
		}
		history, err := b.History(t.Context(), "web")
		if err != nil || len(history) != len(lead[0].events) || history[0].Kind != EventPromote || history[0].By != lead[0].Self.ID {
			t.Errorf("history %+v, %v", history, err)
		}
	})
}

func TestVetoAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		a, b := m.join(t, "a", judgedPlan(7)), m.join(t, "b", judgedPlan(7))
		time.Sleep(3 * time.Second)
		follower := a
		if leaders(a, b)[0] == a {
			follower = b
		}
		follower.fail(20)
		time.Sleep(60 * time.Millisecond)
		if s := follower.state("web"); s.Phase != RolledBack || s.Ratio != 0 {
			t.Errorf("after 60 ms the one that saw it is in %+v", s)
		}
		time.Sleep(100 * time.Millisecond)
		if s := m.stateOf("web"); s.Phase != RolledBack || s.By != follower.Self.ID {
			t.Errorf("the shared state is %+v", s)
		}
		for _, x := range []*balancer{a, b} {
			if x.state("web").Phase != RolledBack {
				t.Errorf("%s was told %+v", x.Self.ID, x.state("web"))
			}
		}
		time.Sleep(time.Minute)
		if got := follower.kinds(); got != "rollback" {
			t.Errorf("events %q", got)
		}
	})
}
