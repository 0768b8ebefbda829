package rollout

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"serin/canary/evidence"
)

func event(i int) Event {
	return Event{
		Time: noon.Add(time.Duration(i) * time.Minute), Service: "web", ID: "v2", Kind: EventStep, Phase: Running,
		Step: i, From: 0.1, To: 0.2, Because: fmt.Sprint("reason ", i), Index: uint64(i), Hash: "h", By: "lb-1",
		Evidence: &evidence.Finding{Verdict: evidence.Pass, E: 0.5, Because: "few failures"},
	}
}

func TestRingKeepsTheLastHundred(t *testing.T) {
	var text []byte
	for i := range 250 {
		text = appendRing(text, event(i))
	}
	got, err := ParseRing(text)
	if err != nil || len(got) != ringEvents || !reflect.DeepEqual(got[0], event(150)) || !reflect.DeepEqual(got[99], event(249)) {
		t.Fatalf("%v, %d events, first %+v", err, len(got), got[0])
	}
	if n := strings.Count(string(text), "\n"); n != ringEvents+2 {
		t.Errorf("%d lines: an event is one line, for people who read the key", n)
	}
	if got, err := ParseRing(nil); err != nil || len(got) != 0 {
		t.Errorf("no text: %v %v", got, err)
	}
}

// Whatever is in the events, the ring is one that Consul takes and that is read again.
func TestRingIsBounded(t *testing.T) {
	long := strings.Repeat("ü\x00", 1<<10)
	e := Event{
		Time: time.Date(20000, 1, 1, 0, 0, 0, 0, time.UTC), Service: long, ID: long, Kind: long, Phase: Phase(long),
		From: math.NaN(), To: math.Inf(1), Because: long, Hash: long, By: long, Seq: 7,
		Evidence: &evidence.Finding{Because: long, E: math.Inf(1), Threshold: math.NaN()},
	}
	var text []byte
	for range 10 {
		text = appendRing(text, slices.Repeat([]Event{e}, ringEvents/5)...)
		if len(text) > ringSize {
			t.Fatalf("%d bytes", len(text))
		}
	}
	got, err := ParseRing(text)
	if err != nil || len(got) == 0 || len(got) > ringEvents {
		t.Fatalf("%d events, %v", len(got), err)
	}
	if e := got[0]; e.From != 0 || e.To != 1 || e.Evidence.E != math.MaxFloat64 || e.Seq != 0 || len(e.Because) > maxText || !strings.HasSuffix(e.Because, "…") || strings.Contains(e.Because, "\ufffd") {
		t.Errorf("%+v", e)
	}
}

func TestRingThatIsDamagedIsReplacedAndSaysSo(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		if _, err := ParseRing([]byte(text)); err == nil || err.Error() != want {
			t.Errorf("ParseRing: %v, want %s", err, want)
		}
		got, err := ParseRing(appendRing([]byte(text), event(1), event(2)))
		if err != nil || len(got) != 3 || got[0].Because != "the entries before this one are lost: "+want ||
			got[0].Kind != EventInvalid || got[0].Service != "web" || !reflect.DeepEqual(got[2], event(2)) {
			t.Errorf("%v %+v", err, got)
		}
	}
	f(`[{"time":`, "the audit ring cannot be read: unexpected end of JSON input")
	f(`"text"`, "the audit ring cannot be read: json: cannot unmarshal string into Go value of type []json.RawMessage")
	f(`[{"kind":"step"}, 7]`, "entry 2 of the audit ring is no object")
}

// A newer balancer's members survive an older one's entries.
func TestRingKeepsWhatItDoesNotKnow(t *testing.T) {
	text := appendRing([]byte("[\n  {\"kind\": \"step\",\n \"who\": \"ada\"}]"), event(1))
	if !strings.HasPrefix(string(text), "[\n{\"kind\":\"step\",\"who\":\"ada\"},\n{") {
		t.Errorf("%s", text)
	}
	text = appendRing([]byte(`[{"time": 7}]`), event(1))
	if got, err := ParseRing(text); err != nil || len(got) != 2 || !strings.HasPrefix(got[0].Because, "this entry cannot be read: ") || !reflect.DeepEqual(got[1], event(1)) {
		t.Errorf("%v %+v", err, got)
	}
}

func FuzzRing(f *testing.F) {
	f.Add([]byte(`[]`), "web", 0.5)
	f.Add([]byte(`[{"kind":"step"},{"time":7}]`), "\xff\"", math.Inf(-1))
	f.Add([]byte(`{`), "", math.NaN())
	f.Add([]byte(`[null, {}]`), "a", 1.0)
	f.Fuzz(func(t *testing.T, text []byte, s string, ratio float64) {
		before, _ := ParseRing(text)
		_, err := entriesOf(text)
		out := appendRing(text, Event{Service: s, Because: s, By: s, From: ratio, To: ratio})
		if len(out) > ringSize {
			t.Fatalf("%d bytes", len(out))
		}
		after, again := ParseRing(out)
		if err == nil && before != nil && len(after) != min(ringEvents, len(before)+1) && len(text) < ringSize/8 {
			t.Fatalf("from %d to %d events", len(before), len(after))
		}
		if err != nil && (again != nil || len(after) != 2) {
			t.Fatalf("damaged: %d, %v", len(after), again)
		}
	})
}
