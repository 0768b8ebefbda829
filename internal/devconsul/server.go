package devconsul

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// Server is the in-memory agent: an [http.Handler] of Consul's /v1 API. Make
// one by [New]. It is safe for concurrent use. Checks are probed, and TTLs of
// checks and sessions expire, only while [Server.Run] runs.
type Server struct {
	kick chan struct{} // tells Run that something may be due earlier; capacity 1

	mu      sync.Mutex // guards everything below; never held while waiting
	changed chan struct{}
	epoch   int // grows when the state is lost
	faults  []*Fault
	state
}

// New returns a Server without services and keys. It starts nothing.
func New() *Server {
	return &Server{kick: make(chan struct{}, 1), changed: make(chan struct{}), state: newState()}
}

// broadcast wakes every blocking query and the scheduler. The caller holds mu.
func (s *Server) broadcast() {
	close(s.changed)
	s.changed = make(chan struct{})
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// call is one request on its way through the server.
type call struct {
	s     *Server
	w     http.ResponseWriter
	r     *http.Request
	id    string // what follows the endpoint's path
	broke Kind   // the fault that shapes the answer, if any
}

// endpoint is a row of the table of URLs. A path that ends with a slash takes
// the rest of the URL as its argument; missing is what Consul says without one.
type endpoint struct {
	path    string
	methods string
	missing string
	serve   func(*call)
}

var endpoints = []endpoint{
	{"/v1/agent/self", "GET", "", (*call).agentSelf},
	{"/v1/agent/services", "GET", "", (*call).agentServices},
	{"/v1/agent/checks", "GET", "", (*call).agentChecks},
	{"/v1/agent/maintenance", "PUT", "", (*call).nodeMaintenance},
	{"/v1/agent/service/register", "PUT", "", (*call).register},
	{"/v1/agent/service/deregister/", "PUT", "", (*call).deregister},
	{"/v1/agent/service/maintenance/", "PUT", "Missing service ID", (*call).serviceMaintenance},
	{"/v1/agent/service/", "GET", "", (*call).agentService},
	{"/v1/agent/check/pass/", "PUT", "", (*call).checkPass},
	{"/v1/agent/check/warn/", "PUT", "", (*call).checkWarn},
	{"/v1/agent/check/fail/", "PUT", "", (*call).checkFail},
	{"/v1/agent/check/update/", "PUT", "", (*call).checkUpdate},
	{"/v1/catalog/datacenters", "GET", "", (*call).catalogDatacenters},
	{"/v1/catalog/nodes", "GET", "", (*call).catalogNodes},
	{"/v1/catalog/services", "GET", "", (*call).catalogServices},
	{"/v1/catalog/service/", "GET", "Missing service name", (*call).catalogService},
	{"/v1/health/service/", "GET", "Missing service name", (*call).healthService},
	{"/v1/health/checks/", "GET", "Missing service name", (*call).healthChecks},
	{"/v1/health/node/", "GET", "Missing node name", (*call).healthNode},
	{"/v1/health/state/", "GET", "Missing check state", (*call).healthState},
	{"/v1/kv/", "GET,PUT,DELETE", "", (*call).kv},
	{"/v1/session/create", "PUT", "", (*call).sessionCreate},
	{"/v1/session/destroy/", "PUT", "Missing session", (*call).sessionDestroy},
	{"/v1/session/renew/", "PUT", "Missing session", (*call).sessionRenew},
	{"/v1/session/info/", "GET", "Missing session", (*call).sessionInfo},
	{"/v1/session/list", "GET", "", (*call).sessionList},
	{"/v1/status/leader", "GET", "", (*call).statusLeader},
	{"/v1/status/peers", "GET", "", (*call).statusPeers},
}

// find returns the endpoint with the longest path that fits, and its argument.
func find(path string) (e endpoint, arg string, ok bool) {
	for _, row := range endpoints {
		rest, fits := strings.CutPrefix(path, row.path)
		if fits && (rest == "" || strings.HasSuffix(row.path, "/")) && len(row.path) > len(e.path) {
			e, arg, ok = row, rest, true
		}
	}
	return e, arg, ok
}

// ServeHTTP answers one request as a Consul agent in development mode does.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{s: s, w: w, r: r}
	if c.faulted() {
		return
	}
	w.Header().Set("Vary", "Accept-Encoding")
	w.Header().Set("X-Consul-Default-Acl-Policy", "allow")
	e, arg, ok := find(r.URL.Path)
	switch {
	case !ok && !strings.HasPrefix(r.URL.Path, "/v1/"):
		c.about()
	case !ok:
		c.fail(http.StatusNotFound, "Invalid URL path: not a recognized HTTP API endpoint")
	case r.Method == http.MethodOptions:
		w.Header().Set("Allow", "OPTIONS,"+e.methods)
	case !slices.Contains(strings.Split(e.methods, ","), r.Method):
		w.Header().Set("Allow", "OPTIONS,"+e.methods)
		c.fail(http.StatusMethodNotAllowed, "method %s not allowed", r.Method)
	case arg == "" && e.missing != "":
		c.fail(http.StatusBadRequest, "%s", e.missing)
	case r.URL.Query().Get("dc") != "" && r.URL.Query().Get("dc") != datacenter:
		c.fail(http.StatusInternalServerError, "No path to datacenter")
	case r.URL.Query().Get("filter") != "" && e.path != "/v1/agent/services":
		c.fail(http.StatusInternalServerError, "devconsul: this subset of Consul knows ?filter only on /v1/agent/services; run a real agent for it")
	default:
		c.id = arg
		e.serve(c)
	}
}

// about answers everything that is not the API.
func (c *call) about() {
	switch c.r.URL.Path {
	case "/":
		http.Redirect(c.w, c.r, "/ui/", http.StatusMovedPermanently)
	case "/ui/":
		c.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprint(c.w, `This is not Consul: it is the small stand-in that "lb dev" brings along.

It keeps services, checks, keys and sessions in memory, on one node, and speaks
that part of Consul's HTTP API. There is no user interface here. Try:

  curl http://`+c.r.Host+`/v1/catalog/services
  curl http://`+c.r.Host+`/v1/health/service/web?passing
  curl http://`+c.r.Host+`/v1/kv/?recurse

"consul kv", "consul catalog", "consul services", "consul maint" and "consul lock"
work against it, too.
`)
	default:
		http.NotFound(c.w, c.r)
	}
}

// fail answers with one of Consul's plain sentences.
func (c *call) fail(status int, format string, args ...any) {
	c.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	c.w.WriteHeader(status)
	fmt.Fprintf(c.w, format, args...)
}

// json answers 200 with v, indented as an agent in development mode does.
func (c *call) json(v any) {
	b, err := json.MarshalIndent(v, "", "    ")
	if err != nil {
		panic("BUG: " + err.Error())
	}
	c.write("application/json", append(b, '\n'))
}

// write sends a whole body, or what a fault leaves of it.
func (c *call) write(contentType string, b []byte) {
	c.w.Header().Set("Content-Type", contentType)
	switch c.broke {
	case Truncated:
		b = b[:len(b)/2]
	case Cut:
		c.w.Header().Set("Content-Length", fmt.Sprint(len(b)))
		c.w.Write(b[:len(b)/2])
		http.NewResponseController(c.w).Flush() // the connection dies next
		panic(http.ErrAbortHandler)
	}
	c.w.Write(b)
}

// decode reads the body into v, which must know every field. It answers the
// request itself when that is impossible.
func (c *call) decode(v any, optional bool) bool {
	b, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, maxBody))
	if err == nil && optional && len(bytes.TrimSpace(b)) == 0 {
		return true
	}
	if err == nil {
		d := json.NewDecoder(bytes.NewReader(b))
		d.DisallowUnknownFields()
		err = d.Decode(v)
	}
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		c.fail(http.StatusRequestEntityTooLarge, "Request body too large, max size: %d bytes.", large.Limit)
	} else if err != nil {
		c.fail(http.StatusBadRequest, "Request decode failed: %v", err)
	}
	return err == nil
}

// maxBody is Consul's kv_max_value_size.
const maxBody = 512 * 1024

func (c *call) statusLeader() { c.json(raftAddr) }
func (c *call) statusPeers()  { c.json([]string{raftAddr}) }
