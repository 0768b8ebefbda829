package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"serin/canary"
	"serin/metrics"
	"serin/proxy"
	"serin/proxy/nethttp"
	"serin/registry"
	"serin/route"
)

// Config is all that lb can be told, parsed. Each field belongs to one row of
// the option table, whose text says what it does, what it costs and what zero
// means. Get one from [Default] or [load]; it is a plain value.
type Config struct {
	Proxy    Proxy
	UI       UI
	Registry Registry
	Canary   Canary
	Daemon   Daemon
	Log      Log
	Metrics  Metrics

	// sources says where each value came from, by key; a key that is missing
	// has its default.
	sources map[string]string
	// alone is lb daemon: no listeners of traffic, only those of Daemon.
	alone bool
}

// Proxy are the proxy.* options.
type Proxy struct {
	Addr           []string
	Strategy       route.Balance
	Matcher        route.Matcher
	NoGlobs        bool   // glob.matching.disabled
	Auth           string // schemes, see proxy.ParseAuthSchemes
	Gzip           Gzip
	NoRouteStatus  int
	Retries        int
	PanicThreshold int
	PanicCritical  bool
	TLSSkipVerify  bool
	Trusted        []netip.Prefix
	LameDuck       time.Duration // proxy.deregistergraceperiod
	Drain          time.Duration // proxy.shutdownwait
	Timeouts       proxy.Timeouts
	Limits         proxy.Limits // those with an option; the others are zero, their default
	Headers        proxy.Headers
}

// Gzip are the proxy.gzip.* options: compression of responses.
type Gzip struct {
	ContentType string // regular expression of the types that are compressed; "" is off
	MinSize     int
	Encodings   []string // in order of preference
}

// UI are the ui.* options: the admin listener.
type UI struct {
	Addr        string
	AllowRemote bool
	Access      string // rw or ro
}

// Registry are the registry.* options.
type Registry struct {
	SnapshotPath   string
	SnapshotMaxAge time.Duration
	Ownership      Ownership
	Targets        Targets
	Consul         Consul
}

// Ownership are the registry.ownership.* options: who may claim what.
type Ownership struct {
	Mode   route.OwnershipMode
	KVPath string
	File   string // in place of KVPath
	Hold   time.Duration
}

// Targets are the registry.targets.* options: which addresses may be targets.
type Targets struct {
	Allow, Deny []string // networks, addresses, or host:port
}

// Consul are the registry.consul.* options. Addr, Token and TokenFile are
// empty when Consul's client library shall choose (its CONSUL_* variables).
type Consul struct {
	Addr      string
	Token     string
	TokenFile string
	TagPrefix string
	Policy    registry.Policy
	// KVPath are the keys of route commands, NoRouteHTMLPath that of the page
	// where no route matches.
	KVPath          []string
	NoRouteHTMLPath string
	TLS             ConsulTLS
	Register        Register
}

// ConsulTLS are the registry.consul.tls.* options; what is empty is left to
// the CONSUL_* variables of Consul's client.
type ConsulTLS struct {
	CAFile, CAPath, CertFile, KeyFile string
	SkipVerify                        bool
}

// Register are the registry.consul.register.* options.
type Register struct {
	Enabled       bool
	Name          string
	Addr          string // "" is the address of the admin listener as others reach it
	Tags          []string
	CheckInterval time.Duration
	CheckTimeout  time.Duration
}

// Canary are the canary.* options.
type Canary struct {
	Prefix     string
	StaleAfter time.Duration // of documents that do not say
	Seed       string        // file
}

// Daemon are the daemon.* options: where other proxies ask for arms.
type Daemon struct {
	Listen []string // see daemon.ParseListener
}

// Log are the log.* options.
type Log struct {
	Level        string
	Format       string // auto, text or json
	AccessTarget string // "", stdout, stderr or a file name
	AccessFormat string // json, common, combined or a template
}

// Metrics are the metrics.* options: where numbers are sent.
type Metrics struct {
	Target    []string // prometheus, statsd, dogstatsd, graphite
	Prefix    string   // template
	Names     string   // template
	Interval  time.Duration
	StatsD    string // address
	DogStatsD string // address
	Graphite  string // address
}

// Default returns what lb does when it is told nothing.
func Default() Config {
	return Config{
		Proxy: Proxy{
			Addr:           []string{":9999"},
			NoRouteStatus:  404,
			Retries:        2,
			PanicThreshold: 50,
			Gzip:           Gzip{MinSize: 10 << 10, Encodings: []string{"zstd", "br", "gzip"}},
			LameDuck:       10 * time.Second,
			Drain:          time.Minute,
			Timeouts: proxy.Timeouts{
				Dial:           time.Second,
				TLSHandshake:   2 * time.Second,
				ResponseHeader: 30 * time.Second,
				ReadHeader:     10 * time.Second,
				BodyIdle:       time.Minute,
				StreamIdle:     time.Hour,
				ClientIdle:     75 * time.Second,
				UpstreamIdle:   4 * time.Second,
			},
			Limits: proxy.Limits{
				IdlePerTarget:  64,
				InFlightTarget: 1024,
				InFlightTotal:  10000,
				ReplayBody:     64 << 10,
			},
		},
		UI: UI{Addr: "127.0.0.1:9998", Access: "rw"},
		Registry: Registry{
			SnapshotMaxAge: 24 * time.Hour,
			Ownership:      Ownership{KVPath: "lb/ownership", Hold: 10 * time.Minute},
			Consul: Consul{
				TagPrefix:       "urlprefix-",
				Policy:          registry.Policy{Status: []registry.Health{registry.Passing}},
				KVPath:          []string{"lb/routes"},
				NoRouteHTMLPath: "lb/noroute.html",
				Register: Register{
					Enabled:       true,
					Name:          "lb",
					CheckInterval: time.Second,
					CheckTimeout:  3 * time.Second,
				},
			},
		},
		Canary: Canary{Prefix: "lb/canary", StaleAfter: canary.DefaultStaleAfter},
		Log:    Log{Level: "info", Format: "auto", AccessFormat: "json"},
		Metrics: Metrics{
			Target:   []string{"prometheus"},
			Prefix:   "{{clean .Hostname}}.{{clean .Exec}}",
			Interval: 30 * time.Second,
		},
	}
}

// DefaultDaemon returns what lb daemon does when it is told nothing: what lb
// does, without listeners of traffic, and as maxwells-daemon where that differs.
func DefaultDaemon() Config {
	c := Default()
	c.alone = true
	c.Proxy.Addr, c.Proxy.LameDuck = nil, 0
	c.UI.Addr = "127.0.0.1:9996" // a balancer may run beside it
	c.Registry.Consul.Register.Enabled, c.Registry.Consul.Register.Name = false, "lb-daemon"
	c.Canary.StaleAfter = 8 * time.Second
	c.Metrics.Target, c.Metrics.StatsD = []string{"prometheus", "statsd"}, "127.0.0.1:8125"
	return c
}

// settings returns what proxy.Decide needs of p.
func (p Proxy) settings() proxy.Settings {
	return proxy.Settings{
		Balance:       p.Strategy,
		PanicPercent:  p.PanicThreshold,
		PanicCritical: p.PanicCritical,
		NoRouteStatus: p.NoRouteStatus,
		Attempts:      p.Retries + 1,
	}
}

// builder returns what builds tables as c says; it still lacks what only the
// running balancer knows, the addresses of its own listeners.
func (c Config) builder() (b route.Builder, err error) {
	b = route.Builder{
		TagPrefix: c.Registry.Consul.TagPrefix,
		Matcher:   c.Proxy.Matcher,
		NoGlobs:   c.Proxy.NoGlobs,
	}
	if b.Denied, err = route.ParseAddresses(c.Registry.Targets.Deny); err != nil {
		return b, fmt.Errorf("registry.targets.deny: %w", err)
	}
	if b.Allowed, err = route.ParseAddresses(c.Registry.Targets.Allow); err != nil {
		return b, fmt.Errorf("registry.targets.allow: %w", err)
	}
	schemes, err := proxy.ParseAuthSchemes(c.Proxy.Auth)
	if err != nil {
		return b, fmt.Errorf("proxy.auth: %w", err)
	}
	b.Schemes = append([]string{}, proxy.AuthNames(schemes)...)
	return b, nil
}

// readOnly says whether the API only looks: as ui.access says or, where nobody
// said it, if strangers can reach it.
func (c Config) readOnly() bool {
	return c.UI.Access == "ro" || c.source("ui.access") == "default" && !loopback(c.UI.Addr)
}

// sinks are where metrics are sent.
func (m Metrics) sinks() ([]metrics.Sink, error) {
	return metrics.Config{
		Targets: m.Target, Prefix: m.Prefix, Names: m.Names,
		StatsD: m.StatsD, DogStatsD: m.DogStatsD, Graphite: m.Graphite,
	}.Sinks()
}

// compression returns nil where nothing is to be compressed.
func (g Gzip) compression() (*nethttp.Compression, error) {
	if g.ContentType == "" {
		return nil, nil
	}
	c, err := nethttp.NewCompression(g.ContentType, int64(max(g.MinSize, 0)), g.Encodings)
	if err != nil {
		return nil, fmt.Errorf("proxy.gzip: %w", err)
	}
	return c, nil
}

// Validate returns every mistake of c that no single value shows, and every
// value out of its range. It changes nothing and touches nothing outside c.
func (c Config) Validate() (errs []error) {
	bad := func(key, value, why string) {
		errs = append(errs, fmt.Errorf("%s = %q (%s): %s", key, value, c.source(key), why))
	}
	within := func(key string, v, low, high int) {
		if v < low || v > high {
			bad(key, strconv.Itoa(v), fmt.Sprintf("want a number from %d to %d", low, high))
		}
	}
	if len(c.Proxy.Addr) == 0 && !c.alone {
		bad("proxy.addr", "", "want at least one address to listen on, such as :9999")
	}
	for _, a := range c.Proxy.Addr {
		if err := checkListen(a); err != nil {
			bad("proxy.addr", a, err.Error())
		}
	}
	if err := checkListen(c.UI.Addr); err != nil {
		bad("ui.addr", c.UI.Addr, err.Error())
	} else if !loopback(c.UI.Addr) && !c.UI.AllowRemote {
		bad("ui.addr", c.UI.Addr, "others could reach the admin listener, which asks nobody who they are; "+
			"bind it to 127.0.0.1, or set ui.allow.remote=true where the network keeps strangers out (a container)")
	}
	within("proxy.noroutestatus", c.Proxy.NoRouteStatus, 200, 599)
	if _, err := proxy.ParseAuthSchemes(c.Proxy.Auth); err != nil {
		bad("proxy.auth", c.Proxy.Auth, err.Error())
	}
	if err := proxy.CheckTrustedHeader(c.Proxy.Headers.Trusted); err != nil {
		bad("proxy.trusted.header", c.Proxy.Headers.Trusted, err.Error())
	}
	if _, err := c.Proxy.Gzip.compression(); err != nil {
		bad("proxy.gzip.contenttype", c.Proxy.Gzip.ContentType, err.Error())
	}
	if _, err := route.ParseAddresses(c.Registry.Targets.Deny); err != nil {
		bad("registry.targets.deny", strings.Join(c.Registry.Targets.Deny, ","), err.Error())
	}
	if _, err := route.ParseAddresses(c.Registry.Targets.Allow); err != nil {
		bad("registry.targets.allow", strings.Join(c.Registry.Targets.Allow, ","), err.Error())
	}
	if _, err := c.Metrics.sinks(); err != nil {
		bad("metrics.target", strings.Join(c.Metrics.Target, ","), err.Error())
	}
	if c.Metrics.Interval <= 0 {
		bad("metrics.interval", c.Metrics.Interval.String(), "want a time above 0")
	}
	var format proxy.LogFormat
	if err := format.UnmarshalText([]byte(c.Log.AccessFormat)); err != nil {
		bad("log.access.format", c.Log.AccessFormat, err.Error())
	}
	within("proxy.retries", c.Proxy.Retries, 0, 10)
	within("proxy.panic.threshold", c.Proxy.PanicThreshold, 0, 100)
	// Of Consul's own two variables its client takes the file.
	if token, file := c.source("registry.consul.token"), c.source("registry.consul.token.file"); c.Registry.Consul.Token != "" && c.Registry.Consul.TokenFile != "" &&
		!(strings.HasPrefix(token, "env CONSUL_") && strings.HasPrefix(file, "env CONSUL_")) {
		bad("registry.consul.token.file", c.Registry.Consul.TokenFile, "registry.consul.token is set too ("+token+"); set one of them")
	}
	if c.Registry.Consul.TagPrefix == "" {
		bad("registry.consul.tagprefix", "", "every tag of every service would be read as a route; want a prefix such as urlprefix-")
	}
	if r := c.Registry.Consul.Register; r.Enabled {
		if r.Name == "" {
			bad("registry.consul.register.name", "", "want a service name, or registry.consul.register.enabled=false")
		}
		if r.Addr != "" {
			if err := checkListen(r.Addr); err != nil {
				bad("registry.consul.register.addr", r.Addr, err.Error())
			}
		}
		if r.CheckInterval <= 0 {
			bad("registry.consul.register.checkInterval", r.CheckInterval.String(), "want a time above 0")
		}
	}
	if p := c.Canary.Prefix; p == "" || strings.HasPrefix(p, "/") || strings.HasSuffix(p, "/") {
		bad("canary.prefix", p, "want a key without a slash at either end, such as lb/canary")
	}
	if c.Canary.StaleAfter <= 0 {
		bad("canary.staleafter", c.Canary.StaleAfter.String(), "want a time above 0; a document says \"on_stale\": \"hold\" where its share is to be kept")
	}
	if _, err := c.Daemon.listeners(); err != nil {
		bad("daemon.listen", strings.Join(c.Daemon.Listen, ","), err.Error())
	}
	return errs
}

// source says where the value of key came from.
func (c Config) source(key string) string {
	if s, ok := c.sources[key]; ok {
		return s
	}
	return "default"
}

// checkListen reports what is wrong with an address in host:port form.
func checkListen(addr string) error {
	if hostport, rest, ok := strings.Cut(addr, ";"); ok {
		return fmt.Errorf("listener options such as %q are not known; listeners speak HTTP/1.1 and HTTP/2 without TLS: write %s", rest, hostport)
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("want host:port or :port, such as 127.0.0.1:9999 (%w)", err)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("port %q: want a number from 0 to %d", port, 1<<16-1)
	}
	return nil
}

// loopback reports whether only this machine reaches addr.
func loopback(addr string) bool {
	name, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(name)
	return name == "localhost" || err == nil && ip.IsLoopback()
}

// stateFile is where the last good state is kept in systemd's StateDirectory,
// which may name several; the first is ours.
func stateFile(stateDirectory string) string {
	dir, _, _ := strings.Cut(stateDirectory, ":")
	return dir + string(os.PathSeparator) + "snapshot.json"
}
