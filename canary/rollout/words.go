package rollout

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// whole names what moves the share now.
func (m *move) whole() string {
	switch m.p.form() {
	case bySteps:
		return m.p.name(m.s.Step)
	case byRamp:
		return fmt.Sprintf("a ramp from %s to %s until %s", percent(m.s.Line.From), percent(m.s.Line.To), m.s.Line.End.Format(time.RFC3339))
	}
	return "the ratio " + percent(m.s.Ratio)
}

// name is a step as people count it: from 1.
func (p *Plan) name(i int) string {
	what := percent(p.ratioOf(i))
	switch s := p.Steps[i]; {
	case s.Pause && s.PauseFor > 0:
		what = "a pause of " + brief(s.PauseFor) + " at " + what
	case s.Pause:
		what = "a pause at " + what
	case s.Mirror != nil:
		what += ", mirroring " + percent(share(*s.Mirror))
	}
	return fmt.Sprintf("step %d of %d (%s)", i+1, len(p.Steps), what)
}

func percent(r float64) string {
	return strconv.FormatFloat(math.Round(r*1e6)/1e4, 'f', -1, 64) + "%"
}

// brief is a duration without the units that are 0: 5m, 1h30m.
func brief(d time.Duration) string {
	text := d.String()
	if d > 0 && d%time.Minute == 0 {
		text = strings.TrimSuffix(text, "0s")
	}
	if d > 0 && d%time.Hour == 0 {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', 4, 64) }

// shorten is s, of n bytes at most and valid UTF-8.
func shorten(s string, n int) string {
	if len(s) > n {
		s = strings.ToValidUTF8(s[:n-3], "") + "…"
	}
	return s
}
