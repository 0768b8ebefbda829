package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"serin/registry"
	"serin/route"
)

// option is one row of the option table: everything lb knows of one setting.
// The key gives the flag (--proxy.addr, or -proxy.addr), the variable
// (LB_PROXY_ADDR) and the YAML key (dotted or nested).
type option struct {
	key   string
	group string
	// field is where the value lives; its type decides how text is read.
	field func(*Config) any
	doc   string
	// zero says what 0 means where that is "no limit" or "off"; such a field
	// holds -1 then, because its own 0 means the default.
	zero string
	// values are the only texts allowed, in the order of the constants where
	// the field is an enumeration.
	values []string
	// unit of a number, "" for a bare count.
	unit   string
	secret bool
	// fallback is a variable of others that gives the default; from turns its
	// text into ours.
	fallback string
	from     func(string) string
}

// The groups of the table, in the order in which help shows them.
var groups = []string{"Traffic", "Instances", "Timeouts", "Headers", "Stopping", "Admin", "Consul", "Registration", "Canary", "Daemon", "Logs", "Metrics"}

// options is the option table: flags, variables, YAML keys, help, lb config
// and the reference come from here and nowhere else. Fabio's names are used
// where they mean the same.
var options = []*option{
	{
		key: "proxy.addr", group: "Traffic", field: func(c *Config) any { return &c.Proxy.Addr },
		doc: "addresses to listen on for HTTP/1.1 and HTTP/2 (h2c)", unit: "host:port,…",
	},
	{
		key: "proxy.strategy", group: "Traffic", field: func(c *Config) any { return &c.Proxy.Strategy },
		doc:    "which instance gets a request where a canary document does not say: p2c takes the less busy of two drawn at random (Fabio's rr and rnd are understood)",
		values: []string{"p2c", "least_conn", "round_robin", "random"},
	},
	{
		key: "proxy.matcher", group: "Traffic", field: func(c *Config) any { return &c.Proxy.Matcher },
		doc:    "how the path of a route is compared: its bytes are a prefix of the request's path, the same without regard to case, or a glob that the whole path matches",
		values: []string{"prefix", "iprefix", "glob"},
	},
	{
		key: "glob.matching.disabled", group: "Traffic", field: func(c *Config) any { return &c.Proxy.NoGlobs },
		doc: "take hosts with glob characters as they are written; *.suffix still works",
	},
	{
		key: "proxy.auth", group: "Traffic", field: func(c *Config) any { return &c.Proxy.Auth },
		doc: "schemes for the tag option auth=NAME, such as name=staff;type=basic;file=/etc/lb/htpasswd;realm=Staff;refresh=5s; several are separated by commas", unit: "scheme,…",
	},
	{
		key: "proxy.gzip.contenttype", group: "Traffic", field: func(c *Config) any { return &c.Proxy.Gzip.ContentType },
		doc: "regular expression of the content types to compress; empty compresses nothing", unit: "regexp",
	},
	{
		key: "proxy.gzip.minsize", group: "Traffic", field: func(c *Config) any { return &c.Proxy.Gzip.MinSize },
		doc: "responses known to be smaller are not compressed", unit: "bytes", zero: "every size",
	},
	{
		key: "proxy.gzip.encodings", group: "Traffic", field: func(c *Config) any { return &c.Proxy.Gzip.Encodings },
		doc: "compressions offered, the first one a client likes best wins: zstd, br, gzip", unit: "encoding,…",
	},
	{
		key: "proxy.noroutestatus", group: "Traffic", field: func(c *Config) any { return &c.Proxy.NoRouteStatus },
		doc: "status where no route matches", unit: "HTTP status",
	},
	{
		key: "proxy.trusted", group: "Traffic", field: func(c *Config) any { return &c.Proxy.Trusted },
		doc: "peers whose X-Forwarded-* and Forwarded headers are believed; from all others they are replaced", unit: "CIDR,…",
	},
	{
		key: "proxy.trusted.header", group: "Traffic", field: func(c *Config) any { return &c.Proxy.Headers.Trusted },
		doc: "header in which these peers tell the client's address, such as Client-IP; empty is X-Forwarded-For. With another one their X-Forwarded-For and Forwarded are not believed", unit: "header",
	},
	{
		key: "proxy.tlsskipverify", group: "Traffic", field: func(c *Config) any { return &c.Proxy.TLSSkipVerify },
		doc: "let the tag option tlsskipverify=true turn off certificate checks; without it that tag option does nothing",
	},

	{
		key: "proxy.retries", group: "Instances", field: func(c *Config) any { return &c.Proxy.Retries },
		doc: "other instances tried after a failure that is safe to repeat, within a budget of 20 % of a service's requests + 10 a second; 0 never",
	},
	{
		key: "proxy.retrybody", group: "Instances", field: func(c *Config) any { return &c.Proxy.Limits.ReplayBody },
		doc: "bytes of a request's body kept for a retry; memory per request", unit: "bytes", zero: "a request with a body is not repeated once it was sent",
	},
	{
		key: "proxy.maxconn", group: "Instances", field: func(c *Config) any { return &c.Proxy.Limits.IdlePerTarget },
		doc: "idle connections kept per instance (as in Fabio, no limit on those in use)", zero: "none is kept",
	},
	{
		key: "proxy.maxinflight.instance", group: "Instances", field: func(c *Config) any { return &c.Proxy.Limits.InFlightTarget },
		doc: "requests in flight per instance; above it another instance is chosen", zero: "no limit",
	},
	{
		key: "proxy.maxinflight.service", group: "Instances", field: func(c *Config) any { return &c.Proxy.Limits.InFlightTotal },
		doc: "requests in flight per service; above it 503 at once", zero: "no limit",
	},
	{
		key: "proxy.panic.threshold", group: "Instances", field: func(c *Config) any { return &c.Proxy.PanicThreshold },
		doc: "below this share of usable instances our own ejections are ignored; 0 never", unit: "percent",
	},
	{
		key: "proxy.panic.critical", group: "Instances", field: func(c *Config) any { return &c.Proxy.PanicCritical },
		doc: "send to instances that Consul calls critical when a service has no other",
	},

	{
		key: "proxy.dialtimeout", group: "Timeouts", field: func(c *Config) any { return &c.Proxy.Timeouts.Dial },
		doc: "one attempt to connect to an instance", zero: "no limit",
	},
	{
		key: "proxy.tlshandshaketimeout", group: "Timeouts", field: func(c *Config) any { return &c.Proxy.Timeouts.TLSHandshake },
		doc: "TLS handshake with an https instance", zero: "no limit",
	},
	{
		key: "proxy.responseheadertimeout", group: "Timeouts", field: func(c *Config) any { return &c.Proxy.Timeouts.ResponseHeader },
		doc: "from the request sent to the response's head; half of it per try where a retry is possible", zero: "no limit",
	},
	{
		key: "proxy.readheadertimeout", group: "Timeouts", field: func(c *Config) any { return &c.Proxy.Timeouts.ReadHeader },
		doc: "a client's request head", zero: "no limit: slow clients then hold connections for ever",
	},
	{
		key: "proxy.bodyidletimeout", group: "Timeouts", field: func(c *Config) any { return &c.Proxy.Timeouts.BodyIdle },
		doc: "between two reads or writes of a body", zero: "no limit",
	},
	{
		key: "proxy.streamidletimeout", group: "Timeouts", field: func(c *Config) any { return &c.Proxy.Timeouts.StreamIdle },
		doc: "silence on a WebSocket or an event stream", zero: "no limit",
	},
	{
		key: "proxy.keepalivetimeout", group: "Timeouts", field: func(c *Config) any { return &c.Proxy.Timeouts.ClientIdle },
		doc: "an idle client connection; keep it above that of a load balancer in front", zero: "no limit",
	},
	{
		key: "proxy.idleconntimeout", group: "Timeouts", field: func(c *Config) any { return &c.Proxy.Timeouts.UpstreamIdle },
		doc: "an idle connection to an instance, until the instance's own limit is learned", zero: "no limit",
	},

	{
		key: "proxy.header.clientip", group: "Headers", field: func(c *Config) any { return &c.Proxy.Headers.ClientIP },
		doc: "request header that gets the client's address; empty is none", unit: "header",
	},
	{
		key: "proxy.header.requestid", group: "Headers", field: func(c *Config) any { return &c.Proxy.Headers.RequestID },
		doc: "request header that gets a new unique id; empty is none", unit: "header",
	},
	{
		key: "proxy.header.tls", group: "Headers", field: func(c *Config) any { return &c.Proxy.Headers.TLS },
		doc: "request header set where the client came over TLS and removed otherwise; empty is none", unit: "header",
	},
	{
		key: "proxy.header.tls.value", group: "Headers", field: func(c *Config) any { return &c.Proxy.Headers.TLSValue },
		doc: "value of that header",
	},
	{
		key: "proxy.header.debug", group: "Headers", field: func(c *Config) any { return &c.Proxy.Headers.Debug },
		doc: "tell clients X-LB-Service, -Arm, -Why and -Instance in responses",
	},

	{
		key: "proxy.deregistergraceperiod", group: "Stopping", field: func(c *Config) any { return &c.Proxy.LameDuck },
		doc: "after SIGTERM, how long new connections are still served while others learn that we leave; 0 closes at once",
	},
	{
		key: "proxy.shutdownwait", group: "Stopping", field: func(c *Config) any { return &c.Proxy.Drain },
		doc: "after that, how long requests in flight may take before they are cut; 0 cuts at once",
	},

	{
		key: "ui.addr", group: "Admin", field: func(c *Config) any { return &c.UI.Addr },
		doc: "address of the admin listener: API, /metrics, /health, /ready, pprof", unit: "host:port",
	},
	{
		key: "ui.access", group: "Admin", field: func(c *Config) any { return &c.UI.Access },
		doc: "rw lets the API write route commands, ro lets it only look; where ui.addr is not loopback it must be said, or it is ro", values: []string{"rw", "ro"},
	},
	{
		key: "ui.allow.remote", group: "Admin", field: func(c *Config) any { return &c.UI.AllowRemote },
		doc: "allow ui.addr to be reachable from other machines; it asks nobody who they are",
	},

	{
		key: "registry.consul.addr", group: "Consul", field: func(c *Config) any { return &c.Registry.Consul.Addr },
		doc: "Consul agent; https:// and unix:// are understood; empty is 127.0.0.1:8500", unit: "host:port", fallback: "CONSUL_HTTP_ADDR",
	},
	{
		key: "registry.consul.token", group: "Consul", field: func(c *Config) any { return &c.Registry.Consul.Token },
		doc: "ACL token; as a flag it shows in ps, so rather use the variable or registry.consul.token.file", secret: true, fallback: "CONSUL_HTTP_TOKEN",
	},
	{
		key: "registry.consul.token.file", group: "Consul", field: func(c *Config) any { return &c.Registry.Consul.TokenFile },
		doc: "file that holds the ACL token", unit: "file", fallback: "CONSUL_HTTP_TOKEN_FILE",
	},
	{
		key: "registry.consul.tagprefix", group: "Consul", field: func(c *Config) any { return &c.Registry.Consul.TagPrefix },
		doc: "tags that begin with it are routes",
	},
	{
		key: "registry.consul.service.status", group: "Consul", field: func(c *Config) any { return &c.Registry.Consul.Policy.Status },
		doc: "statuses of a health check that count as good", unit: "passing,warning,…",
	},
	{
		key: "registry.consul.checksRequired", group: "Consul", field: func(c *Config) any { return &c.Registry.Consul.Policy.Required },
		doc: "how many of an instance's checks must be good", values: []string{"one", "all"},
	},
	{
		key: "registry.consul.kvpath", group: "Consul", field: func(c *Config) any { return &c.Registry.Consul.KVPath },
		doc: "KV keys, with those below them, that hold route commands; add /fabio/config to read Fabio's", unit: "key,…",
	},
	{
		key: "registry.consul.noroutehtmlpath", group: "Consul", field: func(c *Config) any { return &c.Registry.Consul.NoRouteHTMLPath },
		doc: "KV key of the HTML that is answered where no route matches; empty is none", unit: "key",
	},
	{
		key: "registry.consul.tls.cafile", group: "Consul", field: func(c *Config) any { return &c.Registry.Consul.TLS.CAFile },
		doc: "CA certificates that an https agent is verified with", unit: "file",
	},
	{
		key: "registry.consul.tls.capath", group: "Consul", field: func(c *Config) any { return &c.Registry.Consul.TLS.CAPath },
		doc: "directory of such certificates", unit: "directory",
	},
	{
		key: "registry.consul.tls.certfile", group: "Consul", field: func(c *Config) any { return &c.Registry.Consul.TLS.CertFile },
		doc: "certificate to show to an https agent", unit: "file",
	},
	{
		key: "registry.consul.tls.keyfile", group: "Consul", field: func(c *Config) any { return &c.Registry.Consul.TLS.KeyFile },
		doc: "its private key", unit: "file",
	},
	{
		key: "registry.consul.tls.insecureskipverify", group: "Consul", field: func(c *Config) any { return &c.Registry.Consul.TLS.SkipVerify },
		doc: "do not verify the agent's certificate: whoever is between us and Consul can then steer all traffic",
	},
	{
		key: "registry.ownership.mode", group: "Consul", field: func(c *Config) any { return &c.Registry.Ownership.Mode },
		doc:    "may a service claim a host and path that another has: off shares them as Fabio does; first-owner refuses it unless a rule allows it; strict refuses all that no rule allows",
		values: []string{"off", "first-owner", "strict"},
	},
	{
		key: "registry.ownership.kvpath", group: "Consul", field: func(c *Config) any { return &c.Registry.Ownership.KVPath },
		doc: "KV key of the ownership rules", unit: "key",
	},
	{
		key: "registry.ownership.file", group: "Consul", field: func(c *Config) any { return &c.Registry.Ownership.File },
		doc: "file of the ownership rules, in place of the KV key; read at start", unit: "file",
	},
	{
		key: "registry.ownership.hold", group: "Consul", field: func(c *Config) any { return &c.Registry.Ownership.Hold },
		doc: "how long an owner that left the catalog keeps what it owned",
	},
	{
		key: "registry.targets.allow", group: "Consul", field: func(c *Config) any { return &c.Registry.Targets.Allow },
		doc: "addresses that may be targets although they are denied: networks, addresses or host:port", unit: "address,…",
	},
	{
		key: "registry.targets.deny", group: "Consul", field: func(c *Config) any { return &c.Registry.Targets.Deny },
		doc: "addresses that no target or redirect may have, besides link-local ones, our own listeners and Consul", unit: "address,…",
	},
	{
		key: "registry.snapshot.path", group: "Consul", field: func(c *Config) any { return &c.Registry.SnapshotPath },
		doc: "file that keeps the last good state for a start without Consul; empty is off", unit: "file", fallback: "STATE_DIRECTORY", from: stateFile,
	},
	{
		key: "registry.snapshot.maxage", group: "Consul", field: func(c *Config) any { return &c.Registry.SnapshotMaxAge },
		doc: "an older file is not used",
	},

	{
		key: "registry.consul.register.enabled", group: "Registration", field: func(c *Config) any { return &c.Registry.Consul.Register.Enabled },
		doc: "register this balancer in Consul",
	},
	{
		key: "registry.consul.register.name", group: "Registration", field: func(c *Config) any { return &c.Registry.Consul.Register.Name },
		doc: "service name it registers",
	},
	{
		key: "registry.consul.register.addr", group: "Registration", field: func(c *Config) any { return &c.Registry.Consul.Register.Addr },
		doc: "address of the admin listener as Consul's check reaches it; empty is ui.addr, and the first usable address where that is all", unit: "host:port",
	},
	{
		key: "registry.consul.register.tags", group: "Registration", field: func(c *Config) any { return &c.Registry.Consul.Register.Tags },
		doc: "tags of that service", unit: "tag,…",
	},
	{
		key: "registry.consul.register.checkInterval", group: "Registration", field: func(c *Config) any { return &c.Registry.Consul.Register.CheckInterval },
		doc: "how often Consul asks /ready?consul",
	},
	{
		key: "registry.consul.register.checkTimeout", group: "Registration", field: func(c *Config) any { return &c.Registry.Consul.Register.CheckTimeout },
		doc: "how long Consul waits for the answer",
	},

	{
		key: "canary.prefix", group: "Canary", field: func(c *Config) any { return &c.Canary.Prefix },
		doc: "KV key of the document for all services; PREFIX/<service> is that of one service", unit: "key",
	},
	{
		key: "canary.seed", group: "Canary", field: func(c *Config) any { return &c.Canary.Seed },
		doc: "file with an object of documents by service, \"*\" for all others, each written at the start where Consul has none", unit: "file",
	},
	{
		key: "canary.staleafter", group: "Canary", field: func(c *Config) any { return &c.Canary.StaleAfter },
		doc: "how long the last known share is kept when its source is lost, where the document has no stale_after",
	},

	{
		key: "daemon.listen", group: "Daemon", field: func(c *Config) any { return &c.Daemon.Listen },
		doc: "where other proxies ask, in the protocol of maxwells-daemon, whether a client goes to the canary: service=web;addr=/run/lb/web.sock;mode=0666, or addr=host:port; several are separated by commas; empty is off", unit: "listener,…",
	},

	{
		key: "log.level", group: "Logs", field: func(c *Config) any { return &c.Log.Level },
		doc: "least severe message shown", values: []string{"trace", "debug", "info", "warn", "error", "off"},
	},
	{
		key: "log.format", group: "Logs", field: func(c *Config) any { return &c.Log.Format },
		doc: "auto is coloured text on a terminal (not with NO_COLOR), plain text elsewhere", values: []string{"auto", "text", "json"},
	},
	{
		key: "log.access.target", group: "Logs", field: func(c *Config) any { return &c.Log.AccessTarget },
		doc: "where the access log goes: stdout, stderr or a file name; empty is off", unit: "target",
	},
	{
		key: "log.access.format", group: "Logs", field: func(c *Config) any { return &c.Log.AccessFormat },
		doc: "form of its lines: json, common, combined, or a template with Fabio's $fields", unit: "format",
	},

	{
		key: "metrics.target", group: "Metrics", field: func(c *Config) any { return &c.Metrics.Target },
		doc: "where metrics go: prometheus (served at /metrics in any case), statsd, dogstatsd, graphite; several are separated by commas", unit: "target,…",
	},
	{
		key: "metrics.prefix", group: "Metrics", field: func(c *Config) any { return &c.Metrics.Prefix },
		doc: "what the names sent begin with", unit: "template",
	},
	{
		key: "metrics.names", group: "Metrics", field: func(c *Config) any { return &c.Metrics.Names },
		doc: "how labels become part of a name where the target has no labels; empty is the labels' values in order", unit: "template",
	},
	{
		key: "metrics.interval", group: "Metrics", field: func(c *Config) any { return &c.Metrics.Interval },
		doc: "how often metrics are sent",
	},
	{
		key: "metrics.statsd.addr", group: "Metrics", field: func(c *Config) any { return &c.Metrics.StatsD },
		doc: "address for statsd over UDP", unit: "host:port",
	},
	{
		key: "metrics.dogstatsd.addr", group: "Metrics", field: func(c *Config) any { return &c.Metrics.DogStatsD },
		doc: "address for dogstatsd over UDP", unit: "host:port",
	},
	{
		key: "metrics.graphite.addr", group: "Metrics", field: func(c *Config) any { return &c.Metrics.Graphite },
		doc: "address for graphite over TCP", unit: "host:port",
	},
}

// env returns the name of the variable that sets o.
func (o *option) env() string {
	return "LB_" + strings.ToUpper(strings.ReplaceAll(o.key, ".", "_"))
}

// kind names the form of the value in help.
func (o *option) kind() string {
	switch o.field(new(Config)).(type) {
	case *bool:
		return ""
	case *time.Duration:
		return "duration"
	}
	switch {
	case o.values != nil:
		return strings.Join(o.values, "|")
	case o.unit != "":
		return o.unit
	}
	switch o.field(new(Config)).(type) {
	case *int:
		return "number"
	}
	return "text"
}

// list reports whether o takes several values, separated by commas.
func (o *option) list() bool {
	switch o.field(new(Config)).(type) {
	case *[]string, *[]netip.Prefix, *[]registry.Health:
		return true
	}
	return false
}

// about is doc with what zero means.
func (o *option) about() string {
	if o.zero != "" {
		return o.doc + "; 0: " + o.zero
	}
	return o.doc
}

// set reads text into o's field of c. Its errors say what to write instead.
func (o *option) set(c *Config, text string) error {
	var err error
	switch p := o.field(c).(type) {
	case *string:
		if o.values != nil {
			text = strings.ToLower(text)
			_, err = o.index(text)
		}
		if err == nil {
			*p = text
		}
	case *bool:
		if *p, err = strconv.ParseBool(text); err != nil {
			err = fmt.Errorf("want true or false")
		}
	case *int:
		*p, err = o.number(text)
	case *time.Duration:
		*p, err = o.duration(text)
	case *[]string:
		*p = fields(text)
	case *[]netip.Prefix:
		*p, err = prefixes(fields(text))
	case *[]registry.Health:
		*p = nil
		for _, s := range fields(text) {
			var h registry.Health
			if err := h.UnmarshalText([]byte(s)); err != nil {
				return err
			}
			*p = append(*p, h)
		}
		if *p == nil {
			err = fmt.Errorf("want at least one status, such as passing")
		}
	case *registry.Required:
		var i int
		i, err = o.index(text)
		*p = registry.Required(i)
	case *route.Balance:
		switch text { // Fabio's words
		case "rr":
			text = "round_robin"
		case "rnd":
			text = "random"
		}
		var i int
		i, err = o.index(text)
		*p = route.Balance(i)
	case *route.Matcher:
		var i int
		i, err = o.index(text)
		*p = route.Matcher(i)
	case *route.OwnershipMode:
		var i int
		i, err = o.index(text)
		*p = route.OwnershipMode(i)
	default:
		panic(fmt.Sprintf("BUG: option %s has a field of type %T", o.key, p))
	}
	return err
}

// text returns o's value in c as set would read it.
func (o *option) text(c *Config) string {
	switch p := o.field(c).(type) {
	case *string:
		return *p
	case *bool:
		return strconv.FormatBool(*p)
	case *int:
		switch {
		case o.zero != "" && *p < 0:
			return "0"
		case o.unit == "bytes":
			return sizeText(*p)
		}
		return strconv.Itoa(*p)
	case *time.Duration:
		if o.zero != "" && *p < 0 {
			return "0"
		}
		return durationText(*p)
	case *[]string:
		return strings.Join(*p, ",")
	case *[]netip.Prefix:
		return join(*p)
	case *[]registry.Health:
		return join(*p)
	case *registry.Required:
		return o.values[*p]
	case *route.Balance:
		return o.values[*p]
	case *route.Matcher:
		return o.values[*p]
	case *route.OwnershipMode:
		return o.values[*p]
	default:
		panic(fmt.Sprintf("BUG: option %s has a field of type %T", o.key, p))
	}
}

func (o *option) index(text string) (int, error) {
	if i := slices.Index(o.values, text); i >= 0 {
		return i, nil
	}
	return 0, fmt.Errorf("want one of %s%s", strings.Join(o.values, ", "), didYouMean(text, o.values))
}

func (o *option) number(text string) (n int, err error) {
	if o.unit == "bytes" {
		n, err = parseSize(text)
	} else if n, err = strconv.Atoi(text); err != nil {
		err = fmt.Errorf("want a whole number")
	}
	if err == nil && n < 0 {
		err = fmt.Errorf("want a number of at least 0")
	}
	if err == nil && n == 0 && o.zero != "" {
		n = -1
	}
	return n, err
}

func (o *option) duration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	switch _, bare := strconv.ParseFloat(text, 64); {
	case err != nil && bare == nil:
		return 0, fmt.Errorf("a duration needs its unit: write %ss, not %s", text, text)
	case err != nil:
		return 0, fmt.Errorf("want a duration such as 300ms, 30s or 5m")
	case d < 0:
		return 0, fmt.Errorf("want a duration of at least 0")
	case d == 0 && o.zero != "":
		return -1, nil
	}
	return d, nil
}

// durationText is d without the zero units that time.Duration prints.
func durationText(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

var sizes = []struct {
	unit  string
	bytes int
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

func parseSize(text string) (int, error) {
	for _, s := range sizes {
		digits, ok := strings.CutSuffix(text, s.unit)
		if !ok {
			continue
		}
		n, err := strconv.Atoi(digits)
		if err != nil || n > (1<<40)/s.bytes {
			break
		}
		return n * s.bytes, nil
	}
	if text == "0" {
		return 0, nil
	}
	return 0, fmt.Errorf("want a size with its unit, such as 64KiB or 1MiB")
}

func sizeText(n int) string {
	for _, s := range sizes {
		if n != 0 && n%s.bytes == 0 {
			return strconv.Itoa(n/s.bytes) + s.unit
		}
	}
	return "0"
}

func prefixes(texts []string) (out []netip.Prefix, err error) {
	for _, s := range texts {
		p, err := netip.ParsePrefix(s)
		if ip, ipErr := netip.ParseAddr(s); ipErr == nil {
			p, err = ip.Prefix(ip.BitLen())
		}
		if err != nil {
			return nil, fmt.Errorf("%q: want an address or a network such as 10.0.0.0/8", s)
		}
		if p != p.Masked() {
			return nil, fmt.Errorf("%q has bits beyond its length: write %s", s, p.Masked())
		}
		out = append(out, p)
	}
	return out, nil
}

// fields splits text at commas and drops empty elements.
func fields(text string) (out []string) {
	for s := range strings.SplitSeq(text, ",") {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}

func join[T fmt.Stringer](list []T) string {
	texts := make([]string, len(list))
	for i, v := range list {
		texts[i] = v.String()
	}
	return strings.Join(texts, ",")
}
