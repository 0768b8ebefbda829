package rollout

import "time"

// Position is what a rollout asks for at one moment.
type Position struct {
	Ratio   float64
	Mirror  *float64 // of the step; nil: the document's
	Phase   Phase
	Step    int
	Because string    // why Ratio is not what the document's plan says, "" when it is
	Again   time.Time // when to ask again although nothing changed; zero: never
}

// At returns what the rollout asks for at now. A State of another rollout (ID),
// and the zero State, are one that has not begun: a ratio and a ramp between
// two times then hold as the document says, steps and a ramp over a time wait
// at 0. The operator's abort and promote hold at once, before any state says
// so; what was rolled back stays at 0 whatever the document says. While a state
// was not yet made for a newer document, its share holds. At is pure, Ratio is
// within 0..1 for any State, and a nil Plan is at 0.
func At(p *Plan, s State, now time.Time) Position {
	if p == nil {
		return Position{Phase: Idle}
	}
	at := Position{Phase: s.Phase, Step: s.Step}
	damage := s.damage()
	if !s.begun(p) && damage == "" {
		at = Position{Phase: Idle}
	}
	current := s.begun(p) && damage == "" && s.Plan == p.basis(s.Step)
	switch {
	case s.begun(p) && s.Phase == RolledBack:
		at.Because = s.Because
	case p.Control == Abort:
		at.Phase, at.Because = RolledBack, "control is abort"
	case s.begun(p) && s.Phase == Promoted:
		at.Ratio = 1
		if p.form() == byRatio && p.Control != Promote {
			at.Because = s.Because
		}
	case p.Control == Promote:
		at.Phase, at.Ratio = Promoted, 1
	case damage != "":
		at.Because = "held: " + Held(p, s)
		switch {
		case s.begun(p):
			at.Ratio = s.share(now)
		case p.form() == byRatio:
			at.Ratio = share(p.Ratio)
		case p.form() == byRamp && p.Ramp.fixed():
			at.Ratio, at.Again = along(p.Ramp.line(now), now)
		}
		at.Phase, at.Step = known(at.Phase), max(0, at.Step)
	case at.Phase == Idle && p.form() == byRatio:
		at.Ratio = share(p.Ratio)
	case at.Phase == Idle && p.form() == byRamp && p.Ramp.fixed():
		at.Ratio, at.Again = along(p.Ramp.line(now), now)
	case at.Phase == Idle:
		at.Because = "the rollout has not begun: no balancer that leads has taken its first step"
	case p.form() == byRatio: // also while paused: nothing but the document moves it
		at.Ratio = share(p.Ratio)
	case s.Phase == Paused:
		at.Ratio, at.Because = share(s.Ratio), s.Because
		if current {
			at.Mirror = p.mirrorOf(s.Step)
			at.Again = p.ends(s, now)
		}
	case p.Control == Pause:
		at.Ratio, at.Because = s.share(now), "control is pause"
	case p.form() == byRamp && p.Ramp.fixed() && !current:
		at.Ratio, at.Again = along(p.Ramp.line(now), now)
	case p.form() == byRamp && current:
		at.Ratio, at.Again = along(s.Line, now)
	case current:
		at.Ratio, at.Mirror, at.Again = share(s.Ratio), p.mirrorOf(s.Step), p.ends(s, now)
	default:
		at.Ratio, at.Because = s.share(now), "held until a balancer that leads has taken in the new document"
	}
	return at
}

func along(l Line, now time.Time) (float64, time.Time) { return l.at(now), l.again(now) }

// known is the phase, idle when it is none.
func known(p Phase) Phase {
	switch p {
	case Running, Paused, Promoted, RolledBack:
		return p
	}
	return Idle
}

// mirrorOf is the mirror of step i, nil without one.
func (p *Plan) mirrorOf(i int) *float64 {
	if i < 0 || i >= len(p.Steps) || p.Steps[i].Mirror == nil {
		return nil
	}
	m := share(*p.Steps[i].Mirror)
	return &m
}

// ends is the next moment after now at which time alone may move a rollout by
// steps; zero: none.
func (p *Plan) ends(s State, now time.Time) time.Time {
	if p.form() != bySteps || s.Step < 0 || s.Step >= len(p.Steps) {
		return time.Time{}
	}
	step := p.Steps[s.Step]
	var times []time.Time
	switch {
	case s.Phase == Paused:
		if s.PausedBy == ByStep && step.PauseFor > 0 {
			times = append(times, later(s.Entered, step.PauseFor))
		}
	case step.For > 0:
		times = append(times, later(s.Entered, step.For))
		fallthrough
	default:
		if p.gated(s.Step) && p.Analysis.OnInconclusive != "" && p.Analysis.OnInconclusive != "wait" {
			times = append(times, later(later(s.Entered, step.For), p.Analysis.MaxWait))
		}
	}
	for _, t := range times {
		if t.After(now) {
			return t
		}
	}
	return time.Time{}
}
