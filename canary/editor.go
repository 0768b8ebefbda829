package canary

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"serin/canary/rollout"
	"serin/internal/shell"
)

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
	if strings.Contains(service, "/") {
		return "", refusef("name a service as Consul has it", "%q is no service: Consul allows no slash in a service's name, and documents below another are not read", service)
	}
	return KeyOf(e.Prefix, Unlabel(service)), nil
}

// Prepare reads a service's document and makes the edit of it, but writes
// nothing. A service without one starts from the common document, unless the
// edit needs nothing of it. An abort is made of anything that is there. Errors
// are those of KV, [ErrNoDocument], [*RefusedError], and [*Error] where the
// result is no document.
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
			inForce = e.InForce(ctx, Unlabel(service), index)
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
