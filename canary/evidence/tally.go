package evidence

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Tally is what one balancer has seen of one rollout, as it is published and
// pooled: some hundred bytes of JSON, however much it has seen. The zero Tally
// has seen nothing, and is of no balancer.
type Tally struct {
	// Requests and Failures are those that count, by arm: stable, canary.
	Requests [2]uint64 `json:"requests"`
	Failures [2]uint64 `json:"failures"`
	// Slow counts requests that took longer than the first of Limits.
	Slow   [2]uint64        `json:"slow,omitzero"`
	Limits [2]time.Duration `json:"limits,omitzero"` // thresholds of latency in force, in nanoseconds; 0: none
	// Step counts the canary's requests since the present step began.
	Step uint64 `json:"step"`

	Balancers uint64 `json:"balancers"`      // how many it is of
	Keyed     bool   `json:"keyed,omitzero"` // clients counted once: the evidence of several is averaged, not multiplied

	Worse  [3]Logs `json:"worse,omitzero"`  // the canary is worse: failures, slow by the first limit, by the second
	Better [2]Logs `json:"better,omitzero"` // it is not margin times worse: failures, slow by the first limit
	Split  Logs    `json:"split,omitzero"`  // the arms do not get what they should
}

// largest is more than any count can be; float64 holds it exactly.
const largest = 1 << 53

// Valid tells what cannot be true of t. What takes Tallies leaves out those that
// are not valid.
func (t Tally) Valid() error {
	if n := max(t.Requests[0], t.Requests[1], t.Step, t.Balancers); n > largest {
		return fmt.Errorf("%d is more than can have been counted", n)
	}
	for arm := range 2 {
		if t.Failures[arm] > t.Requests[arm] || t.Slow[arm] > t.Requests[arm] {
			return errors.New("more failures or slow requests than requests")
		}
	}
	if min(t.Limits[0], t.Limits[1]) < 0 {
		return errors.New("limits: a duration is negative")
	}
	if t.Balancers == 0 && t != (Tally{}) {
		return errors.New("balancers: 0 cannot have seen anything")
	}
	r := t.ratios()
	var err error
	r.each(func(l *Logs, _ int) { err = errors.Join(err, l.valid()) })
	return err
}

// UnmarshalJSON reads a Tally and refuses one that is not valid.
func (t *Tally) UnmarshalJSON(text []byte) error {
	type plain Tally
	var p plain
	if err := json.Unmarshal(text, &p); err != nil {
		return fmt.Errorf("evidence: %w", err)
	}
	if err := Tally(p).Valid(); err != nil {
		return fmt.Errorf("evidence: %w", err)
	}
	*t = Tally(p)
	return nil
}

func (t *Tally) ratios() ratios { return ratios{t.Worse, t.Better, t.Split} }

// Sum is what balancers that have left have seen, kept as one Tally. Tallies
// that are not valid are left out. Its Step is of the step in which they were
// made: when another begins, set it to 0.
func (c Config) Sum(tallies ...Tally) (sum Tally) {
	var logs ratios
	keyed := c.Sticky
	for _, t := range tallies {
		keyed = keyed || t.Keyed && t.Valid() == nil
	}
	for _, t := range tallies {
		if t.Balancers == 0 || t.Valid() != nil {
			continue
		}
		for arm := range 2 {
			add(&sum.Requests[arm], t.Requests[arm])
			add(&sum.Failures[arm], t.Failures[arm])
			add(&sum.Slow[arm], t.Slow[arm])
			sum.Limits[arm] = max(sum.Limits[arm], t.Limits[arm])
		}
		add(&sum.Step, t.Step)
		before := sum.Balancers
		add(&sum.Balancers, t.Balancers)
		one := t.ratios()
		both(&logs, &one, func(all, one *Logs, _ int) {
			if !keyed {
				*all = all.plus(*one)
			} else {
				share := float64(t.Balancers) / float64(sum.Balancers)
				*all = all.mix(float64(before)/float64(sum.Balancers), *one, share)
			}
		})
		sum.Keyed = keyed
	}
	sum.Worse, sum.Better, sum.Split = logs.worse, logs.better, logs.split
	return sum
}

// add adds, but for more than the largest count.
func add(n *uint64, m uint64) { *n = min(*n+m, largest) }
