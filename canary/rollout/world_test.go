package rollout

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
)

// FuzzWorld decodes whatever keys may hold, judges by it, and shows it.
func FuzzWorld(f *testing.F) {
	f.Add("lb/state/web", []byte(`{"v":1,"id":"v2","phase":"running","ratio":0.1,"fleet":{"balancers":3,"judged":"x","left":{"balancers":1,"requests":[1,2],"failures":[0,1]},"gone":["a"]}}`), "")
	f.Add("lb/state/web", []byte(`{"v":1,"id":"v2","phase":"rolled_back","fleet":{"balancers":-1}}`), "s")
	f.Add("lb/state/nodes/a/web", []byte(`{"id":"a","index":7,"rollout":"v2","evidence":{"requests":[9,9],"failures":[10,0],"balancers":1}}`), "s")
	f.Add("lb/state/nodes/a/web", []byte(`{"id":"a","index":18446744073709551615,"ratio":1e308,"life":-1}`), "s")
	f.Add("lb/state/nodes/leader", []byte(`{"id":7}`), "s")
	f.Add("lb/state/nodes/", []byte(`null`), "s")
	f.Add("lb/state//", []byte(``), "")
	f.Fuzz(func(t *testing.T, key string, value []byte, session string) {
		plan := judgedPlan(7)
		r := newRun(&Fleet{Self: Self{ID: "self"}, Logger: hclog.NewNullLogger()}, t.Context())
		r.plans = map[string]*Plan{"web": plan}
		pairs := []Pair{{key, value, 5, session}}
		r.world = r.decode(pairs, nil)
		again := r.decode(pairs, r.world)
		if fmt.Sprint(again.nodes) != fmt.Sprint(r.world.nodes) || len(again.states) != len(r.world.states) {
			t.Errorf("decoded twice: %v, then %v", r.world, again)
		}
		now := time.Now()
		h := r.state("web")
		if n := r.balancers(plan, h.State); n < 1 || n > 1<<16 {
			t.Errorf("%d balancers", n)
		}
		r.verdict(plan, h.State)
		next, _ := Next(plan, h.State, r.verdict(plan, h.State), now)
		next.Fleet = r.bank(plan, h.State, now)
		if _, err := json.Marshal(next); err != nil {
			t.Errorf("the state that follows cannot be written: %v", err)
		}
		r.show(now)
		if s, ok := r.f.Status("web"); !ok {
			t.Error("no status")
		} else if _, err := json.Marshal(s); err != nil {
			t.Errorf("the status cannot be written: %v", err)
		}
	})
}

// BenchmarkTurn is one look at everything, with 2,000 documents of which a tenth
// are rollouts, on four balancers.
func BenchmarkTurn(b *testing.B) {
	ctx, end := context.WithCancel(b.Context())
	r := newRun(&Fleet{Self: Self{ID: "a"}, Store: newMemory().link()}, ctx)
	r.f.init()
	defer r.wg.Wait()
	defer end()
	r.session = session{id: "s", renewed: time.Now().Add(time.Hour), next: time.Now().Add(time.Hour), asking: true}
	r.f.plans, r.f.applied = map[string]*Plan{}, map[string]Applied{}
	var pairs []Pair
	for i := range 2000 {
		service := fmt.Sprintf("web-%d", i)
		if i%10 == 0 {
			p := judgedPlan(7)
			p.Service = service
			r.f.plans[service] = p
			pairs = append(pairs, Pair{"lb/state/" + service, []byte(`{"v":1,"id":"v2","phase":"running","ratio":0.1}`), 7, ""})
		}
		a := Applied{Index: 7, Hash: "h"}
		r.f.applied[service] = a
		for _, id := range []string{"a", "b", "c", "d"} {
			value, _ := json.Marshal(Node{Self: Self{ID: id}, Applied: a})
			pairs = append(pairs, Pair{"lb/state/nodes/" + id + "/" + service, value, 7, "s"})
		}
		r.presence[service] = &presence{sent: Node{Applied: a}, session: "s", slow: time.Now().Add(time.Hour)}
	}
	r.presence[""] = &presence{session: "s", slow: time.Now().Add(time.Hour)}
	r.world = r.decode(pairs, nil)
	b.Run("idle", func(b *testing.B) {
		for b.Loop() {
			r.turn(time.Now())
		}
	})
	b.Run("watch", func(b *testing.B) {
		for b.Loop() {
			r.onWatch(pairs, nil)
		}
	})
}
