package canary

import "time"

// SourceState is what Effective must know of the place a document came from.
type SourceState struct {
	// LostSince is when the source was lost; zero while it answers.
	LostSince time.Time
	// Restored is set while the document comes from the state on disk and its
	// source has not answered since this process started.
	Restored bool
}

// Effective is the canary's share that is in force for d at now, and why when
// it is not what the document asks for. It is pure.
//
// A lost source takes the canary out after stale_after, a restored document at
// once, unless the document says on_stale hold. (Where stable is empty everyone
// goes to the canary all the same: that is the guard of each request's decision.)
func Effective(d *Document, s SourceState, now time.Time) (ratio float64, because string) {
	ratio = d.wanted()
	hold := d.OnStale == "hold"
	switch after, lost := d.staleAt(s); {
	case s.Restored && !hold && ratio > 0:
		ratio, because = 0, "stale: restored from disk, the source has not answered yet"
	case lost && !hold && ratio > 0 && !now.Before(after):
		ratio, because = 0, "stale: the source is lost since "+s.LostSince.UTC().Format(time.RFC3339)
	}
	return ratio, because
}

// staleAt returns when a lost source makes d stale.
func (d *Document) staleAt(s SourceState) (time.Time, bool) {
	return s.LostSince.Add(d.StaleAfter.or(DefaultStaleAfter)), !s.LostSince.IsZero()
}

// assertShare is the last word before a share is published: what is not a
// share is 0, and ok tells.
func assertShare(ratio float64) (share float64, ok bool) {
	if ratio >= 0 && ratio <= 1 {
		return ratio, true
	}
	return 0, false
}
