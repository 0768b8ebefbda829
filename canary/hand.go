package canary

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"serin/canary/rollout"
	"serin/internal/shell"
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

// ErrNoDocument says that there is nothing to edit.
var ErrNoDocument = errors.New("no canary document")

// ConflictError says that the document is not the one that was read.
type ConflictError struct {
	Key string
	Now uint64 // its index now, 0: it is gone
}

func (e *ConflictError) Error() string {
	now := "it does not exist now"
	if e.Now != 0 {
		now = fmt.Sprintf("it is at index %d now", e.Now)
	}
	return fmt.Sprintf("%s was changed by someone else meanwhile and nothing was written: %s", e.Key, now)
}

// KV is where an Editor finds the documents.
type KV interface {
	// Get returns the value of key; index 0 says that there is none.
	Get(ctx context.Context, key string) (value []byte, index uint64, err error)
	// CAS writes value if the key still has the index, 0 being absent, and
	// reports whether it did.
	CAS(ctx context.Context, key string, value []byte, index uint64) (bool, error)
	// DeleteCAS removes the key if it still has the index, and reports whether it did.
	DeleteCAS(ctx context.Context, key string, index uint64) (bool, error)
}

// Editor makes edits of the documents in a KV, for people: nothing else writes
// them. It keeps nothing, so it may be used concurrently.
type Editor struct {
	KV     KV
	Prefix string // key of the common document, "lb/canary"
	// InForce returns the document in force for a service, "" for all others,
	// whose key has the index; nil where it is not known. It is asked for when an
	// abort can make nothing of what is at the key. Nil knows none.
	InForce func(ctx context.Context, service string, index uint64) []byte
}

// Edited is a document before and after an edit.
type Edited struct {
	Key    string `json:"key"`
	Index  uint64 `json:"index"`  // before [Editor.Write]: of the document in KV, 0 for none; then: of what was written
	Before string `json:"before"` // in KV
	After  string `json:"after"`
	Diff   string `json:"diff"`
	// Command is the same as a command line of Consul's.
	Command string   `json:"command"`
	Notes   []string `json:"notes,omitempty"` // what people may not expect

	removes bool
}

// Changed tells whether there is something to write.
func (e *Edited) Changed() bool { return e.removes || e.Index == 0 || e.Before != e.After }

// Rise is by how much the share that the document asks for grows at once, 0..1.
// Ramps and steps count as 0 before they begin.
func (e *Edited) Rise() float64 { return max(0, shareAtOnce(e.After)-shareAtOnce(e.Before)) }

func shareAtOnce(text string) float64 {
	doc, err := Parse("", []byte(text))
	if err != nil {
		return 0
	}
	switch rollout.Control(doc.Control) {
	case rollout.Promote:
		return 1
	case rollout.Abort:
		return 0
	}
	return doc.wanted()
}

// Key returns the key of a service's document; "" and "*" name the common one.
func (e *Editor) Key(service string) (string, error) {
	switch {
	case Unlabel(service) == "":
		return e.Prefix, nil
	case strings.Contains(service, "/"):
		return "", refusef("name a service as Consul has it", "%q is no service: Consul allows no slash in a service's name, and documents below another are not read", service)
	}
	return e.Prefix + "/" + service, nil
}

// Prepare reads a service's document and makes the edit of it, but writes
// nothing. A service without one starts from the common document, unless the
// edit needs nothing of it. An abort is made of anything that is there. Errors are those of KV, [ErrNoDocument],
// [*RefusedError], and [*Error] where the result is no document.
func (e *Editor) Prepare(ctx context.Context, service string, edit Edit) (Edited, error) {
	key, err := e.Key(service)
	out := Edited{Key: key, removes: edit.Removes()}
	if err != nil {
		return out, err
	}
	before, index, err := e.KV.Get(ctx, key)
	if err != nil {
		return out, err
	}
	out.Index, out.Before = index, string(before)
	from, found := before, index != 0
	if !found && key != e.Prefix && !edit.whole {
		if from, index, err = e.KV.Get(ctx, e.Prefix); err != nil {
			return out, err
		}
		if found = index != 0; found {
			out.Notes = append(out.Notes, copied(service, e.Prefix, from))
		}
	}
	if !found && edit.needs {
		return out, fmt.Errorf("%w at %s", ErrNoDocument, key)
	}
	after, err := edit.Apply(key, from)
	if edit.anyway != nil && (err != nil || sendsAway(after)) {
		var inForce []byte
		if e.InForce != nil {
			inForce = e.InForce(ctx, strings.TrimPrefix(service, "*"), index)
		}
		var note string
		after, note, err = edit.anyway(key, from, inForce)
		out.Notes = append(out.Notes, note)
	}
	if err != nil {
		return out, err
	}
	out.After = string(after)
	out.Diff = Diff(before, after)
	out.Command = fmt.Sprintf("consul kv put -cas -modify-index=%d %s %s", out.Index, shell.Quote(key), shell.Quote(out.After))
	if out.removes {
		out.Command = fmt.Sprintf("consul kv delete -cas -modify-index=%d %s", out.Index, shell.Quote(key))
	}
	out.Notes = append(out.Notes, noted(edit, from, after)...)
	return out, nil
}

// sendsAway tells whether a document has a config_server.
func sendsAway(text []byte) bool {
	doc, err := Parse("", text)
	return err == nil && doc.ConfigServer != ""
}

// copied says that a service has a document of its own from now on.
func copied(service, prefix string, common []byte) string {
	note := fmt.Sprintf("%s had no document of its own; it starts as a copy of %s", service, prefix)
	if doc, err := Parse(prefix, common); err == nil && (doc.Steps != nil || doc.Ramp != nil && doc.Ramp.Over != nil) {
		note += ", and with a rollout of its own that begins at the beginning"
	}
	return note
}

// noted says what people may not expect of an edit.
func noted(edit Edit, before, after []byte) (out []string) {
	old, _ := readNode("", orEmpty(before))
	doc, err := Parse("", after)
	if err != nil || edit.Removes() {
		return nil
	}
	if edit.name == "set" || edit.name == "ramp" {
		for _, m := range old.members {
			if gone := m.name == "ramp" && doc.Ramp == nil || m.name == "steps" && doc.Steps == nil; gone {
				out = append(out, m.name+" is taken out: a document has one of ratio, ramp and steps")
			}
		}
		if c := rollout.Control(doc.Control); c != "" && c != rollout.Run {
			out = append(out, fmt.Sprintf("control is %s, and counts before what was set", c))
		}
	}
	if doc.ConfigServer != "" {
		out = append(out, "the document is read from "+doc.ConfigServer+" (config_server): what is beside that field counts only until it answers")
	}
	return out
}

// Write writes what Prepare made, unless the document was changed since:
// [*ConflictError]. With nil, Index is that of what was written, 0 where it was
// deleted.
func (e *Editor) Write(ctx context.Context, d *Edited) error {
	var ok bool
	var err error
	if d.removes {
		ok, err = e.KV.DeleteCAS(ctx, d.Key, d.Index)
	} else {
		ok, err = e.KV.CAS(ctx, d.Key, []byte(d.After), d.Index)
	}
	switch {
	case err != nil:
		return err
	case ok && d.removes:
		d.Index = 0
		return nil
	}
	_, now, err := e.KV.Get(ctx, d.Key)
	if !ok {
		return &ConflictError{d.Key, now} // what now is, is only for people
	}
	if err != nil {
		return fmt.Errorf("%s is written, but its index cannot be read: %w", d.Key, err)
	}
	d.Index = now
	return nil
}

func orEmpty(doc []byte) []byte {
	if len(bytes.TrimSpace(doc)) == 0 {
		return []byte("{}")
	}
	return doc
}
