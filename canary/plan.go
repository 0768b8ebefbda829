package canary

import (
	"cmp"
	"slices"
	"time"

	"serin/canary/evidence"
	"serin/canary/rollout"
)

// Defaults of analysis.
const (
	DefaultAlpha        = evidence.DefaultAlpha
	DefaultBeta         = evidence.DefaultBeta
	DefaultMargin       = evidence.DefaultMargin
	DefaultMaxErrorRate = evidence.DefaultMaxErrorRate
	DefaultMinRequests  = evidence.DefaultMinRequests
	DefaultWarmup       = 30 * time.Second
	DefaultMaxWait      = time.Hour
)

// Plan returns the part of the document that moves its share, with all defaults
// filled in but for control, whose absence is not the word "run". It is nil when
// the document is no rollout: without steps, ramp, analysis, control, id and
// notify what it says holds, and no state is asked. service "" is the document of
// all services without one of their own, "*" in the plan. Plan is pure, and the
// result shares nothing that is written again.
func (d *Document) Plan(service, key string, index uint64, hash string) *rollout.Plan {
	if d.Steps == nil && d.Ramp == nil && d.Analysis == nil && d.Control == "" && d.ID == "" && d.Notify == nil {
		return nil
	}
	p := &rollout.Plan{
		Service: Label(service), ID: d.ID, Key: key, Index: index, Hash: hash,
		Ratio:    or(d.Ratio, 0),
		Ramp:     d.Ramp.plan(),
		Control:  rollout.Control(d.Control),
		Analysis: d.Analysis.plan(d.byKey()),
	}
	for _, s := range d.Steps {
		p.Steps = append(p.Steps, s.plan())
	}
	for _, n := range d.Notify {
		p.Notify = append(p.Notify, rollout.Notify{URL: n.URL, On: n.On, Headers: n.Headers})
	}
	return p
}

// byKey reports whether the document assigns clients by a key of theirs.
func (d *Document) byKey() bool {
	return d.Method == "hash" || d.Sticky != nil && len(d.Sticky.By) > 0
}

func (r *Ramp) plan() *rollout.Ramp {
	if r == nil {
		return nil
	}
	return &rollout.Ramp{From: or(r.From, 0), To: or(r.To, 1), Start: or(r.Start, time.Time{}), End: or(r.End, time.Time{}), Over: r.Over.or(0)}
}

func (s Step) plan() rollout.Step {
	out := rollout.Step{Ratio: s.Ratio, Mirror: s.Mirror, For: s.For.or(0)}
	if s.Pause != nil {
		out.Pause, out.PauseFor = true, time.Duration(s.Pause.For)
	}
	return out
}

func (a *Analysis) plan(sticky bool) *rollout.Analysis {
	if a == nil {
		return nil
	}
	out := &rollout.Analysis{
		Config: evidence.Config{
			Alpha:        or(a.Alpha, DefaultAlpha),
			Beta:         or(a.Beta, DefaultBeta),
			Margin:       or(a.Margin, DefaultMargin),
			MaxErrorRate: or(a.MaxErrorRate, DefaultMaxErrorRate),
			MinRequests:  or(a.MinRequests, DefaultMinRequests),
			SlowAuto:     a.Slow == "auto",
			Sticky:       sticky,
		},
		Warmup:         a.Warmup.or(DefaultWarmup),
		OnFail:         cmp.Or(a.OnFail, "rollback"),
		OnInconclusive: cmp.Or(a.OnInconclusive, "wait"),
		MaxWait:        a.MaxWait.or(DefaultMaxWait),
	}
	if a.Slow != "" && !out.SlowAuto {
		slow, err := time.ParseDuration(a.Slow)
		if err != nil {
			panic("BUG: Parse let a duration pass that cannot be read: " + a.Slow)
		}
		out.Slow = slow
	}
	for kind, field := range map[string]*bool{
		"5xx": &out.Failures.Status5xx, "connect": &out.Failures.Connect, "timeout": &out.Failures.Timeout,
		"reset": &out.Failures.Reset, "truncated": &out.Failures.Truncated, "grpc": &out.Failures.GRPC,
	} {
		*field = a.Failures == nil || slices.Contains(a.Failures, kind)
	}
	return out
}

// or returns what v points to, or def.
func or[T any](v *T, def T) T {
	if v == nil {
		return def
	}
	return *v
}
