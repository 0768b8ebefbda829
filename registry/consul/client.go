package consul

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/hashicorp/go-hclog"
)

const (
	// An agent serves 200 connections per client address and answers 429 to
	// every request beyond that (http_max_conns_per_client), so all users of a
	// Client share one bound well below it. A Watcher takes at most 59.
	maxConns = 64
	// maxBody bounds one answer; all checks of 50,000 instances are about 50 MB.
	maxBody = 128 << 20
	// plainTimeout bounds every request that does not block.
	plainTimeout = 5 * time.Second
	// tokenPeriod is the time between two looks at the token file.
	tokenPeriod = 200 * time.Millisecond
)

// Client talks to one Consul agent. It is safe for concurrent use, and holds at
// most 64 connections; over HTTPS, where they speak HTTP/2, one more for every
// 200 services that a Watcher follows. A good answer is whole, valid JSON, or it
// is an error.
type Client struct {
	// Log gets what the background work has to say; nil is silence. It is set
	// before the first use.
	Log hclog.Logger

	api    *api.Client
	addr   string
	wire   *strict
	lanes  *lanes      // for open queries; nil: the agent is not spoken to over TLS
	http2  atomic.Bool // the agent speaks HTTP/2; guessed until it has answered
	kvWait time.Duration

	// What read needs to build a request.
	base                 string
	namespace, partition string
	auth                 *api.HttpBasicAuth

	woken signal // Consul answers again: no use in waiting longer
	added signal // Register added something for Run to look after

	mu   sync.Mutex       // guards what follows; never held while calling Consul
	kept map[string]*kept // what Register registered, by ID
	lost time.Time        // when an ID was last found missing and was registered again
}

// New returns a Client of the agent that the CONSUL_* variables name
// (CONSUL_HTTP_ADDR, CONSUL_HTTP_TOKEN, CONSUL_CACERT and the rest, see
// https://developer.hashicorp.com/consul/commands#environment-variables);
// without them, of http://127.0.0.1:8500. It connects to nothing yet.
func New() (*Client, error) {
	cfg := api.DefaultConfig()
	cfg.Transport = newTransport()
	return NewWithConfig(cfg)
}

// NewWithConfig returns a Client for cfg, which is not changed. Empty fields are
// filled from the CONSUL_* variables. A TokenFile is read again when it changes.
func NewWithConfig(cfg *api.Config) (*Client, error) {
	own := *cfg
	if own.Transport == nil {
		own.Transport = newTransport()
	}
	if own.HttpClient != nil {
		h := *own.HttpClient
		own.HttpClient = &h
	}
	client, err := api.NewClient(&own)
	if err != nil {
		return nil, fmt.Errorf("consul client for %q: %w", cfg.Address, err)
	}
	// api.NewClient leaves the *http.Client that it uses in own.
	rt := cmp.Or[http.RoundTripper](own.HttpClient.Transport, http.DefaultTransport)
	var open *lanes
	if t, ok := rt.(*http.Transport); ok {
		t = t.Clone()
		t.MaxConnsPerHost, t.MaxIdleConnsPerHost, t.MaxIdleConns = maxConns, maxConns, maxConns
		t.DisableCompression = true // the agent is near, and squeezing costs it more than sending
		if own.Scheme == "https" {
			t.ForceAttemptHTTP2 = true
			t.HTTP2 = &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: plainTimeout}
			open = newLanes(t.Clone())
		}
		rt = t
	}
	c := &Client{
		api:       client,
		addr:      own.Address,
		wire:      &strict{next: rt},
		lanes:     open,
		kvWait:    kvWait,
		base:      baseURL(&own),
		namespace: own.Namespace,
		partition: own.Partition,
		auth:      own.HttpAuth,
		kept:      map[string]*kept{},
	}
	c.http2.Store(open != nil)
	if own.TokenFile != "" {
		c.wire.token = &tokenFile{path: own.TokenFile, token: own.Token}
	}
	c.wire.fixed = own.Token
	own.HttpClient.Transport = c.wire
	// No API of Consul's redirects, and whoever is redirected to would get the token.
	own.HttpClient.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return c, nil
}

func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		TLSHandshakeTimeout: 5 * time.Second,
		IdleConnTimeout:     90 * time.Second,
	}
}

// Close closes the connections that are idle. A Client needs no Close, and can be
// used after it.
func (c *Client) Close() {
	c.wire.CloseIdleConnections()
	c.lanes.closeIdle()
}

// Addr returns the agent's address, for messages.
func (c *Client) Addr() string { return c.addr }

func (c *Client) log() hclog.Logger {
	if c.Log == nil {
		return hclog.NewNullLogger()
	}
	return c.Log
}

const serviceRead = "/v1/health/service/"

// strict is what stands between Consul's client, which reads leniently, and the
// wire: an answer is read whole and is valid JSON, or it is an error.
type strict struct {
	next  http.RoundTripper
	fixed string     // ACL token of requests that Consul's client does not build
	token *tokenFile // goes before it
}

// authorize adds the token, if there is one.
func (s *strict) authorize(req *http.Request) {
	if t := cmp.Or(s.token.get(), s.fixed); t != "" {
		req.Header.Set("X-Consul-Token", t)
	}
}

func (s *strict) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	if t := s.token.get(); t != "" {
		req.Header.Set("X-Consul-Token", t)
	}
	// Consul's client escapes no slash: a service could call itself
	// "../agent/self", and be another question.
	if name, ok := strings.CutPrefix(req.URL.Path, serviceRead); ok {
		req.URL.RawPath = servicePath(name)
	}
	resp, err := s.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	resp.Body.Close()
	switch {
	case err != nil:
		return nil, err
	case len(body) > maxBody:
		return nil, tooLong(req.URL.Path)
	case req.Method == http.MethodGet && resp.StatusCode == http.StatusOK:
		if err := checkJSON(body); err != nil {
			return nil, fmt.Errorf("%w: answer to %s: %w", ErrDecode, req.URL.Path, err)
		}
	case req.Method == http.MethodPut && resp.StatusCode == http.StatusOK && strings.HasPrefix(req.URL.Path, "/v1/kv/"):
		// Consul's client takes whatever contains "true" for a yes.
		if s := string(bytes.TrimSpace(body)); s != "true" && s != "false" {
			return nil, fmt.Errorf("%w: answer to %s: not true or false, but %.40q", ErrDecode, req.URL.Path, s)
		}
	}
	// Consul's client stops reading headers at the first that it cannot parse, and
	// then misses that ACLs filtered the answer.
	for _, name := range []string{"X-Consul-Index", "X-Consul-LastContact", "Age"} {
		if _, err := strconv.ParseUint(resp.Header.Get(name), 10, 64); err != nil {
			resp.Header.Set(name, "0")
		}
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// CloseIdleConnections makes http.Client's method of that name work.
func (s *strict) CloseIdleConnections() { closeIdle(s.next) }

func tooLong(path string) error {
	return fmt.Errorf("%w: answer to %s is longer than %d MiB", ErrDecode, path, maxBody>>20)
}

// checkJSON accepts exactly one JSON array, object or string. Consul answers no
// read with null, and its client cannot tell null from an empty list.
func checkJSON(body []byte) error {
	trimmed := bytes.TrimSpace(body)
	switch {
	case len(trimmed) == 0:
		return fmt.Errorf("empty body")
	case !json.Valid(trimmed):
		return fmt.Errorf("not one JSON value, but %.40q", trimmed)
	case bytes.IndexByte([]byte(`[{"`), trimmed[0]) < 0:
		return fmt.Errorf("unexpected %.40q", trimmed)
	}
	return nil
}

// tokenFile is an ACL token in a file, read again when the file changes. nil has
// no token.
type tokenFile struct {
	path string

	mu      sync.Mutex // guards what follows
	token   string
	mod     time.Time
	checked time.Time
}

// get returns the token. It looks at the file every tokenPeriod at most, and keeps
// the last token while the file is empty or unreadable.
func (t *tokenFile) get() string {
	if t == nil {
		return ""
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if time.Since(t.checked) < tokenPeriod {
		return t.token
	}
	t.checked = time.Now()
	if info, err := os.Stat(t.path); err == nil && !info.ModTime().Equal(t.mod) {
		if b, err := os.ReadFile(t.path); err == nil && len(bytes.TrimSpace(b)) > 0 {
			t.token, t.mod = strings.TrimSpace(string(b)), info.ModTime()
		}
	}
	return t.token
}

// signal wakes every waiter at once. The zero value is ready.
type signal struct {
	mu sync.Mutex // guards ch
	ch chan struct{}
}

func (s *signal) wait() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ch == nil {
		s.ch = make(chan struct{})
	}
	return s.ch
}

func (s *signal) fire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ch != nil {
		close(s.ch)
		s.ch = nil
	}
}
