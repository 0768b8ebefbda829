package rollout

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"serin/canary/evidence"
)

var update = flag.Bool("update", false, "rewrite the expectations in testdata and docs")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// planOf reads as much of a document as a plan needs.
func planOf(text string, index uint64) (*Plan, error) {
	var d struct {
		ID      string   `json:"id"`
		Ratio   *float64 `json:"ratio"`
		Control Control  `json:"control"`
		Ramp    *struct {
			From, To   *float64
			Start, End time.Time
			Over       span
		} `json:"ramp"`
		Steps []struct {
			Ratio, Mirror *float64
			For           span
			Pause         any
		} `json:"steps"`
		Analysis *struct {
			OnFail         string `json:"on_fail"`
			OnInconclusive string `json:"on_inconclusive"`
			MaxWait        span   `json:"max_wait"`
		} `json:"analysis"`
		Comment any `json:"comment"`
		Resumed any `json:"x-resumed"`
	}
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&d); err != nil {
		return nil, err
	}
	p := &Plan{Service: "web", Key: "lb/canary/web", ID: d.ID, Index: index, Hash: digest(text), Control: d.Control}
	if d.Ratio != nil {
		p.Ratio = *d.Ratio
	}
	if r := d.Ramp; r != nil {
		p.Ramp = &Ramp{From: 0, To: 1, Start: r.Start, End: r.End, Over: time.Duration(r.Over)}
		if r.From != nil {
			p.Ramp.From = *r.From
		}
		if r.To != nil {
			p.Ramp.To = *r.To
		}
	}
	for _, s := range d.Steps {
		step := Step{Ratio: s.Ratio, Mirror: s.Mirror, For: time.Duration(s.For)}
		switch pause := s.Pause.(type) {
		case nil:
		case bool:
			step.Pause = pause
		case string:
			step.Pause = true
			if err := (*span)(&step.PauseFor).UnmarshalText([]byte(pause)); err != nil {
				return nil, err
			}
		default:
			return nil, errors.New("pause is neither true nor a duration")
		}
		p.Steps = append(p.Steps, step)
	}
	if a := d.Analysis; a != nil {
		p.Analysis = &Analysis{OnFail: a.OnFail, OnInconclusive: a.OnInconclusive, MaxWait: time.Duration(a.MaxWait)}
	}
	return p, nil
}

type span time.Duration

func (s *span) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(string(text))
	*s = span(d)
	return err
}

// game is one rollout as its balancers play it: a leader that may be away, and
// a state that goes through JSON at every change.
type game struct {
	t      *testing.T
	start  time.Time
	now    time.Time
	plan   *Plan
	index  uint64
	state  State
	found  evidence.Finding
	away   bool
	events []Event
}

// lead takes all steps that can be taken now.
func (g *game) lead() {
	for range 100 {
		if g.away {
			return
		}
		next, events := Next(g.plan, g.state, g.found, g.now)
		if next == g.state {
			if len(events) > 0 {
				g.t.Fatalf("events %+v without a change", events)
			}
			return
		}
		text, err := json.Marshal(next)
		if err != nil {
			g.t.Fatal(err)
		}
		g.state = parseState(text, State{})
		if g.state != next {
			g.t.Fatalf("the state does not survive JSON\n got %+v\nwant %+v", g.state, next)
		}
		for _, e := range events {
			g.events = append(g.events, e)
			// The evidence of a step, and of a rollout, begins anew.
			if e.Kind == EventStart || e.Kind == EventStep && g.found.Verdict == evidence.Pass {
				g.found = evidence.Finding{}
			}
		}
	}
	g.t.Fatalf("no end of steps at %v: %+v", g.now.Sub(g.start), g.state)
}

// pass lets time pass, and the leader look whenever At says so.
func (g *game) pass(to time.Time) {
	for {
		again := At(g.plan, g.state, g.now).Again
		if again.IsZero() || again.After(to) {
			break
		}
		if !again.After(g.now) {
			g.t.Fatalf("At asks to be asked again at %v, and it is %v", again, g.now)
		}
		g.now = again
		g.lead()
	}
	g.now = to
	g.lead()
}

func (g *game) print(e Event) string {
	return fmt.Sprintf("  > %-7v %-9s %-12s %s → %s: %s", e.Time.Sub(g.start), e.Kind, e.Phase, percent(e.From), percent(e.To), e.Because)
}

func (g *game) show() string {
	at := At(g.plan, g.state, g.now)
	out := fmt.Sprintf("  = %s %s", at.Phase, percent(at.Ratio))
	if len(g.plan.Steps) > 0 && at.Phase != Idle {
		out += ", step " + fmt.Sprint(at.Step+1)
	}
	if at.Mirror != nil {
		out += ", mirrors " + percent(*at.Mirror)
	}
	if at.Because != "" {
		out += "\n    because " + at.Because
	}
	if w := Waits(g.plan, g.state, g.found, g.now); w != "" {
		out += "\n    waits: " + w
	}
	return out
}

// TestScripts plays testdata/*.script, a rollout each. Lines:
//
//	at TIME doc JSON          another document, of the next index
//	at TIME found VERDICT …   what the evidence says from now on (a pass is of one step)
//	at TIME leader away|back
//	at TIME state TEXT        the text of the state in KV is this now
//	at TIME restart           all balancers start anew, from what is in KV
//	at TIME show              what is in force, why, and what is waited for
//
// Below each line stands what followed: "  >" are events, "  =" what show shows.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.script")
	if err != nil || len(files) < 12 {
		t.Fatalf("only %d scripts, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".script"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(text))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			a, b := strings.Split(got, "\n"), strings.Split(string(text), "\n")
			for i := range max(len(a), len(b)) {
				if i >= len(a) || i >= len(b) || a[i] != b[i] {
					t.Fatalf("%s:%d differs (go test -update rewrites it)\n got %s\nwant %s", file, i+1,
						strings.Join(a[min(i, len(a)):min(i+3, len(a))], "\n     "), strings.Join(b[min(i, len(b)):min(i+3, len(b))], "\n     "))
				}
			}
		})
	}
}

func play(t *testing.T, text string) string {
	start := time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
	g := &game{t: t, start: start, now: start, plan: &Plan{Service: "web"}}
	var out []string
	for n, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(line, "  >") || strings.HasPrefix(line, "  =") || strings.HasPrefix(line, "    ") {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(line, "#") {
			out = append(out, line)
			continue
		}
		if len(fields) < 3 || fields[0] != "at" {
			t.Fatalf("line %d: %q is no line of a script", n+1, line)
		}
		at, err := time.ParseDuration(fields[1])
		if err != nil || start.Add(at).Before(g.now) {
			t.Fatalf("line %d: time %q: %v", n+1, fields[1], err)
		}
		if g.index > 0 {
			g.pass(start.Add(at))
		}
		g.now = start.Add(at)
		flush := func() {
			for _, e := range g.events {
				out = append(out, g.print(e))
			}
			g.events = nil
		}
		flush()
		out = append(out, line)
		_, rest, _ := strings.Cut(line, fields[2])
		rest = strings.TrimSpace(rest)
		switch fields[2] {
		case "doc":
			g.index++
			if g.plan, err = planOf(rest, g.index); err != nil {
				t.Fatalf("line %d: %v", n+1, err)
			}
		case "found":
			verdict, because, _ := strings.Cut(rest, " ")
			g.found = evidence.Finding{Verdict: evidence.Verdict(verdict), E: 1000, Threshold: 1000, Because: because}
			if e, because, ok := strings.Cut(strings.TrimPrefix(because, "E="), " "); ok && strings.HasPrefix(g.found.Because, "E=") {
				fmt.Sscan(e, &g.found.E)
				g.found.Because = because
			}
		case "leader":
			g.away = rest == "away"
		case "state":
			g.state = parseState([]byte(rest), g.state)
		case "restart":
			text, err := json.Marshal(g.state)
			if err != nil {
				t.Fatal(err)
			}
			g.state = parseState(text, State{})
		case "show":
		default:
			t.Fatalf("line %d: %q is no word of a script", n+1, fields[2])
		}
		g.lead()
		flush()
		if fields[2] == "show" {
			out = append(out, g.show())
		}
	}
	return strings.Join(out, "\n")
}
