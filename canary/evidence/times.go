package evidence

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// Buckets of times: sixteen to each doubling, from 1 µs to 18 minutes, so that
// a quantile is at most 1/16 too high.
const (
	timesLow  = 10 // 2^10 ns
	timesHigh = 40
	buckets   = (timesHigh - timesLow) * 16
)

// times is a histogram of durations. It is safe for concurrent use.
type times struct {
	n      atomic.Uint64
	counts [buckets]atomic.Uint64
}

// add counts a duration and returns how many there are.
func (h *times) add(d time.Duration) uint64 {
	h.counts[bucket(d)].Add(1)
	return h.n.Add(1)
}

func bucket(d time.Duration) int {
	if d < 1<<timesLow {
		return 0
	}
	octave := bits.Len64(uint64(d)) - 1
	if octave >= timesHigh {
		return buckets - 1
	}
	return (octave-timesLow)*16 + int(d>>(octave-4))&15
}

// upper is the longest duration of a bucket.
func upper(bucket int) time.Duration {
	octave, part := bucket/16+timesLow, bucket%16
	return time.Duration(17+part)<<(octave-4) - 1
}

// take returns durations that at most one in twenty, and one in a hundred, of
// those that were added exceed, and forgets them all.
func (h *times) take() (p95, p99 time.Duration) {
	var counts [buckets]uint64
	var n uint64
	for i := range h.counts {
		counts[i] = h.counts[i].Swap(0)
		n += counts[i]
	}
	h.n.Store(0)
	above := uint64(0)
	for i := buckets - 1; i >= 0; i-- {
		above += counts[i]
		if above*100 > n && p99 == 0 {
			p99 = upper(i)
		}
		if above*20 > n {
			return upper(i), p99
		}
	}
	return 0, 0
}
