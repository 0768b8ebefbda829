package admin

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"serin/canary"
	"serin/canary/rollout"
	"serin/route"
)

func TestWhoAsks(t *testing.T) {
	f := func(target, want string, header ...string) {
		t.Helper()
		r := httptest.NewRequest("GET", "http://127.0.0.1/api/v1/canary/web"+target, nil)
		for i := 0; i < len(header); i += 2 {
			r.Header.Add(header[i], header[i+1])
		}
		a, err := asker(r)
		got := a.Client.String()
		if err != nil {
			got = "error"
		} else if a.Self != nil {
			got = fmt.Sprintf("%q %q %q", a.Self.Node, a.Self.Datacenter, a.Self.Tags)
		}
		if got != want {
			t.Errorf("asker of %s %q\n got %s\nwant %s", target, header, got, want)
		}
	}
	f("", "192.0.2.1")
	f("?client=10.1.2.3", "10.1.2.3")
	f("?client=::ffff:10.1.2.3", "10.1.2.3")
	f("?client=fe80::1%25eth0", "fe80::1")
	f("?client=me", "error")
	f("?client=10.1.2.3", `"n1" "" []`, "Lb-Node", "n1")
	f("", `"" "dc1" ["a" "b" "c"]`, "Lb-Datacenter", "dc1", "Lb-Tag", "a, b", "Lb-Tag", "c")
}

func TestNegotiation(t *testing.T) {
	f := func(accept string, want bool) {
		t.Helper()
		if got := accepts([]string{accept}, "gzip"); got != want {
			t.Errorf("Accept-Encoding %q takes gzip: %t", accept, got)
		}
	}
	f("gzip", true)
	f("br, GZIP ; q=0.5", true)
	f("*", true)
	f("", false)
	f("br", false)
	f("gzip;q=0", false)
	f("*, gzip;q=0", false)
	f("gzip;q=0, *", false)
	f("*;q=0", false)
	f("gzip;q=x", false)
	f("xgzip", false)

	g := func(none string, want bool) {
		t.Helper()
		if got := matches([]string{none}, "abc"); got != want {
			t.Errorf("If-None-Match %s matches abc: %t", none, got)
		}
	}
	g(`"abc"`, true)
	g(`W/"abc"`, true)
	g(`"x", W/"abc"`, true)
	g(`*`, true)
	g(`"x"`, false)
	g(``, false)
}

// large answers one document of more than 10,240 bytes.
type large struct {
	documents
	text string
}

func (l large) Resolve(string, canary.Asker) ([]byte, string, bool) {
	return []byte(l.text), canary.Hash([]byte(l.text)), true
}

func TestDocument(t *testing.T) {
	h := full(t).Handler()
	w := get(h, "/api/v1/canary/web")
	tag := w.Header().Get("ETag")
	if w.Code != 200 || w.Body.String() != `{"ratio": 0.25}` || tag != `"`+canary.Hash(w.Body.Bytes())+`"` || w.Header().Get("Vary") != "Lb-Node, Lb-Datacenter, Lb-Tag, Accept-Encoding" {
		t.Errorf("%d %s %v", w.Code, w.Body, w.Header())
	}
	if _, err := canary.Parse("k", w.Body.Bytes()); err != nil {
		t.Errorf("what it answers is no document: %v", err)
	}
	for _, same := range []string{tag, "W/" + tag, `"x", ` + tag, "*"} {
		if w := get(h, "/api/v1/canary/web", "If-None-Match", same); w.Code != 304 || w.Body.Len() != 0 || w.Header().Get("ETag") != tag {
			t.Errorf("If-None-Match %s = %d %s", same, w.Code, w.Body)
		}
	}
	if w := get(h, "/api/v1/canary/web", "If-None-Match", `"x"`); w.Code != 200 {
		t.Errorf("another ETag = %d", w.Code)
	}
	if w := send(h, "HEAD", "/api/v1/canary/web", ""); w.Code != 200 || w.Header().Get("ETag") != tag || w.Header().Get("Content-Length") != "15" {
		t.Errorf("HEAD = %d %v", w.Code, w.Header())
	}
	if w := get(h, "/api/v1/canary/web?client=10.1.2.3"); w.Body.String() != `{"ratio": 1}` {
		t.Errorf("of a client = %s", w.Body)
	}
	if w := get(h, "/api/v1/canary/web", "Lb-Node", "n7", "Lb-Tag", "edge"); w.Body.String() != `{"ratio": 0.25, "comment": "n7  [edge]"}` {
		t.Errorf("of a balancer = %s", w.Body)
	}
	for target, want := range map[string]int{"/api/v1/canary/none": 404, "/api/v1/canary/web?client=me": 400} {
		if w := get(h, target); w.Code != want {
			t.Errorf("%s = %d", target, w.Code)
		}
	}
}

// What the API answers is what another balancer reads where its document names
// the address as config_server: resolved for it, with the index, and compressed
// where it is large.
func TestTheAPIIsAConfigServer(t *testing.T) {
	big := `{"ratio": 0.5, "comment": "` + strings.Repeat("a", 2*gzipAbove) + `"}`
	f := func(h http.Handler, want string) {
		t.Helper()
		server := httptest.NewServer(h)
		defer server.Close()
		source := &canary.HTTPSource{URL: server.URL + "/api/v1/canary/web", Self: func() canary.Self { return canary.Self{Node: "n7", Tags: []string{"a", "b"}} }}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var got canary.Event
		err := source.Run(ctx, func(e canary.Event) {
			got = e
			cancel()
		})
		doc := got.Docs[""]
		if err != nil || got.Err != nil || string(doc.Value) != want || doc.Index != 4718 {
			t.Errorf("%v, %v, index %d, %.80s", err, got.Err, doc.Index, doc.Value)
		}
		if _, err := canary.Parse("k", doc.Value); err != nil {
			t.Error(err)
		}
	}
	f(full(t).Handler(), `{"ratio": 0.25, "comment": "n7  [a b]"}`)
	f((&Server{Canary: large{text: big}}).Handler(), big)
}

func TestLargeDocumentsAreCompressed(t *testing.T) {
	f := func(size int, accept, want string) {
		t.Helper()
		text := `{"comment": "` + strings.Repeat("a", size-15) + `"}`
		w := get((&Server{Canary: large{text: text}}).Handler(), "/api/v1/canary/web", "Accept-Encoding", accept)
		body := io.Reader(w.Body)
		if w.Header().Get("Content-Encoding") == "gzip" {
			var err error
			if body, err = gzip.NewReader(w.Body); err != nil {
				t.Fatal(err)
			}
		}
		got, err := io.ReadAll(body)
		if err != nil || string(got) != text || w.Header().Get("Content-Encoding") != want {
			t.Errorf("%d bytes, Accept-Encoding %s: %q, %v, %d bytes", size, accept, w.Header().Get("Content-Encoding"), err, len(got))
		}
		tag := w.Header().Get("ETag")
		if strings.HasPrefix(tag, "W/") != (want == "gzip") || strings.Trim(tag, `W/"`) != canary.Hash([]byte(text)) {
			t.Errorf("ETag %s", tag)
		}
	}
	f(10240, "gzip", "")
	f(10241, "gzip", "gzip")
	f(10241, "br", "")
	text := `{"comment": "` + strings.Repeat("a", 20000) + `"}`
	w := httptest.NewRecorder()
	r := httptest.NewRequest("HEAD", "http://127.0.0.1/api/v1/canary/web", nil)
	r.Header.Set("Accept-Encoding", "gzip")
	(&Server{Canary: large{text: text}}).Handler().ServeHTTP(w, r)
	if w.Code != 200 || w.Body.Len() != 0 || w.Header().Get("Content-Encoding") != "gzip" {
		t.Errorf("HEAD = %d, %d bytes, %v", w.Code, w.Body.Len(), w.Header())
	}
}

// keys is Consul's KV in memory.
type keys struct {
	value map[string]string
	index map[string]uint64
	err   error
	race  bool // somebody else writes between our reading and our writing
}

func canaryKeys() *keys {
	return &keys{value: map[string]string{"lb/canary/web": `{"ratio": 0.25}`}, index: map[string]uint64{"lb/canary/web": 12}}
}

func (k *keys) Get(_ context.Context, key string) ([]byte, uint64, error) {
	return []byte(k.value[key]), k.index[key], k.err
}

func (k *keys) CAS(_ context.Context, key string, value []byte, index uint64) (bool, error) {
	if k.race {
		k.index[key]++
	}
	if k.err != nil || k.index[key] != index {
		return false, k.err
	}
	k.value[key], k.index[key] = string(value), 13
	return true, nil
}

func (k *keys) DeleteCAS(_ context.Context, key string, index uint64) (bool, error) {
	if k.err != nil || k.index[key] != index {
		return false, k.err
	}
	delete(k.value, key)
	delete(k.index, key)
	return true, nil
}

// resumedAt is the one thing in a document that differs from run to run.
var resumedAt = regexp.MustCompile(`20\d\d-[0-9T:.-]+Z`)

func TestEditingDocuments(t *testing.T) {
	// f sends one request to a fresh server and says what is at lb/canary/web
	// afterwards, or why not.
	f := func(name, method, target, body string, wantStatus int, want string, header ...string) *httptest.ResponseRecorder {
		t.Helper()
		k := canaryKeys()
		k.race = strings.HasPrefix(name, "race")
		if strings.HasSuffix(name, "aborted") {
			k.value["lb/canary/web"] = `{"control": "abort"}`
		}
		if strings.HasSuffix(name, "unreadable") {
			k.value["lb/canary/web"] = `{ratio: 1}`
		}
		s := &Server{CanaryEditor: &canary.Editor{KV: k, Prefix: "lb/canary"}}
		w := send(s.Handler(), method, "/api/v1/canary/"+target, body, header...)
		got := resumedAt.ReplaceAllString(k.value["lb/canary/web"], "TIME")
		var p struct {
			Problem
			CanaryEdited
		}
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
			t.Errorf("%s: %v: %s", name, err, w.Body)
		}
		if w.Code >= 300 {
			got = p.Detail
			if p.Status != w.Code || p.Hint == "" {
				t.Errorf("%s: no problem document: %s", name, w.Body)
			}
		} else if p.Key == "" || p.Action == "" || p.Command == "" || p.Written && p.Diff == "" {
			t.Errorf("%s: %s", name, w.Body)
		}
		if w.Code != wantStatus || got != want {
			t.Errorf("%s\n got %d %s\nwant %d %s", name, w.Code, got, wantStatus, want)
		}
		return w
	}
	const is = `{"ratio": 0.25}`
	f("replace", "PUT", "web", `{"ratio": 0.5}`, 200, `{"ratio": 0.5}`, "If-Match", `"12"`)
	f("replace by hash", "PUT", "web", `{"ratio": 0.5}`, 200, `{"ratio": 0.5}`, "If-Match", `"`+canary.Hash([]byte(is))+`"`)
	f("replace by weak hash", "PUT", "web", `{"ratio": 0.5}`, 200, `{"ratio": 0.5}`, "If-Match", `W/"`+canary.Hash([]byte(is))+`"`)
	f("replace what there is", "PUT", "web", `{"ratio": 0.5}`, 200, `{"ratio": 0.5}`, "If-Match", "*")
	f("another index", "PUT", "web", `{"ratio": 0.5}`, 412, "lb/canary/web is not as it was meant and nothing was written: it is at index 12 now", "If-Match", "11")
	f("another hash", "PUT", "web", `{"ratio": 0.5}`, 412, "lb/canary/web is not as it was meant and nothing was written: it is at index 12 now", "If-Match", `"0123456789abcdef"`)
	f("make what is there", "PUT", "web", `{"ratio": 0.5}`, 412, "lb/canary/web is not as it was meant and nothing was written: it is at index 12 now", "If-None-Match", "*")
	f("make", "PUT", "shop", `{"ratio": 0.5}`, 200, is, "If-None-Match", "*")
	f("nothing there", "PUT", "shop", `{"ratio": 0.5}`, 412, "lb/canary/shop is not as it was meant and nothing was written: it does not exist now", "If-Match", "*")
	f("no condition", "PUT", "web", `{"ratio": 0.5}`, 428, "the request does not say what it replaces")
	f("two conditions", "PUT", "web", `{"ratio": 0.5}`, 400, "the request says twice, or in a way that is not understood, what it replaces", "If-Match", "12", "If-None-Match", "*")
	f("no index", "PUT", "web", `{"ratio": 0.5}`, 400, "If-Match: x is neither an index nor an ETag of this API", "If-Match", "x")
	f("no document", "PUT", "web", `{"raito": 0.5}`, 422, `lb/canary/web:1:2: unknown field "raito" (did you mean "ratio"?)`, "If-Match", "12")
	f("race", "PUT", "web", `{"ratio": 0.5}`, 412, "lb/canary/web was changed by someone else meanwhile and nothing was written: it is at index 13 now", "If-Match", "12")
	f("only look", "PUT", "web?dry-run", `{"ratio": 0.5}`, 200, is, "If-Match", "12")
	f("delete", "DELETE", "web", "", 200, "", "If-Match", "12")
	f("delete nothing", "DELETE", "shop", "", 404, "no canary document is in force for shop", "If-Match", "*")
	f("common", "PUT", "*", `{"ratio": 0.5}`, 200, is, "If-None-Match", "*")
	f("a folder", "POST", "a%2Fb/pause", "", 409, `"a/b" is no service: Consul allows no slash in a service's name, and documents below another are not read`)

	f("set", "POST", "web/set", `{"ratio": "50%", "limits": {"min_healthy": 2}, "x-a": [1]}`, 200, `{"ratio": 0.5, "limits": {"min_healthy":2}, "x-a": [1]}`)
	f("set a number", "POST", "web/set", `{"ratio": 0.5}`, 200, `{"ratio": 0.5}`, "If-Match", `"12"`)
	f("remove", "POST", "web/set", `{"ratio": null, "sticky": true}`, 200, `{"sticky": true}`)
	f("no share", "POST", "web/set", `{"ratio": 25}`, 400, "the body is not as it should be: 25 is not a share: write 25% or 0.25")
	f("no field", "POST", "web/set", ``, 400, "the body is not as it should be: no field is named")
	f("wrong field", "POST", "web/set", `{"raito": 0.5}`, 422, `lb/canary/web:1:17: unknown field "raito" (did you mean "ratio"?)`)
	f("set, another index", "POST", "web/set", `{"ratio": 0.5}`, 412, "lb/canary/web is not as it was meant and nothing was written: it is at index 12 now", "If-Match", "11")
	f("race without a condition", "POST", "web/set", `{"ratio": 0.5}`, 409, "lb/canary/web was changed by someone else meanwhile and nothing was written: it is at index 13 now")
	f("ramp", "POST", "web/ramp", `{"to": "100%", "over": "2h"}`, 200, `{"ramp": {"from":0.25,"to":1,"over":"2h"}}`)
	f("pause", "POST", "web/pause", ``, 200, `{"ratio": 0.25, "control": "pause"}`)
	f("abort", "POST", "web/abort", `{"reason": "5xx"}`, 200, `{"ratio": 0.25, "control": "abort", "x-reason": "5xx"}`)
	f("abort, unreadable", "POST", "web/abort", `{"reason": "5xx"}`, 200, `{"control": "abort", "x-reason": "5xx"}`)
	f("pause, unreadable", "POST", "web/pause", ``, 422, `lb/canary/web:1:2: not JSON: invalid character 'r' at start of value`)
	f("promote", "POST", "web/promote", `{}`, 200, `{"ratio": 0.25, "control": "promote"}`)
	f("promote, aborted", "POST", "web/promote", `{}`, 409, "the rollout of lb/canary/web is aborted, and stays so")
	f("resume", "POST", "web/resume", ``, 200, `{"ratio": 0.25, "control": "run", "x-resumed": "TIME"}`)
	f("retry, aborted", "POST", "web/retry", `{"id": "b"}`, 200, `{"id": "b"}`)
	f("retry", "POST", "web/retry", ``, 200, `{"ratio": 0.25, "id": "retry-1"}`)
	f("another field", "POST", "web/retry", `{"idd": "b"}`, 400, `the body is not as it should be: json: unknown field "idd"`)
	f("two bodies", "POST", "web/abort", `{} {}`, 400, `the body is not as it should be: something follows the JSON object`)
	f("no such action", "POST", "web/explode", ``, 404, "nothing is at /api/v1/canary/web/explode")
	f("abort nothing", "POST", "shop/abort", ``, 404, "no canary document is in force for shop")

	if w := f("ETag", "POST", "web/set", `{"ratio": 0.5}`, 200, `{"ratio": 0.5}`); w.Header().Get("ETag") != `"`+canary.Hash([]byte(`{"ratio": 0.5}`))+`"` {
		t.Errorf("ETag %q", w.Header().Get("ETag"))
	}
}

func TestEditsWithoutConsulAndReadOnly(t *testing.T) {
	k := canaryKeys()
	k.err = errors.New("Consul does not answer")
	f := func(s *Server, want int, detail string) {
		t.Helper()
		for _, w := range []*httptest.ResponseRecorder{
			send(s.Handler(), "POST", "/api/v1/canary/web/abort", ""),
			send(s.Handler(), "PUT", "/api/v1/canary/web", `{}`, "If-Match", "12"),
			send(s.Handler(), "DELETE", "/api/v1/canary/web", "", "If-Match", "12"),
		} {
			if w.Code != want || !strings.Contains(w.Body.String(), detail) {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		}
	}
	editor := &canary.Editor{KV: k, Prefix: "lb/canary"}
	f(&Server{CanaryEditor: editor}, 502, "Consul does not answer")
	f(&Server{CanaryEditor: editor, ReadOnly: true}, 403, "ui.access is ro")
	f(&Server{}, 404, "no canary documents are followed")
}

func TestEditsAreLogged(t *testing.T) {
	var log bytes.Buffer
	k := canaryKeys()
	s := &Server{CanaryEditor: &canary.Editor{KV: k, Prefix: "lb/canary"}, Log: hclog.New(&hclog.LoggerOptions{Output: &log, DisableTime: true})}
	send(s.Handler(), "POST", "/api/v1/canary/web/set", `{"ratio": 0.5}`)
	send(s.Handler(), "POST", "/api/v1/canary/web/set", `{"ratio": 0.5}`) // is so already
	send(s.Handler(), "POST", "/api/v1/canary/web/set?dry-run", `{"ratio": 0.6}`)
	send(s.Handler(), "DELETE", "/api/v1/canary/web", "", "If-Match", "13")
	want := "[INFO]  canary document edited: who=192.0.2.1:1234 action=set key=lb/canary/web old=12 new=13\n" +
		"[INFO]  canary document edited: who=192.0.2.1:1234 action=delete key=lb/canary/web old=13 new=0\n"
	if log.String() != want {
		t.Errorf("log\n got %s\nwant %s", log.String(), want)
	}
}

func TestExplainArm(t *testing.T) {
	sp := &route.Split{
		Service: "web", ID: "a", Explicit: true, Ratio: 0.5, Method: route.Hash, Secret: [2]uint64{1, 2},
		Sticky: route.Sticky{By: []route.KeySource{{Kind: route.KeyCookie, Name: "uid"}, {Kind: route.KeyHeader, Name: "X-User"}, {Kind: route.KeyIP}}},
		Match: []route.MatchRule{
			{Headers: []route.FieldMatch{{Name: "X-Canary", Pattern: route.Pattern{Kind: route.Present}}}, To: route.Canary},
			{CIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, To: route.Stable},
		},
	}
	f := func(query, want string) {
		t.Helper()
		c, err := askedClient(httptest.NewRequest("GET", "/?"+query, nil))
		got := "error: " + fmt.Sprint(err)
		if err == nil {
			e := explainArm(sp, c)
			rule := ""
			if e.Rule != nil {
				rule = fmt.Sprint(*e.Rule)
			}
			got = strings.Join(strings.Fields(fmt.Sprintf("%s %s%s %s %s: %s", e.Arm, e.Why, rule, e.Key, e.U, e.Because)), " ")
			if e.U != "" && e.Fraction < e.Threshold != (e.Arm == "canary") {
				t.Errorf("%s: %g, threshold %g: %s", query, e.Fraction, e.Threshold, e.Arm)
			}
		}
		if got != want {
			t.Errorf("%s\n got %s\nwant %s", query, got, want)
		}
	}
	u := func(kind route.KeyKind, value string) (string, float64) {
		u := sp.Position(kind, value)
		return fmt.Sprintf("%016x", u), part(u)
	}
	sticky := func(name string, kind route.KeyKind, value string) string {
		hex, fraction := u(kind, value)
		arm, is := "stable", "is not below"
		if fraction < 0.5 {
			arm, is = "canary", "is below"
		}
		return fmt.Sprintf("%s sticky %s %s: %s gives u = %.6f, which %s the ratio 0.5", arm, name, hex, name, fraction, is)
	}
	f("header=X-Canary:1", "canary rule0 : match[0] holds, and sends it to canary")
	f("ip=10.1.2.3&cookie=uid=7", "stable rule1 : match[1] holds, and sends it to stable")
	for _, v := range []string{"1", "2", "3", "4"} {
		f("cookie=uid="+v, sticky("cookie:uid", route.KeyCookie, v))
		f("header=x-user:"+v+"&cookie=uid=", sticky("header:X-User", route.KeyHeader, v))
		f("key="+v, sticky("cookie", route.KeyCookie, v))
		f("key="+v+"&kind=header", sticky("header", route.KeyHeader, v))
		f("ip=192.0.2."+v, sticky("ip", route.KeyIP, "192.0.2."+v))
		f("kind=ip&key=192.0.2."+v, sticky("ip", route.KeyIP, "192.0.2."+v))
	}
	f("", "chance : the client has none of the keys that sticky names, so that each request is drawn")
	f("ip=me", `error: ParseAddr("me"): unable to parse IP`)
	f("kind=ip&key=me", `error: ParseAddr("me"): unable to parse IP`)
	f("kind=name&key=me", `error: kind is cookie, header or ip, not "name"`)
	f("kind=ip", "error: kind says what key is, and there is no key")
	f("header=a", `error: header "a" is not NAME:VALUE`)
	f("cookie=a", `error: cookie "a" is not NAME=VALUE`)
	sp = &route.Split{Ratio: 0.5}
	f("ip=192.0.2.1", "chance : each request is drawn: the document is not sticky")
	sp = &route.Split{Ratio: 0.5, Method: route.RoundRobin}
	f("ip=192.0.2.1", "turn : requests go to the arms in turn, whoever sends them")
	sp = &route.Split{Because: "stale: the source is lost"}
	f("ip=192.0.2.1", "stable ratio : the ratio in force is 0: stale: the source is lost")
	sp = &route.Split{Ratio: 1}
	f("", "canary ratio : the ratio in force is 1")
}

// followers follow the common document but for web.
type followers struct{ documents }

func (followers) ServiceStatus(service string) (canary.ServiceStatus, bool) {
	if service == "web" {
		return documents{}.ServiceStatus(service)
	}
	return canary.ServiceStatus{Service: service, Key: "lb/canary", Source: "lb/canary", State: canary.StateOK}, true
}

func TestStatusTellsOfTheRollout(t *testing.T) {
	h := (&Server{Canary: followers{}, Fleet: fleet{}}).Handler()
	// f asks for one status and says which rollout it names, its phase and leader,
	// and the index that each balancer has applied.
	f := func(service, want string) {
		t.Helper()
		var st CanaryStatus
		if err := json.Unmarshal(get(h, "/api/v1/canary/"+service+"/status").Body.Bytes(), &st); err != nil || st.Rollout == nil {
			t.Fatalf("%s: %v, %+v", service, err, st)
		}
		got := fmt.Sprintf("%s %s %s", st.Rollout.Service, st.Rollout.State.Phase, st.Rollout.Leader)
		for _, n := range st.Rollout.Nodes {
			got += fmt.Sprintf(" %s:%d", n.ID, n.Index)
		}
		if got != want {
			t.Errorf("%s\n got %s\nwant %s", service, got, want)
		}
	}
	f("web", "web running lb-1 lb-1:4718")
	f("shop", "* idle  lb-1:4718") // no rollout, and a balancer that has applied the common document
	f("*", "* idle  lb-1:4718")
	for service, want := range map[string]string{"web": `"service": "web"`, "shop": `"service": "*"`} {
		if body := get(h, "/api/v1/canary/"+service+"/history").Body.String(); !strings.Contains(body, want) || !strings.Contains(body, "the gate is passed") {
			t.Errorf("history of %s: %s", service, body)
		}
	}
}

func TestEventsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := (&Server{Fleet: fleet{}}).Handler()
		start := time.Now()
		f := func(target string, want int, body string, took time.Duration) {
			t.Helper()
			at := time.Since(start)
			w := get(h, "/api/v1/events"+target)
			if w.Code != want || !strings.Contains(w.Body.String(), body) || time.Since(start)-at != took {
				t.Errorf("%s after %s\n got %d %s\nwant %d %s after %s", target, time.Since(start)-at, w.Code, w.Body, want, body, took)
			}
		}
		f("", 200, `"next": 7`, 0)
		f("?after=6&wait=30s", 200, `"next": 7`, 0)
		f("?after=7&wait=30s", 200, `"next": 7`, 30*time.Second)
		f("?after=9", 200, `"next": 9`, 0)
		f("?after=x", 400, "after or wait cannot be read", 0)
		f("?wait=2m", 400, "wait is at most 1m", 0)
		f("?wait=-1s", 400, "wait is at most 1m", 0)
	})
}

// Requests that wait for events do not hold up the end.
func TestEventsEndWithTheServer(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan struct{})
	s := &Server{Fleet: waiting{asked: asked}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, ln) }()
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	go func() {
		<-asked
		cancel()
	}()
	resp, err := client.Get("http://" + ln.Addr().String() + "/api/v1/events?wait=60s")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("status %d", resp.StatusCode)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

type waiting struct {
	fleet
	asked chan struct{}
}

func (w waiting) Events(ctx context.Context, _ uint64) []rollout.Event {
	close(w.asked)
	<-ctx.Done()
	return nil
}

// lostDocuments are those of a balancer that has lost their source, or has not
// read it yet.
type lostDocuments struct {
	documents
	answered bool
	state    string
}

func (d lostDocuments) Status() canary.Status { return canary.Status{Answered: d.answered} }

func (d lostDocuments) ServiceStatus(service string) (canary.ServiceStatus, bool) {
	s, ok := d.documents.ServiceStatus(service)
	s.State, s.SourceError = d.state, "Consul does not answer"
	return s, ok
}

// A loss is told as one: neither as a deletion nor as a share that still counts.
func TestLostDocumentsAreNoAnswer(t *testing.T) {
	for _, c := range []struct {
		service string
		is      lostDocuments
		want    int
	}{
		{"web", lostDocuments{answered: true, state: canary.StateOK}, 200},
		{"web", lostDocuments{answered: true, state: canary.StateInvalid}, 200},
		{"web", lostDocuments{answered: true, state: canary.StateLost}, 200}, // it holds here too
		{"web", lostDocuments{answered: true, state: canary.StateStale}, 503},
		{"none", lostDocuments{answered: true}, 404},
		{"none", lostDocuments{}, 503},
	} {
		s := full(t)
		s.Canary = c.is
		if w := get(s.Handler(), "/api/v1/canary/"+c.service); w.Code != c.want {
			t.Errorf("%s of %+v = %d, want %d: %s", c.service, c.is, w.Code, c.want, w.Body)
		}
	}
}
