package proxy

import "time"

// verdicts remembers keys, at most 2*size of them, each for between one and two
// times keep since it was last asked for. It is not safe for concurrent use.
type verdicts struct {
	size       int
	keep       time.Duration
	young, old map[verdictKey]struct{}
	turned     time.Time // when old was young
}

// verdictKey stands for a password and the hash it was compared with.
type verdictKey [32]byte

// turn makes the young old where they are too many or too long there.
func (v *verdicts) turn(now time.Time) {
	age := now.Sub(v.turned)
	if age < v.keep && len(v.young) < v.size {
		return
	}
	if v.old = v.young; age >= 2*v.keep {
		v.old = nil
	}
	v.young, v.turned = nil, now
}

// has reports whether key is remembered.
func (v *verdicts) has(key verdictKey, now time.Time) bool {
	v.turn(now)
	if _, ok := v.young[key]; ok {
		return true
	}
	_, ok := v.old[key]
	if ok {
		v.add(key, now)
	}
	return ok
}

func (v *verdicts) add(key verdictKey, now time.Time) {
	v.turn(now)
	if v.young == nil {
		v.young = map[verdictKey]struct{}{}
	}
	v.young[key] = struct{}{}
}
