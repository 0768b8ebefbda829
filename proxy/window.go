package proxy

import "time"

// window counts two kinds of events over the last 10 seconds, in buckets of
// one second. The zero value is empty; it is not safe for concurrent use.
type window struct {
	second int64 // of the newest bucket
	bucket [10][2]uint32
	sum    [2]uint32
}

// roll forgets what is older than 10 s at now, which is on any clock that does
// not go backwards.
func (w *window) roll(now time.Duration) {
	second := int64(now / time.Second)
	for n := min(second-w.second, int64(len(w.bucket))); n > 0; n-- {
		b := &w.bucket[(second-n+1)%int64(len(w.bucket))]
		w.sum[0] -= b[0]
		w.sum[1] -= b[1]
		*b = [2]uint32{}
	}
	w.second = max(w.second, second)
}

func (w *window) add(now time.Duration, kind int) {
	w.roll(now)
	w.bucket[w.second%int64(len(w.bucket))][kind]++
	w.sum[kind]++
}
