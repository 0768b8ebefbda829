package e2e

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"serin/e2e/load"
	"serin/internal/agent"
)

// documents serves one canary document over HTTP, with an ETag, and can be dead.
type documents struct {
	addr string

	mu   sync.Mutex
	text string
	srv  *http.Server // nil: dead

	asked, unchanged atomic.Int64
}

func serveDocuments(t *testing.T, text string) *documents {
	d := &documents{addr: fmt.Sprintf("127.0.0.1:%d", agent.FreePort(t)), text: text}
	d.live(t)
	t.Cleanup(d.die)
	return d
}

func (d *documents) live(t *testing.T) {
	t.Helper()
	ln, err := net.Listen("tcp", d.addr)
	if err != nil {
		t.Fatal(err)
	}
	d.srv = &http.Server{Handler: d, ReadHeaderTimeout: time.Second}
	go d.srv.Serve(ln)
}

func (d *documents) die() { d.srv.Close() }

func (d *documents) put(text string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.text = text
}

func (d *documents) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	text := d.text
	d.mu.Unlock()
	d.asked.Add(1)
	tag := fmt.Sprintf(`"%x"`, sha256.Sum256([]byte(text)))
	w.Header().Set("ETag", tag)
	if r.Header.Get("If-None-Match") == tag {
		d.unchanged.Add(1)
		w.WriteHeader(http.StatusNotModified)
		return
	}
	fmt.Fprint(w, text)
}

// The source of a document is switched under load: to a good one, to a dead one
// and back, to a file, and to another balancer; no request is lost, and nothing
// moves before a valid document was read.
func TestSourcesAreSwitchedUnderLoad(t *testing.T) {
	l := &lab{t: t, consul: agent.Start(t, agent.Config{}).Addr()}
	l.web(1, 1)
	b, other := l.lb(), l.lb()
	l.warm(b, 2)
	l.warm(other, 2)
	f := l.flow(load.Config{Addrs: []string{b.traffic}, Rate: 300, Clients: 16, Kinds: []load.Kind{load.GET, load.POST}})
	share := func(what string, ratio float64, within time.Duration) {
		t.Helper()
		took := eventually(t, within, what, func() error { return applied(b, "web", ratio) })
		t.Logf("FIGURE %s: in force after %s", what, took.Round(time.Millisecond))
		f.measure(t, what, ratio, 300)
	}
	from := func(address string) {
		l.kvPut("lb/canary/web", fmt.Sprintf(`{"config_server": %q, "update_rate": "200ms"}`, address))
	}
	l.kvPut("lb/canary/web", `{"ratio": 0.2}`)
	share("the own document", 0.2, 2*time.Second)

	first := serveDocuments(t, `{"ratio": 0.5, "stale_after": "2s"}`)
	from("http://" + first.addr + "/web")
	share("the first source", 0.5, 3*time.Second)

	// A dead one changes nothing.
	dead := fmt.Sprintf("http://127.0.0.1:%d/web", agent.FreePort(t))
	from(dead)
	eventually(t, 3*time.Second, "the dead source is said", func() error {
		var s struct {
			SourceError string `json:"source_error"`
			Effective   float64
		}
		if err := getJSON("http://"+b.admin+"/api/v1/canary/web/status", &s); err != nil {
			return err
		}
		if s.SourceError == "" || s.Effective != 0.5 {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	f.measure(t, "the dead source", 0.5, 300)

	// Neither does one that talks rubbish.
	first.put(`{"raito": 1}`)
	from("http://" + first.addr + "/web")
	eventually(t, 3*time.Second, "the rubbish is refused", func() error { return refusal(b, "unknown field") })
	f.measure(t, "the source with rubbish", 0.5, 300)

	first.put(`{"ratio": 0.3, "stale_after": "2s"}`)
	share("back at the first source", 0.3, 3*time.Second)
	asked := first.asked.Load()
	eventually(t, 3*time.Second, "it is asked again and again", func() error {
		if first.asked.Load() < asked+5 || first.unchanged.Load() == 0 {
			return fmt.Errorf("asked %d times, %d unchanged", first.asked.Load(), first.unchanged.Load())
		}
		return nil
	})

	// It dies while it is in force: the share is kept, then none; and is back with it.
	first.die()
	f.measure(t, "just after the first source died", 0.3, 200)
	share("stale_after its death", 0, 6*time.Second)
	first.live(t)
	share("its return", 0.3, 5*time.Second)

	file := t.TempDir() + "/web.json"
	replace(t, file, `{"ratio": 0.6}`)
	from("file:" + file)
	share("a file", 0.6, 3*time.Second)
	replace(t, file, `{"ratio": 0.7}`)
	share("the file changed", 0.7, 3*time.Second)

	// Another balancer is a source too: this one's document names it, so ask
	// for a service that has a document of its own there.
	l.kvPut("lb/canary/shop", `{"ratio": 0.4}`)
	from("http://" + other.admin + "/api/v1/canary/shop")
	share("another balancer", 0.4, 3*time.Second)
	l.kvPut("lb/canary/shop", `{"ratio": 0.8}`)
	share("its document changed", 0.8, 3*time.Second)

	l.kvPut("lb/canary/web", `{"ratio": 0.1}`)
	share("the own document again", 0.1, 3*time.Second)
	failed(t, "while the source was switched", f.end())
}

// refusal tells whether the newest text of web's document is refused with these words.
func refusal(b *balancer, words string) error {
	var s struct{ Error struct{ Message string } }
	if err := getJSON("http://"+b.admin+"/api/v1/canary/web/status", &s); err != nil {
		return err
	}
	if !strings.Contains(s.Error.Message, words) {
		return fmt.Errorf("refused: %q", s.Error.Message)
	}
	return nil
}

// replace writes a file as careful programs do: whole, under another name first.
func replace(t *testing.T, path, text string) {
	t.Helper()
	if err := errors.Join(os.WriteFile(path+".new", []byte(text), 0o600), os.Rename(path+".new", path)); err != nil {
		t.Fatal(err)
	}
}
