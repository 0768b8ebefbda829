package rollout

import (
	"cmp"
	"fmt"
	"time"

	"serin/canary/evidence"
)

// Waits says in one sentence what a rollout waits for, "" when for nothing: for
// people who ask why it does not go on. It is pure.
func Waits(p *Plan, s State, f evidence.Finding, now time.Time) string {
	if p == nil {
		return ""
	}
	if why := Held(p, s); why != "" {
		return "held: " + why
	}
	switch {
	case p.Control == Abort && (!s.begun(p) || s.Phase != RolledBack):
		return "a balancer that leads notes the abort, which is in force already"
	case !s.begun(p):
		return "a balancer that leads takes the first step"
	case s.Phase == RolledBack:
		return "another id begins a new rollout"
	case s.Phase == Promoted:
		return ""
	case s.Plan != p.basis(s.Step):
		return "a balancer that leads takes in the new document"
	case s.Phase == Paused && s.PausedBy == ByControl:
		return "the operator: control is pause"
	case s.Phase == Paused:
		out := "the operator: control run goes on, promote and abort end it"
		if at := p.ends(s, now); !at.IsZero() {
			out = fmt.Sprintf("%s more, or the operator: control run goes on", left(now, at))
		}
		return out
	case p.form() == byRamp:
		if !now.Before(s.Line.End) {
			return ""
		}
		return fmt.Sprintf("%s more until the ramp is at %s", left(now, s.Line.End), percent(s.Line.To))
	case p.form() == byRatio:
		return ""
	case p.endless(s.Step):
		return "the operator: " + p.name(s.Step) + " has no end of its own; control promote, or another document, goes on"
	}
	end := later(s.Entered, p.Steps[s.Step].For)
	gate := "the canary to pass: " + cmp.Or(f.Because, string(cmp.Or(f.Verdict, evidence.Undecided)))
	switch limit := later(end, p.limit()); {
	case !p.gated(s.Step) && now.Before(end):
		return fmt.Sprintf("%s more in %s", left(now, end), p.name(s.Step))
	case !p.gated(s.Step):
		return "a balancer that leads takes the next step"
	case now.Before(end):
		return fmt.Sprintf("%s more in %s, and %s", left(now, end), p.name(s.Step), gate)
	case cmp.Or(p.Analysis.OnInconclusive, "wait") == "wait":
		return gate
	default:
		return fmt.Sprintf("%s; %s in %s", gate, p.Analysis.OnInconclusive, left(now, limit))
	}
}

// limit is how long a gate may take.
func (p *Plan) limit() time.Duration {
	if p.Analysis == nil {
		return 0
	}
	return p.Analysis.MaxWait
}

func left(now, at time.Time) string { return brief(max(0, at.Sub(now).Round(time.Second))) }
