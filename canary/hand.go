package canary

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"serin/canary/rollout"
)

// Edit is what an operator does to a document. It is made by SetFields, Replace,
// RampTo, Steer, Resume, Retry and Remove, and is pure: the same text gives the
// same text, with everything that it does not name as it was: order, spacing,
// comment and x-* fields.
type Edit struct {
	name string // as in the command line and the API
	// needs says that there must be a document; else an absent one is `{}`.
	needs bool
	whole bool // nothing of the old text is kept
	do    func(key string, doc []byte) ([]byte, error)
	// anyway is set for what must be possible whatever the document is: it is
	// made of the one in force (nil: not known) where do does not help.
	anyway func(key string, doc, inForce []byte) (after []byte, note string, err error)
}

// String returns the word for the edit: "set", "apply", "ramp", "pause",
// "resume", "promote", "abort", "retry" or "delete".
func (e Edit) String() string { return e.name }

// Apply returns what the edit makes of doc, the text at key; nil when the key is
// to be deleted. The result is a document that [Parse] takes.
func (e Edit) Apply(key string, doc []byte) ([]byte, error) { return e.do(key, doc) }

// Removes tells whether the edit deletes the key.
func (e Edit) Removes() bool { return e.name == "delete" }

// SetFields sets and removes fields. A ratio takes the place of ramp and steps.
func SetFields(changes ...Change) Edit {
	for _, c := range changes {
		if c.Field == "ratio" && c.Value != nil {
			changes = append([]Change{{Field: "ramp"}, {Field: "steps"}}, changes...)
			break
		}
	}
	return Edit{name: "set", do: func(key string, doc []byte) ([]byte, error) { return Set(key, doc, changes...) }}
}

// Replace puts a whole document in the place of what there is.
func Replace(text []byte) Edit {
	return Edit{name: "apply", whole: true, do: func(key string, _ []byte) ([]byte, error) {
		if _, err := Parse(key, text); err != nil {
			return nil, err
		}
		return text, nil
	}}
}

// NewRamp is a ramp as people ask for it. Over is a duration, Start and End are
// times, as documents write them; "" is absent.
type NewRamp struct {
	From  *float64 `json:"from,omitempty"` // nil: the document's ratio
	To    *float64 `json:"to,omitempty"`
	Over  string   `json:"over,omitempty"`
	Start string   `json:"start,omitempty"`
	End   string   `json:"end,omitempty"`
}

// RampTo lets the share go in a straight line. The ramp takes the place of ratio
// and steps; where From is nil it begins at the document's ratio, so that nobody
// who is on the canary leaves it.
func RampTo(r NewRamp) Edit {
	return Edit{name: "ramp", do: func(key string, doc []byte) ([]byte, error) {
		r := r
		if old, err := Parse(key, orEmpty(doc)); err == nil && r.From == nil {
			r.From = old.Ratio
		}
		return Set(key, doc, Change{Field: "ratio"}, Change{Field: "steps"}, Change{Field: "ramp", Value: r})
	}}
}

// Steer writes control, pause, promote or abort, and why. The reason is for
// people, in x-reason; one that stood there for something else goes. An Editor
// makes an abort of every document, also of one that is refused or that sends to
// a config_server.
func Steer(c rollout.Control, reason string) Edit {
	why := Change{Field: "x-reason"}
	if reason != "" {
		why.Value = reason
	}
	e := Edit{name: string(c), needs: true, do: func(key string, doc []byte) ([]byte, error) {
		if err := steerable(key, doc, c); err != nil {
			return nil, err
		}
		return Set(key, doc, Change{Field: "control", Value: string(c)}, why)
	}}
	if c == rollout.Abort {
		e.anyway = func(key string, doc, inForce []byte) ([]byte, string, error) {
			return abortAnyway(key, doc, inForce, why)
		}
	}
	return e
}

// meaning are the fields that say which instances and clients a document means,
// and who is to hear of it: without canary and stable an abort would take the
// instances of the one arm for those of the other.
var meaning = []string{"id", "canary", "stable", "backup", "environments", "notify"}

// abortAnyway makes an abort where control in doc would stop nothing: doc is
// refused, or its config_server's document counts. Of what is in force
// everything stays; where that is not known, what can be read of doc.
func abortAnyway(key string, doc, inForce []byte, why Change) (after []byte, note string, err error) {
	abort := []Change{{Field: "config_server"}, {Field: "control", Value: string(rollout.Abort)}, why}
	old, wrong := Parse(key, doc)
	note = fmt.Sprintf("the text at %s is refused (%v)", key, wrong)
	switch {
	case wrong == nil && old.ConfigServer != "":
		note = "config_server is taken out, because the document at " + old.ConfigServer + " would count before this abort"
	case wrong == nil:
		note = "the document at " + key + " has no room for the abort"
	}
	if len(inForce) > 0 {
		if after, err = Set(key, inForce, abort...); err == nil {
			return after, note + ": an abort of the document in force takes its place", nil
		}
	}
	if wrong == nil {
		if after, err = Set(key, doc, abort...); err == nil {
			return after, note, nil
		}
	}
	if after, err = Set(key, nil, abort...); err != nil {
		return nil, "", err
	}
	root, _ := readNode(key, doc) // up to the first mistake
	kept := "nothing of it is kept, so that the canary instances are those with the tag canary"
	var names []string
	for _, name := range meaning {
		n, ok := root.member(name)
		if !ok {
			continue
		}
		if more, err := Set(key, after, Change{Field: name, Value: json.RawMessage(doc[n.off:n.end])}); err == nil {
			after, names = more, append(names, name)
		}
	}
	if names != nil {
		kept = "of it is kept: " + strings.Join(names, ", ")
	}
	return after, note + ": an abort takes its place; " + kept, nil
}

// Resume lets a rollout that is paused go on. x-resumed is written so that the
// document has another index than when it paused, whoever paused it.
func Resume(now time.Time) Edit {
	return Edit{name: "resume", needs: true, do: func(key string, doc []byte) ([]byte, error) {
		if err := steerable(key, doc, rollout.Run); err != nil {
			return nil, err
		}
		return Set(key, doc, Change{Field: "control", Value: string(rollout.Run)},
			Change{Field: "x-resumed", Value: now.UTC().Format(time.RFC3339Nano)}, Change{Field: "x-reason"})
	}}
}

// Retry begins the rollout anew: under another id, which "" lets [NextID] choose,
// and without control.
func Retry(id string, now time.Time) Edit {
	return Edit{name: "retry", needs: true, do: func(key string, doc []byte) ([]byte, error) {
		old, err := Parse(key, doc)
		if err != nil {
			return nil, err
		}
		if id != "" && id == old.ID {
			return nil, refusef("give another one, or none", "%s has the id %s already: a rollout begins anew under another id", key, id)
		}
		if old.Ramp != nil && old.Ramp.End != nil && !old.Ramp.End.After(now) {
			return nil, refusef("lb canary ramp writes another one", "the ramp of %s ended at %s: begun anew, everyone who is to follow it would do so at once", key, old.Ramp.End.Format(time.RFC3339))
		}
		return Set(key, doc, Change{Field: "id", Value: cmp.Or(id, NextID(old.ID))},
			Change{Field: "control"}, Change{Field: "x-reason"}, Change{Field: "x-resumed"})
	}}
}

// Remove deletes the document: the common one, or ratio 0, takes its place.
func Remove() Edit {
	return Edit{name: "delete", needs: true, whole: true, do: func(string, []byte) ([]byte, error) { return nil, nil }}
}

// NextID returns the id of the rollout that follows one: "web-2.4" is followed by
// "web-2.4-retry-1", that by "web-2.4-retry-2", and "" by "retry-1".
func NextID(id string) string {
	stem, number, ok := strings.Cut(id, "retry-")
	n, err := strconv.Atoi(number)
	if ok && err == nil && n > 0 && n < math.MaxInt && (stem == "" || strings.HasSuffix(stem, "-")) {
		return stem + "retry-" + strconv.Itoa(n+1)
	}
	if id == "" {
		return "retry-1"
	}
	return id + "-retry-1"
}

// steerable refuses what would do nothing, or undo an abort by accident.
func steerable(key string, doc []byte, c rollout.Control) error {
	old, err := Parse(key, doc)
	if err != nil {
		if c == rollout.Abort {
			return nil // a document that is refused may be mended by it, which Set finds out
		}
		return err
	}
	switch is := rollout.Control(old.Control); {
	case c == rollout.Abort:
	case is == rollout.Abort:
		return refusef("lb canary retry begins anew", "the rollout of %s is aborted, and stays so", key)
	case is == rollout.Promote && c != rollout.Promote:
		return refusef("lb canary abort takes it back, lb canary retry begins anew", "the rollout of %s is promoted, and stays so", key)
	}
	return nil
}

// RefusedError is an edit that makes no sense for the document as it is.
type RefusedError struct{ Msg, Hint string }

func (e *RefusedError) Error() string { return e.Msg }

func refusef(hint, format string, args ...any) error {
	return &RefusedError{fmt.Sprintf(format, args...), hint}
}

func orEmpty(doc []byte) []byte {
	if len(bytes.TrimSpace(doc)) == 0 {
		return []byte("{}")
	}
	return doc
}
