package consul

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"serin/registry"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/consul/api"
)

// recorder is a Watcher in a synctest bubble, and what it published.
type recorder struct {
	*Watcher
	mu   sync.Mutex // guards what follows
	snap *registry.Snapshot
	n    int
}

func record(t *testing.T, c *Client, cfg WatchConfig, resume *registry.Snapshot) *recorder {
	r := &recorder{Watcher: NewWatcher(c, cfg, nil)}
	r.Resume(resume)
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.Run(t.Context(), func(s *registry.Snapshot) {
			r.mu.Lock()
			r.snap, r.n = s, r.n+1
			r.mu.Unlock()
		})
	}()
	t.Cleanup(func() { <-done }) // t.Context has ended by then
	return r
}

func (r *recorder) last() (*registry.Snapshot, int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.snap, r.n
}

// want fails the test when the last Snapshot is not this one.
func (r *recorder) want(t *testing.T, want string) {
	t.Helper()
	synctest.Wait()
	s, _ := r.last()
	if got := names(s); got != want {
		t.Fatalf("snapshot is %q, want %q\n%+v", got, want, r.Status())
	}
}

// answers makes every request get the same answer.
func answers(status int, header http.Header, body string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		for k, v := range header {
			w.Header()[k] = v
		}
		w.WriteHeader(status)
		w.Write([]byte(body))
		return true
	}
}

var badAnswers = map[string]struct {
	status int
	body   string
}{
	"500":                    {500, "rpc error: grpc: the client connection is closing"},
	"500, no leader":         {500, "No cluster leader"},
	"403":                    {403, "ACL not found"},
	"404":                    {404, ""},
	"429":                    {429, "too many connections"},
	"hang up":                {444, ""},
	"HTML":                   {200, "<html><body>502 Bad Gateway</body></html>"},
	"empty body":             {200, ""},
	"null":                   {200, "null"},
	"number":                 {200, "1"},
	"string":                 {200, `"x"`},
	"wrong list":             {200, "[1]"},
	"list of nothing":        {200, "[null]"},
	"holes":                  {200, `[{"Node":null,"Service":null}]`},
	"no service":             {200, `[{"Node":{"Node":"n1"},"Checks":[]}]`},
	"no ID":                  {200, `[{"Node":{"Node":"n1"},"Service":{"Port":1},"Checks":[]}]`},
	"check of nothing":       {200, `[{"Node":{"Node":"n1"},"Service":{"ID":"x"},"Checks":[null]}]`},
	"wrong map":              {200, `{"web":1}`},
	"map of strings":         {200, `{"web":"urlprefix-/"}`},
	"truncated list":         {200, `[{"Node":{"Node":"n1"},"Service":{"ID":"a"`},
	"truncated map":          {200, `{"other":[],"web":["urlpre`},
	"two values":             {200, `[][]`},
	"list and HTML":          {200, `[]<html>`},
	"204":                    {204, ""},
	"302":                    {302, ""},
	"huge number for a port": {200, `[{"Node":{"Node":"n1"},"Service":{"ID":"x","Port":1e99},"Checks":[]}]`},
}

func TestBadAnswersChangeNothing(t *testing.T) {
	for name, bad := range badAnswers {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				f.set("web", "a", "b")
				f.set("api", "c")
				c := f.client(t)
				r := record(t, c, WatchConfig{}, nil)
				r.want(t, "api:c web:a,b")
				before, n := r.last()

				f.misbehave(answers(bad.status, http.Header{"X-Consul-Index": {"99"}}, bad.body))
				time.Sleep(2 * time.Minute)
				synctest.Wait()
				if s, m := r.last(); s != before || m != n {
					t.Errorf("published %q", names(s))
				}
				s := r.Status()
				if !s.Stale || s.LastError == "" || s.Denied != (bad.status == 403) || s.OldestAnswer < time.Minute {
					t.Errorf("status %+v", s)
				}
				for _, path := range []string{"/v1/catalog/services", "/v1/health/service/web"} {
					if hits := f.hitsOf(path); hits > 2*60+15 {
						t.Errorf("%d requests of %s in 2 minutes", hits, path)
					}
				}

				f.misbehave(nil)
				f.set("new", "d")
				f.set("api", "c", "e")
				time.Sleep(2 * time.Second)
				r.want(t, "api:c,e new:d web:a,b")
				if s := r.Status(); s.Stale || s.Denied {
					t.Errorf("status after recovery %+v", s)
				}
				if after, _ := r.last(); after.Service("web") != before.Service("web") {
					t.Error("web did not change, but its pointer did")
				}
			})
		})
	}
}

// A server that answers blocking queries at once must not make us spin.
func TestNoBusyLoop(t *testing.T) {
	for name, header := range map[string]http.Header{
		"index unchanged": {"X-Consul-Index": {"50"}},
		"index 0":         {"X-Consul-Index": {"0"}},
		"no index":        {},
		"no number":       {"X-Consul-Index": {"-1"}},
		"huge index":      {"X-Consul-Index": {"18446744073709551615"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				f.trouble = func(w http.ResponseWriter, r *http.Request) bool {
					body := `[{"Node":{"Node":"n1","Address":"1.2.3.4"},"Service":{"ID":"a","Port":1,"Tags":["urlprefix-/"]},"Checks":[]}]`
					if r.URL.Path == "/v1/catalog/services" {
						body = `{"web":["urlprefix-/"]}`
					}
					return answers(200, header, body)(w, r)
				}
				r := record(t, f.client(t), WatchConfig{}, nil)
				for _, limit := range []struct {
					after time.Duration
					hits  int
				}{{time.Second, 10}, {time.Minute, 70}} {
					time.Sleep(limit.after)
					for _, path := range []string{"/v1/catalog/services", "/v1/health/service/web"} {
						if hits := f.hitsOf(path); hits > limit.hits {
							t.Errorf("%d requests of %s after %v", hits, path, limit.after)
						}
					}
				}
				r.want(t, "web:a")
			})
		})
	}
}

func TestHungQueryIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.set("web", "a")
		r := record(t, f.client(t), WatchConfig{Wait: 8 * time.Second}, nil)
		r.want(t, "web:a")
		heal := make(chan struct{})
		f.misbehave(func(_ http.ResponseWriter, r *http.Request) bool {
			select {
			case <-heal:
			case <-r.Context().Done():
			}
			return true
		})
		f.set("web", "a", "b")
		time.Sleep(8*time.Second + 500*time.Millisecond + 5*time.Second)
		synctest.Wait()
		if s := r.Status(); s.Errors == 0 || !s.Stale {
			t.Errorf("not noticed: %+v", s)
		}
		f.mu.Lock()
		f.trouble = nil // for new requests; those that hang go on hanging
		f.mu.Unlock()
		time.Sleep(8*time.Second + 500*time.Millisecond + 5*time.Second + 2*time.Second)
		r.want(t, "web:a,b")
		close(heal)
	})
}

func TestHoldForLostState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.set("lb", "lb-1")
		f.set("web", "a", "b")
		f.set("api", "c")
		c := f.client(t)
		pretend(c)
		r := record(t, c, WatchConfig{}, nil)
		r.want(t, "api:c lb:lb-1 web:a,b")

		f.misbehave(answers(444, nil, ""))
		f.reborn()
		time.Sleep(time.Second)
		f.misbehave(nil)
		time.Sleep(time.Minute)
		r.want(t, "api:c* lb:lb-1* web:a,b*") // for ever: nothing proves anything
		f.set("lb", "lb-1")
		lose(c)
		time.Sleep(2 * time.Second)
		r.want(t, "api:c* lb:lb-1 web:a,b*")
		f.set("api", "d")
		time.Sleep(time.Second)
		r.want(t, "api:d lb:lb-1 web:a,b*")
		f.set("api")
		time.Sleep(time.Second)
		r.want(t, "lb:lb-1 web:a,b*") // known at first hand since

		if s := r.Status(); !s.Stale || len(s.Holds) != 1 || s.Holds[0].Service != "web" || time.Since(s.Holds[0].Since) < time.Minute {
			t.Errorf("status %+v", s)
		}
		time.Sleep(9*time.Minute + 50*time.Second)
		r.want(t, "lb:lb-1 web:a,b*")
		time.Sleep(15 * time.Second)
		r.want(t, "lb:lb-1")
		if s := r.Status(); s.Stale || len(s.Holds) != 0 {
			t.Errorf("status %+v", s)
		}
	})
}

func TestLastInstanceWithOurselvesVisible(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.set("lb", "lb-1")
		f.set("web", "a")
		c := f.client(t)
		pretend(c)
		r := record(t, c, WatchConfig{}, nil)
		r.want(t, "lb:lb-1 web:a")
		f.set("web", "a!")
		r.want(t, "lb:lb-1 web:a")
		if s, _ := r.last(); s.Service("web").Instances[0].Ready {
			t.Error("critical, and ready")
		}
		f.set("web")
		r.want(t, "lb:lb-1") // no time has passed
	})
}

func TestFilteredAnswerIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.set("lb", "lb-1")
		f.set("web", "a")
		c := f.client(t)
		pretend(c)
		r := record(t, c, WatchConfig{}, nil)
		r.want(t, "lb:lb-1 web:a")
		f.misbehave(func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/v1/health/service/web" {
				return false
			}
			h := http.Header{"X-Consul-Index": {"99"}}
			if !r.URL.Query().Has("index") { // streams do not say it
				h.Set("X-Consul-Results-Filtered-By-ACLs", "true")
			}
			return answers(200, h, "[]")(w, r)
		})
		time.Sleep(11 * time.Minute)
		r.want(t, "lb:lb-1 web:a*")
		if s := r.Status(); !s.Denied || !strings.Contains(s.Holds[0].Reason, "service:read") {
			t.Errorf("status %+v", s)
		}
		f.misbehave(nil)
		time.Sleep(3 * time.Second)
		r.want(t, "lb:lb-1 web:a")
	})
}

func TestResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old := registry.New(
			&registry.Service{Name: "web", Instances: []registry.Instance{{Service: "web", ID: "a", Node: "n1", Addr: "10.0.0.1:1000", Tags: []string{"urlprefix-/"}, Ready: true}}},
			&registry.Service{Name: "old", Instances: []registry.Instance{{Service: "old", ID: "x", Node: "n1", Addr: "10.0.0.1:9", Tags: []string{"urlprefix-/"}, Ready: true}}},
		)
		f := newFake()
		f.trouble = answers(444, nil, "")
		c := f.client(t)
		pretend(c)
		r := record(t, c, WatchConfig{}, old)
		r.want(t, "old:x web:a")
		time.Sleep(10 * time.Minute)
		r.want(t, "old:x web:a")
		if r.Ready() {
			t.Error("ready without Consul")
		}
		f.set("lb", "lb-1")
		f.set("web", "a")
		f.misbehave(nil)
		time.Sleep(2 * time.Second)
		r.want(t, "lb:lb-1 web:a")
		if !r.Ready() {
			t.Error("not ready")
		}
	})
}

func TestFirstPictureIsWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.set("web", "a")
		f.set("slow", "b")
		f.set("broken", "c")
		start := time.Now()
		f.trouble = func(w http.ResponseWriter, r *http.Request) bool {
			switch {
			case strings.HasSuffix(r.URL.Path, "/slow") && time.Since(start) < 4*time.Second:
				time.Sleep(4 * time.Second)
			case strings.HasSuffix(r.URL.Path, "/broken") && time.Since(start) < time.Minute:
				return answers(500, nil, "no")(w, r)
			}
			return false
		}
		r := record(t, f.client(t), WatchConfig{}, nil)
		time.Sleep(9 * time.Second)
		synctest.Wait()
		if s, n := r.last(); n != 0 || r.Ready() {
			t.Errorf("published %q too early", names(s))
		}
		time.Sleep(7 * time.Second) // one service must not keep all others away for ever
		r.want(t, "slow:b web:a")
		if !r.Ready() {
			t.Error("not ready")
		}
		time.Sleep(time.Minute)
		f.misbehave(nil)
		time.Sleep(2 * time.Second)
		r.want(t, "broken:c slow:b web:a")
	})
}

func TestEmptyCatalogIsAFullPicture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record(t, newFake().client(t), WatchConfig{}, nil)
		r.want(t, "")
		if s, n := r.last(); s == nil || n != 1 || !r.Ready() {
			t.Errorf("%d snapshots, ready %v", n, r.Ready())
		}
	})
}

func TestChurnIsReadAtABoundedRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.set("web", "a", "b", "c", "d")
		r := record(t, f.client(t), WatchConfig{}, nil)
		r.want(t, "web:a,b,c,d")
		for i := range 5000 { // 500 a second for 10 s
			if i%2 == 0 {
				f.set("web", "a!", "b", "c", "d")
			} else {
				f.set("web", "a", "b", "c", "d")
			}
			time.Sleep(2 * time.Millisecond)
		}
		if hits := f.hitsOf("/v1/health/service/web"); hits > 40+20*10+10 {
			t.Errorf("%d reads in 10 s", hits)
		}
		f.set("web", "a", "b", "c", "d", "e")
		time.Sleep(time.Second)
		r.want(t, "web:a,b,c,d,e")
	})
}

func TestManyServicesRingABell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		want := []string{}
		for i := range 80 {
			name := fmt.Sprintf("s%03d", i)
			f.set(name, "a", "b")
			want = append(want, name+":a,b")
		}
		f.set("lb", "lb-1")
		c := f.client(t)
		pretend(c)
		r := record(t, c, WatchConfig{}, nil)
		all := func(change ...string) string {
			return strings.NewReplacer(change...).Replace("lb:lb-1 " + strings.Join(want, " "))
		}
		r.want(t, all())
		if s := r.Status(); s.Mode != Bell || s.Streams != 0 || s.Stale {
			t.Errorf("status %+v", s)
		}
		if f.most > maxReads+4 {
			t.Errorf("%d requests at once", f.most)
		}
		before := r.Status().Reads
		f.set("s007", "a!", "b")
		time.Sleep(50 * time.Millisecond)
		if s, _ := r.last(); s.Service("s007").Instances[0].Ready {
			t.Error("critical, and ready")
		}
		f.set("s007", "a", "b", "c")
		time.Sleep(150 * time.Millisecond)
		r.want(t, all("s007:a,b", "s007:a,b,c"))
		f.set("s008")
		time.Sleep(150 * time.Millisecond)
		r.want(t, all("s007:a,b", "s007:a,b,c", "s008:a,b ", ""))
		if n := r.Status().Reads - before; n > 60 {
			t.Errorf("%d reads for three changes", n)
		}
		// A new port shows in no list and in no check.
		f.change(func() { f.services["s009"][0].Service.Port = 7777 })
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if s, _ := r.last(); s.Service("s009").Instances[0].Addr != "10.0.0.1:7777" {
			t.Errorf("port not seen: %s", s.Service("s009").Instances[0].Addr)
		}
		f.misbehave(answers(500, nil, "no"))
		time.Sleep(2 * time.Minute)
		r.want(t, all("s007:a,b", "s007:a,b,c", "s008:a,b ", ""))
		if !r.Status().Stale {
			t.Error("not stale")
		}
		f.misbehave(nil)
		f.set("s010", "z")
		time.Sleep(2 * time.Second)
		r.want(t, all("s007:a,b", "s007:a,b,c", "s008:a,b ", "", "s010:a,b", "s010:z"))
		for i := range 60 {
			f.set(fmt.Sprintf("s%03d", i))
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if s := r.Status(); s.Mode != Streams || s.Streams != 21 || s.Services != 21 {
			t.Errorf("status after most services left %+v", s)
		}
	})
}

func TestSidecarsAndFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.set("web", "a")
		f.set("web-sidecar-proxy", "p")
		f.set("plain", "x")
		f.change(func() {
			f.services["web-sidecar-proxy"][0].Service.Kind = api.ServiceKindConnectProxy
			f.services["plain"][0].Service.Tags = nil
		})
		r := record(t, f.client(t), WatchConfig{}, nil)
		r.want(t, "web:a")
		r.Follow([]string{"plain", "absent"})
		r.want(t, "plain:x web:a")
		r.Follow([]string{"web", "absent"})
		r.want(t, "web:a")
		f.set("absent", "y")
		r.want(t, "absent:y web:a")
		f.change(func() { f.services["web"][0].Service.Tags = nil })
		r.want(t, "absent:y web:a") // still asked for
		r.Follow(nil)
		r.want(t, "absent:y")
	})
}

// A tag that is taken away ends the following, and no hold keeps it.
func TestTagRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.set("web", "a")
		r := record(t, f.client(t), WatchConfig{}, nil)
		r.want(t, "web:a")
		f.change(func() { f.services["web"][0].Service.Tags = []string{"v1"} })
		r.want(t, "")
		if s := r.Status(); s.Services != 0 || s.Streams != 0 {
			t.Errorf("status %+v", s)
		}
	})
}

func TestToService(t *testing.T) {
	entry := func(change func(*api.ServiceEntry)) []*api.ServiceEntry {
		e := &api.ServiceEntry{
			Node: &api.Node{Node: "n1", Address: "10.0.0.1", Datacenter: "dc1"},
			Service: &api.AgentService{
				ID: "web-1", Port: 80, Tags: []string{"b", "a"}, Meta: map[string]string{"version": "2"},
				Weights: api.AgentWeights{Passing: 5, Warning: 2},
			},
			Checks: api.HealthChecks{
				{CheckID: "service:web-1", Name: "http", ServiceID: "web-1", Status: "passing", Output: strings.Repeat("x", 600)},
				{CheckID: "serfHealth", Status: "passing"},
			},
		}
		change(e)
		return []*api.ServiceEntry{e}
	}
	want := registry.Instance{
		Service: "web", ID: "web-1", Node: "n1", Datacenter: "dc1", Addr: "10.0.0.1:80",
		Tags: []string{"b", "a"}, Meta: map[string]string{"version": "2"}, Weight: 5, Health: registry.Passing, Ready: true,
		Checks: []registry.Check{
			{ID: "serfHealth", Status: registry.Passing, Node: true},
			{ID: "service:web-1", Name: "http", Status: registry.Passing, Output: strings.Repeat("x", 512) + "…"},
		},
	}
	for _, tt := range []struct {
		name   string
		change func(*api.ServiceEntry)
		want   func(*registry.Instance)
	}{
		{"as it is", func(*api.ServiceEntry) {}, func(*registry.Instance) {}},
		{"own address", func(e *api.ServiceEntry) { e.Service.Address = "::1" }, func(i *registry.Instance) { i.Addr = "[::1]:80" }},
		{"no port", func(e *api.ServiceEntry) { e.Service.Port = 0 }, func(i *registry.Instance) {
			i.Addr, i.Ready, i.Reason = "10.0.0.1:0", false, "is registered without a port"
		}},
		{"warning", func(e *api.ServiceEntry) { e.Checks[0].Status = "warning" }, func(i *registry.Instance) {
			i.Checks[1].Status, i.Health, i.Weight = registry.Warning, registry.Warning, 2
			i.Ready, i.Reason = false, `check "http" is warning`
		}},
		{"a status of the future", func(e *api.ServiceEntry) { e.Checks[0].Status = "tired" }, func(i *registry.Instance) {
			i.Checks[1].Status, i.Health = registry.Critical, registry.Critical
			i.Ready, i.Reason = false, `check "http" is critical`
		}},
		{"no weights", func(e *api.ServiceEntry) { e.Service.Weights = api.AgentWeights{} }, func(i *registry.Instance) { i.Weight = 1 }},
	} {
		got, err := toService("web", entry(tt.change), registry.Policy{})
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		w := want
		w.Checks = append([]registry.Check(nil), want.Checks...)
		tt.want(&w)
		if d := cmp.Diff([]registry.Instance{w}, got.svc.Instances); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, d)
		}
	}
	for _, kind := range []api.ServiceKind{api.ServiceKindConnectProxy, api.ServiceKindMeshGateway, api.ServiceKindIngressGateway, api.ServiceKindTerminatingGateway, api.ServiceKindAPIGateway} {
		got, err := toService("web", entry(func(e *api.ServiceEntry) { e.Service.Kind = kind }), registry.Policy{})
		if err != nil || len(got.svc.Instances) != 0 {
			t.Errorf("%s: %v, %v", kind, got.svc.Instances, err)
		}
	}
}

// FuzzAnswer: whatever a server sends, an answer is a classified error, or every
// instance in it can be named and dialed.
func FuzzAnswer(f *testing.F) {
	for _, bad := range badAnswers {
		f.Add(bad.status, []byte(bad.body))
	}
	f.Add(200, []byte(`[]`))
	f.Add(200, []byte(`[{"Node":{"Node":"n"},"Service":{"ID":"a","Kind":"connect-proxy"},"Checks":[]}]`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		if status < 200 || status > 599 || status == 444 {
			return
		}
		var now []byte
		c, err := NewWithConfig(&api.Config{Address: "fake:8500", HttpClient: &http.Client{
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Transport: roundTripper(func(*http.Request) *http.Response {
				w := httptest.NewRecorder()
				w.WriteHeader(status)
				w.Write(now)
				return w.Result()
			}),
		}})
		if err != nil {
			t.Fatal(err)
		}
		now = body
		w := NewWatcher(c, WatchConfig{}, nil)
		r, _, err := w.readService(t.Context(), nil, "web", &api.QueryOptions{}, nil)
		if err == nil {
			if status != 200 {
				t.Fatalf("status %d is no error", status)
			}
			for _, in := range r.svc.Instances {
				if in.ID == "" || in.Node == "" || !strings.Contains(in.Addr, ":") {
					t.Fatalf("instance %+v", in)
				}
			}
		} else if class(err) == nil {
			t.Fatalf("not classified: %v", err)
		}
		if _, _, err := c.Get(t.Context(), "k"); err != nil && class(err) == nil {
			t.Fatalf("not classified: %v", err)
		}
	})
}

type roundTripper func(*http.Request) *http.Response

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r), nil }

// A change that Consul loses for the query that waits is found by another look.
func TestLostChangeIsFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.set("web", "a")
		r := record(t, f.client(t), WatchConfig{}, nil)
		r.want(t, "web:a")
		time.Sleep(time.Minute)
		lose := func(w http.ResponseWriter, req *http.Request) bool { // a query for web that waits, waits in vain
			if req.URL.Path != "/v1/health/service/web" || req.FormValue("index") == "" {
				return false
			}
			<-req.Context().Done()
			return true
		}
		f.set("web", "a", "b")
		r.want(t, "web:a,b")
		f.misbehave(lose)
		f.set("web", "a", "b", "c")
		time.Sleep(1500 * time.Millisecond)
		r.want(t, "web:a,b,c")
		if n := r.Status().Corrections; n != 1 {
			t.Errorf("%d corrections, want 1", n)
		}
		// Long after the last change it takes a while.
		f.set("web", "a", "c")
		time.Sleep(20 * time.Minute)
		r.want(t, "web:a,c")
	})
}
