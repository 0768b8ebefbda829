package rollout

import (
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"serin/canary/evidence"
)

// manual is the page that tells people what this package does.
const manual = "../../docs/ROLLOUTS.md"

// pageTable returns the lines of the table below a heading of the third level,
// and where it is within the page.
func pageTable(t *testing.T, page, heading string) (lines []string, from, to int) {
	t.Helper()
	at := strings.Index(page, "\n### "+heading+"\n")
	if at < 0 {
		t.Fatalf("%s has no section %q", manual, heading)
	}
	from = at + strings.Index(page[at:], "\n|") + 1
	to = from
	for line := range strings.Lines(page[from:]) {
		if !strings.HasPrefix(line, "|") {
			break
		}
		lines = append(lines, strings.TrimSpace(line))
		to += len(line)
	}
	return lines, from, to
}

// someone is a rollout that stands somewhere.
type someone struct {
	name  string
	plan  *Plan
	state State
	now   time.Time
}

// settle calls Next until nothing is to be done.
func settle(p *Plan, s State, f evidence.Finding, now time.Time) (State, []Event) {
	var all []Event
	for range 50 {
		next, events := Next(p, s, f, now)
		if next == s {
			return s, all
		}
		s, all = next, append(all, events...)
		if f.Verdict == evidence.Pass { // of one step
			f = evidence.Finding{}
		}
	}
	panic("no end of steps")
}

// stands returns a rollout in each phase, for each reason that there is.
func stands() []someone {
	steps := []Step{{Ratio: new(0.1), For: 5 * time.Minute}, {Pause: true}, {Ratio: new(0.5), For: 5 * time.Minute}, {Ratio: new(1.0)}}
	base := Plan{
		Service: "web", Key: "lb/canary/web", ID: "v2", Index: 1, Hash: "1", Steps: steps,
		Analysis: &Analysis{OnFail: "rollback", OnInconclusive: "wait", MaxWait: time.Hour},
	}
	with := func(p Plan, f func(*Plan)) *Plan {
		p.Analysis = new(*p.Analysis)
		f(&p)
		return &p
	}
	var out []someone
	add := func(name string, p *Plan, f evidence.Finding, after time.Duration) {
		s, _ := settle(p, State{}, evidence.Finding{}, noon)
		s, _ = settle(p, s, f, noon.Add(after))
		out = append(out, someone{name, p, s, noon.Add(after)})
	}
	pass, worse := evidence.Finding{Verdict: evidence.Pass}, evidence.Finding{Verdict: evidence.Worse, E: 2000, Threshold: 1000}
	out = append(out, someone{"idle", &base, State{}, noon})
	add("running", &base, evidence.Finding{}, time.Minute)
	add("paused by a step", &base, pass, 5*time.Minute)
	add("paused by `control`", with(base, func(p *Plan) { p.Control = Pause }), evidence.Finding{}, time.Minute)
	// It began before it was paused.
	last := &out[len(out)-1]
	last.state, _ = settle(&base, State{}, evidence.Finding{}, noon)
	last.state, _ = settle(last.plan, last.state, evidence.Finding{}, last.now)
	add("paused by `on_fail`", with(base, func(p *Plan) { p.Analysis.OnFail = "pause" }), worse, time.Minute)
	add("paused by `on_inconclusive`", with(base, func(p *Plan) { p.Analysis.OnInconclusive = "pause" }), evidence.Finding{}, 2*time.Hour)
	add("promoted", with(base, func(p *Plan) { p.Control = Promote }), evidence.Finding{}, time.Minute)
	add("rolled_back", &base, worse, time.Minute)
	return out
}

// The manual's table of what follows in which phase is what Next does.
func TestManualTellsWhatFollows(t *testing.T) {
	tell := func(w someone, change func(*Plan), f evidence.Finding) string {
		p := *w.plan
		p.Index, p.Hash = 2, "2"
		change(&p)
		s, _ := settle(&p, w.state, f, w.now)
		was := At(w.plan, w.state, w.now)
		at := At(&p, s, w.now)
		if at.Phase == was.Phase && at.Ratio == was.Ratio && s.PausedBy == w.state.PausedBy && s.ID == w.state.ID {
			return "–"
		}
		out := fmt.Sprintf("%s, %s", at.Phase, percent(at.Ratio))
		if at.Phase == Paused {
			out += " by `" + s.PausedBy + "`"
		}
		return out
	}
	say := func(c Control) func(*Plan) { return func(p *Plan) { p.Control = c } }
	worse := evidence.Finding{Verdict: evidence.Worse, E: 5000, Threshold: 1000}
	want := []string{
		"| phase | no `control` | `run` | `pause` | `promote` | `abort` | evidence: worse | another `id` |",
		"|---|---|---|---|---|---|---|---|",
	}
	for _, w := range stands() {
		bad := "there is none yet"
		if w.state.Phase != "" {
			bad = tell(w, func(*Plan) {}, worse)
		}
		want = append(want, "| "+strings.Join([]string{
			w.name,
			tell(w, say(""), evidence.Finding{}), tell(w, say(Run), evidence.Finding{}), tell(w, say(Pause), evidence.Finding{}),
			tell(w, say(Promote), evidence.Finding{}), tell(w, say(Abort), evidence.Finding{}),
			bad,
			tell(w, func(p *Plan) { p.ID, p.Control = "v3", "" }, evidence.Finding{}),
		}, " | ")+" |")
	}
	hold(t, "What follows in which phase", want)
}

// hold compares a table of the manual with what it should be.
func hold(t *testing.T, heading string, want []string) {
	t.Helper()
	text, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	got, from, to := pageTable(t, string(text), heading)
	if slices.Equal(got, want) {
		return
	}
	if !*update {
		t.Fatalf("%s, %s (go test -update rewrites it)\n got %s\nwant %s", manual, heading, strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
	page := string(text[:from]) + strings.Join(want, "\n") + "\n" + string(text[to:])
	if err := os.WriteFile(manual, []byte(page), 0o644); err != nil {
		t.Fatal(err)
	}
}

// The manual's table of transitions has those that Next makes, and no other: all
// that documents, the evidence and time can do in five moves are tried.
func TestManualTellsAllTransitions(t *testing.T) {
	found := map[string]bool{}
	type place struct {
		state State
		plan  *Plan
		now   time.Time
	}
	documents := []func(*Plan){
		func(p *Plan) {},
		func(p *Plan) {
			p.Ramp, p.Steps = nil, []Step{{Ratio: new(0.1), For: time.Minute}, {Pause: true, PauseFor: time.Minute}, {Ratio: new(1.0)}}
		},
		func(p *Plan) { p.Ramp, p.Steps = &Ramp{To: 1, Over: 5 * time.Minute}, nil },
		func(p *Plan) { p.Ramp, p.Steps, p.Ratio = nil, nil, 0.3 },
		func(p *Plan) {
			p.Ramp, p.Steps = nil, []Step{{Mirror: new(0.5), For: time.Minute}, {Ratio: new(1.0)}}
		},
		func(p *Plan) { p.Ramp, p.Steps = nil, []Step{{Pause: true}, {Ratio: new(1.0)}} },
		func(p *Plan) { p.ID += "'" },
		func(p *Plan) { p.Analysis = &Analysis{OnFail: "pause", OnInconclusive: "pause"} },
		func(p *Plan) { p.Control = "" },
		func(p *Plan) { p.Control = Run },
		func(p *Plan) { p.Control = Pause },
		func(p *Plan) { p.Control = Promote },
		func(p *Plan) { p.Control = Abort },
	}
	seen := map[string]bool{}
	places := []place{{plan: &Plan{Service: "web", Key: "k", Index: 1, Hash: "1", Ratio: 0.1, Analysis: &Analysis{}}, now: noon}}
	for range 5 {
		var after []place
		for _, at := range places {
			try := func(p *Plan, f evidence.Finding, now time.Time) {
				s := at.state
				for range 10 {
					before := s.Phase
					if s.ID != p.ID || before == "" {
						before = Idle
					}
					next, events := Next(p, s, f, now)
					for _, e := range events {
						found[fmt.Sprintf("| %s | `%s` | %s |", before, e.Kind, e.Phase)] = true
						before = e.Phase
					}
					if next == s {
						break
					}
					s = next
				}
				mark := fmt.Sprint(s.Phase, s.Step, s.PausedBy, s.Plan, len(s.ID), p.Control, p.form(), p.Analysis.OnFail, now.Sub(s.Entered) > time.Minute)
				if !seen[mark] {
					seen[mark] = true
					after = append(after, place{state: s, plan: p, now: now})
				}
			}
			for _, change := range documents {
				p := *at.plan
				p.Index++
				p.Hash = fmt.Sprint(p.Index)
				change(&p)
				try(&p, evidence.Finding{}, at.now)
			}
			for _, verdict := range []evidence.Verdict{evidence.Undecided, evidence.Pass, evidence.Worse} {
				try(at.plan, evidence.Finding{Verdict: verdict}, at.now.Add(2*time.Minute))
			}
			try(at.plan, evidence.Finding{}, at.now.Add(time.Hour))
		}
		places = after
	}
	text, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	lines, _, _ := pageTable(t, string(text), "Transitions")
	var onPage []string
	for _, line := range lines[min(2, len(lines)):] {
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		if len(cells) != 4 || cells[3] == "" {
			t.Errorf("%s: a transition has four cells", line)
			continue
		}
		onPage = append(onPage, "| "+strings.Join(cells[:3], " | ")+" |")
	}
	for _, line := range slices.Sorted(maps.Keys(found)) {
		if !slices.Contains(onPage, line) {
			t.Errorf("Next makes a transition that %s does not tell: %s", manual, line)
		}
	}
	for _, line := range onPage {
		if !found[line] {
			t.Errorf("%s tells a transition that Next does not make: %s", manual, line)
		}
	}
}

// The manual lists the members of a state, and the kinds of events.
func TestManualTellsTheState(t *testing.T) {
	text, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	_, state, ok := strings.Cut(page, "\n## The state\n")
	if !ok {
		t.Fatal("no section about the state")
	}
	state, telling, ok := strings.Cut(state, "\n## Telling people\n")
	if !ok {
		t.Fatal("no section about telling people")
	}
	var onPage, inCode []string
	for line := range strings.Lines(state) {
		if strings.HasPrefix(line, "| `") {
			names, _, _ := strings.Cut(line[2:], " |")
			for name := range strings.SplitSeq(names, ", ") {
				onPage = append(onPage, strings.Trim(name, "`"))
			}
		}
	}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[State]()) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "-" {
			inCode = append(inCode, name)
		}
	}
	slices.Sort(onPage)
	slices.Sort(inCode)
	if !slices.Equal(onPage, inCode) {
		t.Errorf("members of a state\n got %v\nwant %v", onPage, inCode)
	}
	for _, kind := range Kinds() {
		if !strings.Contains(telling, "`"+kind+"`") {
			t.Errorf("the kind %q is not told", kind)
		}
	}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Event]()) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "seq" && !strings.Contains(telling, "`"+name+"`") {
			t.Errorf("the member %q of an event is not told", name)
		}
	}
}
