package consul

import (
	"cmp"
	"container/heap"
	"time"
)

// maxReads is how many services are read at once outside their streams.
const maxReads = 8

// asks are the services that should be read outside a stream, the longest due
// first: a heap.
type asks []*follow

func (a asks) Len() int { return len(a) }
func (a asks) Less(i, j int) bool {
	return cmp.Or(a[i].ask.Compare(a[j].ask), cmp.Compare(a[i].name, a[j].name)) < 0
}
func (a asks) Swap(i, j int) { a[i], a[j] = a[j], a[i]; a[i].at, a[j].at = i, j }
func (a *asks) Push(x any)   { f := x.(*follow); f.at = len(*a); *a = append(*a, f) }
func (a *asks) Pop() any {
	old := *a
	f := old[len(old)-1]
	old[len(old)-1] = nil
	*a, f.at = old[:len(old)-1], -1
	return f
}

// set makes t the time to read f; zero is never.
func (a *asks) set(f *follow, t time.Time) {
	f.ask = t
	if !t.IsZero() {
		f.again = false
	}
	switch {
	case f.at >= 0 && t.IsZero():
		heap.Remove(a, f.at)
	case f.at >= 0:
		heap.Fix(a, f.at)
	case !t.IsZero():
		heap.Push(a, f)
	}
}

// next takes the service that is longest due at now; nil when none is. again is
// when the next one will be, zero when there is none.
func (a *asks) next(now time.Time) (f *follow, again time.Time) {
	switch {
	case len(*a) == 0:
		return nil, time.Time{}
	case (*a)[0].ask.After(now):
		return nil, (*a)[0].ask
	}
	f = (*a)[0]
	a.set(f, time.Time{})
	return f, time.Time{}
}

// earlier returns the earlier of two times, where zero is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
