package demo

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

// Service is the demo service of one instance: an [http.Handler]. Its fields are
// set before the first request; it is safe for concurrent use.
type Service struct {
	Name    string // of the service
	Version string

	instance atomic.Pointer[string]
	draining atomic.Bool
	status   atomic.Int32 // of /health; 0 is 200

	mu      sync.Mutex    // guards what follows
	rate    float64       // share of requests that fail
	done    chan struct{} // closed by Close; nil until needed
	closed  bool
	sockets map[*websocket.Conn]struct{}
	seen    ledger
}

// SetInstance sets the instance's name in answers; it may change at any time,
// for instance when the registration has found an ID.
func (s *Service) SetInstance(id string) { s.instance.Store(&id) }

// Instance returns what SetInstance set last.
func (s *Service) Instance() string {
	if p := s.instance.Load(); p != nil {
		return *p
	}
	return ""
}

// Drain begins the farewell: from now on /health answers 503, and every answer
// asks the client to close the connection. Requests are served as before.
func (s *Service) Drain() { s.draining.Store(true) }

// Close ends what would never end by itself: WebSockets are closed with status
// 1001 (going away), event streams end. It returns when the clients of the
// WebSockets have answered, or after five seconds.
func (s *Service) Close() {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.end())
	}
	var wg sync.WaitGroup
	for c := range s.sockets {
		wg.Go(func() { c.Close(websocket.StatusGoingAway, "instance is stopping") })
	}
	s.mu.Unlock()
	wg.Wait()
}

// end returns the channel that Close closes. The caller holds mu.
func (s *Service) end() chan struct{} {
	if s.done == nil {
		s.done = make(chan struct{})
	}
	return s.done
}

// ServeHTTP answers as the package's comment says.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.draining.Load() {
		w.Header().Set("Connection", "close")
	}
	switch r.URL.Path {
	case "/health":
		s.health(w, r)
		return
	case "/seen":
		s.serveSeen(w, r)
		return
	case "/fail":
		s.fail(w, r)
		return
	}
	s.mu.Lock()
	rate := s.rate
	s.mu.Unlock()
	if rand.Float64() < rate {
		s.answer(w, http.StatusInternalServerError, map[string]any{"error": fmt.Sprintf("failing as told: the error rate is %v", rate)})
		return
	}
	switch r.URL.Path {
	case "/slow":
		s.slow(w, r)
	case "/stream":
		s.stream(w, r)
	case "/ws":
		s.echoSocket(w, r)
	default:
		s.echo(w, r)
	}
}

// answer sends JSON that says who it is from. It reports whether all of it was
// handed to the connection.
func (s *Service) answer(w http.ResponseWriter, status int, body map[string]any) bool {
	body["service"], body["version"], body["instance"] = s.Name, s.Version, s.Instance()
	b, err := json.MarshalIndent(body, "", "  ")
	if err != nil {
		panic("BUG: " + err.Error())
	}
	b = append(b, '\n')
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(status)
	_, err = w.Write(b)
	return err == nil && http.NewResponseController(w).Flush() == nil
}

func (s *Service) refuse(w http.ResponseWriter, format string, args ...any) {
	s.answer(w, http.StatusBadRequest, map[string]any{"error": fmt.Sprintf(format, args...)})
}

var healthStatus = map[string]int32{"passing": http.StatusOK, "warning": http.StatusTooManyRequests, "critical": http.StatusServiceUnavailable}

func (s *Service) health(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		v, ok := healthStatus[r.FormValue("status")]
		if !ok {
			s.refuse(w, "status %q: want passing, warning or critical", r.FormValue("status"))
			return
		}
		s.status.Store(v)
		s.answer(w, http.StatusOK, map[string]any{"status": r.FormValue("status")})
		return
	}
	code, word := s.status.Load(), "draining"
	if s.draining.Load() {
		code = http.StatusServiceUnavailable
	} else {
		for name, c := range healthStatus {
			if c == max(code, http.StatusOK) {
				word = name
			}
		}
	}
	s.answer(w, int(max(code, http.StatusOK)), map[string]any{"status": word})
}

func (s *Service) fail(w http.ResponseWriter, r *http.Request) {
	text := r.URL.Query().Get("rate")
	if text == "" && r.Method != http.MethodPost {
		s.mu.Lock()
		rate := s.rate
		s.mu.Unlock()
		s.answer(w, http.StatusOK, map[string]any{"rate": rate})
		return
	}
	rate, err := strconv.ParseFloat(text, 64)
	if err != nil || !(rate >= 0 && rate <= 1) {
		s.refuse(w, "rate %q: want a number from 0 to 1", text)
		return
	}
	switch {
	case r.Method == http.MethodPost:
		s.mu.Lock()
		s.rate = rate
		s.mu.Unlock()
		s.answer(w, http.StatusOK, map[string]any{"rate": rate})
	case rand.Float64() < rate:
		s.answer(w, http.StatusInternalServerError, map[string]any{"error": "failing as told: this request asked for it"})
	default:
		s.answer(w, http.StatusOK, map[string]any{"rate": rate})
	}
}

// maxSlow bounds /slow.
const maxSlow = 60 * time.Second

func (s *Service) slow(w http.ResponseWriter, r *http.Request) {
	ms, ok := s.number(w, r, "ms", 0)
	if !ok {
		return
	}
	d := min(time.Duration(ms)*time.Millisecond, maxSlow)
	select {
	case <-time.After(d):
		s.answer(w, http.StatusOK, map[string]any{"waited_ms": d.Milliseconds()})
	case <-r.Context().Done():
	}
}

// number reads a query parameter from 0 to 2^31-1; without it, it is unset.
func (s *Service) number(w http.ResponseWriter, r *http.Request, name string, unset int) (n int, ok bool) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return unset, true
	}
	v, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		s.refuse(w, "%s %q: want a whole number, zero or more", name, text)
	}
	return int(v), err == nil
}

// maxBody is how much of a body is looked at for its id; the rest is counted.
const maxBody = 64 << 10

// echo says what arrived, and notes the request's id.
func (s *Service) echo(w http.ResponseWriter, r *http.Request) {
	head, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	rest := int64(0)
	if err == nil {
		rest, err = io.Copy(io.Discard, r.Body)
	}
	if err != nil {
		s.refuse(w, "the body broke off after %d bytes: %v", int64(len(head))+rest, err)
		return
	}
	id := requestID(r, head)
	s.note(id, func(e *Seen) { e.Received++ })
	whole := s.answer(w, http.StatusOK, map[string]any{
		"method": r.Method, "path": r.URL.EscapedPath(), "query": r.URL.RawQuery, "proto": r.Proto,
		"host": r.Host, "headers": r.Header, "id": id, "size": int64(len(head)) + rest,
	})
	if whole {
		s.note(id, func(e *Seen) { e.Completed++ })
	}
}

// requestID is the "id" of a JSON body, else the header X-Demo-Id, else X-Request-Id.
func requestID(r *http.Request, body []byte) string {
	var v struct {
		ID string `json:"id"`
	}
	if json.Unmarshal(body, &v) == nil && v.ID != "" {
		return v.ID
	}
	if id := r.Header.Get("X-Demo-Id"); id != "" {
		return id
	}
	return r.Header.Get("X-Request-Id")
}
