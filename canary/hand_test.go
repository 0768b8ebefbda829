package canary

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"serin/canary/rollout"
)

// TestEdits is what each action makes of a document, byte by byte.
func TestEdits(t *testing.T) {
	now := time.Date(2026, 11, 22, 15, 4, 5, 0, time.UTC)
	f := func(e Edit, doc, want string) {
		t.Helper()
		for range 2 { // an edit can be made again
			b, err := e.Apply("k", []byte(doc))
			got := string(b)
			if err != nil {
				got = "error: " + err.Error()
				if r, ok := errors.AsType[*RefusedError](err); ok {
					got += "; " + r.Hint
				}
			}
			if got != want {
				t.Errorf("%s %s\n got %s\nwant %s", e, doc, got, want)
			}
		}
	}
	share := func(v float64) *float64 { return &v }

	set := SetFields(Change{"ratio", 0.25})
	f(set, ``, `{"ratio": 0.25}`)
	f(set, "{\n  \"comment\": \"mine\",\n  \"ratio\": \"10%\",\n  \"x-team\": [1, 2]\n}\n", "{\n  \"comment\": \"mine\",\n  \"ratio\": 0.25,\n  \"x-team\": [1, 2]\n}\n")
	f(set, `{"steps": [{"ratio": 0.1, "for": "1m"}], "id": "a"}`, `{"id": "a", "ratio": 0.25}`)
	f(set, `{"id": "a", "ramp": {"to": 1, "over": "1h"}}`, `{"id": "a", "ratio": 0.25}`)
	f(SetFields(Change{"sticky", true}), `{"ramp": {"to": 1, "over": "1h"}}`, `{"ramp": {"to": 1, "over": "1h"}, "sticky": true}`)
	f(SetFields(Change{"ratio", 2}), `{}`, `error: k:1:11: ratio must be 0..1; write 0.02 or "2%"`)

	f(Replace([]byte(`{"ratio": 0.5}`+"\n")), `{"comment": "gone"}`, `{"ratio": 0.5}`+"\n")
	f(Replace([]byte(`{"raito": 0.5}`)), `{}`, `error: k:1:2: unknown field "raito" (did you mean "ratio"?)`)

	ramp := RampTo(NewRamp{To: share(1), Over: "2h"})
	f(ramp, `{"ratio": 0.1, "sticky": true}`, `{"sticky": true, "ramp": {"from":0.1,"to":1,"over":"2h"}}`)
	f(ramp, ``, `{"ramp": {"to":1,"over":"2h"}}`)
	f(ramp, `{"ramp": {"to":0.5,"over":"9h"}, "x-a": 1}`, `{"ramp": {"to":1,"over":"2h"}, "x-a": 1}`)
	f(ramp, `{"steps": [{"ratio": 0.1, "for": "1m"}]}`, `{"ramp": {"to":1,"over":"2h"}}`)
	f(RampTo(NewRamp{From: share(0.2), To: share(0.4), Start: "2026-11-22T15:00:00Z", End: "2026-11-22T16:00:00Z"}), `{"ratio": 0.1}`,
		`{"ramp": {"from":0.2,"to":0.4,"start":"2026-11-22T15:00:00Z","end":"2026-11-22T16:00:00Z"}}`)

	pause, promote, abort := Steer(rollout.Pause, ""), Steer(rollout.Promote, "good enough"), Steer(rollout.Abort, "")
	f(pause, `{"ratio": 0.1, "comment": "c"}`, `{"ratio": 0.1, "comment": "c", "control": "pause"}`)
	f(pause, `{"control": "run", "ratio": 0.1}`, `{"control": "pause", "ratio": 0.1}`)
	f(pause, `{"control": "pause", "ratio": 0.1}`, `{"control": "pause", "ratio": 0.1}`)
	f(pause, `{"control": "abort"}`, `error: the rollout of k is aborted, and stays so; lb canary retry begins anew`)
	f(pause, `{"control": "promote"}`, `error: the rollout of k is promoted, and stays so; lb canary abort takes it back, lb canary retry begins anew`)
	f(promote, `{"ratio": 0.1}`, `{"ratio": 0.1, "control": "promote", "x-reason": "good enough"}`)
	f(promote, `{"control": "pause", "x-reason": "looks odd", "ratio": 0.1}`, `{"control": "promote", "x-reason": "good enough", "ratio": 0.1}`)
	f(promote, `{"control": "abort"}`, `error: the rollout of k is aborted, and stays so; lb canary retry begins anew`)
	f(abort, `{"control": "promote", "x-reason": "good enough"}`, `{"control": "abort"}`)
	f(abort, `{"steps": [{"ratio": 0.1, "for": "1m"}]}`, `{"steps": [{"ratio": 0.1, "for": "1m"}], "control": "abort"}`)
	f(Steer(rollout.Abort, `5xx, see "SHOP-1"`), `{}`, `{"control": "abort", "x-reason": "5xx, see \"SHOP-1\""}`)
	f(abort, `{"raito": 1}`, `error: k:1:2: unknown field "raito" (did you mean "ratio"?)`)

	f(Resume(now), `{"control": "pause", "x-reason": "odd"}`, `{"control": "run", "x-resumed": "2026-11-22T15:04:05Z"}`)
	f(Resume(now), `{"steps": [{"pause": true}]}`, `{"steps": [{"pause": true}], "control": "run", "x-resumed": "2026-11-22T15:04:05Z"}`)
	f(Resume(now), `{"x-resumed": "2026-11-22T14:00:00Z", "control": "run"}`, `{"x-resumed": "2026-11-22T15:04:05Z", "control": "run"}`)
	f(Resume(now), `{"control": "abort"}`, `error: the rollout of k is aborted, and stays so; lb canary retry begins anew`)

	f(Retry("", now), `{"control": "abort", "x-reason": "5xx", "id": "web-2", "ratio": 0.1}`, `{"id": "web-2-retry-1", "ratio": 0.1}`)
	f(Retry("", now), `{"ratio": 0.1}`, `{"ratio": 0.1, "id": "retry-1"}`)
	f(Retry("b", now), `{"id": "a", "x-resumed": "x"}`, `{"id": "b"}`)
	f(Retry("a", now), `{"id": "a"}`, `error: k has the id a already: a rollout begins anew under another id; give another one, or none`)
	f(Retry("", now), `{"ramp": {"start": "2026-11-22T14:00:00Z", "end": "2026-11-22T15:00:00Z"}}`,
		`error: the ramp of k ended at 2026-11-22T15:00:00Z: begun anew, everyone who is to follow it would do so at once; lb canary ramp writes another one`)

	f(Remove(), `{"ratio": 1}`, ``)
}

func TestNextID(t *testing.T) {
	f := func(id, want string) {
		t.Helper()
		if got := NextID(id); got != want {
			t.Errorf("NextID(%q) = %q, want %q", id, got, want)
		}
	}
	f("", "retry-1")
	f("retry-1", "retry-2")
	f("web-2.4", "web-2.4-retry-1")
	f("web-2.4-retry-9", "web-2.4-retry-10")
	f("noretry-1", "noretry-1-retry-1")
	f("a-retry-x", "a-retry-x-retry-1")
}

// memory is a KV in memory.
type memory struct {
	value map[string]string
	index map[string]uint64
	next  uint64
	err   error
	race  func() // called before each write
}

func (m *memory) Get(_ context.Context, key string) ([]byte, uint64, error) {
	return []byte(m.value[key]), m.index[key], m.err
}

func (m *memory) CAS(_ context.Context, key string, value []byte, index uint64) (bool, error) {
	if m.race != nil {
		m.race()
	}
	if m.err != nil || m.index[key] != index {
		return false, m.err
	}
	m.put(key, string(value))
	return true, nil
}

func (m *memory) put(key, value string) {
	m.next++
	m.value[key], m.index[key] = value, m.next
}

func (m *memory) DeleteCAS(_ context.Context, key string, index uint64) (bool, error) {
	if m.err != nil || m.index[key] != index {
		return false, m.err
	}
	delete(m.value, key)
	delete(m.index, key)
	return true, nil
}

func kv(pairs ...string) *memory {
	m := &memory{value: map[string]string{}, index: map[string]uint64{}, next: 10}
	for i := 0; i < len(pairs); i += 2 {
		m.put(pairs[i], pairs[i+1])
	}
	return m
}

func TestEditor(t *testing.T) {
	const own, common = "lb/canary/web", "lb/canary"
	// f prepares and writes an edit of web's document and says what came of it.
	f := func(m *memory, service string, e Edit, want string) {
		t.Helper()
		ed := Editor{KV: m, Prefix: common}
		d, err := ed.Prepare(t.Context(), service, e)
		got := strings.Join(d.Notes, "\n")
		if err == nil {
			if got != "" {
				got += "\n"
			}
			got += d.Diff + d.Command + "\n"
			err = ed.Write(t.Context(), &d)
		}
		if err != nil {
			got = "error: " + err.Error()
		} else {
			got += fmt.Sprintf("index %d, rise %g", d.Index, d.Rise())
		}
		if got != want {
			t.Errorf("%s of %s\n got %s\nwant %s", e, service, got, want)
		}
	}
	ten, half := SetFields(Change{"ratio", 0.1}), SetFields(Change{"ratio", 0.5})
	f(kv(), "web", ten, "+ {\"ratio\": 0.1}\nconsul kv put -cas -modify-index=0 lb/canary/web '{\"ratio\": 0.1}'\nindex 11, rise 0.1")
	f(kv(own, `{"ratio": 0.1}`), "web", half, "- {\"ratio\": 0.1}\n+ {\"ratio\": 0.5}\nconsul kv put -cas -modify-index=11 lb/canary/web '{\"ratio\": 0.5}'\nindex 12, rise 0.4")
	f(kv(common, `{"sticky": true}`), "web", ten, "web had no document of its own; it starts as a copy of lb/canary\n+ {\"sticky\": true, \"ratio\": 0.1}\nconsul kv put -cas -modify-index=0 lb/canary/web '{\"sticky\": true, \"ratio\": 0.1}'\nindex 12, rise 0.1")
	f(kv(common, `{"steps": [{"pause": true}]}`), "web", Steer(rollout.Abort, ""),
		"web had no document of its own; it starts as a copy of lb/canary, and with a rollout of its own that begins at the beginning\n+ {\"steps\": [{\"pause\": true}], \"control\": \"abort\"}\nconsul kv put -cas -modify-index=0 lb/canary/web '{\"steps\": [{\"pause\": true}], \"control\": \"abort\"}'\nindex 12, rise 0")
	for _, all := range []string{"*", ""} {
		f(kv(common, `{}`), all, ten, "- {}\n+ {\"ratio\": 0.1}\nconsul kv put -cas -modify-index=11 lb/canary '{\"ratio\": 0.1}'\nindex 12, rise 0.1")
	}
	f(kv(own, `{"control": "abort", "ramp": {"over": "1h"}}`), "web", ten,
		"ramp is taken out: a document has one of ratio, ramp and steps\ncontrol is abort, and counts before what was set\n- {\"control\": \"abort\", \"ramp\": {\"over\": \"1h\"}}\n+ {\"control\": \"abort\", \"ratio\": 0.1}\nconsul kv put -cas -modify-index=11 lb/canary/web '{\"control\": \"abort\", \"ratio\": 0.1}'\nindex 12, rise 0")
	f(kv(own, `{"config_server": "consul://a:1/k"}`), "web", Steer(rollout.Pause, ""),
		"the document is read from consul://a:1/k (config_server): what is beside that field counts only until it answers\n- {\"config_server\": \"consul://a:1/k\"}\n+ {\"config_server\": \"consul://a:1/k\", \"control\": \"pause\"}\nconsul kv put -cas -modify-index=11 lb/canary/web '{\"config_server\": \"consul://a:1/k\", \"control\": \"pause\"}'\nindex 12, rise 0")
	f(kv(own, `{"ratio": 0.4}`), "web", Steer(rollout.Promote, ""), "- {\"ratio\": 0.4}\n+ {\"ratio\": 0.4, \"control\": \"promote\"}\nconsul kv put -cas -modify-index=11 lb/canary/web '{\"ratio\": 0.4, \"control\": \"promote\"}'\nindex 12, rise 0.6")
	f(kv(own, `{"raito": 0.4}`), "web", Replace([]byte(`{"ratio": 0.5}`)), "- {\"raito\": 0.4}\n+ {\"ratio\": 0.5}\nconsul kv put -cas -modify-index=11 lb/canary/web '{\"ratio\": 0.5}'\nindex 12, rise 0.5")
	// An abort is made of anything.
	const refused = "the text at lb/canary/web is refused (lb/canary/web:1:"
	abort := Steer(rollout.Abort, "")
	f(kv(own, `{"raito": 1, "canary": "v3", "id": "a", "stable": 7}`), "web", abort,
		refused+"2: unknown field \"raito\" (did you mean \"ratio\"?)): an abort takes its place; of it is kept: id, canary\n- {\"raito\": 1, \"canary\": \"v3\", \"id\": \"a\", \"stable\": 7}\n+ {\"control\": \"abort\", \"id\": \"a\", \"canary\": \"v3\"}\nconsul kv put -cas -modify-index=11 lb/canary/web '{\"control\": \"abort\", \"id\": \"a\", \"canary\": \"v3\"}'\nindex 12, rise 0")
	f(kv(own, `{ratio:1}`), "web", Steer(rollout.Abort, "5xx"),
		refused+"2: not JSON: invalid character 'r' at start of value): an abort takes its place; nothing of it is kept, so that the canary instances are those with the tag canary\n- {ratio:1}\n+ {\"control\": \"abort\", \"x-reason\": \"5xx\"}\nconsul kv put -cas -modify-index=11 lb/canary/web '{\"control\": \"abort\", \"x-reason\": \"5xx\"}'\nindex 12, rise 0")
	f(kv(own, `{"config_server": "file:/a", "comment": "c"}`), "web", abort,
		"config_server is taken out, because the document at file:/a would count before this abort\n- {\"config_server\": \"file:/a\", \"comment\": \"c\"}\n+ {\"comment\": \"c\", \"control\": \"abort\"}\nconsul kv put -cas -modify-index=11 lb/canary/web '{\"comment\": \"c\", \"control\": \"abort\"}'\nindex 12, rise 0")
	f(kv(own, `{"ratio": 1, "control": "abrot"}`), "web", abort, "- {\"ratio\": 1, \"control\": \"abrot\"}\n+ {\"ratio\": 1, \"control\": \"abort\"}\nconsul kv put -cas -modify-index=11 lb/canary/web '{\"ratio\": 1, \"control\": \"abort\"}'\nindex 12, rise 0")
	f(kv(own, `{ratio:1}`), "web", Steer(rollout.Pause, ""), "error: lb/canary/web:1:2: not JSON: invalid character 'r' at start of value")

	f(kv(own, `{}`), "web", Remove(), "- {}\nconsul kv delete -cas -modify-index=11 lb/canary/web\nindex 0, rise 0")

	f(kv(common, `{}`), "web", Remove(), "error: no canary document at lb/canary/web")
	f(kv(), "web", Steer(rollout.Abort, ""), "error: no canary document at lb/canary/web")
	f(kv(), "*", Retry("", time.Now()), "error: no canary document at lb/canary")
	f(kv(), "a/b", ten, `error: "a/b" is no service: Consul allows no slash in a service's name, and documents below another are not read`)

	m := kv(own, `{"ratio": 0.1}`)
	m.race = func() { m.put(own, `{"ratio": 0.9}`) }
	f(m, "web", half, "error: lb/canary/web was changed by someone else meanwhile and nothing was written: it is at index 12 now")
	if m.value[own] != `{"ratio": 0.9}` {
		t.Errorf("the other's document is gone: %s", m.value[own])
	}
	m.err = errors.New("Consul does not answer")
	f(m, "web", half, "error: Consul does not answer")
}

// An abort of a text that is refused, or that sends elsewhere, is made of what
// is in force, where that is known.
func TestAbortOfWhatIsInForce(t *testing.T) {
	f := func(text, inForce, want string) {
		t.Helper()
		ed := Editor{KV: kv("lb/canary/web", text), Prefix: "lb/canary", InForce: func(_ context.Context, service string, index uint64) []byte {
			if service != "web" || index != 11 {
				t.Errorf("asked for %s at index %d", service, index)
			}
			return []byte(inForce)
		}}
		d, err := ed.Prepare(t.Context(), "web", Steer(rollout.Abort, ""))
		if err != nil || d.After != want || len(d.Notes) != 1 {
			t.Errorf("%s, in force %s\n got %s, %v, %q\nwant %s", text, inForce, d.After, err, d.Notes, want)
		}
	}
	good := `{"id": "a", "canary": {"meta": {"v": "2"}}, "steps": [{"pause": true}]}`
	want := `{"id": "a", "canary": {"meta": {"v": "2"}}, "steps": [{"pause": true}], "control": "abort"}`
	f(`{ratio:1}`, good, want)
	f(`{"config_server": "file:/a"}`, good, want)
	f(`{"raito": 1, "canary": "v3"}`, ``, `{"control": "abort", "canary": "v3"}`)
	f(`{"raito": 1, "canary": "v3"}`, `{"raito": 1}`, `{"control": "abort", "canary": "v3"}`)
	f(strings.Repeat(" ", MaxSize)+`{"stable": "v1"}`, `?`, `{"control": "abort", "stable": "v1"}`)
	f(`{"backup": "b", "comment": "`+strings.Repeat("c", MaxSize-30)+`"}`, `?`, `{"control": "abort", "backup": "b"}`)
	f("\xff\x00", `?`, `{"control": "abort"}`)
	f(`[{"id": "a"}]`, `?`, `{"control": "abort"}`)
}

// FuzzEdits looks for a document that an edit turns into one that is refused, or
// that loses a field which the edit does not name.
func FuzzEdits(f *testing.F) {
	for _, doc := range []string{``, `{}`, `{"ratio": 0.1, "x-a": {"b": [1, "}"]}}`, "{\n  \"comment\": \"a, b\"\n}\n", `{"id": "a", "control": "pause"}`} {
		f.Add(doc)
	}
	now := time.Date(2026, 11, 22, 15, 4, 5, 0, time.UTC)
	over := "2h"
	f.Fuzz(func(t *testing.T, doc string) {
		if after, _, err := abortAnyway("k", []byte(doc), nil, Change{Field: "x-reason"}); err != nil {
			t.Fatalf("no abort of %q: %v", doc, err)
		} else if d, err := Parse("k", after); err != nil || d.Control != "abort" || d.ConfigServer != "" {
			t.Fatalf("abort of %q = %q: %v", doc, after, err)
		}
		if len(doc) > MaxSize/2 {
			return
		}
		for _, e := range []Edit{
			SetFields(Change{"ratio", 0.5}), RampTo(NewRamp{Over: over}), Steer(rollout.Pause, "why"),
			Steer(rollout.Abort, ""), Resume(now), Retry("", now),
		} {
			out, err := e.Apply("k", []byte(doc))
			if err != nil {
				continue
			}
			if _, err := Parse("k", out); err != nil {
				t.Fatalf("%s %q = %q: %v", e, doc, out, err)
			}
			was, _ := readNode("k", orEmpty([]byte(doc)))
			is, _ := readNode("k", out)
			for _, m := range was.members {
				switch m.name {
				case "ratio", "ramp", "steps", "control", "id", "x-reason", "x-resumed":
					continue
				}
				kept := false
				for _, n := range is.members {
					kept = kept || n.name == m.name && string(out[n.value.off:n.value.end]) == doc[m.value.off:m.value.end]
				}
				if !kept {
					t.Fatalf("%s %q = %q lost %s", e, doc, out, m.name)
				}
			}
		}
	})
}
