package rollout

import (
	"encoding/json"
	"fmt"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"serin/canary/evidence"
)

var noon = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)

// drawPlan draws a plan whose share never falls by its own words.
func drawPlan(t *rapid.T) *Plan {
	p := &Plan{Service: "web", Key: "lb/canary/web", ID: "v2", Index: 1, Hash: "1"}
	minutes := func(name string) time.Duration {
		return time.Duration(rapid.IntRange(0, 20).Draw(t, name)) * time.Minute
	}
	switch rapid.SampledFrom([]form{byRatio, byRamp, bySteps}).Draw(t, "form") {
	case byRatio:
		p.Ratio = rapid.Float64Range(0, 1).Draw(t, "ratio")
	case byRamp:
		from := rapid.Float64Range(0, 1).Draw(t, "from")
		p.Ramp = &Ramp{From: from, To: rapid.Float64Range(from, 1).Draw(t, "to")}
		if rapid.Bool().Draw(t, "window") {
			p.Ramp.Start = noon.Add(minutes("start"))
			p.Ramp.End = p.Ramp.Start.Add(time.Minute + minutes("end"))
		} else {
			p.Ramp.Over = time.Second + minutes("over")
		}
	case bySteps:
		ratio := 0.0
		for range rapid.IntRange(1, 6).Draw(t, "steps") {
			step := Step{For: minutes("for")}
			switch rapid.IntRange(0, 3).Draw(t, "kind") {
			case 0:
				step = Step{Pause: true, PauseFor: minutes("pause")}
			case 1:
				step.Mirror = new(0.5)
			default:
				ratio = rapid.Float64Range(ratio, 1).Draw(t, "ratio")
				step.Ratio = new(ratio)
			}
			p.Steps = append(p.Steps, step)
		}
	}
	if rapid.Bool().Draw(t, "judged") {
		p.Analysis = &Analysis{
			OnFail:         rapid.SampledFrom([]string{"", "rollback", "pause"}).Draw(t, "on_fail"),
			OnInconclusive: rapid.SampledFrom([]string{"", "wait", "pause", "promote"}).Draw(t, "on_inconclusive"),
			MaxWait:        minutes("max_wait"),
		}
	}
	return p
}

// Without evidence against the canary and without an operator the share never
// falls, whatever verdicts come, whoever leads when; no step is skipped or
// taken twice; and between calls At agrees with the state.
func TestTheShareNeverFallsByItself(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, s, now := drawPlan(t), State{}, noon
		if p.form() == byRatio || p.form() == byRamp && p.Ramp.fixed() {
			s, _ = Next(p, s, evidence.Finding{}, now) // their share holds before any state does
		}
		last := At(p, s, now).Ratio
		step, moves := s.Step, s.Moves
		for range rapid.IntRange(1, 40).Draw(t, "moments") {
			now = now.Add(time.Duration(rapid.IntRange(0, 600).Draw(t, "seconds")) * time.Second)
			f := evidence.Finding{Verdict: rapid.SampledFrom([]evidence.Verdict{"", evidence.Undecided, evidence.Pass, evidence.Inconclusive}).Draw(t, "verdict")}
			calls := 0
			for rapid.IntRange(0, 3).Draw(t, "led") > 0 {
				before := At(p, s, now).Ratio
				next, events := Next(p, s, f, now)
				if next == s {
					break
				}
				if calls++; calls > 20 {
					t.Fatalf("no end of steps: %+v", s)
				}
				if d := next.Step - step; d < 0 || d > 1 || d == 1 && next.Moves != moves+1 && s.Phase != "" {
					t.Fatalf("from step %d to %d, moves %d to %d", step, next.Step, moves, next.Moves)
				}
				for _, e := range events {
					if e.To < e.From || e.From < 0 || e.To > 1 || e.Because == "" {
						t.Fatalf("event %+v", e)
					}
				}
				step, moves, s = next.Step, next.Moves, next
				if after := At(p, s, now).Ratio; after < before {
					t.Fatalf("a step lowers %v to %v: %+v", before, after, s)
				}
			}
			ratio := At(p, s, now).Ratio
			if ratio < last {
				t.Fatalf("from %v to %v by time alone: %+v", last, ratio, s)
			}
			last = ratio
		}
	})
}

// With the same id a rollout that was rolled back is at 0 for ever.
func TestRolledBackStays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := State{V: Version, ID: "v2", Phase: RolledBack, Because: "worse", Began: noon, Since: noon}
		now := noon
		for i := range 20 {
			p := drawPlan(t)
			p.Index, p.Hash = uint64(i+1), fmt.Sprint(i)
			p.Control = rapid.SampledFrom([]Control{"", Run, Pause, Promote, Abort}).Draw(t, "control")
			now = now.Add(time.Duration(rapid.IntRange(-60, 9000).Draw(t, "seconds")) * time.Second)
			f := evidence.Finding{Verdict: rapid.SampledFrom([]evidence.Verdict{evidence.Undecided, evidence.Pass, evidence.Worse}).Draw(t, "verdict")}
			if at := At(p, s, now); at.Ratio != 0 || at.Phase != RolledBack || at.Because != "worse" {
				t.Fatalf("before: %+v", at)
			}
			s, _ = Next(p, s, f, now)
			if at := At(p, s, now); at.Ratio != 0 || at.Phase != RolledBack {
				t.Fatalf("after: %+v", at)
			}
			p.ID = "v3"
			if next, _ := Next(p, s, evidence.Finding{}, now); p.Control != Abort && next.Phase == RolledBack {
				t.Fatalf("another id begins nothing: %+v", next)
			}
		}
	})
}

// An edit lowers the share only where no step of the new document is as high.
func TestEditsDoNotLower(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, now := drawPlan(t), noon
		s, _ := Next(p, State{}, evidence.Finding{}, now)
		for i := range 10 {
			now = now.Add(time.Duration(rapid.IntRange(0, 900).Draw(t, "seconds")) * time.Second)
			s, _ = Next(p, s, evidence.Finding{Verdict: evidence.Pass}, now)
			before := At(p, s, now).Ratio
			p = drawPlan(t)
			p.Index, p.Hash = uint64(i+2), fmt.Sprint(i)
			s, _ = Next(p, s, evidence.Finding{}, now)
			after := At(p, s, now).Ratio
			most := p.ratioOf(len(p.Steps) - 1)
			switch {
			case p.form() == byRatio || p.form() == byRamp && p.Ramp.fixed() && s.Phase != Paused:
				continue // they say outright what the share is
			case p.form() == byRamp:
				most = p.Ramp.To
			}
			if after < before-1e-9 && after < most-1e-9 {
				t.Fatalf("from %v to %v, and the plan goes to %v: %+v", before, after, most, s)
			}
		}
	})
}

// Whatever the state, the plan and the time are: no panic, a share within 0..1,
// an end of steps, a state that JSON can hold, and times to ask again that come.
func checkTotal(t interface{ Fatalf(string, ...any) }, p *Plan, s State, f evidence.Finding, now time.Time) {
	for range 2*len(p.Steps) + 20 {
		at := At(p, s, now)
		if !(at.Ratio >= 0 && at.Ratio <= 1) || at.Mirror != nil && !(*at.Mirror >= 0 && *at.Mirror <= 1) {
			t.Fatalf("At: %+v", at)
		}
		if !at.Again.IsZero() && !at.Again.After(now) {
			t.Fatalf("At asks to be asked again at %v, and it is %v", at.Again, now)
		}
		Waits(p, s, f, now)
		next, events := Next(p, s, f, now)
		if next == s {
			if len(events) > 0 {
				t.Fatalf("events without a change: %+v", events)
			}
			return
		}
		if why := next.damage(); why != "" {
			t.Fatalf("Next makes a state that is %s: %+v", why, next)
		}
		if _, err := json.Marshal(next); err != nil {
			t.Fatalf("%v: %+v", err, next)
		}
		for _, e := range events {
			if _, err := json.Marshal(e); err != nil || !(e.From >= 0 && e.From <= 1 && e.To >= 0 && e.To <= 1) {
				t.Fatalf("%v: %+v", err, e)
			}
		}
		s = next
	}
	t.Fatalf("no end of steps: %+v", s)
}

func FuzzNext(f *testing.F) {
	f.Add([]byte(`{}`), []byte(`{"Steps":[{"Ratio":0.1,"For":5},{"Pause":true}],"Analysis":{"MaxWait":5}}`), "worse", 1e300, int64(0))
	f.Add([]byte(`{"v":1,"phase":"running","step":7,"ratio":0.3}`), []byte(`{"Steps":[{"Ratio":0.1}]}`), "pass", 0.0, int64(1<<40))
	f.Add([]byte(`{"v":1,"phase":"paused","paused_by":"step","step":0,"line":{"from":1,"to":0}}`), []byte(`{"Ramp":{"From":-3,"To":9,"Over":-1},"Control":"run"}`), "", -1.0, int64(-1<<62))
	f.Add([]byte(`{"v":1,"phase":"paused","entered":"9999-12-31T23:59:59Z","since":"0001-01-01T00:00:00Z","plan":"ratio"}`), []byte(`{"Ramp":{"To":1,"Over":9223372036854775807}}`), "worse", 5.0, int64(1<<61))
	f.Add([]byte(`{"v":1,"phase":"paused","step":1}`), []byte(`{"Steps":[{"Ratio":2,"For":-5},{"PauseFor":-7,"Pause":true}],"Control":"promote"}`), "worse", 5.0, int64(1))
	f.Fuzz(func(t *testing.T, state, plan []byte, verdict string, e float64, at int64) {
		p := &Plan{Service: "web"}
		if json.Unmarshal(plan, p) != nil || len(p.Steps) > 1000 {
			return
		}
		if p.Steps != nil {
			p.Ramp = nil
		}
		finding := evidence.Finding{Verdict: evidence.Verdict(verdict), E: e, Threshold: e, Bound: math.NaN()}
		now := time.Unix(0, at)
		checkTotal(t, p, parseState(state, State{}), finding, now)
		var raw State // also one that parseState refuses
		if json.Unmarshal(state, &raw) == nil {
			checkTotal(t, p, raw, finding, now)
		}
	})
}

// A balancer that has an older document than the state was made for leaves it.
func TestNextOfABalancerThatIsBehind(t *testing.T) {
	p := &Plan{Service: "web", Key: "lb/canary/web", ID: "v2", Index: 5, Hash: "5", Steps: []Step{{Ratio: new(0.1)}}}
	s, _ := Next(p, State{}, evidence.Finding{}, noon)
	old := *p
	old.Index, old.Hash, old.ID, old.Control = 4, "4", "v1", Promote
	if next, events := Next(&old, s, evidence.Finding{}, noon); next != s || events != nil || Held(&old, s) == "" {
		t.Errorf("got %+v %v", next, events)
	}
	old.Key = "consul://other/key" // another source has indexes of its own
	if next, _ := Next(&old, s, evidence.Finding{}, noon); next.Phase != Promoted || Held(&old, s) != "" {
		t.Errorf("got %+v", next)
	}
}

func TestDamagedStates(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		last := State{V: 1, ID: "v2", Phase: Running, Ratio: 0.25}
		s := parseState([]byte(text), last)
		if s.Damaged != want {
			t.Errorf("%s: damaged %q, want %q", text, s.Damaged, want)
		}
		p := &Plan{Service: "web", ID: "v2", Steps: []Step{{Ratio: new(0.5)}}}
		if at := At(p, s, noon); want != "" && (at.Ratio != 0.25 || at.Because != "held: "+want+"; delete lb/state/web to begin anew") {
			t.Errorf("%s: %+v", text, at)
		}
		if next, _ := Next(p, s, evidence.Finding{}, noon); want != "" && next != s {
			t.Errorf("%s: changed to %+v", text, next)
		}
	}
	f(`{"v":1,"id":"v2","phase":"running","ratio":0.25}`, "")
	f(`{"v":1,"phase":"`, "the state cannot be read: unexpected end of JSON input")
	f(`{"v":1,"phase":"flying"}`, `the state's phase "flying" is none`)
	f(`{"v":1,"phase":"running","ratio":1.5}`, "the state's ratio 1.5 is not within 0..1")
	f(`{"v":1,"phase":"running","step":-1}`, "the state's step -1 is below 0")
	f(`{"v":1,"line":{"from":7}}`, "the state's line from 7 to 0 is not within 0..1")
	f(`{"v":2,"phase":{"new":"form"}}`, "the state is of version 2 and this balancer knows 1: update the balancer")
	f(`{"v":-1}`, "the state is of version -1 and this balancer knows 1")
}
