package canary

import (
	"time"

	"serin/route"
)

// version is one valid document.
type version struct {
	raw      Raw
	doc      *Document
	hash     string
	restored bool // from disk, not confirmed by its source since
	deleted  bool // its key was deleted at the config_server: canary off
}

// slot is what is known of one key: the newest text, and the last valid one.
type slot struct {
	raw  Raw
	seen bool // raw was read from the source, not restored
	at   time.Time
	good *version
	err  *Error // why raw is not good
}

// read takes a text in. It reports whether it is new, which an unchanged index
// with unchanged text is not.
func (s *slot) read(raw Raw, now time.Time, parse func(string, []byte) (*Document, error)) bool {
	if s.seen && s.raw.Index == raw.Index && string(s.raw.Value) == string(raw.Value) {
		return false
	}
	s.raw, s.seen, s.at, s.err = raw, true, now, nil
	doc, err := parse(raw.Key, raw.Value)
	if err != nil {
		s.err = err.(*Error)
		if s.good != nil { // its source answers, so that it is the last good one, not a restored one
			s.good = new(*s.good)
			s.good.restored = false
		}
		return true
	}
	s.good = &version{raw: raw, doc: doc, hash: hashOf(raw.Value)}
	return true
}

// entry is one service's document: its own key, where that sends us, and what
// is in force.
type entry struct {
	service string
	own     slot
	remote  *remote // while the own document has a config_server
	// inherits is set when the first document of its own is refused while the
	// one for all services is in force: that changes nothing, so it stays.
	inherits bool

	lostSince time.Time // since when the own key alone cannot be read; zero: it can
	lostErr   error

	inForce   *version
	from      *feed // whose loss makes inForce stale
	appliedAt time.Time
	pending   time.Time // when the next version may be applied (update_rate)
	applied   Applied
	split     *route.Split // of inForce and applied
}

// remote is the source that a config_server names.
type remote struct {
	address string
	feed    *feed
	slot    slot
}

// parse is Parse, and refuses to be sent on: two documents that name each other
// would never come to rest.
func (rem *remote) parse(key string, value []byte) (*Document, error) {
	d, err := Parse(key, value)
	if err == nil && d.ConfigServer != "" && d.ConfigServer != rem.address {
		err = &Error{
			Key: key, Path: "config_server", Line: 1, Column: 1,
			Msg:  "a document that was read through config_server cannot name another one",
			Hint: "change config_server where " + rem.address + " is named",
		}
	}
	return d, err
}

// choose returns the version that should be in force, and whose loss would make
// it stale. Nil: none was ever valid.
func (e *entry) choose(main *feed) (*version, *feed) {
	switch own := e.own.good; {
	case e.remote != nil && e.remote.slot.good != nil:
		return e.remote.slot.good, e.remote.feed
	case own == nil:
		return nil, main
	case e.remote != nil && own.doc.Ratio == nil && e.inForce != nil:
		// Not switched yet: a document that only says where to look moves
		// nothing before something was read there.
		return e.inForce, main
	default:
		return own, main
	}
}

// hear notes whether the own key can be read while the others can.
func (e *entry) hear(err error, now time.Time) {
	switch {
	case err == nil:
		e.lostSince = time.Time{}
	case e.lostSince.IsZero():
		e.lostSince = now
	}
	e.lostErr = err
}

// sinceLost is since when what is in force cannot be confirmed, from being
// where it came from; zero while it can.
func (e *entry) sinceLost(from *feed) time.Time {
	switch {
	case from == nil:
		return time.Time{}
	case from.lostSince.IsZero() && (e.remote == nil || from != e.remote.feed):
		return e.lostSince
	}
	return from.lostSince
}
