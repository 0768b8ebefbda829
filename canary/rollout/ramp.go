package rollout

import (
	"math"
	"time"
)

// Line is a ramp as it runs: in a straight line from From at Start to To at End.
type Line struct {
	From  float64   `json:"from"`
	To    float64   `json:"to"`
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`
}

// line is the ramp as it runs when it is first applied at now.
func (r *Ramp) line(now time.Time) Line {
	if r.Over > 0 || r.Start.IsZero() && r.End.IsZero() {
		return Line{From: share(r.From), To: share(r.To), Start: now, End: later(now, r.Over)}
	}
	return Line{From: share(r.From), To: share(r.To), Start: r.Start.UTC(), End: r.End.UTC()}
}

// fixed tells whether the ramp lies between two times.
func (r *Ramp) fixed() bool { return r.Over <= 0 && !(r.Start.IsZero() && r.End.IsZero()) }

// at is the share at now, which changes on whole seconds after Start.
func (l Line) at(now time.Time) float64 {
	elapsed, length := now.Sub(l.Start).Truncate(time.Second), l.End.Sub(l.Start)
	switch {
	case now.Before(l.Start):
		return share(l.From)
	case elapsed >= length || !now.Before(l.End):
		return share(l.To)
	}
	return share(l.From + (l.To-l.From)*(elapsed.Seconds()/length.Seconds()))
}

// again is when the share changes next after now; zero: never.
func (l Line) again(now time.Time) time.Time {
	switch {
	case !now.Before(l.End):
		return time.Time{}
	case now.Before(l.Start):
		return l.Start
	}
	next := later(l.Start, now.Sub(l.Start).Truncate(time.Second)+time.Second)
	if next.After(l.End) {
		return l.End
	}
	return next
}

// through is the line moved in time so that it is at ratio at now, or at that
// end of it that is nearer.
func (l Line) through(ratio float64, now time.Time) Line {
	length := max(0, l.End.Sub(l.Start))
	part := 0.0
	if l.To != l.From {
		part = share((ratio - l.From) / (l.To - l.From))
	}
	seconds := math.Floor(part * length.Seconds())
	elapsed := min(length, time.Duration(min(seconds, length.Seconds())*float64(time.Second)))
	l.Start = later(now, -elapsed)
	l.End = later(l.Start, length)
	if l.To > l.From && l.at(now) < ratio-1e-12 { // the next second, so that the share does not fall
		l.Start, l.End = later(l.Start, -time.Second), later(l.End, -time.Second)
	}
	return l
}

// resumed is the line after a pause from since to now: what was left of it then
// is left of it now. A line that had not begun begins no earlier than now.
func (l Line) resumed(since, now time.Time) Line {
	d := max(0, now.Sub(since))
	if l.Start.After(since) {
		d = max(0, now.Sub(l.Start))
	}
	l.Start, l.End = later(l.Start, d), later(l.End, d)
	return l
}

// later is t+d, within the years that JSON can hold.
func later(t time.Time, d time.Duration) time.Time {
	switch u := t.Add(d); {
	case d >= 0 && (u.Before(t) || u.Year() > 9999):
		return time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)
	case d < 0 && (u.After(t) || u.Year() < 1):
		return time.Time{}
	default:
		return u
	}
}
