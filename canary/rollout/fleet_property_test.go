package rollout

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"serin/canary/evidence"
)

// TestNothingIsSkippedOrLowered lets balancers crash, come, lose Consul, lose
// answers and sessions at random: whatever they do, the states that are written
// take one step at a time and never lower the share but by a rollback.
func TestNothingIsSkippedOrLowered(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { havoc(t, rand.New(rand.NewPCG(seed, 7))) })
		})
	}
}

func havoc(t *testing.T, random *rand.Rand) {
	m := newMemory()
	plan := &Plan{Service: "web", ID: "v2", Key: "lb/canary/web", Index: 7, Hash: "h"}
	for _, ratio := range []float64{0.01, 0.1, 0.3, 0.5, 1} {
		plan.Steps = append(plan.Steps, Step{Ratio: new(ratio), For: 20 * time.Second})
	}
	bad := random.IntN(3) == 0 // the canary is broken
	if bad {
		plan.Analysis = &Analysis{}
	}
	alive := map[int]*balancer{}
	next := 0
	start := func() {
		alive[next] = m.join(t, fmt.Sprintf("b%d", next), plan)
		alive[next].link.set(func() { alive[next].latency = time.Duration(random.IntN(400)) * time.Millisecond })
		next++
	}
	start()
	start()
	pick := func() (int, *balancer) {
		for i := range next {
			if b := alive[i]; b != nil && random.IntN(len(alive)) == 0 {
				return i, b
			}
		}
		return -1, nil
	}
	for range 60 {
		time.Sleep(time.Duration(random.IntN(5000)) * time.Millisecond)
		i, b := pick()
		switch what := random.IntN(8); {
		case what == 0 && len(alive) < 4:
			start()
		case b == nil:
		case what == 1 && len(alive) > 1:
			b.kill()
			delete(alive, i)
		case what == 2 && len(alive) > 1:
			b.leave()
			delete(alive, i)
		case what == 3:
			b.link.set(func() { b.cut = !b.cut })
		case what == 4:
			b.link.set(func() { b.unsure = !b.unsure })
		case what == 5:
			m.endSessions()
		case what == 6 && bad:
			if rec := b.Recorder("web"); rec != nil {
				for range 8 {
					rec.Record(evidence.Sample{Canary: true, Ratio: 0.3, Failed: true})
					rec.Record(evidence.Sample{Ratio: 0.3})
					rec.Record(evidence.Sample{Ratio: 0.3})
				}
			}
		}
	}
	for _, b := range alive {
		b.link.set(func() { b.cut, b.unsure, b.latency = false, false, time.Millisecond })
	}
	time.Sleep(4 * time.Minute)
	m.noneSkipped(t, len(plan.Steps))
	s := m.stateOf("web")
	t.Logf("%d balancers took part; %d values of the state; in the end %s by %s", next, m.published("lb/state/web"), s.Phase, s.By)
	if !bad && s.Phase != Promoted {
		t.Errorf("a good version ends in %+v", s)
	}
	for _, b := range alive {
		if b.state("web") != s && !sameText(b.state("web"), s) {
			t.Errorf("%s believes %+v, the store has %+v", b.Self.ID, b.state("web"), s)
		}
	}
	if len(leaders(values(alive)...)) != 1 {
		t.Error("in the end nobody, or more than one, leads")
	}
}

func values(m map[int]*balancer) (out []*balancer) {
	for _, b := range m {
		out = append(out, b)
	}
	return out
}
