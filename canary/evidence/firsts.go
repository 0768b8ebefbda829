package evidence

import (
	"math"
	"sync"
	"sync/atomic"
)

// Size of the bitmap of one event. Half full, it has seen about 727,000 clients.
const (
	bitmapBits  = 20
	bitmapWords = 1 << bitmapBits / 64 // 128 KiB
)

// firsts counts only the first event of its kind of each client: arms are
// assigned by client, so that all requests of one are one draw. It is safe for
// concurrent use.
//
// Clients are remembered in a bitmap, by the low half of their position. The arm
// is decided by comparing the position with a threshold, which the high half
// alone does but for one client in 2³²; and the halves of a keyed hash
// (SipHash) are independent. So it has nothing to do with the arm whom a client
// shares its bit with, and is not counted for.
type firsts struct {
	judged [numbers]bool
	maps   [numbers]atomic.Pointer[bitmap] // nil: no client has had that event yet

	mu     sync.Mutex // guards the rest, and the writing of maps
	ledger ledger
	epochs [numbers]epoch
	bank   ratios // Σ of the weight of each epoch that is over times its ratios
}

// bitmap is written by one goroutine at a time.
type bitmap struct {
	words [bitmapWords]atomic.Uint64
	set   int
}

// epoch is what an event's bitmap has been through.
type epoch struct{ over int }

// newFirsts judges failed, drawn, and so many thresholds of latency. What has seen
// nothing has no bitmaps: documents of services without traffic cost little.
func newFirsts(better *test, latency int) *firsts {
	f := &firsts{ledger: ledger{better: better}}
	for e := range f.judged {
		f.judged[e] = e == failed || e == drawn || e <= latency
	}
	return f
}

// place is where a client is remembered.
func place(key uint64) (word int, bit uint64) {
	i := uint32(key) * 0x9E3779B1 >> (32 - bitmapBits)
	return int(i / 64), 1 << (i % 64)
}

// first strikes out of s what is not the client's first, without a lock.
func (f *firsts) first(key uint64, s *seen) (any bool) {
	word, bit := place(key)
	for e := range s {
		m := f.maps[e].Load()
		s[e] = s[e] && f.judged[e] && (m == nil || m.words[word].Load()&bit == 0)
		any = any || s[e]
	}
	return any
}

// see counts the first events of a client; without a key every event is one.
func (f *firsts) see(key uint64, hasKey bool, ratio float64, exact bool, arm int, s seen) {
	if hasKey && !f.first(key, &s) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if hasKey {
		if !f.first(key, &s) {
			return
		}
		word, bit := place(key)
		for e, is := range s {
			if !is {
				continue
			}
			m := f.maps[e].Load()
			if m == nil {
				m = new(bitmap)
				f.maps[e].Store(m)
			}
			m.words[word].Or(bit)
			m.set++
		}
	}
	f.ledger.see(ratio, exact, arm, s)
	for e := range f.maps {
		if m := f.maps[e].Load(); m != nil && m.set >= 1<<bitmapBits/2 {
			f.begin(e)
		}
	}
}

// begin starts a new epoch of an event: no client was seen, and the evidence is
// 1. What the old one has found stays, with its weight.
func (f *firsts) begin(event int) {
	now := f.ledger.sum()
	f.ledger = ledger{better: f.ledger.better, logs: now}
	over := f.epochs[event].over
	both(&f.bank, &f.ledger.logs, func(bank, now *Logs, e int) {
		if e != event {
			return
		}
		if over == 0 {
			*bank = Logs{}.mix(0, *now, weight(over))
		} else {
			*bank = bank.mix(1, *now, weight(over))
		}
		*now = Logs{}
	})
	f.epochs[event].over++
	m := f.maps[event].Load()
	for i := range m.words {
		m.words[i].Store(0)
	}
	m.set = 0
}

// sum returns the mixture of all epochs: those that are over, the present one,
// and those to come, whose ratios are 1.
func (f *firsts) sum() ratios {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.ledger.sum()
	both(&f.bank, &r, func(bank, now *Logs, e int) {
		over := f.epochs[e].over
		*now = now.mix(weight(over), Logs{}, later(over))
		if over > 0 {
			*now = now.mix(1, *bank, 1)
		}
	})
	return r
}

// weight is the share of alpha that an epoch has: the first 99 %, the j-th after
// it 1 %·2^-j. Together they have all of it.
func weight(epoch int) float64 {
	if epoch == 0 {
		return 0.99
	}
	return math.Ldexp(0.01, -epoch)
}

// later is the weight of all epochs after one.
func later(epoch int) float64 { return math.Ldexp(0.01, -epoch) }

// both calls f with the ratios of a and b in pairs.
func both(a, b *ratios, f func(a, b *Logs, event int)) {
	var left [6]*Logs
	i := 0
	a.each(func(l *Logs, _ int) { left[i] = l; i++ })
	i = 0
	b.each(func(l *Logs, event int) { f(left[i], l, event); i++ })
}
