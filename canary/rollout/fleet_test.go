package rollout

import (
	"strings"
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

// A lock that somebody else holds, with a session that does not end, stops all
// steps: the status says so, whatever name the lock is held in, and what to do.
func TestSomebodyElseHoldsTheLock(t *testing.T) {
	for value, want := range map[string]string{
		`{"id": "x"}`: `"x", who holds the leader's lock, is no balancer that publishes anything: where that lasts, end the session theirs`,
		`junk`:        "somebody who is no balancer holds the leader's lock: end the session theirs",
	} {
		synctest.Test(t, func(t *testing.T) {
			m := newMemory()
			m.locked(func() {
				m.sessions["theirs"] = time.Now().Add(1000 * time.Hour)
				m.change(Pair{Key: "lb/state/nodes/leader", Value: []byte(value), Session: "theirs"})
			})
			a := m.join(t, "a", stepsPlan(7))
			time.Sleep(time.Minute)
			if s, _ := a.Status("web"); s.Held != want || s.Leads || s.State.Phase != "" {
				t.Errorf("held: %s; %+v, want %s", s.Held, s.State, want)
			}
			m.locked(func() { m.end("theirs") })
			time.Sleep(time.Minute / 2)
			if s, _ := a.Status("web"); s.Held != "" || !s.Leads || s.State.Phase != Running {
				t.Errorf("after its end: %s, %+v", s.Held, s.State)
			}
			a.leave()
		})
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
		if err != nil || len(history) != len(strings.Fields(lead[0].kinds())) || history[0].Kind != EventPromote || history[0].By != lead[0].Self.ID {
			t.Errorf("history %+v, %v", history, err)
		}
	})
}

func TestVetoAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		a, b := m.join(t, "a", judgedPlan(7)), m.join(t, "b", judgedPlan(7))
		time.Sleep(3*time.Second + 430*time.Millisecond) // not when it looks every second anyway
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

func TestLeaderDiesInMidStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		a, b := m.join(t, "a", stepsPlan(7)), m.join(t, "b", stepsPlan(7))
		time.Sleep(30 * time.Second)
		lead, other := a, b
		if leaders(a, b)[0] == b {
			lead, other = b, a
		}
		before := m.stateOf("web")
		lead.kill()
		time.Sleep(sessionTTL - renewEvery)
		if got := leaders(other); len(got) != 0 {
			t.Error("another leads before the session can have ended")
		}
		if s, _ := other.Status("web"); s.State.Step != 0 || s.State.Phase != Running {
			t.Errorf("the step is not held: %+v", s.State)
		}
		time.Sleep(renewEvery + 3*time.Second)
		if got := leaders(other); len(got) != 1 {
			t.Fatal("nobody took over")
		}
		// It goes on from where it was: what does not count is the time without a leader.
		now := m.stateOf("web")
		if held := now.Entered.Sub(before.Entered); now.Step != 0 || held < sessionTTL-renewEvery || held > 20*time.Second {
			t.Errorf("the step began anew, or was not held: %+v, was %+v", now, before)
		}
		time.Sleep(time.Until(now.Entered.Add(time.Minute)) - time.Second)
		if s := m.stateOf("web"); s.Step != 0 {
			t.Errorf("before its minute: %+v", s)
		}
		time.Sleep(2 * time.Second)
		if s := m.stateOf("web"); s.Step != 1 || s.Ratio != 0.5 || s.By != other.Self.ID {
			t.Errorf("after its minute: %+v", s)
		}
		time.Sleep(time.Minute)
		if s := other.state("web"); s.Phase != Promoted {
			t.Errorf("in the end: %+v", s)
		}
		m.noneSkipped(t, 3)
	})
}

// noneSkipped checks every state that was ever written: steps in order, no
// smaller ratio but by a rollback.
func (m *memory) noneSkipped(t *testing.T, steps int) {
	t.Helper()
	was := State{Step: 0}
	var writes []Pair
	m.locked(func() { writes = m.writes })
	for _, p := range writes {
		if p.Key != "lb/state/web" || p.Value == nil {
			continue
		}
		is := parseState(p.Value, State{})
		switch {
		case is.Damaged != "":
			t.Errorf("damaged: %s", p.Value)
		case is.Step < was.Step || is.Step > was.Step+1 || is.Step >= steps:
			t.Errorf("step %d after %d", is.Step, was.Step)
		case is.share(is.At) < was.share(is.At) && is.Phase != RolledBack:
			t.Errorf("ratio %v after %v, in phase %s", is.Ratio, was.Ratio, is.Phase)
		case was.Phase == RolledBack && is.Phase != RolledBack, was.Phase == Promoted && is.Phase != Promoted:
			t.Errorf("%s after %s", is.Phase, was.Phase)
		}
		was = is
	}
	if was.Phase == "" {
		t.Error("no state was written")
	}
}

func TestLeaderStopsBeforeAnotherCanBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		a := m.join(t, "a", stepsPlan(7))
		time.Sleep(5 * time.Second)
		if len(leaders(a)) != 1 {
			t.Fatal("it does not lead")
		}
		a.link.set(func() { a.cut = true })
		time.Sleep(sessionTTL)
		if len(leaders(a)) != 0 {
			t.Error("it still leads when its session may have ended")
		}
		s, _ := a.Status("web")
		if s.Held == "" || s.State.Phase != Running {
			t.Errorf("status without Consul: %+v", s)
		}
		time.Sleep(2 * time.Minute)
		if s := a.state("web"); s.Step != 0 {
			t.Errorf("it went on alone: %+v", s)
		}
		a.link.set(func() { a.cut = false })
		time.Sleep(10 * time.Second)
		if s := m.stateOf("web"); s.Step != 0 || len(leaders(a)) != 1 {
			t.Errorf("after Consul is back: %+v", s)
		}
		time.Sleep(time.Minute)
		if s := m.stateOf("web"); s.Step != 1 {
			t.Errorf("a minute after Consul is back: %+v", s)
		}
		m.noneSkipped(t, 3)
	})
}

func TestLeavingInOrderHandsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		a := m.join(t, "a", stepsPlan(7))
		time.Sleep(time.Second)
		b := m.join(t, "b", stepsPlan(7))
		time.Sleep(time.Second)
		a.leave()
		time.Sleep(time.Second)
		if len(leaders(b)) != 1 {
			t.Error("the other does not lead at once")
		}
		if got := b.Balancers("web"); len(got) != 1 || got[0].ID != "b" {
			t.Errorf("balancers: %+v", got)
		}
	})
}

func TestVetoWithoutConsul(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		a := m.join(t, "a", judgedPlan(7))
		time.Sleep(time.Second)
		b := m.join(t, "b", judgedPlan(7))
		time.Sleep(3 * time.Second)
		b.link.set(func() { b.cut = true })
		time.Sleep(time.Second)
		b.fail(20)
		time.Sleep(60 * time.Millisecond)
		if s := b.state("web"); s.Phase != RolledBack {
			t.Fatalf("without Consul it is in %+v", s)
		}
		time.Sleep(time.Minute)
		if s := b.state("web"); s.Phase != RolledBack {
			t.Errorf("later it is in %+v", s)
		}
		if got := b.kinds(); got != "rollback" {
			t.Errorf("events %q", got)
		}
		if s := a.state("web"); s.Phase != Running {
			t.Errorf("the other is in %+v", s)
		}
		if s, _ := b.Status("web"); s.Held == "" || s.Local.Verdict != evidence.Worse {
			t.Errorf("status: %+v", s)
		}
		b.link.set(func() { b.cut = false })
		time.Sleep(3 * time.Second)
		if s := m.stateOf("web"); s.Phase != RolledBack || s.By != "b" || a.state("web") != s && a.state("web").Phase != RolledBack {
			t.Errorf("after Consul is back: %+v", s)
		}
		if got := b.kinds(); got != "rollback" {
			t.Errorf("events %q", got)
		}
		history, _ := a.History(t.Context(), "web")
		if len(history) != 2 || history[0].Kind != EventRollback || history[0].By != "b" {
			t.Errorf("history %+v", history)
		}
	})
}

func TestVetoOfAnotherRolloutIsVoid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		a := m.join(t, "a", judgedPlan(7))
		time.Sleep(3 * time.Second)
		a.link.set(func() { a.cut = true })
		a.fail(20)
		time.Sleep(time.Second)
		next := judgedPlan(8)
		next.ID = "v3"
		a.apply(next)
		time.Sleep(time.Second)
		if s := a.state("web"); s.ID == "v3" || s.Phase != Running {
			t.Errorf("the veto outlived its rollout: %+v", s)
		}
		a.link.set(func() { a.cut = false })
		time.Sleep(15 * time.Second)
		if s := a.state("web"); s.ID != "v3" || s.Phase != Running {
			t.Errorf("the new rollout is in %+v", s)
		}
	})
}

func TestPauseOnFailAndOverrule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		plan := judgedPlan(7)
		plan.Analysis.OnFail = "pause"
		a, b := m.join(t, "a", plan), m.join(t, "b", plan)
		time.Sleep(3 * time.Second)
		b.fail(20)
		time.Sleep(time.Second)
		if s := m.stateOf("web"); s.Phase != Paused || s.PausedBy != ByEvidence || s.By != "b" {
			t.Fatalf("state %+v", s)
		}
		resumed := *plan
		resumed.Index, resumed.Hash, resumed.Control = 9, "h2", Run
		a.apply(&resumed)
		b.apply(&resumed)
		time.Sleep(10 * time.Second)
		if s := m.stateOf("web"); s.Phase != Running {
			t.Errorf("after the operator's word: %+v", s)
		}
	})
}

func TestEvidenceIsPooled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		a, b := m.join(t, "a", judgedPlan(7)), m.join(t, "b", judgedPlan(7))
		time.Sleep(3 * time.Second)
		for range 3 { // neither alone is enough for a veto
			a.fail(1)
			b.fail(1)
		}
		time.Sleep(time.Second)
		if s := m.stateOf("web"); s.Phase != Running {
			t.Fatalf("one alone vetoed: %+v", s)
		}
		time.Sleep(7 * time.Second)
		s := m.stateOf("web")
		if s.Phase != RolledBack || s.Finding.Failures[1] != 6 || s.Fleet.Balancers != 2 {
			t.Errorf("state %+v of %+v", s, s.Fleet)
		}
	})
}

func TestWhatThoseHadSeenWhoLeftStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		a := m.join(t, "a", judgedPlan(7))
		time.Sleep(time.Second)
		b := m.join(t, "b", judgedPlan(7))
		time.Sleep(3 * time.Second)
		b.fail(3)
		time.Sleep(8 * time.Second)
		b.kill()
		time.Sleep(time.Minute)
		s := m.stateOf("web")
		if s.Phase != Running || s.Fleet == nil || len(s.Fleet.Gone) != 1 || s.Fleet.Left.Failures[1] != 3 {
			t.Fatalf("state %+v of %+v", s, s.Fleet)
		}
		// Whoever leads next knows it from the state alone.
		c := m.join(t, "c", judgedPlan(7))
		time.Sleep(3 * time.Second)
		a.leave()
		time.Sleep(3 * time.Second)
		if st, _ := c.Status("web"); !st.Leads || st.Pooled.Failures[1] != 3 {
			t.Errorf("pooled by the next: %+v", st.Pooled)
		}
		c.fail(3)
		time.Sleep(7 * time.Second)
		if s := m.stateOf("web"); s.Phase != RolledBack || s.Finding.Failures[1] != 6 {
			t.Errorf("state %+v", s)
		}
	})
}

func TestWhoWasTakenForGoneIsNotCountedTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		a := m.join(t, "a", judgedPlan(7))
		time.Sleep(time.Second)
		b := m.join(t, "b", judgedPlan(7))
		time.Sleep(3 * time.Second)
		b.fail(2)
		time.Sleep(8 * time.Second)
		b.link.set(func() { b.cut = true })
		time.Sleep(time.Minute)
		b.link.set(func() { b.cut = false })
		time.Sleep(10 * time.Second)
		if st, _ := a.Status("web"); st.Pooled.Failures[1] != 2 || len(st.Nodes) != 2 {
			t.Errorf("pooled %+v of %d", st.Pooled, len(st.Nodes))
		}
		b.fail(1)
		time.Sleep(7 * time.Second)
		if st, _ := a.Status("web"); st.Pooled.Failures[1] != 3 {
			t.Errorf("pooled %+v", st.Pooled)
		}
	})
}

// A balancer that no request passes takes the steps, and raises nobody's threshold.
func TestWhoSeesNothingDoesNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		blind := func(f *Fleet) { f.Self.Blind = true }
		d := m.joinWith(t, "daemon", blind, judgedPlan(7))
		time.Sleep(3 * time.Second)
		m.joinWith(t, "daemon-2", blind, judgedPlan(7))
		a := m.join(t, "a", judgedPlan(7))
		time.Sleep(3 * time.Second)
		if got := leaders(d, a); len(got) != 1 || got[0] != d {
			t.Fatalf("%d lead", len(got))
		}
		if d.Recorder("web") != nil {
			t.Error("it would judge what it does not see")
		}
		for a.look().local["web"].E < 900 {
			a.fail(1)
			time.Sleep(time.Second)
		}
		s, _ := a.Status("web")
		if s.Local.Threshold != 1000 || s.Pooled.Threshold != 1000 || s.State.Phase != RolledBack && s.Local.E >= 1000 {
			t.Errorf("of one that judges: %+v, %+v, %s", s.Local, s.Pooled, s.State.Phase)
		}
		a.fail(1)
		time.Sleep(time.Second)
		if s := m.stateOf("web"); s.Phase != RolledBack || s.Fleet.Balancers != 1 {
			t.Errorf("state %+v of %+v", s, s.Fleet)
		}
		if s, _ := d.Status("web"); len(s.Nodes) != 3 || s.Pooled.E < 1000 {
			t.Errorf("as the one that leads has it: %+v", s)
		}
	})
}
