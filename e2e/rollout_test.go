package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"serin/e2e/load"
	"serin/internal/agent"
)

// fleet is two balancers that share one Consul.
type fleet struct {
	*lab
	agent *agent.Agent
	lbs   []*balancer
	v1    []*instance
	v2    []*instance
}

// startFleet starts two balancers before web's instances, so that these are
// new to them and have their warm-up.
func startFleet(t *testing.T, cfg agent.Config, stable, canary int) *fleet {
	t.Helper()
	a := agent.Start(t, cfg)
	f := &fleet{lab: &lab{t: t, consul: a.Addr()}, agent: a}
	f.lbs = []*balancer{f.lb(), f.lb()}
	f.v1, f.v2 = f.web(stable, canary)
	for _, b := range f.lbs {
		f.warm(b, stable+canary)
	}
	return f
}

// flows is a load on each balancer, as a DNS name with two addresses makes it.
func (f *fleet) flows(cfg load.Config) (out []*flow) {
	cfg.Rate /= float64(len(f.lbs))
	for _, b := range f.lbs {
		cfg.Addrs = []string{b.traffic}
		out = append(out, f.flow(cfg))
	}
	return out
}

// standing is what a balancer says of web's rollout.
type standing struct {
	Effective float64
	InTable   bool `json:"in_table"`
	Because   string
	State     string
	Rollout   struct {
		State struct {
			ID       string
			Phase    string
			Step     int
			Because  string
			Evidence struct {
				Verdict  string
				E        float64
				Requests [2]uint64
				Failures [2]uint64
				Because  string
			}
		}
		Leader string
		Leads  bool
		Held   string
		Local  struct {
			Verdict  string
			E        float64
			Failures [2]uint64
		}
		Nodes []struct {
			ID     string
			Behind bool
			Index  uint64
		}
	}
}

func (b *balancer) standing() (s standing, err error) {
	err = getJSON("http://"+b.admin+"/api/v1/canary/web/status", &s)
	return s, err
}

// everywhere waits until all balancers have the share, in the table.
func (f *fleet) everywhere(ratio float64, within time.Duration) time.Duration {
	f.t.Helper()
	return eventually(f.t, within, fmt.Sprintf("every balancer has the share %g", ratio), func() error {
		for _, b := range f.lbs {
			if err := applied(b, "web", ratio); err != nil {
				return err
			}
		}
		return nil
	})
}

// phase waits until all balancers say that web's rollout is in the phase.
func (f *fleet) phase(phase string, within time.Duration) (s standing) {
	f.t.Helper()
	eventually(f.t, within, "the rollout is "+phase, func() (err error) {
		for _, b := range f.lbs {
			if s, err = b.standing(); err != nil {
				return err
			}
			if s.Rollout.State.Phase != phase {
				return fmt.Errorf("it is %q at step %d with %g (%s; %s)", s.Rollout.State.Phase, s.Rollout.State.Step, s.Effective, s.Rollout.State.Because, s.Rollout.State.Evidence.Because)
			}
		}
		return nil
	})
	return s
}

// fail makes instances fail this share of their requests.
func (f *fleet) fail(rate float64, instances ...*instance) {
	f.t.Helper()
	for _, i := range instances {
		resp, err := http.Post(fmt.Sprintf("http://%s/fail?rate=%g", i.addr, rate), "", nil)
		if err != nil {
			f.t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 200 {
			f.t.Fatalf("%s: %s", i.addr, resp.Status)
		}
	}
}

// history is the audit ring of web, the oldest first.
type entry struct {
	Kind     string
	Step     int
	From, To float64
	Because  string
	By       string
	Time     time.Time
}

func (f *fleet) history() (entries []entry) {
	f.t.Helper()
	var ring struct{ Events []entry }
	if err := getJSON("http://"+f.lbs[0].admin+"/api/v1/canary/web/history", &ring); err != nil {
		f.t.Fatal(err)
	}
	entries = ring.Events
	slices.SortStableFunc(entries, func(a, b entry) int { return a.Time.Compare(b.Time) })
	return entries
}

// documents are the keys of operators as Consul has them, with their indexes.
func (f *fleet) documents() string {
	f.t.Helper()
	body, err := f.call("GET", "/v1/kv/lb/canary?recurse", "")
	if err != nil {
		f.t.Fatal(err)
	}
	return body
}

// untouched fails the test when somebody wrote a document since then.
func (f *fleet) untouched(since string) {
	f.t.Helper()
	if now := f.documents(); now != since {
		f.t.Errorf("a balancer wrote an operator's document:\n%s\nwas\n%s", now, since)
	}
}

// A good version goes through its plan to everyone, on both balancers, and no
// request fails.
func TestPlanPromotesGoodVersion(t *testing.T) {
	f := startFleet(t, agent.Config{}, 2, 1)
	flows := f.flows(load.Config{Rate: 400, Clients: 16, Kinds: []load.Kind{load.GET, load.POST}})
	began := time.Now()
	f.kvPut("lb/canary/web", `{
		"id": "web-2", "stale_after": "1s",
		"steps": [{"ratio": 0.01, "for": "2s"}, {"ratio": 0.1, "for": "2s"}, {"ratio": 0.5, "for": "2s"}, {"ratio": 1, "for": "1s"}],
		"analysis": {"warmup": "1s", "max_error_rate": 0.2, "min_requests": 5}
	}`)
	written := f.documents()
	// What the balancers do, as an operator sees it: never less than before.
	shares := map[float64]bool{}
	last := make([]float64, len(f.lbs))
	eventually(t, 90*time.Second, "the plan is through", func() error {
		through := 0
		for i, b := range f.lbs {
			s, err := b.standing()
			if err != nil {
				return err
			}
			if s.Effective < last[i] {
				t.Errorf("balancer %d lowered the share of a good version from %g to %g: %s", i, last[i], s.Effective, s.Because)
			}
			last[i] = s.Effective
			shares[s.Effective] = true
			if s.Rollout.State.Phase == "promoted" {
				through++
			}
		}
		if through < len(f.lbs) {
			s, _ := f.lbs[0].standing()
			return fmt.Errorf("step %d, share %g, %s", s.Rollout.State.Step, s.Effective, s.Rollout.State.Evidence.Because)
		}
		return nil
	})
	f.everywhere(1, 2*time.Second)
	f.untouched(written)
	t.Logf("FIGURE plan of four steps of 7 s in all promoted after %s", time.Since(began).Round(100*time.Millisecond))
	for _, want := range []float64{0.01, 0.1, 0.5, 1} {
		if !shares[want] {
			t.Errorf("nobody ever saw the share %g; seen: %v", want, shares)
		}
	}
	for i, fl := range flows {
		fl.measure(t, fmt.Sprintf("balancer %d after the promotion", i), 1, 200)
		failed(t, fmt.Sprintf("balancer %d", i), fl.end())
	}
	step, kinds := 0, ""
	for _, e := range f.history() {
		kinds += e.Kind + " "
		if e.Kind == "step" {
			if step++; e.Step != step {
				t.Errorf("step %d follows step %d", e.Step, step-1)
			}
		}
	}
	if step != 3 {
		t.Errorf("%d steps in the history, want 3: %s", step, kinds)
	}
	t.Logf("history: %s", kinds)
	// Consul's loss takes a promoted version from nobody.
	f.agent.Kill()
	<-time.After(3 * time.Second)
	for i, b := range f.lbs {
		if err := applied(b, "web", 1); err != nil {
			t.Errorf("balancer %d after the loss of Consul: %v", i, err)
		}
	}
}

// rolledBack waits until every balancer sends nothing to the canary any more.
func (f *fleet) rolledBack(within time.Duration) time.Duration {
	f.t.Helper()
	took := f.everywhere(0, within)
	f.phase("rolled_back", 5*time.Second)
	return took
}

// A canary that fails half of its requests is rolled back after a handful of
// failures.
func TestBadCanaryIsRolledBack(t *testing.T) {
	n := size(t)
	f := startFleet(t, agent.Config{}, 2, 1)
	var fails []int
	var took []time.Duration
	for round := range n.Rollbacks {
		f.fail(0, f.v2...)
		f.kvPut("lb/canary/web", fmt.Sprintf(`{"ratio": 0.1, "id": "bad-%d", "analysis": {"warmup": "1s"}}`, round))
		written := f.documents()
		f.everywhere(0.1, 5*time.Second)
		flows := f.flows(load.Config{Rate: 200, Clients: 16})
		for i, fl := range flows { // past the warm-up, with both arms in use
			eventually(t, 20*time.Second, "the canary is in use and judged", func() error {
				s, err := f.lbs[i].standing()
				if v2, _ := fl.seen("v2"); err != nil || v2 < 20 {
					return fmt.Errorf("v2 answered %d, %v, %+v", v2, err, s.Rollout.Local)
				}
				return nil
			})
		}
		f.fail(0.5, f.v2...)
		began := time.Now()
		f.rolledBack(30 * time.Second)
		took = append(took, time.Since(began))
		f.untouched(written)
		if s := f.phase("rolled_back", time.Second); s.Rollout.State.Evidence.Verdict != "worse" {
			t.Errorf("rolled back without evidence: %+v", s.Rollout.State)
		}
		seen := 0
		for _, fl := range flows {
			r := fl.end()
			for cause, count := range r.Failed {
				if cause != "GET status 500" {
					t.Errorf("%d × %s", count, cause)
				}
				seen += count
			}
		}
		fails = append(fails, seen)
	}
	slices.Sort(fails)
	quantiles(t, "canary fails half of its requests → rolled back", took)
	median := fails[len(fails)/2]
	t.Logf("FIGURE failures seen by clients until the rollback: median %d, all %v", median, fails)
	if median > 10 {
		t.Errorf("median of %d failures seen by clients, want at most 10", median)
	}
}

// When both arms fail together the canary is not to blame.
func TestSharedOutageRollsNothingBack(t *testing.T) {
	f := startFleet(t, agent.Config{}, 2, 1)
	f.kvPut("lb/canary/web", `{"ratio": 0.2, "analysis": {"warmup": "1s"}}`)
	f.everywhere(0.2, 5*time.Second)
	flows := f.flows(load.Config{Rate: 400, Clients: 16})
	<-time.After(2 * time.Second) // past the warm-up
	f.fail(0.5, append(slices.Clone(f.v1), f.v2...)...)
	<-time.After(size(t).SharedOutage)
	fails := 0
	for _, fl := range flows {
		for _, count := range fl.end().Failed {
			fails += count
		}
	}
	counted := uint64(0)
	for i, b := range f.lbs {
		s, err := b.standing()
		if err != nil {
			t.Fatal(err)
		}
		if s.Effective != 0.2 || s.Rollout.State.Phase != "running" {
			t.Errorf("balancer %d: share %g, phase %q (%s), want 0.2 and running", i, s.Effective, s.Rollout.State.Phase, s.Rollout.State.Because)
		}
		counted += s.Rollout.Local.Failures[0] + s.Rollout.Local.Failures[1]
		t.Logf("balancer %d: E = %.3g of failures %v", i, s.Rollout.Local.E, s.Rollout.Local.Failures)
	}
	t.Logf("FIGURE both arms fail half of their requests: %d failures, %d of them judged, no rollback", fails, counted)
	if counted < 50 {
		t.Errorf("only %d failures were judged: the test shows nothing", counted)
	}
}

// Consul goes away in the middle of a rollout: the step is held, after
// stale_after the canary gets nothing, and when Consul is back it goes on where
// it was.
func TestConsulStopsInMidRollout(t *testing.T) {
	f := startFleet(t, agent.Config{Persistent: true}, 2, 1)
	flows := f.flows(load.Config{Rate: 200, Clients: 16, Kinds: []load.Kind{load.GET, load.POST}})
	f.kvPut("lb/canary/web", `{"stale_after": "6s", "steps": [{"ratio": 0.2, "for": "1s"}, {"ratio": 0.5, "for": "8s"}, {"ratio": 1, "for": "1s"}]}`)
	f.everywhere(0.5, 10*time.Second)
	f.agent.Kill()
	killed := time.Now()
	for time.Since(killed) < 4*time.Second { // held
		for i, b := range f.lbs {
			if err := applied(b, "web", 0.5); err != nil {
				t.Fatalf("balancer %d, %s after Consul stopped: %v", i, time.Since(killed), err)
			}
		}
		<-time.After(100 * time.Millisecond)
	}
	f.everywhere(0, 10*time.Second)
	t.Logf("FIGURE the share is 0 on both balancers %s after Consul was killed (stale_after 6s)", time.Since(killed).Round(100*time.Millisecond))
	<-time.After(max(0, 14*time.Second-time.Since(killed))) // the step's time is over, and nobody may take the next
	for i, b := range f.lbs {
		s, err := b.standing()
		if err != nil {
			t.Fatal(err)
		}
		if s.Rollout.State.Step != 1 || s.Effective != 0 {
			t.Errorf("balancer %d without Consul: step %d, share %g, want step 1 held at 0", i, s.Rollout.State.Step, s.Effective)
		}
	}
	f.agent.Restart(false)
	back := time.Now()
	f.everywhere(0.5, 30*time.Second) // the step goes on: nobody was on the canary while it was held
	t.Logf("FIGURE the step goes on %s after Consul's return", time.Since(back).Round(100*time.Millisecond))
	f.everywhere(1, 60*time.Second)
	t.Logf("FIGURE the rollout is through %s after Consul's return", time.Since(back).Round(100*time.Millisecond))
	steps := []int{}
	for _, e := range f.history() {
		if e.Kind == "step" {
			steps = append(steps, e.Step)
		}
	}
	if !slices.Equal(steps, []int{1, 2}) {
		t.Errorf("steps taken: %v, want 1 and 2, each once", steps)
	}
	for i, fl := range flows {
		failed(t, fmt.Sprintf("balancer %d", i), fl.end())
	}
}

// An abort by hand is in force on both balancers within a second.
func TestAbortByHand(t *testing.T) {
	n := size(t)
	f := startFleet(t, agent.Config{}, 1, 1)
	flows := f.flows(load.Config{Rate: 200, Clients: 8})
	var took []time.Duration
	for round := range n.Aborts {
		f.kvPut("lb/canary/web", fmt.Sprintf(`{"ratio": 0.5, "update_rate": "10s", "id": "abort-%d"}`, round))
		f.everywhere(0.5, 5*time.Second)
		began := time.Now()
		out, code := f.cli("canary", "abort", "web", "--addr", f.lbs[0].admin)
		if code != 0 {
			t.Fatalf("lb canary abort: exit code %d\n%s", code, out)
		}
		f.everywhere(0, 5*time.Second)
		took = append(took, time.Since(began))
		if round == n.Aborts-1 { // what the table says is what requests get
			for i, fl := range flows {
				fl.measure(t, fmt.Sprintf("balancer %d after the abort", i), 0, 50)
			}
		}
		f.kvDelete("lb/canary/web")
		eventually(t, 5*time.Second, "the document is gone", func() error {
			for _, b := range f.lbs {
				if err := status("http://"+b.admin+"/api/v1/canary/web/status", 404); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if _, p99 := quantiles(t, "lb canary abort → share 0 on both balancers", took); p99 > time.Second {
		t.Errorf("p99 of an abort is %s, want at most 1 s", p99)
	}
	for i, fl := range flows {
		failed(t, fmt.Sprintf("balancer %d", i), fl.end())
	}
}

// Two balancers that run a ramp together never send a client back.
func TestRampIsMonotoneOnTwoBalancers(t *testing.T) {
	n := size(t)
	f := startFleet(t, agent.Config{}, 1, 1)
	count := n.RampKeys * n.RampRounds
	over := time.Duration(float64(count)/n.RampRate) * time.Second
	f.kvPut("lb/canary/web", fmt.Sprintf(`{"sticky": "header:X-User", "ramp": {"from": 0, "to": 1, "over": %q}}`, over))
	// When each key's first answer of v2 came: from each balancer, and from any.
	var mu sync.Mutex
	own := [2][]time.Time{make([]time.Time, n.RampKeys), make([]time.Time, n.RampKeys)}
	any := make([]time.Time, n.RampKeys)
	var back, across, answers, moved int
	var wg sync.WaitGroup
	reports := make([]*load.Report, len(f.lbs))
	for k, b := range f.lbs {
		wg.Go(func() {
			var started sync.Map
			reports[k] = load.Run(t.Context(), load.Config{
				Addrs: []string{b.traffic}, Rate: n.RampRate / float64(len(f.lbs)), Count: count / len(f.lbs), Clients: 32,
				Header: func(i int) string {
					started.Store(i, time.Now())
					return fmt.Sprintf("X-User: user-%d\r\n", rampKey(k, i, n.RampKeys))
				},
				Answer: func(i int, a load.Answer) {
					v, _ := started.LoadAndDelete(i)
					asked, now, key := v.(time.Time), time.Now(), rampKey(k, i, n.RampKeys)
					mu.Lock()
					defer mu.Unlock()
					answers++
					switch at, first := own[k][key], any[key]; {
					case a.Version != "v2":
						if !at.IsZero() && asked.After(at) {
							back++
						}
						if !first.IsZero() && asked.After(first.Add(rampSkew)) {
							across++
						}
					case first.IsZero():
						any[key] = now
						moved++
						fallthrough
					case at.IsZero():
						own[k][key] = now
					}
				},
			})
		})
	}
	wg.Wait()
	for k, r := range reports {
		failed(t, fmt.Sprintf("balancer %d", k), r)
	}
	t.Logf("FIGURE %d keys over a ramp of %s on two balancers: %d answers, %d keys moved, %d went back on one balancer, %d between the two",
		n.RampKeys, over, answers, moved, back, across)
	if back > 0 || across > 0 {
		t.Errorf("%d answers took a client back on one balancer, %d between the two", back, across)
	}
	if share := float64(moved) / float64(n.RampKeys); share < 0.5 {
		t.Errorf("only %.2f of the keys moved: the ramp did not run", share)
	}
}

// rampSkew is how far two balancers may be apart: each puts the share of the
// same second in force at its own moment, on a busy machine later.
const rampSkew = 2 * time.Second

// rampKey is whom request i of balancer k's load comes from: both loads have
// all keys, in another order.
func rampKey(k, i, keys int) int {
	if k == 1 {
		i += keys / 2
	}
	return i % keys
}

// The leader is killed in the middle of a step: the step is held, the other
// takes over, nothing is skipped or lowered.
func TestLeaderIsKilledInMidStep(t *testing.T) {
	f := startFleet(t, agent.Config{}, 2, 1)
	flows := f.flows(load.Config{Rate: 100, Clients: 8})
	f.kvPut("lb/canary/web", `{"steps": [{"ratio": 0.1, "for": "3s"}, {"ratio": 0.4, "for": "4s"}, {"ratio": 0.7, "for": "2s"}, {"ratio": 1, "for": "1s"}]}`)
	f.everywhere(0.4, 15*time.Second)
	leads := slices.IndexFunc(f.lbs, func(b *balancer) bool { s, err := b.standing(); return err == nil && s.Rollout.Leads })
	if leads < 0 {
		t.Fatal("nobody leads")
	}
	other := f.lbs[1-leads]
	flows[leads].end()
	f.lbs[leads].signal(9)
	killed := time.Now()
	last := 0.4
	eventually(t, 90*time.Second, "the other balancer takes the plan through", func() error {
		s, err := other.standing()
		if err != nil {
			return err
		}
		if s.Effective < last {
			t.Fatalf("the share went from %g to %g: %s", last, s.Effective, s.Because)
		}
		if last = s.Effective; s.Rollout.State.Phase != "promoted" {
			return fmt.Errorf("step %d, %g, led by %q, held: %s", s.Rollout.State.Step, s.Effective, s.Rollout.Leader, s.Rollout.Held)
		}
		return nil
	})
	t.Logf("FIGURE promoted %s after the leader was killed", time.Since(killed).Round(100*time.Millisecond))
	f.lbs[0] = other // whom history asks
	var steps []int
	leaders := map[string]bool{}
	for _, e := range f.history() {
		leaders[e.By] = true
		if e.Kind == "step" {
			steps = append(steps, e.Step)
		}
	}
	if !slices.Equal(steps, []int{1, 2, 3}) || len(leaders) != 2 {
		t.Errorf("steps %v by %d leaders, want 1, 2, 3 by two", steps, len(leaders))
	}
	failed(t, "the other balancer", flows[1-leads].end())
	// What the dead one published goes with its session.
	eventually(t, 30*time.Second, "the dead balancer's keys are gone", func() error {
		body, err := f.call("GET", "/v1/kv/lb/state/nodes?keys", "")
		if err != nil {
			return err
		}
		var keys []string
		if err := json.Unmarshal([]byte(body), &keys); err != nil {
			return err
		}
		nodes := map[string]bool{}
		for _, k := range keys {
			if part := strings.Split(k, "/"); len(part) == 5 { // lb/state/nodes/<balancer>/<service>
				nodes[part[3]] = true
			}
		}
		if len(nodes) != 1 {
			return fmt.Errorf("balancers in KV: %v", nodes)
		}
		return nil
	})
}
