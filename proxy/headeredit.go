package proxy

import (
	"maps"
	"slices"

	"serin/route"
)

// EditRequest returns the header that an instance gets: h, after
// ForwardHeaders, with the edits of the target's tag. Nothing that Serin says
// of the client, and nothing of the connection, can be edited. h itself stays
// as it is, since the next attempt may go to a target with other edits; without
// any, h is returned.
func (c *Core) EditRequest(h Header, t *route.Target) Header {
	if t.Options == nil || len(t.Options.RequestHeaders) == 0 {
		return h
	}
	h = maps.Clone(h)
	dropAliases(h, t.Options.RequestHeaders)
	c.edit(h, t.Options.RequestHeaders, true)
	return h
}

// dropAliases removes what careless servers would take for a header that is set
// or removed: an instance that relies on it must not meet the client's.
func dropAliases(h Header, edits []route.HeaderEdit) {
	var a, b [64]byte
	for name := range h {
		folded := appendFold(a[:0], name)
		for i := range edits {
			e := &edits[i]
			if e.Op != route.HeaderAdd && name != e.Name && string(appendFold(b[:0], e.Name)) == string(folded) {
				delete(h, name)
				break
			}
		}
	}
}

// edit makes the edits in h, in their order. Only what a request says of its
// client is Serin's own; a response may say such things too.
func (c *Core) edit(h Header, edits []route.HeaderEdit, request bool) {
	var buf [64]byte
	for _, e := range edits {
		if folded := appendFold(buf[:0], e.Name); request && c.Headers.isOurs(folded) || isFraming(folded) || slices.Contains(hopByHop[:], e.Name) {
			continue
		}
		switch e.Op {
		case route.HeaderSet:
			h[e.Name] = []string{e.Value}
		case route.HeaderAdd:
			had := h[e.Name]
			h[e.Name] = append(had[:len(had):len(had)], e.Value)
		case route.HeaderRemove:
			delete(h, e.Name)
		}
	}
}
