package consul

import (
	"cmp"
	"slices"
	"time"
)

// maxReads is how many services are read at once outside their streams.
const maxReads = 8

// wish is one service that should be read outside its stream.
type wish struct {
	name string
	due  time.Time
	busy bool // a read of it is on its way
}

// plan says which services to read now, the longest due first, with at most
// limit reads on their way; and when to ask again, if nothing happens before
// (zero: never).
func plan(wishes []wish, limit int, now time.Time) (read []string, again time.Time) {
	wishes = slices.Clone(wishes)
	slices.SortFunc(wishes, func(a, b wish) int { return cmp.Or(a.due.Compare(b.due), cmp.Compare(a.name, b.name)) })
	for _, w := range wishes {
		if w.busy {
			limit--
		}
	}
	for _, w := range wishes {
		switch {
		case w.busy:
		case w.due.After(now):
			return read, w.due
		case limit > 0:
			read = append(read, w.name)
			limit--
		}
	}
	return read, time.Time{}
}
