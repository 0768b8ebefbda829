package canary

import (
	"cmp"
	"strconv"
	"time"

	"serin/canary/rollout"
)

// SourceState is what Effective must know of the place a document came from.
type SourceState struct {
	// LostSince is when the source was lost; zero while it answers.
	LostSince time.Time
	// Restored is set while the document comes from the state on disk and its
	// source has not answered since this process started.
	Restored bool
	// StaleAfter is for documents without stale_after; zero is DefaultStaleAfter.
	StaleAfter time.Duration
}

// Effective is the canary's share that is in force for d at now, and why when
// it is not what the document asks for: the reason of every clamp, in the order
// in which they bit. p is what the document's rollout asks for at now. It is pure.
//
// The order: where the rollout is, expires, limits.max_ratio, a lost source.
// (limits.overload and the health of the arms come later, for each part of a
// route, from its instances.) A lost source takes the canary out after
// stale_after, a restored document at once, unless the document says on_stale
// hold or its rollout was promoted. (Where stable is empty everyone goes to the
// canary all the same: that is the guard of each request's decision.)
func Effective(d *Document, p rollout.Position, s SourceState, now time.Time) (ratio float64, because string) {
	ratio, reasons := limited(d, p, now)
	hold := d.OnStale == "hold"
	switch at, lost := d.staleAt(s); {
	case !(ratio > 0) || hold || p.Phase == rollout.Promoted:
	case s.Restored:
		ratio, reasons = 0, append(reasons, "stale: restored from disk, the source has not answered yet")
	case lost && !now.Before(at):
		ratio, reasons = 0, append(reasons, "stale: the source is lost since "+s.LostSince.UTC().Format(time.RFC3339))
	}
	return ratio, JoinReasons(reasons...)
}

// limited is Effective while the source answers.
func limited(d *Document, p rollout.Position, now time.Time) (ratio float64, reasons []string) {
	ratio = p.Ratio
	if p.Because != "" {
		reasons = append(reasons, "rollout: "+p.Because)
	}
	if ratio > 0 && d.expired(now) {
		ratio, reasons = 0, append(reasons, "expires: since "+d.Expires.UTC().Format(time.RFC3339))
	}
	if l := d.Limits; l != nil && l.MaxRatio != nil && ratio > *l.MaxRatio {
		ratio, reasons = *l.MaxRatio, append(reasons, "max_ratio: "+strconv.FormatFloat(*l.MaxRatio, 'g', -1, 64))
	}
	return ratio, reasons
}

func (d *Document) expired(now time.Time) bool { return d.Expires != nil && !now.Before(*d.Expires) }

// staleAt returns when a lost source makes d stale.
func (d *Document) staleAt(s SourceState) (time.Time, bool) {
	return s.LostSince.Add(d.StaleAfter.or(cmp.Or(s.StaleAfter, DefaultStaleAfter))), !s.LostSince.IsZero()
}

// assertShare is the last word before a share is published: what is not a
// share is 0, and ok tells.
func assertShare(ratio float64) (share float64, ok bool) {
	if ratio >= 0 && ratio <= 1 {
		return ratio, true
	}
	return 0, false
}
