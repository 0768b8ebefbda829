package canary

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"serin/route"
)

// answers is an http.RoundTripper that a test writes.
type answers func(*http.Request) (*http.Response, error)

func (a answers) RoundTrip(r *http.Request) (*http.Response, error) { return a(r) }

func answer(code int, body string, header ...string) *http.Response {
	h := http.Header{}
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return &http.Response{StatusCode: code, Status: fmt.Sprintf("%d %s", code, http.StatusText(code)), Header: h, Body: io.NopCloser(strings.NewReader(body))}
}

func inWords(ev Event) string {
	doc, ok := ev.Docs[""]
	s := "none"
	if ok {
		s = fmt.Sprintf("%s %.20s@%d", doc.Key, doc.Value, doc.Index)
	}
	if ev.Err != nil {
		s += " lost: " + ev.Err.Error()
	}
	return s
}

// TestHTTPSource tells what each answer means.
func TestHTTPSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type give func(*http.Request) (*http.Response, error)
		next := make(chan give)
		var asked *http.Request
		var mu sync.Mutex // guards events
		var events []string
		s := &HTTPSource{
			URL: "https://c.example/web", Every: 2 * time.Second,
			Self: func() Self { return Self{Node: "n1", Tags: []string{"a", "b\r\nEvil: 1", "c"}} },
			Transport: answers(func(r *http.Request) (*http.Response, error) {
				select {
				case f := <-next:
					asked = r
					return f(r)
				case <-r.Context().Done():
					return nil, r.Context().Err()
				}
			}),
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- s.Run(ctx, func(ev Event) { mu.Lock(); defer mu.Unlock(); events = append(events, inWords(ev)) })
		}()
		take := func() string {
			mu.Lock()
			defer mu.Unlock()
			defer func() { events = nil }()
			return strings.Join(events, " | ")
		}
		f := func(want string, answer give) {
			t.Helper()
			take()
			next <- answer
			synctest.Wait()
			if got := take(); got != want {
				t.Errorf("\n got %s\nwant %s", got, want)
			}
		}
		is := func(code int, body string, header ...string) give {
			return func(*http.Request) (*http.Response, error) { return answer(code, body, header...), nil }
		}
		f("none", is(404, ""))
		f("none lost: https://c.example/web answers 503 Service Unavailable", func(*http.Request) (*http.Response, error) {
			r := answer(503, "")
			r.Status = "503 " + strings.Repeat("words of the server ", 3000)
			return r, nil
		})
		f("none", is(404, ""))
		f(`https://c.example/web {"ratio":0.1}@7`, is(200, `{"ratio":0.1}`, "ETag", `"x"`, "Lb-Index", "7"))
		if r := asked; r.Header.Get("If-None-Match") != "" || r.Header.Get("Lb-Node") != "n1" || strings.Join(r.Header.Values("Lb-Tag"), ",") != "a,c" || r.Header.Get("Lb-Datacenter") != "" {
			t.Errorf("asked with %v", r.Header)
		}
		f("", is(304, ""))
		if asked.Header.Get("If-None-Match") != `"x"` {
			t.Errorf("asked with %v", asked.Header)
		}
		f("", is(200, `{"ratio":0.1}`, "ETag", `"y"`, "Lb-Index", "7"))
		f(`https://c.example/web {"ratio":0.1}@8`, is(200, `{"ratio":0.1}`, "Lb-Index", "8"))
		back := func() {
			t.Helper()
			f(`https://c.example/web {"ratio":0.1}@8`, is(200, `{"ratio":0.1}`, "Lb-Index", "8"))
		}
		f(`https://c.example/web {"ratio":0.1}@8 lost: https://c.example/web answers 304 Not Modified: redirects are not followed, write the address that has the document`, is(304, ""))
		back()
		const kept = `https://c.example/web {"ratio":0.1}@8 lost: `
		f(kept+"https://c.example/web answers 302 Found: redirects are not followed, write the address that has the document", is(302, "", "Location", "http://evil.example"))
		if asked.URL.Host != "c.example" {
			t.Errorf("asked %v", asked.URL)
		}
		back()
		f(kept+"https://c.example/web answers 403 Forbidden", is(403, ""))
		back()
		f(kept+`Get "https://c.example/web": refused`, func(*http.Request) (*http.Response, error) { return nil, errors.New("refused") })
		back()
		f("", func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		time.Sleep(httpTimeout)
		synctest.Wait()
		if got, want := take(), kept+`Get "https://c.example/web": context deadline exceeded`; !strings.HasPrefix(got, want) {
			t.Errorf("of one that hangs\n got %s\nwant %s", got, want)
		}
		back()
		f("none", is(410, ""))
		f("https://c.example/web @9", is(200, "", "Lb-Index", "9"))
		f(fmt.Sprintf("https://c.example/web %20s@10", ""), is(200, strings.Repeat(" ", MaxSize+10), "Lb-Index", "10"))
		f("none", is(404, ""))
		// Without an index of the server's it is the time of the change.
		next <- is(200, "{}")
		synctest.Wait()
		if want := fmt.Sprintf("https://c.example/web {}@%d", time.Now().UnixMilli()); take() != want {
			t.Errorf("without an index: want %s", want)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestPollWait(t *testing.T) {
	f := func(every time.Duration, failures int, draw float64, want time.Duration) {
		t.Helper()
		if got := pollWait(pollEvery(every), failures, draw); got != want {
			t.Errorf("every %v after %d failures: %v, want %v", every, failures, got, want)
		}
	}
	f(0, 0, 0.5, time.Second)
	f(0, 0, 0, 900*time.Millisecond)
	f(0, 0, 1, 1100*time.Millisecond)
	f(time.Millisecond, 0, 0.5, 100*time.Millisecond)
	f(time.Second, 1, 0.5, 2*time.Second)
	f(time.Second, 3, 0.5, 8*time.Second)
	f(time.Second, 100_000_000, 0.5, 10*time.Second)
	f(time.Minute, 0, 0.5, time.Minute)
	f(time.Minute, 3, 0.5, time.Minute)
}

// A source that is lost is told so again and again, however seldom it is asked.
func TestPollTellsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		done := make(chan error, 1)
		go func() {
			done <- poll(ctx, time.Hour, func(Event) { n++ }, func(context.Context) (Raw, bool, error) { return Raw{}, false, errors.New("x") })
		}()
		time.Sleep(time.Minute)
		synctest.Wait()
		if n != 6 && n != 7 {
			t.Errorf("told %d times in a minute", n)
		}
		cancel()
		<-done
	})
}

// TestHTTPSourceOnTheWire uses the transport of its own: compression, TLS that is
// verified, no credentials, no addresses that only this machine should see.
func TestHTTPSourceOnTheWire(t *testing.T) {
	var got http.Header
	var mu sync.Mutex
	serve := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		got = r.Header.Clone()
		mu.Unlock()
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		io.WriteString(z, `{"ratio":0.25}`)
		z.Close()
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Lb-Index", "3")
		w.Write(b.Bytes())
	})
	first := func(url string) string {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		out := make(chan string, 1)
		done := make(chan error, 1)
		go func() {
			done <- (&HTTPSource{URL: url}).Run(ctx, func(ev Event) {
				select {
				case out <- inWords(ev):
				default:
				}
			})
		}()
		defer func() { cancel(); <-done }()
		return <-out
	}
	plain := httptest.NewServer(serve)
	defer plain.Close()
	if got, want := first(plain.URL), plain.URL+` {"ratio":0.25}@3`; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	for _, name := range []string{"Authorization", "Cookie", "X-Consul-Token", "Lb-Node"} {
		if got.Get(name) != "" {
			t.Errorf("%s was sent: %s", name, got.Get(name))
		}
	}
	secure := httptest.NewUnstartedServer(serve)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	if got := first(secure.URL); !strings.Contains(got, "lost: ") || !strings.Contains(got, "certificate") {
		t.Errorf("a certificate that nobody signed: %s", got)
	}
	for _, url := range []string{"http://169.254.169.254/latest", "http://[fe80::1%25lo]/x"} {
		if got := first(url); !strings.Contains(got, "link-local") {
			t.Errorf("%s: %s", url, got)
		}
	}
}

// TestSwitchingSourcesUnderLoad goes from a good web server to a dead one and
// back to the first, while all that is written changes all the time: the share is
// always one that was written, and ends as what was written last.
func TestSwitchingSourcesUnderLoad(t *testing.T) {
	var mu sync.Mutex
	ratio, asks := 50, 0
	good := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asks++
		tag := fmt.Sprintf(`"%d"`, ratio)
		w.Header().Set("ETag", tag)
		if r.Header.Get("If-None-Match") == tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		fmt.Fprintf(w, `{"ratio": "%d%%"}`, ratio)
	}))
	defer good.Close()
	dead := httptest.NewServer(http.NotFoundHandler())
	dead.Close()

	kv := make(chan Event)
	splits := make(chan route.Splits, 1000)
	c := &Controller{
		Source: SourceFunc(func(ctx context.Context, emit func(Event)) error {
			for {
				select {
				case ev := <-kv:
					emit(ev)
				case <-ctx.Done():
					return nil
				}
			}
		}),
		Open: func(address string, every time.Duration) (Source, error) {
			return &HTTPSource{URL: address, Every: every}, nil
		},
		Publish: func(s route.Splits, _ []string) { splits <- s },
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	index := uint64(0)
	write := func(doc string) {
		index++
		kv <- Event{Docs: map[string]Raw{"web": {Key: "lb/canary/web", Value: []byte(doc), Index: index}}, At: time.Now()}
	}
	// await changes the document at the good server until the share is one of its.
	await := func(what string, ok func(percent int) bool) {
		t.Helper()
		deadline := time.After(20 * time.Second)
		for {
			select {
			case s := <-splits:
				if s.ByService["web"] == nil {
					continue
				}
				percent := int(s.ByService["web"].Ratio*100 + 0.5)
				if percent != 5 && (percent < 50 || percent > 99) {
					t.Fatalf("%s: a share of %d%% that nobody wrote", what, percent)
				}
				if ok(percent) {
					return
				}
			case <-deadline:
				t.Fatalf("%s: it never came", what)
			}
		}
	}
	turn := func(to int) { mu.Lock(); ratio = to; mu.Unlock() }
	write(`{"ratio": 0.05}`)
	await("the own document", func(p int) bool { return p == 5 })
	write(`{"config_server": "` + good.URL + `", "update_rate": "100ms"}`)
	await("the good server", func(p int) bool { return p == 50 })
	for i := 51; i < 56; i++ {
		turn(i)
		await("a change there", func(p int) bool { return p == i })
	}
	write(`{"config_server": "` + dead.URL + `", "update_rate": "100ms"}`)
	for i := 56; i < 60; i++ {
		turn(i) // nobody asks
	}
	began := time.Now()
	for s, _ := c.ServiceStatus("web"); !strings.Contains(s.SourceError, "refused"); s, _ = c.ServiceStatus("web") {
		if time.Since(began) > 20*time.Second {
			t.Fatalf("the dead one is not said: %+v", s)
		}
		write(fmt.Sprintf(`{"config_server": %q, "update_rate": "100ms", "x-n": %d}`, dead.URL, index))
	}
	if s, _ := c.ServiceStatus("web"); s.Effective != 0.55 || s.Source != good.URL {
		t.Errorf("at the dead one: %v from %s", s.Effective, s.Source)
	}
	write(`{"config_server": "` + good.URL + `", "update_rate": "100ms"}`)
	await("the good server again", func(p int) bool { return p == 59 })
	turn(99)
	await("a change there", func(p int) bool { return p == 99 })
	write(`{"ratio": 0.05}`)
	await("the own document again", func(p int) bool { return p == 5 })
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if asks == 0 {
		t.Error("the good server was never asked")
	}
}
