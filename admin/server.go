package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"html/template"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"

	"serin/proxy"
	"serin/route"
)

// Server answers on the admin listener. Fill the fields, then call [Server.Run]
// or [Server.Handler]; the fields must not change after that. The functions are
// called concurrently, must not block, and what they return is only read; a nil
// one knows nothing.
type Server struct {
	// Table returns the table in use; a request calls it once.
	Table func() *route.Table
	// Upstreams returns the live state of the instances.
	Upstreams func() []proxy.UpstreamState
	// Core is what requests are decided with, for explaining; nil explains with
	// the defaults and instances that are idle and well.
	Core *proxy.Core
	// Canary tells what is known of the canary documents. May be nil.
	Canary Canary
	// CanaryEditor writes them when people ask for it. May be nil.
	CanaryEditor CanaryEditor
	// Fleet knows the rollouts. May be nil.
	Fleet Fleet
	// Overrides are the route commands in KV. May be nil.
	Overrides Overrides
	// Registry says how well Consul is followed.
	Registry func() RegistryStatus
	// Ready says whether this balancer may get traffic. nil is never ready.
	Ready func() State
	// Config are the options, secrets redacted.
	Config  []Setting
	Version Version
	// Metrics is what /metrics shows.
	Metrics prometheus.Gatherer
	// TagPrefix marks the tags that are routes; "" means "urlprefix-".
	TagPrefix string
	// Remote says that other machines may reach the listener. Otherwise a
	// request must name this machine by address or as localhost, so that a web
	// page whose name was made to point here (DNS rebinding) reads nothing.
	Remote bool
	// ReadOnly refuses every request that would change something.
	ReadOnly bool
	// Started is when the program started.
	Started time.Time
	// Log gets what the HTTP server has to say; nil is silence.
	Log hclog.Logger
}

// Run serves ln until ctx ends, then lets requests finish for a second. It
// returns nil when ctx ended it, and has then closed ln.
func (s *Server) Run(ctx context.Context, ln net.Listener) error {
	log := s.Log
	if log == nil {
		log = hclog.NewNullLogger()
	}
	srv := &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      2 * time.Minute, // bounds the profiles that can be asked for
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    32 << 10,
		BaseContext: func(net.Listener) context.Context {
			return context.WithValue(context.WithoutCancel(ctx), ending{}, ctx)
		},
		ErrorLog: log.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug}),
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if srv.Shutdown(grace) != nil {
		srv.Close()
	}
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (s *Server) endpoints() []endpoint {
	return []endpoint{
		{path: "/{$}", doc: "this list", serve: s.index},
		{path: "/health", doc: "200 while the process lives", serve: s.health},
		{path: "/ready", doc: "200 when traffic may come, else 503 with the reasons; ?consul answers 429 (Consul's warning) when something needs a look", serve: s.ready},
		{path: "/metrics", doc: "metrics for Prometheus", serve: s.metrics()},
		{path: "/api/v1/status", doc: "the whole in one view", serve: s.status},
		{path: "/api/v1/routes", doc: "the routing table; ?service=NAME, ?format=commands as route commands, ?format=targets as a list of instances", serve: s.routes},
		{path: "/api/v1/explain", doc: "what becomes of a request, and why; POST {url, method, headers, from, tls}", serve: s.explain, methods: []string{http.MethodPost}, looks: true},
		{path: "/api/v1/services", doc: "services and how many of their instances are ready", serve: s.services},
		{path: "/api/v1/services/{name}", doc: "instances of one service, their checks, and its canary", serve: s.service},
		{path: "/api/v1/upstreams", doc: "live state of the instances: requests in flight, ejections", serve: s.upstreams},
		{path: "/api/v1/problems", doc: "tags that were refused, and why", serve: s.problems},
		{path: "/api/v1/canary", doc: "canary documents and what came of them", serve: s.canaries},
		{
			path: "/api/v1/canary/{service}", doc: "the document of one service as the asker is to have it, fit to be a config_server; ?client=IP; * is the document of all others; PUT and DELETE with If-Match, or If-None-Match: *; ?dry-run", serve: s.document,
			methods: []string{http.MethodGet, http.MethodPut, http.MethodDelete},
		},
		{path: "/api/v1/canary/{service}/status", doc: "what came of it: the share in force and why, the rollout, what each balancer has applied", serve: s.canaryStatus},
		{path: "/api/v1/canary/{service}/history", doc: "the last changes of its rollout, the newest first", serve: s.history},
		{path: "/api/v1/canary/{service}/explain", doc: "the arm of a client, and why; ?cookie=NAME=VALUE, ?header=NAME:VALUE, ?ip=IP, ?path=PATH, ?method=METHOD, or ?key=VALUE&kind=cookie|header|ip", serve: s.canaryExplain},
		{path: "/api/v1/canary/{service}/{action}", doc: "POST: set, ramp, pause, resume, promote, abort or retry; If-Match: INDEX; ?dry-run", serve: s.canaryAction, methods: []string{http.MethodPost}},
		{path: "/api/v1/schema/canary.json", doc: "the JSON Schema of canary documents", serve: s.canarySchema},
		{path: "/api/v1/events", doc: "what happened to the rollouts in this process; ?after=NUMBER&wait=30s", serve: s.events},
		{path: "/api/v1/overrides", doc: "route commands in force, by key, and which lines are refused", serve: s.overrides},
		{
			path: "/api/v1/overrides/{key...}", doc: "one key; ?raw; PUT and DELETE with If-Match, or If-None-Match: *; PUT ?force", serve: s.override,
			methods: []string{http.MethodGet, http.MethodPut, http.MethodDelete},
		},
		{path: "/api/v1/config", doc: "the configuration, secrets redacted", serve: s.config},
		{path: "/api/v1/version", doc: "what this program was built from", serve: s.version},
		{path: "/api/routes", doc: "the routing table in Fabio's form; ?pretty, ?raw", serve: s.fabioRoutes},
		{path: "/api/config", doc: "the configuration as one object, secrets redacted", serve: s.fabioConfig},
		{path: "/api/paths", doc: "keys of route commands in Fabio's form", serve: s.fabioPaths},
		{path: "/api/manual", doc: "route commands in Fabio's form; PUT", serve: s.fabioManual, methods: []string{http.MethodGet, http.MethodPut}, forms: true},
		{path: "/api/manual/{sub...}", doc: "route commands of one key in Fabio's form; PUT", serve: s.fabioManual, methods: []string{http.MethodGet, http.MethodPut}, forms: true},
		{path: "/api/version", doc: "version as text", serve: s.fabioVersion},
		{path: "/debug/pprof/", doc: "profiles", serve: profile},
	}
}

// Handler returns what answers on the admin listener. Every answer to a request
// that cannot be served is a problem document (RFC 9457) with a hint.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	for _, e := range s.endpoints() {
		mux.HandleFunc(e.path, s.gate(e))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, http.StatusNotFound, "nothing is at "+r.URL.Path, "GET / lists what there is")
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Content-Type-Options", "nosniff")
		switch {
		case !s.Remote && !local(r.Host):
			fail(w, http.StatusForbidden, "this listener is for this machine only, and does not answer to the name "+r.Host,
				"use http://127.0.0.1, or set ui.allow.remote and ui.addr to serve others")
		default:
			mux.ServeHTTP(w, r)
		}
	})
}

// local reports whether the Host header names this machine in a way that no
// DNS answer can forge. HTTP/1.0 clients need not send one.
func local(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.Trim(strings.ToLower(host), "[]"), ".")
	_, err := netip.ParseAddr(host)
	return host == "" || host == "localhost" || strings.HasSuffix(host, ".localhost") || err == nil
}

// Problem is the body of every error, see RFC 9457.
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Hint   string `json:"hint,omitempty"` // what to do about it
}

func fail(w http.ResponseWriter, status int, detail, hint string) {
	w.Header().Set("Content-Type", "application/problem+json")
	write(w, status, Problem{"about:blank", http.StatusText(status), status, detail, hint})
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	write(w, http.StatusOK, v)
}

func write(w http.ResponseWriter, status int, v any) {
	w.WriteHeader(status)
	_ = encode(w, v) // the client went away, or the connection says so itself
}

// encode writes v as every answer in JSON is written.
func encode(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func plain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text + "\n"))
}

var page = template.Must(template.New("").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Serin</title>
<style>body{font:16px/1.5 system-ui,sans-serif;margin:2em;max-width:60em}td{padding:0 1em 0 0;vertical-align:top}@media(prefers-color-scheme:dark){body{background:#111;color:#ddd}a{color:#8cf}}</style></head>
<body><h1>Serin</h1><p>{{.Version}}</p><table>{{range .Endpoints}}
<tr><td>{{if .Link}}<a href="{{.Path}}">{{.Path}}</a>{{else}}{{.Path}}{{end}}</td><td>{{.Doc}}</td></tr>{{end}}
</table></body></html>
`))

func (s *Server) index(w http.ResponseWriter, _ *http.Request) {
	type line struct {
		Path, Doc string
		Link      bool
	}
	var lines []line
	for _, e := range s.endpoints()[1:] {
		lines = append(lines, line{e.path, e.doc, !strings.Contains(e.path, "{") && slices.Contains(e.allowed(), http.MethodGet)})
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = page.Execute(w, struct {
		Version   string
		Endpoints []line
	}{s.Version.String(), lines})
}

func (s *Server) table() *route.Table {
	if s.Table == nil {
		return nil
	}
	return s.Table()
}

func (s *Server) tagPrefix() string { return cmp.Or(s.TagPrefix, "urlprefix-") }
