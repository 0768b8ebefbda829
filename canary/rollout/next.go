package rollout

import (
	"cmp"
	"fmt"
	"time"

	"serin/canary/evidence"
)

// Next returns the state that follows s at now, given what was found, and what
// happened on the way; s itself, and no events, when nothing is to be done. It is pure.
//
// One call takes one step at most, however much time has passed: call it again
// with what it returned until it returns that. f must be about the step that s
// is in: where it passes, requests of earlier steps must not be what it counts as
// those of this one (State.Moves tells them apart). State.By and Event.By are
// left to the caller.
func Next(p *Plan, s State, f evidence.Finding, now time.Time) (State, []Event) {
	if p == nil || Held(p, s) != "" {
		return s, nil
	}
	m := move{p: p, s: s, f: finite(f), now: now.UTC().Round(0), from: s.share(now)}
	switch {
	case !s.begun(p):
		m.from = At(p, s, now).Ratio
		m.begin()
	default:
		m.adopt()
		m.decide()
	}
	if m.s == s {
		return s, nil
	}
	m.s.V, m.s.At = Version, m.now
	for i := range m.events {
		m.events[i].Index, m.events[i].Hash = m.s.Index, m.s.Hash
	}
	return m.s, m.events
}

// move is one call of Next.
type move struct {
	p      *Plan
	s      State
	f      evidence.Finding
	now    time.Time
	from   float64 // share before the next event
	events []Event
}

// happen notes an event whose effect on m.s is complete, for the state's reason.
func (m *move) happen(kind string) { m.tell(kind, m.s.Because) }

func (m *move) tell(kind, why string) {
	e := Event{
		Time: m.now, Service: m.p.Service, ID: m.s.ID, Kind: kind, Phase: m.s.Phase, Step: m.s.Step,
		From: m.from, To: m.s.share(m.now), Because: why,
	}
	if m.p.Analysis != nil {
		m.s.Finding = m.f
		e.Evidence = new(m.f)
	}
	m.from = e.To
	m.events = append(m.events, e)
}

// begin makes the state of a rollout that has not begun.
func (m *move) begin() {
	p := m.p
	m.f = evidence.Finding{} // whatever it is, it is of another rollout
	m.s = State{
		V: Version, ID: p.ID, Phase: Running, Began: m.now, Since: m.now, Entered: m.now, Invalid: m.s.Invalid,
		Key: p.Key, Index: p.Index, Hash: p.Hash, Plan: p.basis(0),
	}
	switch p.form() {
	case byRatio:
		m.s.Ratio = share(p.Ratio)
	case byRamp:
		m.s.Line = p.Ramp.line(m.now)
		if p.Ramp.fixed() {
			m.s.Ratio = m.s.Line.at(m.now)
		}
	}
	switch p.Control {
	case Abort:
		m.rollback("control is abort")
	case Promote:
		m.promote("control is promote")
	case Pause:
		m.s.Phase = Paused // steps, and a ramp over a time, at 0
		m.pause(ByControl, "paused before it began: control is pause")
	default:
		if p.form() == bySteps {
			m.enter(0, "the rollout began with "+p.name(0), EventStart)
			return
		}
		m.s.Because = "the rollout began with " + m.whole()
		m.happen(EventStart)
	}
}

// adopt takes in another document of the same rollout.
func (m *move) adopt() {
	p, s := m.p, &m.s
	other := s.Key != p.Key || s.Index != p.Index || s.Hash != p.Hash
	s.Key, s.Index, s.Hash = p.Key, p.Index, p.Hash
	if s.Phase == Promoted || s.Phase == RolledBack {
		if other {
			m.tell(EventDocument, "another document of the same id; it stays "+m.stays())
		}
		return
	}
	if s.Plan != p.basis(s.Step) || p.form() == bySteps && s.Step >= len(p.Steps) {
		m.rebase()
	}
	if r := share(p.Ratio); p.form() == byRatio && s.Ratio != r {
		s.Ratio, s.Entered = r, m.now
		s.Moves++
		if s.Phase == Running {
			s.Because = "the document says " + percent(r)
		}
	}
	switch {
	case other && s.Phase == Paused:
		m.tell(EventDocument, "another document of the same id; it stays "+m.stays())
	case other:
		m.tell(EventDocument, "another document of the same id; it goes on with "+m.whole())
	}
}

// stays names a phase that another document does not end.
func (m *move) stays() string {
	switch m.s.Phase {
	case Promoted:
		return "promoted until the id is another"
	case RolledBack:
		return "rolled back until the id is another"
	}
	return "paused: " + m.s.Because
}

// rebase continues a rollout by a plan that is another one where it stands.
func (m *move) rebase() {
	p, s := m.p, &m.s
	ratio := m.from
	if s.PausedBy == ByStep { // which is not there any more
		m.run()
	}
	s.Line = Line{}
	s.Moves++
	since := m.now // what the line and the step count from
	if s.Phase == Paused {
		since = s.Since // resume adds what passed since then
	}
	switch p.form() {
	case byRatio:
		s.Step, s.Ratio = 0, share(p.Ratio)
	case byRamp:
		s.Step, s.Line = 0, p.Ramp.line(m.now)
		if s.Phase == Paused || !p.Ramp.fixed() {
			s.Line = s.Line.through(ratio, since)
		}
	case bySteps:
		s.Step = len(p.Steps) - 1
		for i := range p.Steps {
			if p.ratioOf(i) >= ratio {
				s.Step = i
				break
			}
		}
		if s.Phase == Running {
			m.place(s.Step)
		}
	}
	s.Plan, s.Entered = p.basis(s.Step), since
	if s.Phase == Running {
		s.Since, s.Because = m.now, "another document of the same id: the rollout goes on with "+m.whole()
	}
}

// decide does what the operator, the evidence or time ask for.
func (m *move) decide() {
	p, s := m.p, &m.s
	switch {
	case s.Phase == RolledBack:
	case p.Control == Abort:
		m.again(func() { m.rollback("control is abort") })
	case s.Phase == Promoted:
	case p.Control == Promote:
		m.again(func() { m.promote("control is promote") })
	case m.worse() && !(s.Phase == Paused && s.PausedBy == ByEvidence):
		why := "the canary is worse than stable: " + cmp.Or(m.f.Because, "E is "+number(m.f.E))
		if p.Analysis.OnFail == "pause" {
			m.pause(ByEvidence, why)
		} else {
			m.rollback(why)
		}
	case p.Control == Pause:
		if s.Phase == Running || s.PausedBy == ByStep {
			m.again(func() { m.pause(ByControl, "control is pause") })
		}
	case s.Phase == Paused:
		m.wait()
	case p.form() == byRamp:
		if !m.now.Before(s.Line.End) && s.Line.To == 1 {
			m.promote("the ramp is at its end")
		}
	case p.form() == bySteps:
		m.stay()
	}
}

// again lets what follows take the place of the event that another document is in
// force: one word of the operator is one event.
func (m *move) again(do func()) {
	if n := len(m.events); n > 0 && m.events[n-1].Kind == EventDocument {
		m.from = m.events[n-1].From
		m.events = m.events[:n-1]
	}
	do()
}

// worse tells whether the evidence says that the canary is worse, and no operator
// has overruled it.
func (m *move) worse() bool {
	if m.p.Analysis == nil || m.f.Verdict != evidence.Worse {
		return false
	}
	return m.s.Overruled <= 0 || m.f.E >= m.s.Overruled*m.f.Threshold
}

// told tells whether the operator has said run since the rollout paused.
func (m *move) told() bool {
	return m.p.Control == Run && (m.p.Index != m.s.PausedIndex || m.p.Hash != m.s.PausedHash)
}

// wait looks for the end of a pause.
func (m *move) wait() {
	p, s := m.p, &m.s
	inPause := p.form() == bySteps && p.Steps[s.Step].Pause
	switch s.PausedBy {
	case ByStep:
		limit := time.Duration(0)
		if inPause {
			limit = p.Steps[s.Step].PauseFor
		}
		switch {
		case !inPause:
			m.resume("the document has no pause here any more")
		case m.told():
			m.again(func() { m.resume("control is run"); m.advance("the operator ended the pause") })
		case limit > 0 && !m.now.Before(later(s.Entered, limit)):
			m.resume("the pause of " + brief(limit) + " is over")
			m.advance("the pause of " + brief(limit) + " is over")
		}
	case ByControl:
		// Whatever the word is now, it is not pause.
		switch {
		case inPause && m.told():
			m.again(func() { m.resume("control is run"); m.advance("the operator ended the pause") })
		case inPause:
			m.again(func() { m.enter(s.Step, "control is no longer pause, and "+p.name(s.Step)+" waits", EventPause) })
		default:
			m.again(func() { m.resume("control is no longer pause") })
		}
	default:
		if !m.told() {
			return
		}
		if s.PausedBy == ByEvidence {
			s.Overruled = max(1, m.f.E, finite(s.Finding).E) // m.f may lag behind a veto's
		}
		m.again(func() {
			m.resume("control is run")
			if inPause {
				m.advance("the operator ended the pause")
			}
		})
	}
}

// resume ends a pause in the step, or on the ramp, where it began.
func (m *move) resume(why string) {
	s := &m.s
	paused := max(0, m.now.Sub(s.Since))
	if s.Line != (Line{}) {
		s.Line = s.Line.resumed(s.Since, m.now)
	}
	s.Entered = later(s.Entered, paused)
	if s.Entered.After(m.now) {
		s.Entered = m.now
	}
	if m.p.form() == bySteps {
		// What a gate had waited for is waited for anew.
		if limit := m.p.Steps[s.Step].For; m.now.Sub(s.Entered) > limit {
			s.Entered = later(m.now, -limit)
		}
		s.Ratio = m.p.ratioOf(s.Step)
	}
	m.run()
	s.Since, s.Because = m.now, why
	m.happen(EventResume)
}

// run leaves the phase paused.
func (m *move) run() {
	m.s.Phase, m.s.PausedBy, m.s.PausedIndex, m.s.PausedHash = Running, "", 0, ""
}

// stay looks whether the step has been stayed in for long enough.
func (m *move) stay() {
	p, s := m.p, &m.s
	step := p.Steps[s.Step]
	if step.Pause { // only a damaged state runs here
		m.enter(s.Step, p.name(s.Step)+" waits", EventPause)
		return
	}
	end := later(s.Entered, max(0, step.For))
	if p.endless(s.Step) || m.now.Before(end) {
		return
	}
	had := p.name(s.Step) + " had its " + brief(step.For)
	if step.For <= 0 {
		had = p.name(s.Step) + " has no time to wait for"
	}
	switch {
	case !p.gated(s.Step):
		m.advance(had)
	case m.f.Verdict == evidence.Pass:
		m.advance(had + ", and the canary passed: " + cmp.Or(m.f.Because, "its errors are few"))
	case m.now.Before(later(end, p.Analysis.MaxWait)):
	case p.Analysis.OnInconclusive == "pause":
		m.pause(ByGate, m.waited())
	case p.Analysis.OnInconclusive == "promote":
		m.advance(m.waited() + "; on_inconclusive is promote")
	}
}

func (m *move) waited() string {
	return fmt.Sprintf("no verdict within %s after %s: %s", brief(m.p.Analysis.MaxWait), m.p.name(m.s.Step),
		cmp.Or(m.f.Because, string(cmp.Or(m.f.Verdict, evidence.Undecided))))
}

// advance goes to the next step, or past the last one.
func (m *move) advance(why string) {
	if m.s.Step+1 >= len(m.p.Steps) {
		m.promote(why + ", and it was the last")
		return
	}
	kind := EventStep
	if m.p.Steps[m.s.Step+1].Pause {
		kind, why = EventPause, m.p.name(m.s.Step+1)+": "+why
	}
	m.enter(m.s.Step+1, why, kind)
}

// enter begins a step.
func (m *move) enter(i int, why, kind string) {
	m.place(i)
	m.s.Entered, m.s.Since, m.s.Because = m.now, m.now, why
	m.s.Moves++
	m.happen(kind)
}

// place puts the state into a step, running or paused as the step is.
func (m *move) place(i int) {
	s := &m.s
	m.run()
	s.Step, s.Plan, s.Ratio = i, m.p.basis(i), m.p.ratioOf(i)
	if m.p.Steps[i].Pause {
		s.Phase, s.PausedBy, s.PausedIndex, s.PausedHash = Paused, ByStep, m.p.Index, m.p.Hash
		s.Since, s.Because = m.now, m.p.name(i)+" waits"
	}
}

func (m *move) pause(by, why string) {
	s := &m.s
	if s.Phase == Running {
		s.Ratio = s.share(m.now)
		s.Since = m.now
	}
	s.Phase, s.PausedBy, s.PausedIndex, s.PausedHash = Paused, by, m.p.Index, m.p.Hash
	s.Because = why
	m.happen(EventPause)
}

func (m *move) promote(why string) {
	m.end(Promoted, 1, why, EventPromote)
}

func (m *move) rollback(why string) {
	m.end(RolledBack, 0, why, EventRollback)
}

func (m *move) end(phase Phase, ratio float64, why, kind string) {
	s := &m.s
	m.run()
	s.Phase, s.Ratio, s.Line, s.Since, s.Because = phase, ratio, Line{}, m.now, why
	m.happen(kind)
}
