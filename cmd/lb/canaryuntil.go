package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"serin/admin"
	"serin/canary/rollout"
)

// phaseWait waits for a phase of a rollout.
type phaseWait struct {
	*app
	service string
	phases  []rollout.Phase
	timeout time.Duration // 0 is for ever
	ask     func(context.Context) (admin.CanaryStatus, error)
}

func (a *app) waitFor(until string, args []string, timeout time.Duration) (*phaseWait, error) {
	w := &phaseWait{app: a, timeout: timeout}
	if len(args) != 1 {
		return nil, fail(exitUsage, errors.New("--until wants a service"), "lb canary status web --until promoted")
	}
	w.service = args[0]
	known := []string{string(rollout.Promoted), string(rollout.Paused), string(rollout.RolledBack)}
	for word := range strings.FieldsFuncSeq(until, func(r rune) bool { return r == ',' || r == '|' }) {
		if !slices.Contains(known, word) {
			return nil, fail(exitUsage, fmt.Errorf("--until: no phase %q%s", word, didYouMean(word, known)), "it is one of "+strings.Join(known, ", "))
		}
		w.phases = append(w.phases, rollout.Phase(word))
	}
	return w, nil
}

// reached tells whether the wait is over, and its error.
func (w *phaseWait) reached(s rollout.State) (bool, error) {
	switch {
	case slices.Contains(w.phases, s.Phase):
		return true, nil
	case s.Phase == rollout.RolledBack:
		return true, fail(exitRolledBack, fmt.Errorf("%s was rolled back: %s", w.service, s.Because), command("lb canary history", w.service)+" tells more; lb canary retry begins anew")
	case s.Phase == rollout.Promoted:
		return true, fail(exitFailed, fmt.Errorf("%s was promoted: it comes to no other phase by itself", w.service), "")
	}
	return false, nil
}

// run waits, and writes a line for each phase and step. A balancer that does not
// answer for a while is waited for as well.
func (w *phaseWait) run(ctx context.Context) error {
	var end <-chan time.Time
	if w.timeout > 0 {
		t := time.NewTimer(w.timeout)
		defer t.Stop()
		end = t.C
	}
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	said, lost := "", false
	for {
		st, err := w.ask(ctx)
		e, _ := errors.AsType[*exitError](err)
		switch {
		case e != nil && e.code == exitUnreachable && ctx.Err() == nil:
			if !lost {
				lost = true
				fmt.Fprintln(w.err, "note:", err)
			}
		case err != nil:
			return err
		case st.Rollout != nil:
			lost = false
			if line := w.service + phasePhrase(st); line != said {
				said = line
				fmt.Fprintf(w.out, "%s, %s\n", line, inForce(st.ServiceStatus))
			}
			if done, err := w.reached(st.Rollout.State); done {
				return err
			}
		}
		select {
		case <-tick.C:
		case <-end:
			return fail(exitTimeout, fmt.Errorf("%s did not get there within %s", w.service, w.timeout), command("lb canary status", w.service))
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
