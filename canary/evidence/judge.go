package evidence

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// splitAlpha bounds the probability that the check of the sample ratio ever
// fires although the arms get what they should.
const splitAlpha = 0.001

// Alone judges what one of balancers has seen by itself: the veto. It never passes.
//
// Of several balancers each spends alpha/2N, and all together the other half, so
// that their false alarms together stay within alpha.
func (c Config) Alone(t Tally, balancers int) Finding {
	c = c.filled()
	return c.look(c.Sum(t), max(balancers, 1), true)
}

// Pool judges what all balancers have seen together. Tallies that are not valid
// are left out.
func (c Config) Pool(tallies ...Tally) Finding {
	c = c.filled()
	return c.look(c.Sum(tallies...), 1, false)
}

// look judges t, which is the whole of it or what one of n has seen.
func (c Config) look(t Tally, n int, alone bool) Finding {
	f := Finding{
		Verdict: Undecided, Requests: t.Requests, Failures: t.Failures, Slow: t.Slow,
		Bound: Bound(t.Requests[1], t.Failures[1], c.Beta),
	}
	f.Threshold = 1 / c.Alpha
	switch {
	case alone && n > 1:
		f.Threshold = 2 * float64(n) / c.Alpha
	case t.Balancers > 1:
		f.Threshold = 2 / c.Alpha
	}
	logE := c.logE(t)
	f.E = exp(logE)

	split, many := c.uneven(t, n)
	switch {
	case t.Requests == [2]uint64{}:
		f.Because = "no request has been counted yet"
	case logE >= math.Log(f.Threshold) && !(split && many):
		f.Verdict = Worse
		f.Because = c.whyWorse(t, f)
	case split:
		f.Verdict = Inconclusive
		f.Because = whyUneven(t, many)
	case alone:
		f.Because = fmt.Sprintf("not enough was seen to call the canary worse: E = %s < %s", number(f.E), number(f.Threshold))
	default:
		f.Verdict, f.Because = c.passes(t, f)
		if f.Verdict == Undecided && f.E >= f.Threshold/100 {
			f.Because += fmt.Sprintf("; E = %s of %s that call it worse", number(f.E), number(f.Threshold))
		}
	}
	return f
}

// logE is the logarithm of the evidence that the canary is worse: of failures,
// or where latency is judged too, the mean of both. A mean of e-values is one,
// however they depend on each other.
func (c Config) logE(t Tally) float64 {
	switch failures := t.Worse[failed].logE(); c.latency() {
	case 1:
		return logAdd(failures, t.Worse[slow].logE()) - math.Log(2)
	case 2:
		return logAdd(failures, logAdd(t.Worse[slow].logE(), t.Worse[slower].logE())-math.Log(2)) - math.Log(2)
	default:
		return failures
	}
}

// uneven reports whether the arms do not get what they should, and whether the
// canary gets too many. Each of n balancers that looks by itself has its share
// of splitAlpha.
func (c Config) uneven(t Tally, n int) (fires, many bool) {
	few, more := math.Inf(-1), math.Inf(-1)
	for k, x := range t.Split {
		if uneven.odds[k] < uneven.null {
			few = logAdd(few, x)
		} else {
			more = logAdd(more, x)
		}
	}
	return t.Split.logE() >= math.Log(float64(n)/splitAlpha), more > few
}

// passes judges a canary that is not worse: whether that is because too little
// was seen. The failures must be few, or few beside stable's, each way at beta: a
// canary that is neither passes with at most twice that. Where latency is judged
// the slow requests must be so too, which costs nothing: both are needed.
func (c Config) passes(t Tally, f Finding) (Verdict, string) {
	enough := math.Log(1 / c.Beta)
	mirror := t.Better[failed].logE() >= enough
	low := f.Bound < c.MaxErrorRate
	quick := c.latency() == 0 || t.Limits[0] == 0 || t.Better[slow].logE() >= enough ||
		Bound(t.Requests[1], t.Slow[1], c.Beta) < c.MaxErrorRate
	step := t.Step >= uint64(c.MinRequests)
	if step && quick && (mirror || low) {
		return Pass, c.whyPass(t, f, low)
	}
	return Undecided, c.whyUndecided(t, f, mirror || low, quick)
}

func (c Config) whyWorse(t Tally, f Finding) string {
	what, counts := "fails", t.Failures
	if c.latency() > 0 && t.Worse[slow].logE() > t.Worse[failed].logE() || c.latency() > 1 && t.Worse[slower].logE() > t.Worse[failed].logE() {
		what, counts = fmt.Sprintf("is slower than %v in", short(t.Limits[0])), t.Slow
	}
	return fmt.Sprintf("the canary %s %s of %s requests, stable %s of %s: E = %s >= %s", what,
		percent(counts[1], t.Requests[1]), grouped(t.Requests[1]),
		percent(counts[0], t.Requests[0]), grouped(t.Requests[0]), number(f.E), number(f.Threshold))
}

func whyUneven(t Tally, many bool) string {
	how := "fewer"
	if many {
		how = "more"
	}
	return fmt.Sprintf("the canary got %s of the %s counted requests, %s than its ratio says: something beside the draw decides who is counted, so nothing can be concluded",
		percent(t.Requests[1], t.Requests[0]+t.Requests[1]), grouped(t.Requests[0]+t.Requests[1]), how)
}

func (c Config) whyPass(t Tally, f Finding, low bool) string {
	if low {
		return fmt.Sprintf("the canary fails %s of %s requests: with %s confidence below %s, and %s is allowed",
			percent(t.Failures[1], t.Requests[1]), grouped(t.Requests[1]), rate(1-c.Beta), rate(f.Bound), rate(c.MaxErrorRate))
	}
	return fmt.Sprintf("the canary fails %s of %s requests, stable %s of %s: with %s confidence not %s times as much",
		percent(t.Failures[1], t.Requests[1]), grouped(t.Requests[1]),
		percent(t.Failures[0], t.Requests[0]), grouped(t.Requests[0]), rate(1-c.Beta), number(c.Margin))
}

func (c Config) whyUndecided(t Tally, f Finding, few, quick bool) string {
	var step, all uint64
	if least := uint64(c.MinRequests); t.Step < least {
		step = least - t.Step
	}
	if !few {
		all = max(requestsFor(c.MaxErrorRate, t.Failures[1], c.Beta), t.Requests[1]+1) - t.Requests[1]
	}
	switch {
	case t.Requests[1] == 0:
		return "no request of the canary has been counted yet"
	case all > step && t.Failures[1] > 0:
		return fmt.Sprintf("needs about %s more requests of the canary without a failure, or more failures of stable, to tell that it is not worse", grouped(all))
	case all > 0 || step > 0:
		return fmt.Sprintf("needs about %s more requests of the canary", grouped(max(all, step)))
	case !quick:
		return fmt.Sprintf("needs more requests to tell that the canary is not slower: %s of its requests took longer than %v, %s of stable's",
			percent(t.Slow[1], t.Requests[1]), short(t.Limits[0]), percent(t.Slow[0], t.Requests[0]))
	}
	return ""
}

// exp returns e^x, but never more than JSON can tell.
func exp(x float64) float64 { return math.Exp(min(x, 300*math.Ln10)) }

// number prints a value as people write it: 1,234 or 12.5 or 1.2e+21.
func number(x float64) string {
	switch {
	case x >= 1e15:
		return strconv.FormatFloat(x, 'g', 2, 64)
	case x >= 100:
		return grouped(uint64(math.Round(x)))
	}
	return strconv.FormatFloat(x, 'g', 3, 64)
}

func grouped(n uint64) string {
	s := strconv.FormatUint(n, 10)
	var b strings.Builder
	for i, digit := range s {
		if i > 0 && (len(s)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(digit)
	}
	return b.String()
}

func percent(part, whole uint64) string {
	if whole == 0 {
		return "0.0 %"
	}
	return rate(float64(part) / float64(whole))
}

// rate prints a share as a percentage.
func rate(p float64) string {
	switch p *= 100; {
	case p > 0 && p < 0.1:
		return strconv.FormatFloat(p, 'g', 2, 64) + " %"
	case p < 2:
		return strings.TrimSuffix(strconv.FormatFloat(p, 'f', 2, 64), "0") + " %"
	}
	return strconv.FormatFloat(p, 'f', 1, 64) + " %"
}

// short prints a duration without digits that nobody reads.
func short(d time.Duration) time.Duration {
	for unit := time.Second; unit >= 1000; unit /= 10 {
		if d >= unit {
			return d.Round(unit / 100)
		}
	}
	return d
}
