package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"serin/canary"
	"serin/canary/rollout"
)

// CanaryEdited is a document before and after an edit.
type CanaryEdited struct {
	canary.Edited
	Action  string `json:"action"`
	Written bool   `json:"written"` // false: ?dry-run, or it was so already
}

// actions are the edits of a document by their names, as the command line has
// them: what a body in JSON makes of each.
var actions = map[string]struct {
	body string // an example
	edit func(body []byte) (canary.Edit, error)
}{
	"set":     {`{"ratio": "10%", "limits": {"min_healthy": 2}, "sticky": null}`, setAction},
	"ramp":    {`{"to": "100%", "over": "2h"}`, rampAction},
	"pause":   {`{"reason": "why"}`, steerAction(rollout.Pause)},
	"promote": {`{"reason": "why"}`, steerAction(rollout.Promote)},
	"abort":   {`{"reason": "why"}`, steerAction(rollout.Abort)},
	"resume": {`{}`, func(body []byte) (canary.Edit, error) {
		return canary.Resume(time.Now()), strict(body, &struct{}{})
	}},
	"retry": {`{"id": "web-2.4"}`, func(body []byte) (canary.Edit, error) {
		var in struct {
			ID string `json:"id"`
		}
		err := strict(body, &in)
		return canary.Retry(in.ID, time.Now()), err
	}},
}

// share is a ratio, as a number or as people type it.
type share float64

func (s *share) UnmarshalJSON(b []byte) error {
	text := string(b)
	if b[0] == '"' {
		if err := json.Unmarshal(b, &text); err != nil {
			return err
		}
	}
	v, err := canary.ParseShare(text)
	*s = share(v)
	return err
}

// setAction takes an object of fields: null removes one, limits are set one by
// one.
func setAction(body []byte) (canary.Edit, error) {
	var in map[string]json.RawMessage
	if err := strict(body, &in); err != nil {
		return canary.Edit{}, err
	}
	if len(in) == 0 {
		return canary.Edit{}, errors.New("no field is named")
	}
	var changes []canary.Change
	add := func(field string, value json.RawMessage) {
		c := canary.Change{Field: field}
		if string(value) != "null" {
			c.Value = value
		}
		changes = append(changes, c)
	}
	for _, field := range slices.Sorted(maps.Keys(in)) {
		var limits map[string]json.RawMessage
		switch {
		case field == "ratio" && string(in[field]) != "null":
			var s share
			if err := json.Unmarshal(in[field], &s); err != nil {
				return canary.Edit{}, err
			}
			changes = append(changes, canary.Change{Field: field, Value: float64(s)})
		case field == "limits" && json.Unmarshal(in[field], &limits) == nil && limits != nil:
			for _, name := range slices.Sorted(maps.Keys(limits)) {
				add("limits."+name, limits[name])
			}
		default:
			add(field, in[field])
		}
	}
	return canary.SetFields(changes...), nil
}

func rampAction(body []byte) (canary.Edit, error) {
	var in struct {
		From  *share `json:"from"`
		To    *share `json:"to"`
		Over  string `json:"over"`
		Start string `json:"start"`
		End   string `json:"end"`
	}
	err := strict(body, &in)
	return canary.RampTo(canary.NewRamp{From: (*float64)(in.From), To: (*float64)(in.To), Over: in.Over, Start: in.Start, End: in.End}), err
}

func steerAction(c rollout.Control) func([]byte) (canary.Edit, error) {
	return func(body []byte) (canary.Edit, error) {
		var in struct {
			Reason string `json:"reason"`
		}
		err := strict(body, &in)
		return canary.Steer(c, in.Reason), err
	}
}

// strict reads a body that may be empty and must know its fields.
func strict(body []byte, v any) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the JSON object")
	}
	return nil
}

func (s *Server) canaryAction(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("action")
	a, ok := actions[name]
	if !ok {
		fail(w, http.StatusNotFound, "nothing is at "+r.URL.Path, "POST one of "+strings.Join(slices.Sorted(maps.Keys(actions)), ", "))
		return
	}
	body, ok := readBody(w, r)
	if !ok {
		return
	}
	edit, err := a.edit(body)
	if err != nil {
		fail(w, http.StatusBadRequest, "the body is not as it should be: "+err.Error(), "send such as "+a.body)
		return
	}
	s.edit(w, r, edit, false)
}

// edit makes an edit of the document that the path names, if that is the one
// which the request's conditions mean; must says that it has to have some.
func (s *Server) edit(w http.ResponseWriter, r *http.Request, e canary.Edit, must bool) {
	service := r.PathValue("service")
	if s.CanaryEditor == nil {
		fail(w, http.StatusNotFound, "no canary documents are followed", "this balancer follows no Consul")
		return
	}
	when, ok := conditions(w, r, must)
	if !ok {
		return
	}
	d, err := s.CanaryEditor.Prepare(r.Context(), service, e)
	if err == nil && !when.hold(&d) {
		now := "it does not exist now"
		if d.Index != 0 {
			now = "it is at index " + strconv.FormatUint(d.Index, 10) + " now"
		}
		fail(w, http.StatusPreconditionFailed, d.Key+" is not as it was meant and nothing was written: "+now, "read it again, then repeat your change")
		return
	}
	out := CanaryEdited{Edited: d, Action: e.String()}
	if err == nil && d.Changed() && !r.URL.Query().Has("dry-run") {
		old := d.Index
		if err = s.CanaryEditor.Write(r.Context(), &out.Edited); err == nil {
			out.Written = true
			s.edited(r, e, d.Key, old, out.Index)
		}
	}
	if err != nil {
		s.notEdited(w, service, err, when.given)
		return
	}
	if !e.Removes() {
		w.Header().Set("ETag", `"`+canary.Hash([]byte(out.After))+`"`)
	}
	answer(w, out)
}

// notEdited says why nothing was written.
func (s *Server) notEdited(w http.ResponseWriter, service string, err error, conditional bool) {
	if wrong, ok := errors.AsType[*canary.Error](err); ok {
		w.Header().Set("Content-Type", "application/problem+json")
		const status = http.StatusUnprocessableEntity
		write(w, status, struct {
			Problem
			Error *canary.Error `json:"error"`
		}{Problem{"about:blank", http.StatusText(status), status, wrong.Error(), "nothing was written; docs/CANARY.md has the fields"}, wrong})
		return
	}
	if refused, ok := errors.AsType[*canary.RefusedError](err); ok {
		fail(w, http.StatusConflict, refused.Msg, refused.Hint)
		return
	}
	if _, ok := errors.AsType[*canary.ConflictError](err); ok {
		status := http.StatusConflict
		if conditional {
			status = http.StatusPreconditionFailed
		}
		fail(w, status, err.Error(), "read it again, then repeat your change")
		return
	}
	if errors.Is(err, canary.ErrNoDocument) {
		s.noDocument(w, service)
		return
	}
	fail(w, http.StatusBadGateway, err.Error(), "nothing is known to be written; look before you try again")
}

// edited leaves a trace of who changed what.
func (s *Server) edited(r *http.Request, e canary.Edit, key string, old, now uint64) {
	log := s.Log
	if log == nil {
		log = hclog.NewNullLogger()
	}
	log.Info("canary document edited", "who", r.RemoteAddr, "action", e.String(), "key", key, "old", old, "new", now)
}

// condition is what a request says of the document that it means.
type condition struct {
	given bool
	none  bool   // it must not exist
	any   bool   // it must exist
	index uint64 // or have this index
	hash  string // or this hash
}

// hold tells whether the document as it was read is the one that is meant.
func (c condition) hold(d *canary.Edited) bool {
	switch {
	case !c.given:
		return true
	case c.none:
		return d.Index == 0
	case c.any:
		return d.Index != 0
	case c.hash != "":
		return d.Index != 0 && canary.Hash([]byte(d.Before)) == c.hash
	}
	return d.Index == c.index
}

// conditions reads If-Match, which names an index or the ETag of a GET, and
// If-None-Match: *.
func conditions(w http.ResponseWriter, r *http.Request, must bool) (c condition, ok bool) {
	match, none := r.Header.Get("If-Match"), r.Header.Get("If-None-Match")
	c.given = match != "" || none != ""
	text := strings.Trim(strings.TrimPrefix(match, "W/"), `"`)
	index, err := strconv.ParseUint(text, 10, 64)
	switch {
	case !c.given && must:
		fail(w, http.StatusPreconditionRequired, "the request does not say what it replaces", "send If-Match with the index that /status names or the ETag of a GET, or If-None-Match: * to make a new one")
		return c, false
	case !c.given:
	case none == "*" && match == "":
		c.none = true
	case none != "":
		fail(w, http.StatusBadRequest, "the request says twice, or in a way that is not understood, what it replaces", "send one: If-Match with an index or an ETag, or If-None-Match: *")
		return c, false
	case match == "*":
		c.any = true
	case len(text) == len(canary.Hash(nil)): // no index is that long
		c.hash = text
	case err == nil:
		c.index = index
	default:
		fail(w, http.StatusBadRequest, "If-Match: "+match+" is neither an index nor an ETag of this API", "copy index of /status, or the ETag of a GET")
		return c, false
	}
	return c, true
}
