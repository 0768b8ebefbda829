package rollout

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// Bounds of an audit ring. Consul takes no value above 512 KiB.
const (
	ringEvents = 100
	ringSize   = 384 << 10 // bytes
	maxText    = 1 << 10   // bytes of one text in an event of the ring
)

// ParseRing reads an audit ring, the oldest event first. No text is an empty
// ring; an entry that alone cannot be read is an event that says so.
func ParseRing(text []byte) ([]Event, error) {
	entries, err := entriesOf(text)
	if err != nil {
		return nil, err
	}
	out := make([]Event, len(entries))
	for i, e := range entries {
		if err := json.Unmarshal(e, &out[i]); err != nil {
			out[i] = Event{Kind: EventInvalid, Because: "this entry cannot be read: " + err.Error()}
		}
	}
	return out, nil
}

// appendRing returns the ring with events added, without the oldest where it
// would have more than ringEvents or ringSize bytes. What it does not know of the
// entries that are there it keeps. A ring that cannot be read is replaced, and
// the new one begins with an entry that says so.
func appendRing(text []byte, events ...Event) []byte {
	entries, err := entriesOf(text)
	if err != nil {
		entries = nil
		lost := Event{Time: time.Now(), Kind: EventInvalid, Because: "the entries before this one are lost: " + err.Error()}
		if len(events) > 0 {
			first := events[0]
			lost.Time, lost.Service, lost.ID, lost.Phase, lost.By = first.Time, first.Service, first.ID, first.Phase, first.By
		}
		events = append([]Event{lost}, events...)
	}
	for _, e := range events {
		entries = append(entries, e.entry())
	}
	entries = entries[max(0, len(entries)-ringEvents):]
	size := len("[\n]\n")
	for i := len(entries) - 1; i >= 0; i-- {
		if size += len(entries[i]) + len(",\n"); size > ringSize {
			entries = entries[i+1:]
			break
		}
	}
	out := bytes.NewBufferString("[\n")
	for i, e := range entries {
		out.Write(e)
		if i < len(entries)-1 {
			out.WriteByte(',')
		}
		out.WriteByte('\n')
	}
	out.WriteString("]\n")
	return out.Bytes()
}

// entriesOf splits a ring; each entry is an object on one line.
func entriesOf(text []byte) ([]json.RawMessage, error) {
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, nil
	}
	var entries []json.RawMessage
	if err := json.Unmarshal(text, &entries); err != nil {
		return nil, fmt.Errorf("the audit ring cannot be read: %w", err)
	}
	for i, e := range entries {
		if len(e) == 0 || e[0] != '{' {
			return nil, fmt.Errorf("entry %d of the audit ring is no object", i+1)
		}
		var line bytes.Buffer
		if err := json.Compact(&line, e); err != nil {
			return nil, err
		}
		entries[i] = line.Bytes()
	}
	return entries, nil
}

// entry is the event as the ring keeps it: no number of this process, texts and
// numbers within bounds.
func (e Event) entry() json.RawMessage {
	e.Seq = 0
	e.From, e.To = share(e.From), share(e.To)
	for _, s := range []*string{&e.Service, &e.ID, &e.Kind, (*string)(&e.Phase), &e.Because, &e.Hash, &e.By} {
		*s = shorten(*s, maxText)
	}
	if e.Evidence != nil {
		f := finite(*e.Evidence)
		f.Because = shorten(f.Because, maxText)
		e.Evidence = &f
	}
	if y := e.Time.UTC().Year(); y < 0 || y > 9999 {
		e.Time = time.Time{}
	}
	e.Time = e.Time.UTC()
	text, err := json.Marshal(e)
	if err != nil { // nothing is left in it that cannot be
		panic("BUG: an event cannot be written: " + err.Error())
	}
	return text
}
