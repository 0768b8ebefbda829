package devconsul

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"serin/internal/agent"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var update = flag.Bool("update", false, "write testdata/contract.txt anew from a real agent")

// TestContract holds the conversations of testdata/contract.txt, which were
// recorded with a real agent, with this package and with a real agent.
func TestContract(t *testing.T) {
	script := parseScript(t, "testdata/contract.txt")
	t.Run("devconsul", func(t *testing.T) {
		t.Parallel()
		if *update {
			t.Skip("recording from the real agent")
		}
		converse(t, script, serve(t, New()))
	})
	t.Run("consul", func(t *testing.T) {
		t.Parallel()
		a := agent.Start(t, agent.Config{})
		converse(t, script, "http://"+a.Addr())
		if *update {
			var out strings.Builder
			for _, s := range script {
				out.WriteString(s.String())
			}
			if err := os.WriteFile("testdata/contract.txt", []byte(out.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// serve runs s until the test is over and returns its URL.
func serve(t *testing.T, s *Server) string {
	srv := httptest.NewServer(s)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { s.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		srv.CloseClientConnections()
		srv.Close()
		wg.Wait()
	})
	return srv.URL
}

// step is one exchange of a script:
//
//	> METHOD PATH [set=NAME] [pick=FIELD]      a request, and its body on the lines after it
//	> block NAME PATH                          GET with the index last seen of PATH, in the background
//	> wake NAME                                the answer to it
//	> asleep NAME                              it has not been answered
//	> target STATUS                            what the target of the checks answers from now on
//	< STATUS [TYPE] [index=…] [backend=…]      the answer, and its body
//
// index is first, same or raised, against the last answer to the same path;
// $NAME in a request is the ID that an answer gave with set=NAME.
type step struct {
	comment       string
	request, body string
	answer        string
}

func (s step) String() string {
	out := s.comment
	if s.request != "" {
		out += "> " + s.request + "\n" + s.body
	}
	if s.answer != "" {
		out += "< " + s.answer + "\n"
	}
	return out + "\n"
}

func parseScript(t *testing.T, file string) []*step {
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out []*step
	for block := range strings.SplitSeq(strings.TrimSpace(string(b)), "\n\n") {
		s := new(step)
		into := &s.comment
		for line := range strings.Lines(block + "\n") {
			switch {
			case strings.HasPrefix(line, "> "):
				s.request, into = strings.TrimSpace(line[2:]), &s.body
			case strings.HasPrefix(line, "< "):
				into = &s.answer
				*into += line[2:]
			default:
				*into += line
			}
		}
		s.answer = strings.TrimSpace(s.answer)
		out = append(out, s)
	}
	return out
}

// talk is a script in progress with one agent.
type talk struct {
	t       *testing.T
	base    string
	client  *http.Client
	target  *httptest.Server
	status  atomic.Int32
	vars    map[string]string
	index   map[string]uint64 // last seen, by path
	blocked map[string]chan *reply
}

type reply struct {
	path string
	resp *http.Response
	body []byte
	err  error
}

func converse(t *testing.T, script []*step, base string) {
	c := &talk{
		t: t, base: base, client: &http.Client{Transport: &http.Transport{}},
		vars: map[string]string{}, index: map[string]uint64{}, blocked: map[string]chan *reply{},
	}
	t.Cleanup(c.client.CloseIdleConnections)
	c.status.Store(200)
	c.target = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(int(c.status.Load()))
		io.WriteString(w, "target says hello")
	}))
	t.Cleanup(c.target.Close)
	c.vars["target"] = strings.TrimPrefix(c.target.URL, "http://")
	_, self := c.do("GET", "/v1/agent/self", "")
	var who struct{ Config struct{ NodeName string } }
	if err := json.Unmarshal(self, &who); err != nil {
		t.Fatalf("agent/self: %v: %s", err, self)
	}
	c.vars["node"] = who.Config.NodeName
	for _, s := range script {
		if s.request == "" {
			continue
		}
		got := c.run(s)
		switch {
		case *update:
			s.answer = got
		case got != s.answer:
			t.Errorf("> %s\n%s got %s\nwant %s", s.request, s.body, got, s.answer)
		}
		if t.Failed() && *update {
			t.FailNow()
		}
	}
}

func (c *talk) do(method, path, body string) (*http.Response, []byte) {
	c.t.Helper()
	req, err := http.NewRequest(method, c.base+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	resp, err := c.client.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp, b
}

func (c *talk) expand(s string) string {
	for name, v := range c.vars {
		s = strings.ReplaceAll(s, "$"+name, v)
	}
	return s
}

const (
	settled = 1500 * time.Millisecond // when recording: unchanged for so long
	patient = 10 * time.Second
)

// run does one step and returns the answer as text. A GET is repeated until
// its answer is the one expected, because a real agent tells the catalog, and
// checks what is registered, a little later.
func (c *talk) run(s *step) string {
	c.t.Helper()
	words := strings.Fields(s.request)
	options := map[string]string{}
	for i, w := range words {
		if k, v, ok := strings.Cut(w, "="); ok && i > 1 {
			options[k] = v
		}
	}
	switch words[0] {
	case "target":
		n, err := strconv.Atoi(words[1])
		if err != nil {
			c.t.Fatal(err)
		}
		c.status.Store(int32(n))
		return ""
	case "block":
		c.block(words[1], c.expand(words[2]))
		return ""
	case "asleep":
		select {
		case r := <-c.blocked[words[1]]:
			return "woke up: " + c.render(r.resp, r.body, r.path, "")
		case <-time.After(200 * time.Millisecond):
			return ""
		}
	case "wake":
		select {
		case r := <-c.blocked[words[1]]:
			if r.err != nil {
				return r.err.Error()
			}
			return c.answer(r.resp, r.body, r.path, "")
		case <-time.After(patient):
			return "still asleep"
		}
	}
	path := c.expand(words[1])
	body := c.expand(strings.TrimSuffix(s.body, "\n"))
	resp, b := c.do(words[0], path, body)
	if words[0] == "GET" {
		start, same := time.Now(), time.Now()
		for last := ""; ; resp, b = c.do(words[0], path, body) {
			now := c.render(resp, b, path, options["pick"])
			if now != last {
				last, same = now, time.Now()
			}
			if !*update && (now == s.answer || time.Since(start) > patient) || *update && time.Since(same) > settled {
				break
			}
			<-time.After(20 * time.Millisecond)
		}
	}
	if name := options["set"]; name != "" {
		var v struct{ ID string }
		if err := json.Unmarshal(b, &v); err != nil {
			c.t.Fatalf("%s: %v: %s", s.request, err, b)
		}
		c.vars[name] = v.ID
	}
	return c.answer(resp, b, path, options["pick"])
}

func (c *talk) block(name, path string) {
	done := make(chan *reply, 1)
	c.blocked[name] = done
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	full := fmt.Sprintf("%s%s%sindex=%d&wait=20s", c.base, path, sep, c.index[path])
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		req, err := http.NewRequestWithContext(ctx, "GET", full, nil)
		if err != nil {
			done <- &reply{err: err}
			return
		}
		resp, err := c.client.Do(req)
		if err != nil {
			done <- &reply{err: err}
			return
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		done <- &reply{path: path, resp: resp, body: b, err: err}
	})
	c.t.Cleanup(func() { cancel(); wg.Wait() })
	<-time.After(150 * time.Millisecond) // let it arrive: nothing tells from outside
}

// answer is render, and remembers the index.
func (c *talk) answer(resp *http.Response, body []byte, path, pick string) string {
	text := c.render(resp, body, path, pick)
	if i, err := strconv.ParseUint(resp.Header.Get("X-Consul-Index"), 10, 64); err == nil {
		c.index[path] = i
	}
	return text
}

var (
	uuids   = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	leaders = regexp.MustCompile(`"127\.0\.0\.1:[0-9]+"`)
	indexes = regexp.MustCompile(`"(CreateIndex|ModifyIndex|Revision|ContentHash)":("[^"]*"|[1-9][0-9]*)`)
)

// render writes an answer so that what may differ between two agents does not
// show: IDs, names of nodes, absolute indexes, addresses of targets.
func (c *talk) render(resp *http.Response, body []byte, path, pick string) string {
	out := strconv.Itoa(resp.StatusCode)
	kind := resp.Header.Get("Content-Type")
	if kind != "" {
		out += " " + strings.ReplaceAll(kind, " ", "")
	}
	if i, err := strconv.ParseUint(resp.Header.Get("X-Consul-Index"), 10, 64); err == nil {
		last, known := c.index[path]
		switch {
		case !known:
			out += " index=first"
		case i == last:
			out += " index=same"
		case i > last:
			out += " index=raised"
		default:
			out += " index=lowered"
		}
		out += " leader=" + resp.Header.Get("X-Consul-KnownLeader") + " contact=" + resp.Header.Get("X-Consul-LastContact") +
			" backend=" + resp.Header.Get("X-Consul-Query-Backend")
	}
	if allow := resp.Header.Get("Allow"); allow != "" {
		out += " allow=" + allow
	}
	text := strings.TrimSpace(string(body))
	if kind == "application/json" {
		text = canonical(c.t, body, path, pick)
	}
	text = uuids.ReplaceAllString(text, "<uuid>")
	text = indexes.ReplaceAllString(text, `"$1":"<$1>"`)
	text = strings.ReplaceAll(text, `"`+c.vars["node"]+`"`, `"<node>"`)
	text = strings.ReplaceAll(text, c.vars["target"], "<target>")
	text = leaders.ReplaceAllString(text, `"<server>"`)
	return strings.TrimSpace(out + "\n" + text)
}

// canonical writes JSON with sorted fields, one line for each element.
func canonical(t *testing.T, body []byte, path, pick string) string {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	if m, ok := v.(map[string]any); ok && pick != "" {
		v = m[pick]
	}
	text := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if m, ok := v.(map[string]any); ok && path == "/v1/catalog/services" {
		for _, tags := range m { // Consul's are in no order
			slices.SortFunc(tags.([]any), func(a, b any) int { return strings.Compare(a.(string), b.(string)) })
		}
	}
	list, ok := v.([]any)
	if !ok || len(list) == 0 {
		return text(v)
	}
	var lines []string
	for _, e := range list {
		lines = append(lines, text(e))
	}
	return strings.Join(lines, "\n")
}

// TestEndpointsAreInTheContract makes sure that no endpoint is left out.
func TestEndpointsAreInTheContract(t *testing.T) {
	var asked []string
	for _, s := range parseScript(t, "testdata/contract.txt") {
		if words := strings.Fields(s.request); len(words) > 1 && strings.HasPrefix(words[1], "/") {
			u, err := url.Parse(words[1])
			if err != nil {
				t.Fatal(err)
			}
			if e, _, ok := find(u.Path); ok {
				for m := range strings.SplitSeq(e.methods, ",") {
					if m == words[0] {
						asked = append(asked, m+" "+e.path)
					}
				}
			}
		}
	}
	for _, e := range endpoints {
		for m := range strings.SplitSeq(e.methods, ",") {
			if !slices.Contains(asked, m+" "+e.path) {
				t.Errorf("%s %s is not in testdata/contract.txt", m, e.path)
			}
		}
	}
}
