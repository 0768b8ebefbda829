package rollout

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"
)

// ringOf is the audit ring as kind, index and ratios, the oldest first.
func (m *memory) ringOf(t *testing.T, service string) string {
	ring, err := ParseRing(m.get("lb/log/" + service).Value)
	if err != nil {
		t.Error(err)
	}
	var out []string
	for _, e := range ring {
		out = append(out, fmt.Sprintf("%s@%d %v→%v", e.Kind, e.Index, e.From, e.To))
	}
	return strings.Join(out, ", ")
}

func TestDocumentsAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		a := m.join(t, "a")
		time.Sleep(time.Second)
		b := m.join(t, "b")
		set := func(x map[string]Applied) {
			a.SetApplied(x)
			b.SetApplied(x)
			time.Sleep(2 * time.Second)
		}
		set(map[string]Applied{"web": {Index: 7, Hash: "a", Ratio: 0.1}})
		set(map[string]Applied{"web": {Index: 9, Hash: "b", Ratio: 0.3}})
		set(map[string]Applied{"web": {Index: 9, Hash: "b", Ratio: 0.2, Because: "capacity"}}) // a clamp is no document
		set(map[string]Applied{"web": {Index: 9, Hash: "b", Ratio: 0.3, Rejected: 11, Invalid: "ratio must be 0..1"}})
		want := "document@7 0→0.1, document@9 0.1→0.3, invalid@11 0.3→0.3"
		if got := m.ringOf(t, "web"); got != want {
			t.Errorf("ring %s, want %s", got, want)
		}
		// Another leader knows from the ring what was logged.
		a.leave()
		time.Sleep(5 * time.Second)
		if got := m.ringOf(t, "web"); got != want || b.kinds() != "" {
			t.Errorf("ring after another took over: %s; it told %q", got, b.kinds())
		}
		b.SetApplied(nil)
		time.Sleep(2 * time.Second)
		if got := m.ringOf(t, "web"); got != want+", document@9 0.3→0" {
			t.Errorf("ring after the deletion: %s", got)
		}
		if got := b.kinds(); got != "document" {
			t.Errorf("told %q", got)
		}
	})
}

func TestAuditWithoutPermission(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		a := m.join(t, "a", stepsPlan(7))
		a.link.set(func() {
			a.broken = func(op, key string) error {
				if op == "cas" && strings.HasPrefix(key, "lb/log/") {
					return errors.New("403")
				}
				return nil
			}
		})
		time.Sleep(70 * time.Second)
		if s := m.stateOf("web"); s.Step != 1 {
			t.Errorf("state %+v", s)
		}
		if got := a.kinds(); got != "start step" {
			t.Errorf("told %q", got)
		}
		if n := a.tried("cas lb/log/web"); n > 60 {
			t.Errorf("%d tries in 70 s", n)
		}
		a.link.set(func() { a.broken = nil })
		time.Sleep(5 * time.Second)
		if got := m.ringOf(t, "web"); got != "start@7 0→0.1, step@7 0.1→0.5" {
			t.Errorf("ring, when it can be written again: %s", got)
		}
	})
}

func TestStateWithoutPermission(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		a := m.join(t, "a", judgedPlan(7))
		a.link.set(func() {
			a.broken = func(op, key string) error {
				if op == "cas" {
					return errors.New("403")
				}
				return nil
			}
		})
		time.Sleep(10 * time.Second)
		a.fail(20)
		time.Sleep(time.Minute)
		if s := a.state("web"); s.Phase != RolledBack {
			t.Errorf("told %+v", s)
		}
		if n := a.tried("cas lb/state/web"); n > 80 {
			t.Errorf("%d tries in 70 s", n)
		}
	})
}

func TestStatesOfDeletedDocumentsGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		m.put("lb/canary/web", "{}")
		m.put("lb/state/old", `{"v":1,"id":"x","phase":"rolled_back","key":"lb/canary/old"}`)
		m.put("lb/state/kept", `{"v":1,"id":"x","phase":"rolled_back","key":"lb/canary/web"}`)
		m.put("lb/state/nobody", `{"v":1,"id":"x","phase":"rolled_back"}`)
		m.join(t, "a", stepsPlan(7))
		time.Sleep(time.Second)
		m.join(t, "b", stepsPlan(7))
		time.Sleep(30 * time.Second)
		if m.get("lb/state/old").Index == 0 {
			t.Error("a state went before its document can be known")
		}
		time.Sleep(2 * time.Minute)
		for key, want := range map[string]bool{"old": false, "kept": true, "nobody": true, "web": true} {
			if got := m.get("lb/state/"+key).Index != 0; got != want {
				t.Errorf("state of %s: %v, want %v", key, got, want)
			}
		}
	})
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		a := m.join(t, "a", stepsPlan(7))
		time.Sleep(5 * time.Second)
		a.apply()
		time.Sleep(3 * time.Second)
		if m.get("lb/state/web").Index != 0 {
			t.Error("the state outlives its document")
		}
		if s, ok := a.Status("web"); ok {
			t.Errorf("status %+v", s)
		}
		a.apply(stepsPlan(20))
		time.Sleep(time.Second)
		if s := m.stateOf("web"); s.Phase != Running || s.Index != 20 {
			t.Errorf("a new rollout of the same id: %+v", s)
		}
	})
	synctest.Test(t, func(t *testing.T) { // nobody has told what is applied
		m := newMemory()
		m.put("lb/state/web", `{"v":1,"id":"x","phase":"rolled_back","key":"lb/canary/web"}`)
		f := &Fleet{Store: m.link(), Self: Self{ID: "a"}}
		f.SetPlans(map[string]*Plan{})
		ctx, end := context.WithTimeout(t.Context(), 10*time.Minute)
		defer end()
		if err := f.Run(ctx); err != nil {
			t.Error(err)
		}
		if m.get("lb/state/web").Index == 0 {
			t.Error("the state is gone")
		}
	})
}

func TestStateIsWrittenAgainAfterConsulLostIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		a := m.join(t, "a", stepsPlan(7))
		time.Sleep(70 * time.Second)
		before := m.stateOf("web")
		if before.Step != 1 {
			t.Fatalf("state %+v", before)
		}
		// Consul lost the key, and whoever watches does not believe it.
		a.link.set(func() { a.ghosts = map[string]Pair{"lb/state/web": m.get("lb/state/web")} })
		m.remove("lb/state/web")
		time.Sleep(70 * time.Second)
		if s := m.stateOf("web"); s.Phase != Promoted || s.Began != before.Began {
			t.Errorf("state %+v", s)
		}
		m.noneSkipped(t, 3)
	})
}

func TestConsulLosesEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		done := stepsPlan(7)
		done.Service, done.Control = "done", Promote
		a := m.join(t, "a", stepsPlan(7), done)
		b := m.join(t, "b", stepsPlan(7), done)
		time.Sleep(70 * time.Second)
		if s := m.stateOf("web"); s.Step != 1 || m.stateOf("done").Phase != Promoted {
			t.Fatalf("state %+v", s)
		}
		m.wipe(a, b)
		time.Sleep(30 * time.Second)
		if s := m.stateOf("web"); s.Step != 1 || s.Phase != Running {
			t.Errorf("state %+v", s)
		}
		if s := m.stateOf("done"); s.Phase != Promoted {
			t.Errorf("state of what was promoted: %+v", s)
		}
		if len(leaders(a, b)) != 1 || len(a.Balancers("web")) != 2 {
			t.Errorf("%d lead, %d publish", len(leaders(a, b)), len(a.Balancers("web")))
		}
		time.Sleep(50 * time.Second)
		if s := m.stateOf("web"); s.Phase != Promoted {
			t.Errorf("in the end %+v", s)
		}
		m.noneSkipped(t, 3)
	})
}

func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		a := m.join(t, "a", stepsPlan(7))
		first := a.Events(t.Context(), 0)
		if len(first) != 1 || first[0].Kind != EventStart || first[0].Seq != 1 || first[0].By != "a" {
			t.Fatalf("events %+v", first)
		}
		began := time.Now()
		next := a.Events(t.Context(), 1)
		if len(next) != 1 || next[0].Kind != EventStep || next[0].Seq != 2 || time.Since(began) < 50*time.Second {
			t.Errorf("events %+v after %v", next, time.Since(began))
		}
		if got := a.Events(t.Context(), 99); len(got) != 2 {
			t.Errorf("after a number of another process: %+v", got)
		}
		ctx, end := context.WithTimeout(t.Context(), time.Second)
		defer end()
		if got := a.Events(ctx, 2); got != nil {
			t.Errorf("events %+v", got)
		}
	})
	var l eventLog
	for range maxEvents + 5 {
		l.add(Event{})
	}
	if got, _ := l.after(0); len(got) != maxEvents || got[0].Seq != 6 {
		t.Errorf("%d events from %d", len(got), got[0].Seq)
	}
	if got, _ := l.after(maxEvents); len(got) != 5 || got[0].Seq != maxEvents+1 {
		t.Errorf("%d events", len(got))
	}
}

// What is refused of a document is in its state, also where it is no rollout.
func TestRefusedDocumentsAreInTheState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		a, b := m.join(t, "a"), m.join(t, "b")
		say := func(invalid string) {
			for _, x := range []*balancer{a, b} {
				one := Applied{Index: 7, Hash: "h", Ratio: 0.1, Invalid: invalid}
				if invalid != "" {
					one.Rejected = 9
				}
				x.SetApplied(map[string]Applied{"web": one, "*": {Index: 5}})
			}
			time.Sleep(3 * time.Second)
		}
		say("")
		if m.get("lb/state/web").Index != 0 || m.get("lb/state/*").Index != 0 {
			t.Error("documents that are no rollout and are valid have a state")
		}
		say("lb/canary/web:1:2: no")
		if s := m.stateOf("web"); s.Phase != Idle || s.Invalid != "lb/canary/web:1:2: no" || s.Index != 7 || s.Hash != "h" || s.By == "" {
			t.Errorf("refused: %+v", s)
		}
		if m.get("lb/state/*").Index != 0 {
			t.Error("the neighbour has a state")
		}
		if s, ok := a.Status("web"); ok {
			t.Errorf("it is taken for a rollout: %+v", s)
		}
		index := m.get("lb/state/web").Index
		time.Sleep(time.Minute)
		if m.get("lb/state/web").Index != index {
			t.Error("it is written again and again")
		}
		say("")
		if s := m.stateOf("web"); s.Phase != Idle || s.Invalid != "" {
			t.Errorf("valid again: %+v", s)
		}

		// A rollout begins from it as from nothing.
		a.apply(stepsPlan(11))
		b.apply(stepsPlan(11))
		time.Sleep(3 * time.Second)
		if s := m.stateOf("web"); s.Phase != Running || s.Ratio != 0.1 || s.Index != 11 {
			t.Errorf("the rollout: %+v", s)
		}

		// What a document without a plan has left keeps its phase.
		say("lb/canary/web:3:4: no")
		if s := m.stateOf("web"); s.Phase != Running || s.ID != "v2" || s.Invalid == "" {
			t.Errorf("refused after a rollout: %+v", s)
		}
		a.apply()
		b.apply()
		time.Sleep(5 * time.Second)
		if m.get("lb/state/web").Index != 0 {
			t.Error("the state outlives its document")
		}
	})
	synctest.Test(t, func(t *testing.T) { // nobody here has seen the document
		m := newMemory()
		m.put("lb/state/old", `{"v":1,"phase":"idle","invalid":"no"}`)
		m.join(t, "a", stepsPlan(7))
		time.Sleep(2 * time.Minute)
		if m.get("lb/state/old").Index != 0 {
			t.Error("an idle state outlives its document")
		}
	})
}

// Every transition is an entry of the ring, a line of the log, a count, an event
// for those who wait for one, and what webhooks are told: each in all five, once,
// and in this order.
func TestATransitionIsToldEverywhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		reg := prometheus.NewPedanticRegistry()
		var log bytes.Buffer
		var mu sync.Mutex // guards log
		var posted []string
		a := m.joinWith(t, "a", func(f *Fleet) {
			f.Metrics, f.Logger = NewMetrics(reg), hclog.New(&hclog.LoggerOptions{Output: &log, Mutex: &mu, DisableTime: true})
			happened := f.Happened
			f.Happened = func(e Event, p *Plan) {
				happened(e, p)
				posted = append(posted, fmt.Sprintf("%s %t", e.Kind, p != nil && p.ID == e.ID))
			}
		})
		say := func(index uint64, word Control) {
			p := stepsPlan(index)
			p.Control = word
			a.apply(p)
			time.Sleep(2 * time.Second)
		}
		say(7, "")
		time.Sleep(time.Minute)
		say(8, Pause)
		say(9, "")
		say(10, Promote)
		say(11, Abort)
		say(12, "")
		a.SetApplied(map[string]Applied{"web": {Index: 12, Hash: "h", Rejected: 13, Invalid: "no"}})
		time.Sleep(2 * time.Second)

		want := []string{EventStart, EventStep, EventPause, EventResume, EventPromote, EventRollback, EventDocument, EventInvalid}
		if kinds := slices.Sorted(slices.Values(Kinds())); !slices.Equal(slices.Sorted(slices.Values(want)), kinds) {
			t.Errorf("it shows %q, there are %q", want, kinds)
		}
		is := func(where string, got []string) {
			t.Helper()
			if !slices.Equal(got, want) {
				t.Errorf("%s: %q, want %q", where, got, want)
			}
		}
		var kinds []string
		ring, err := ParseRing(m.get("lb/log/web").Value)
		if err != nil {
			t.Error(err)
		}
		for _, e := range ring {
			kinds = append(kinds, e.Kind)
			if e.Because == "" || e.Index == 0 || e.Hash == "" || e.By != "a" || e.Time.IsZero() {
				t.Errorf("the entry %+v does not say all", e)
			}
		}
		is("the ring", kinds)
		kinds = nil
		mu.Lock()
		for _, line := range regexp.MustCompile(`rollout: (\w+): service=web `).FindAllStringSubmatch(log.String(), -1) {
			kinds = append(kinds, line[1])
		}
		mu.Unlock()
		is("the log", kinds)
		kinds = nil
		for i, e := range a.Events(t.Context(), 0) {
			kinds = append(kinds, e.Kind)
			if e.Seq != uint64(i+1) {
				t.Errorf("event %d has the number %d", i, e.Seq)
			}
		}
		is("events", kinds)
		kinds = nil
		for _, line := range posted {
			kind, plan, _ := strings.Cut(line, " ")
			if kinds = append(kinds, kind); plan != "true" {
				t.Errorf("%s is told without the plan, which names the webhooks", kind)
			}
		}
		is("webhooks", kinds)
		text, _ := exposed(t, reg)
		for _, kind := range want {
			if !strings.Contains(text, "transitions_total "+kind+" web 1") {
				t.Errorf("%s is not counted once:\n%s", kind, text)
			}
		}
	})
}
