package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"serin/route"
)

// texts are route commands in memory.
type texts struct {
	paths []string
	value map[string]string
	index map[string]uint64
	next  uint64
	err   error // of every call
}

func commands() *texts {
	return &texts{
		paths: []string{"lb/routes", "fabio/config"}, next: 13,
		value: map[string]string{"lb/routes/10-web": "route del web /old\nroute ad oops\n", "fabio/config": "# nothing"},
		index: map[string]uint64{"lb/routes/10-web": 12, "fabio/config": 11},
	}
}

func (f *texts) Paths() []string { return f.paths }

func (f *texts) List() (out []Override) {
	for _, key := range slices.Backward(slices.Sorted(maps.Keys(f.value))) {
		_, problems := route.ParseCommands(key, f.value[key])
		out = append(out, Override{Key: key, Index: f.index[key], Text: f.value[key], Problems: problems})
	}
	return out
}

func (f *texts) Get(_ context.Context, key string) (string, uint64, bool, error) {
	text, ok := f.value[key]
	return text, f.index[key], ok, f.err
}

func (f *texts) Put(_ context.Context, key, text string, index uint64) (uint64, bool, error) {
	if f.err != nil || f.index[key] != index {
		return 0, false, f.err
	}
	f.value[key], f.index[key] = text, f.next
	f.next++
	return f.index[key], true, nil
}

func (f *texts) Delete(_ context.Context, key string, index uint64) (bool, error) {
	if f.err != nil || f.index[key] != index {
		return false, f.err
	}
	delete(f.value, key)
	delete(f.index, key)
	return true, nil
}

// send is a request with a body; header are names and values.
func send(h http.Handler, method, target, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://127.0.0.1"+target, strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

const (
	good  = "route del web /old"
	wrong = "route del web /old\nroute weight web / weight x"
)

func TestWritingOverrides(t *testing.T) {
	// f sends one request to a fresh server and says what is at lb/routes/10-web
	// and lb/routes/new afterwards: its index, 0 for none.
	f := func(name, method, target, body string, wantStatus int, wantDetail string, wantIndex, wantNew uint64, header ...string) {
		t.Helper()
		store := commands()
		w := send((&Server{Overrides: store}).Handler(), method, target, body, header...)
		var p Problem
		if w.Code >= 300 {
			if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || p.Status != w.Code || p.Hint == "" && w.Code != 413 {
				t.Errorf("%s: no problem document: %s", name, w.Body)
			}
		}
		if w.Code != wantStatus || p.Detail != wantDetail || store.index["lb/routes/10-web"] != wantIndex || store.index["lb/routes/new"] != wantNew {
			t.Errorf("%s\n got %d %q, indexes %v\nwant %d %q, %d and %d", name, w.Code, p.Detail, store.index, wantStatus, wantDetail, wantIndex, wantNew)
		}
		if written := w.Code == 200; written != (w.Header().Get("ETag") != "") && !strings.HasPrefix(target, "/api/manual") {
			t.Errorf("%s: status %d with ETag %q", name, w.Code, w.Header().Get("ETag"))
		}
	}
	const old, fresh = "/api/v1/overrides/lb/routes/10-web", "/api/v1/overrides/lb/routes/new"
	f("replace", "PUT", old, good, 200, "", 13, 0, "If-Match", `"12"`)
	f("replace, no quotes", "PUT", old, good, 200, "", 13, 0, "If-Match", "12")
	f("escaped key", "PUT", "/api/v1/overrides/lb%2Froutes%2F10-web", good, 200, "", 13, 0, "If-Match", `"12"`)
	f("replace as JSON", "PUT", old, `{"text": "route del web", "index": 12}`, 200, "", 13, 0, "Content-Type", "application/json; charset=utf-8")
	f("JSON and If-Match", "PUT", old, `{"text": "route del web"}`, 200, "", 13, 0, "Content-Type", "application/json", "If-Match", `"12"`)
	f("make", "PUT", fresh, good, 200, "", 12, 13, "If-None-Match", "*")
	f("make as JSON", "PUT", fresh, `{"text": "", "index": 0}`, 200, "", 12, 13, "Content-Type", "application/json")
	f("lost race", "PUT", old, good, 412, "lb/routes/10-web was changed meanwhile and nothing was written: it is at index 12 now", 12, 0, "If-Match", `"11"`)
	f("is there already", "PUT", old, good, 412, "lb/routes/10-web was changed meanwhile and nothing was written: it is at index 12 now", 12, 0, "If-None-Match", "*")
	f("is not there", "PUT", fresh, good, 412, "lb/routes/new was changed meanwhile and nothing was written: it does not exist now", 12, 0, "If-Match", `"11"`)
	f("no condition", "PUT", old, good, 428, "the request does not say what it replaces", 12, 0)
	f("two conditions", "PUT", old, good, 400, "the request says twice, or in a way that is not understood, what it replaces", 12, 0, "If-Match", `"12"`, "If-None-Match", "*")
	f("any version", "PUT", old, good, 400, "If-Match: * is no ETag of this API", 12, 0, "If-Match", "*")
	f("wrong line", "PUT", old, wrong, 422, `lb/routes/10-web:2:27: weight "x" is not a number`, 12, 0, "If-Match", `"12"`)
	f("two wrong lines", "PUT", old, "a\nb", 422, `lb/routes/10-web:1:1: a command begins with route, not with "a": write route add, route del or route weight (and 1 more)`, 12, 0, "If-Match", `"12"`)
	f("wrong line by force", "PUT", old+"?force", wrong, 200, "", 13, 0, "If-Match", `"12"`)
	f("no JSON", "PUT", old, `{"text": `, 400, "the body is not as it should be: unexpected EOF", 12, 0, "Content-Type", "application/json")
	f("another field", "PUT", old, `{"text": "", "idx": 12}`, 400, `the body is not as it should be: json: unknown field "idx"`, 12, 0, "Content-Type", "application/json")
	f("JSON without text", "PUT", old, `{"index": 12}`, 400, "the body is not as it should be", 12, 0, "Content-Type", "application/json")
	f("a form", "PUT", old, good, 415, "a body of type application/x-www-form-urlencoded is not read", 12, 0, "If-Match", `"12"`, "Content-Type", "application/x-www-form-urlencoded")
	f("too large for Consul", "PUT", old, strings.Repeat("#\n", 300<<10), 413, "the text has 614400 bytes", 12, 0, "If-Match", `"12"`)
	f("too large for us", "PUT", old, strings.Repeat("#\n", 600<<10), 413, "the body has more than 1048576 bytes", 12, 0, "If-Match", `"12"`)
	f("another place", "PUT", "/api/v1/overrides/lb/canary/web", good, 404, "the key lb/canary/web is none of route commands", 12, 0, "If-None-Match", "*")
	f("a place with the same beginning", "PUT", "/api/v1/overrides/lb/routes-old", good, 404, "the key lb/routes-old is none of route commands", 12, 0, "If-None-Match", "*")
	f("a folder", "PUT", "/api/v1/overrides/lb/routes/new/", good, 404, "the key lb/routes/new/ is none of route commands", 12, 0, "If-None-Match", "*")
	f("another site", "PUT", old, good, 403, "a page of another site asked for this: cross-origin request detected from Sec-Fetch-Site header", 12, 0, "If-Match", `"12"`, "Sec-Fetch-Site", "cross-site")
	f("another origin", "PUT", old, good, 403, "a page of another site asked for this: cross-origin request detected, and/or browser is out of date: Sec-Fetch-Site is missing, and Origin does not match Host", 12, 0, "If-Match", `"12"`, "Origin", "http://evil.test")
	f("our own page", "PUT", old, good, 200, "", 13, 0, "If-Match", `"12"`, "Sec-Fetch-Site", "same-origin")

	f("delete", "DELETE", old, "", 204, "", 0, 0, "If-Match", `"12"`)
	f("delete, lost race", "DELETE", old, "", 412, "lb/routes/10-web was changed meanwhile and nothing was written: it is at index 12 now", 12, 0, "If-Match", `"11"`)
	f("delete what is not there", "DELETE", fresh, "", 404, "there is no key lb/routes/new", 12, 0, "If-Match", `"11"`)
	f("delete without condition", "DELETE", old, "", 428, "the request does not say what it replaces", 12, 0)

	f("Fabio", "PUT", "/api/manual/10-web", `{"value": "route del web", "version": "12"}`, 200, "", 13, 0, "Content-Type", "application/x-www-form-urlencoded")
	f("Fabio, new", "PUT", "/api/manual/new", `{"value": "route del web", "version": "0"}`, 200, "", 12, 13)
	f("Fabio, lost race", "PUT", "/api/manual/10-web", `{"value": "route del web", "version": "1"}`, 409, "lb/routes/10-web was changed meanwhile and nothing was written: it is at index 12 now", 12, 0)
	f("Fabio, no JSON", "PUT", "/api/manual/10-web", `route del web`, 400, "the body is not as it should be: invalid character 'r' looking for beginning of value", 12, 0)
	f("Fabio, no version", "PUT", "/api/manual/10-web", `{"value": "route del web", "version": "x"}`, 400, `the body is not as it should be: strconv.ParseUint: parsing "x": invalid syntax`, 12, 0)
	f("Fabio, wrong line", "PUT", "/api/manual/10-web", `{"value": "route ad", "version": "12"}`, 422, `lb/routes/10-web:1:7: unknown command "ad": want add, del or weight`, 12, 0)
	f("Fabio, folder", "PUT", "/api/manual/new/", `{"value": "route del web", "version": "0"}`, 404, "the key lb/routes/new/ is none of route commands", 12, 0)
}

func TestLookingAtOverrides(t *testing.T) {
	h := (&Server{Overrides: commands()}).Handler()
	f := func(target string, wantStatus int, want string) {
		t.Helper()
		if w := send(h, "GET", target, ""); w.Code != wantStatus || strings.TrimSpace(w.Body.String()) != want && wantStatus == 200 {
			t.Errorf("GET %s\n got %d %s\nwant %d %s", target, w.Code, w.Body, wantStatus, want)
		}
	}
	f("/api/v1/overrides/fabio/config?raw", 200, "# nothing")
	f("/api/v1/overrides/lb/routes/none", 404, "")
	f("/api/v1/overrides/lb/canary/web", 404, "")
	f("/api/v1/overrides/", 404, "")
	f("/api/paths", 200, "[\n  \"/10-web\"\n]")
	f("/api/manual/none", 200, "{\n  \"value\": \"\",\n  \"version\": \"0\"\n}")
	if w := send(h, "GET", "/api/v1/overrides/lb/routes/10-web", ""); w.Header().Get("ETag") != `"12"` {
		t.Errorf("ETag %q", w.Header().Get("ETag"))
	}
}

// Where the API only looks, whatever changes something is refused before anything
// else is done with it.
func TestReadOnlyWritesNothing(t *testing.T) {
	s := full(t)
	s.ReadOnly = true
	store := s.Overrides.(*texts)
	store.err = errors.New("BUG: it was asked")
	for _, e := range s.endpoints() {
		for _, method := range e.allowed() {
			if method == "GET" || method == "HEAD" || e.looks {
				continue
			}
			w := send(s.Handler(), method, sample.Replace(e.path), good, "If-Match", `"12"`)
			if w.Code != 403 || !strings.Contains(w.Body.String(), "ui.access is ro") {
				t.Errorf("%s %s = %d %s", method, e.path, w.Code, w.Body)
			}
		}
	}
}

func TestOverridesWithoutConsul(t *testing.T) {
	store := commands()
	store.err = errors.New("Consul does not answer")
	h := (&Server{Overrides: store}).Handler()
	f := func(method, target, body string, want int, header ...string) {
		t.Helper()
		if w := send(h, method, target, body, header...); w.Code != want || want == 502 && !strings.Contains(w.Body.String(), "Consul does not answer") {
			t.Errorf("%s %s = %d %s, want %d", method, target, w.Code, w.Body, want)
		}
	}
	f("GET", "/api/v1/overrides", "", 200)
	f("GET", "/api/paths", "", 200)
	f("GET", "/api/v1/overrides/lb/routes/10-web", "", 502)
	f("PUT", "/api/v1/overrides/lb/routes/10-web", good, 502, "If-Match", `"12"`)
	f("DELETE", "/api/v1/overrides/lb/routes/10-web", "", 502, "If-Match", `"12"`)
	f("GET", "/api/manual", "", 502)
	f("PUT", "/api/manual", `{"value": "", "version": "1"}`, 502)
	h = (&Server{}).Handler()
	f("PUT", "/api/v1/overrides/lb/routes/10-web", good, 404, "If-Match", `"12"`)
	f("GET", "/api/manual", "", 404)
	f("GET", "/api/v1/overrides", "", 200)
}

func TestWritesAreLogged(t *testing.T) {
	var log bytes.Buffer
	s := &Server{Overrides: commands(), Log: hclog.New(&hclog.LoggerOptions{Output: &log, DisableTime: true})}
	send(s.Handler(), "PUT", "/api/v1/overrides/lb/routes/10-web", good, "If-Match", `"12"`)
	send(s.Handler(), "PUT", "/api/v1/overrides/lb/routes/10-web", good, "If-Match", `"12"`)
	send(s.Handler(), "PUT", "/api/manual/10-web", `{"value": "", "version": "13"}`)
	send(s.Handler(), "DELETE", "/api/v1/overrides/lb/routes/10-web", "", "If-Match", `"14"`)
	want := ""
	for _, line := range []string{"written: who=192.0.2.1:1234 key=lb/routes/10-web old=12 new=13", "written: who=192.0.2.1:1234 key=lb/routes/10-web old=13 new=14", "deleted: who=192.0.2.1:1234 key=lb/routes/10-web old=14 new=0"} {
		want += fmt.Sprintf("[INFO]  route commands %s\n", line)
	}
	if log.String() != want {
		t.Errorf("log\n got %s\nwant %s", log.String(), want)
	}
}
