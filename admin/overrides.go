package admin

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/go-hclog"

	"serin/route"
)

// maxOverride is what Consul lets one key hold.
const maxOverride = 512 << 10

// Overrides is where route commands are kept: texts by key, each with an index
// that changes when it is written. Its methods are called concurrently.
type Overrides interface {
	// Paths are the keys that are followed, each with all below it, in the order
	// in which they apply.
	Paths() []string
	// List returns the texts in force, in the order in which they apply.
	List() []Override
	// Get reads one text; ok is false where there is none.
	Get(ctx context.Context, key string) (text string, index uint64, ok bool, err error)
	// Put writes one text if its index still is index (0: if there is none), and
	// returns the new one. With ok and an error it is written, and the new index
	// is not known.
	Put(ctx context.Context, key, text string, index uint64) (now uint64, ok bool, err error)
	// Delete removes one text if its index still is index.
	Delete(ctx context.Context, key string, index uint64) (ok bool, err error)
}

// Override is one text of route commands.
type Override struct {
	Key      string          `json:"key"`
	Index    uint64          `json:"index"`
	Text     string          `json:"text"`
	Problems []route.Problem `json:"problems"`       // lines that are refused
	Lost     string          `json:"lost,omitempty"` // why it cannot be read now; it counts as it was last
}

func (v Override) filled() Override {
	if v.Problems == nil {
		v.Problems = []route.Problem{}
	}
	return v
}

func (s *Server) overrides(w http.ResponseWriter, _ *http.Request) {
	out := []Override{}
	if s.Overrides != nil {
		for _, v := range s.Overrides.List() {
			out = append(out, v.filled())
		}
	}
	answer(w, out)
}

func (s *Server) override(w http.ResponseWriter, r *http.Request) {
	key := r.PathValue("key")
	if !s.followed(w, key) {
		return
	}
	switch r.Method {
	case http.MethodPut:
		s.putOverride(w, r, key)
	case http.MethodDelete:
		s.deleteOverride(w, r, key)
	default:
		s.getOverride(w, r, key)
	}
}

// followed refuses what is no key of route commands.
func (s *Server) followed(w http.ResponseWriter, key string) bool {
	if s.Overrides == nil || len(s.Overrides.Paths()) == 0 {
		fail(w, http.StatusNotFound, "no route commands are followed", "registry.consul.kvpath names the keys that hold them")
		return false
	}
	paths := s.Overrides.Paths()
	if key == "" || strings.Contains("/"+key+"/", "//") || !slices.ContainsFunc(paths, func(p string) bool { return key == p || strings.HasPrefix(key, p+"/") }) {
		fail(w, http.StatusNotFound, "the key "+key+" is none of route commands", "these are "+strings.Join(paths, ", ")+" and what is below (registry.consul.kvpath)")
		return false
	}
	return true
}

func (s *Server) getOverride(w http.ResponseWriter, r *http.Request, key string) {
	text, index, ok, err := s.Overrides.Get(r.Context(), key)
	switch {
	case err != nil:
		fail(w, http.StatusBadGateway, err.Error(), "GET /api/v1/overrides shows what was read last")
	case !ok:
		fail(w, http.StatusNotFound, "there is no key "+key, "PUT with If-None-Match: * makes one")
	default:
		w.Header().Set("ETag", etag(index))
		if r.URL.Query().Has("raw") {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			_, _ = io.WriteString(w, text)
			return
		}
		_, problems := route.ParseCommands(key, text)
		answer(w, Override{Key: key, Index: index, Text: text, Problems: problems}.filled())
	}
}

func (s *Server) putOverride(w http.ResponseWriter, r *http.Request, key string) {
	body, ok := readBody(w, r)
	if !ok {
		return
	}
	text, claimed := string(body), (*uint64)(nil)
	if media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); media == "application/json" {
		var in struct {
			Text  *string `json:"text"`
			Index *uint64 `json:"index"`
		}
		dec := json.NewDecoder(bytes.NewReader(body))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&in); err != nil || in.Text == nil || dec.More() {
			fail(w, http.StatusBadRequest, "the body is not as it should be"+because(err), `send {"text": "route …", "index": 123}, or the route commands alone as text/plain`)
			return
		}
		text, claimed = *in.Text, in.Index
	}
	index, ok := precondition(w, r, claimed)
	if !ok || !s.writable(w, r, key, text) {
		return
	}
	now, ok, err := s.Overrides.Put(r.Context(), key, text, index)
	switch {
	case ok:
		s.audit(r, "route commands written", key, index, now)
		if now != 0 {
			w.Header().Set("ETag", etag(now))
		}
		_, problems := route.ParseCommands(key, text)
		out := Override{Key: key, Index: now, Text: text, Problems: problems}.filled()
		if err != nil {
			out.Lost = err.Error()
		}
		answer(w, out)
	case err != nil:
		fail(w, http.StatusBadGateway, err.Error(), "nothing is known to be written; try again")
	default:
		s.mismatch(w, r, key, http.StatusPreconditionFailed)
	}
}

func (s *Server) deleteOverride(w http.ResponseWriter, r *http.Request, key string) {
	index, ok := precondition(w, r, nil)
	if !ok {
		return
	}
	_, _, found, err := s.Overrides.Get(r.Context(), key)
	if err == nil && !found {
		fail(w, http.StatusNotFound, "there is no key "+key, "GET /api/v1/overrides lists those that are")
		return
	}
	if err == nil {
		ok, err = s.Overrides.Delete(r.Context(), key, index)
	}
	switch {
	case err != nil:
		fail(w, http.StatusBadGateway, err.Error(), "nothing is known to be deleted; try again")
	case !ok:
		s.mismatch(w, r, key, http.StatusPreconditionFailed)
	default:
		s.audit(r, "route commands deleted", key, index, 0)
		w.WriteHeader(http.StatusNoContent)
	}
}

// writable refuses a text that is too large, and one with a line that would not
// count unless ?force is given.
func (s *Server) writable(w http.ResponseWriter, r *http.Request, key, text string) bool {
	if len(text) > maxOverride {
		fail(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("the text has %d bytes", len(text)), fmt.Sprintf("Consul keeps %d at a key; divide it among several", maxOverride))
		return false
	}
	_, problems := route.ParseCommands(key, text)
	if len(problems) == 0 || r.URL.Query().Has("force") {
		return true
	}
	detail := fmt.Sprintf("%s: %s", problems[0].Where, problems[0].Error)
	if more := len(problems) - 1; more > 0 {
		detail += fmt.Sprintf(" (and %d more)", more)
	}
	w.Header().Set("Content-Type", "application/problem+json")
	write(w, http.StatusUnprocessableEntity, struct {
		Problem
		Problems []route.Problem `json:"problems"`
	}{
		Problem{"about:blank", http.StatusText(http.StatusUnprocessableEntity), http.StatusUnprocessableEntity, detail, "nothing was written; ?force writes it nevertheless, and the lines that are right count"},
		problems,
	})
	return false
}

// mismatch says that a text is not the one that was meant.
func (s *Server) mismatch(w http.ResponseWriter, r *http.Request, key string, status int) {
	now := "it does not exist now"
	if _, index, ok, err := s.Overrides.Get(r.Context(), key); err != nil {
		now = "what it is now cannot be read"
	} else if ok {
		now = fmt.Sprintf("it is at index %d now", index)
	}
	fail(w, status, key+" was changed meanwhile and nothing was written: "+now, "read it again, then repeat your change")
}

// precondition returns the index that the request says the text has; 0 is none.
func precondition(w http.ResponseWriter, r *http.Request, claimed *uint64) (uint64, bool) {
	match, none := r.Header.Get("If-Match"), r.Header.Get("If-None-Match")
	switch {
	case match != "" && none == "" && claimed == nil:
		text := strings.TrimSuffix(strings.TrimPrefix(match, `"`), `"`)
		if index, err := strconv.ParseUint(text, 10, 64); err == nil {
			return index, true
		}
		fail(w, http.StatusBadRequest, "If-Match: "+match+" is no ETag of this API", "copy the ETag of a GET")
	case none == "*" && match == "" && claimed == nil:
		return 0, true
	case claimed != nil && match == "" && none == "":
		return *claimed, true
	case match == "" && none == "":
		fail(w, http.StatusPreconditionRequired, "the request does not say what it replaces", "send If-Match with the ETag of a GET, or If-None-Match: * to make a new key")
	default:
		fail(w, http.StatusBadRequest, "the request says twice, or in a way that is not understood, what it replaces", "send one: If-Match with the ETag of a GET, or If-None-Match: *")
	}
	return 0, false
}

func etag(index uint64) string { return `"` + strconv.FormatUint(index, 10) + `"` }

func because(err error) string {
	if err == nil {
		return ""
	}
	return ": " + err.Error()
}

// readBody reads what the gate lets through.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, bool) {
	body, err := io.ReadAll(r.Body)
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		fail(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("the body has more than %d bytes", maxBody), "")
		return nil, false
	}
	if err != nil {
		fail(w, http.StatusBadRequest, "the body cannot be read: "+err.Error(), "")
		return nil, false
	}
	return body, true
}

func (s *Server) audit(r *http.Request, what, key string, old, now uint64) {
	log := s.Log
	if log == nil {
		log = hclog.NewNullLogger()
	}
	log.Info(what, "who", r.RemoteAddr, "key", key, "old", old, "new", now)
}

// fabioManual is the body of Fabio's /api/manual.
type fabioManual struct {
	Value   string `json:"value"`
	Version string `json:"version"`
}

// fabioPaths answers what is below the first path, as Fabio has a single one.
func (s *Server) fabioPaths(w http.ResponseWriter, _ *http.Request) {
	out := []string{}
	if s.Overrides != nil && len(s.Overrides.Paths()) > 0 {
		first := s.Overrides.Paths()[0]
		for _, v := range s.Overrides.List() {
			if sub, ok := strings.CutPrefix(v.Key, first); ok && (sub == "" || sub[0] == '/') {
				out = append(out, sub)
			}
		}
	}
	answer(w, out)
}

func (s *Server) fabioManual(w http.ResponseWriter, r *http.Request) {
	if s.Overrides == nil || len(s.Overrides.Paths()) == 0 {
		fail(w, http.StatusNotFound, "no route commands are followed", "registry.consul.kvpath names the keys that hold them")
		return
	}
	key := s.Overrides.Paths()[0]
	if sub := r.PathValue("sub"); sub != "" {
		key += "/" + sub
	}
	if !s.followed(w, key) {
		return
	}
	if r.Method != http.MethodPut {
		text, index, _, err := s.Overrides.Get(r.Context(), key)
		if err != nil {
			fail(w, http.StatusBadGateway, err.Error(), "GET /api/v1/overrides shows what was read last")
			return
		}
		answer(w, fabioManual{text, strconv.FormatUint(index, 10)})
		return
	}
	body, ok := readBody(w, r)
	if !ok {
		return
	}
	var in fabioManual
	err := json.Unmarshal(body, &in)
	index, wrong := strconv.ParseUint(cmp.Or(in.Version, "0"), 10, 64)
	if err = cmp.Or(err, wrong); err != nil {
		fail(w, http.StatusBadRequest, "the body is not as it should be: "+err.Error(), `send {"value": "route …", "version": "123"}`)
		return
	}
	if !s.writable(w, r, key, in.Value) {
		return
	}
	now, ok, err := s.Overrides.Put(r.Context(), key, in.Value, index)
	switch {
	case ok:
		s.audit(r, "route commands written", key, index, now)
		answer(w, fabioManual{in.Value, strconv.FormatUint(now, 10)})
	case err != nil:
		fail(w, http.StatusBadGateway, err.Error(), "nothing is known to be written; try again")
	default:
		s.mismatch(w, r, key, http.StatusConflict)
	}
}
