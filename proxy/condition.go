package proxy

import (
	"math"
	"time"

	"serin/route"
)

// The rules of passive ejection and slow start. Instances are judged by what
// their own answers say; Consul decides who is there at all.
const (
	ejectConsecutive = 5                // failures in a row that are not the application's
	ejectRatioMin    = 20               // answers in 10 s below which a ratio says nothing
	ejectBase        = 10 * time.Second // first ejection; doubles with each further one
	ejectMax         = 300 * time.Second
	probePatience    = 10 * time.Second // after which an unfinished probe makes room for another
	rampTime         = 10 * time.Second
	rampFloor        = 0.1
)

type phase uint32

const (
	steady phase = iota
	warming
	ejected
)

var phaseNames = [...]string{"ok", "warming", "ejected"}

// condition is what Serin itself has seen of one instance. Its methods know no
// clock: now is the time since any fixed moment, and never goes backwards.
type condition struct {
	phase       phase
	since       time.Duration // warming: when the ramp began; ejected: when it was
	until       time.Duration // ejected: when a probe may go
	probed      time.Duration // when the probe under way began; 0 is none
	because     Class         // of the ejection
	consecutive int           // failures in a row, as ejectConsecutive counts them
	ejections   int           // in a row: each follows the one before within ejectMax of its end
	w           window        // of answers and failed answers
}

const (
	answers  = 0 // kinds of condition.w
	failures = 1
)

// observe takes note of an attempt's end and reports whether it makes the
// instance fit for ejection. What the client caused counts for nothing.
func (c *condition) observe(class Class, now time.Duration) bool {
	if !class.Failed() {
		if class == OK {
			c.consecutive = 0
			c.w.add(now, answers)
		}
		return false
	}
	c.w.add(now, answers)
	c.w.add(now, failures)
	if class == ServerError {
		c.consecutive = 0 // it answers: only the ratio speaks against it
	} else {
		c.consecutive++
	}
	ratio := c.w.sum[answers] >= ejectRatioMin && 2*c.w.sum[failures] >= c.w.sum[answers]
	if c.phase == ejected || c.consecutive < ejectConsecutive && !ratio {
		return false
	}
	return true
}

// eject takes the instance out for 10 s·2ⁿ up to 300 s, ±25 % by jitter.
func (c *condition) eject(class Class, now time.Duration, jitter uint64) time.Duration {
	if c.ejections > 0 && now > c.until+ejectMax {
		c.ejections = 0
	}
	d := min(ejectBase<<min(c.ejections, 10), ejectMax)
	d = time.Duration(float64(d) * (0.75 + 0.5*fraction(jitter)))
	*c = condition{phase: ejected, since: now, until: now + d, because: class, ejections: c.ejections + 1}
	return d
}

// spare is what happens instead of an ejection that would leave too few: the
// count begins anew.
func (c *condition) spare() {
	c.consecutive = 0
	c.w = window{second: c.w.second}
}

// mayProbe reports whether an ejected instance may be tried by one request.
func (c *condition) mayProbe(now time.Duration) bool {
	return c.phase == ejected && now >= c.until && (c.probed == 0 || now-c.probed >= probePatience)
}

// probeEnded takes note of how a probe ended, and reports whether the instance
// is to be ejected again. A probe that the client spoiled says nothing.
func (c *condition) probeEnded(class Class, now time.Duration) (again bool) {
	if c.phase != ejected {
		return false
	}
	c.probed = 0
	if class == OK {
		c.warm(now)
	}
	return class.Failed()
}

// warm begins a slow start.
func (c *condition) warm(now time.Duration) {
	c.phase, c.since = warming, now
	c.spare()
}

// usable reports whether a request with this draw may go to the instance.
func (c *condition) usable(now time.Duration, draw uint64) bool {
	switch c.phase {
	case ejected:
		return c.mayProbe(now)
	case warming:
		return fraction(draw) < ramp(now-c.since)
	}
	return true
}

// ramp returns the part of its traffic that an instance gets at this age:
// from 10 % up to all of it after 10 s.
func ramp(age time.Duration) float64 {
	return rampFloor + (1-rampFloor)*float64(age)/float64(rampTime)
}

func fraction(draw uint64) float64 { return float64(draw>>11) / (math.MaxUint64>>11 + 1) }

// mayEject says whether one more instance of an arm may be ejected: at most
// half of its ready instances, unless something can stand in for it. The whole
// canary arm may go while stable has an instance; the stable arm only when its
// instances cannot even be connected to, and one always stays when there is no
// other arm.
func mayEject(arm route.ArmName, size, out, others int, class Class) bool {
	switch {
	case 2*(out+1) <= size:
		return true
	case others > 0 && (arm == route.Canary || class == ConnectError):
		return true
	}
	return class == ConnectError && out+1 < size
}
