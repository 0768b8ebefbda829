package evidence

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
)

// Logs are the logarithms of eight likelihood ratios, one for each alternative
// of a test. The evidence is the mean of the ratios. The zero Logs have seen
// nothing: their evidence is 1.
type Logs [8]float64

// most is the largest logarithm, either way, that is taken for one. A thousand
// million failures make 4.6e9.
const most = 1e13

// test is a set of alternatives to a null hypothesis, all of them given as how
// many times the odds, that an event comes from the canary, are what its share
// says; for rare events that is how many times as likely they are there.
type test struct {
	null float64
	odds [8]float64
	logs Logs // ln(odds/null)
}

func newTest(null float64, odds [8]float64) *test {
	t := &test{null: null, odds: odds}
	for k, d := range odds {
		t.logs[k] = math.Log(d / null)
	}
	return t
}

// worse is the test that rolls back: so many times as likely to fail as stable.
var worse = newTest(1, [8]float64{1.25, 1.5, 2, 3, 5, 10, 30, 100})

// uneven is the check of the sample ratio. The first four alternatives say that
// the canary got too few.
var uneven = newTest(1, [8]float64{1 / 2., 1 / 1.25, 1 / 1.1, 1 / 1.03, 1.03, 1.1, 1.25, 2})

// better is the mirror image of worse, against margin.
func better(margin float64) *test {
	odds := worse.odds
	for k, d := range odds {
		odds[k] = margin / d
	}
	return newTest(margin, odds)
}

// see adds n events, of which canary were the canary's, that were drawn when its
// share was r:
//
//	π(δ) = rδ/(rδ+1−r)
//	canary: ln(π(δ)/π(null)),  stable: ln((1−π(δ))/(1−π(null)))
func (l *Logs) see(t *test, r float64, n, canary uint64) {
	if n == 0 {
		return
	}
	base := math.Log1p(r * (t.null - 1))
	for k, d := range t.odds {
		l[k] += float64(n)*(base-math.Log1p(r*(d-1))) + float64(canary)*t.logs[k]
	}
}

// logE is the logarithm of the mean of the ratios. It neither overflows nor
// underflows.
func (l Logs) logE() float64 {
	top, sum := slices.Max(l[:]), 0.0
	for _, x := range l {
		sum += math.Exp(x - top)
	}
	return top + math.Log(sum/float64(len(l)))
}

// plus returns the logarithms of the products of the ratios.
func (l Logs) plus(m Logs) Logs {
	for k := range l {
		l[k] = max(-most, min(l[k]+m[k], most))
	}
	return l
}

// mix returns the logarithms of a·exp(l) + b·exp(m).
func (l Logs) mix(a float64, m Logs, b float64) Logs {
	la, lb := math.Log(a), math.Log(b)
	for k := range l {
		l[k] = max(-most, logAdd(la+l[k], lb+m[k]))
	}
	return l
}

// logAdd returns ln(exp(a)+exp(b)).
func logAdd(a, b float64) float64 {
	if a < b {
		a, b = b, a
	}
	if math.IsInf(b, -1) {
		return a
	}
	return a + math.Log1p(math.Exp(b-a))
}

// MarshalJSON writes eight numbers with six decimals, or 0 where nothing was seen.
func (l Logs) MarshalJSON() ([]byte, error) {
	if err := l.valid(); err != nil {
		return nil, err
	}
	for k := range l {
		l[k] = round(l[k])
	}
	if l == (Logs{}) {
		return []byte("0"), nil
	}
	b := []byte{'['}
	for k, x := range l {
		if k > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendFloat(b, x, 'f', -1, 64)
	}
	return append(b, ']'), nil
}

// round returns x with six decimals, and 0 for -0.
func round(x float64) float64 {
	if math.Abs(x) >= 1<<32 {
		return math.Round(x) + 0
	}
	return math.Round(x*1e6)/1e6 + 0
}

// UnmarshalJSON reads what MarshalJSON writes, and nothing else.
func (l *Logs) UnmarshalJSON(text []byte) error {
	if string(text) == "0" {
		*l = Logs{}
		return nil
	}
	var xs []float64
	if err := json.Unmarshal(text, &xs); err != nil {
		return err
	}
	if len(xs) != len(l) {
		return errors.New("likelihood ratios: want eight numbers, or 0")
	}
	copy(l[:], xs)
	return l.valid()
}

func (l Logs) valid() error {
	for k, x := range l {
		if !(math.Abs(x) <= most) {
			return fmt.Errorf("likelihood ratio %d is %v; want a logarithm between -%g and %g", k, x, most, most)
		}
	}
	return nil
}
