package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"serin/registry/consul"
)

// config is what the flags say.
type config struct {
	consul   string // address of the agent; empty: CONSUL_HTTP_ADDR, else 127.0.0.1:8500
	listen   string
	name     string
	version  string
	tags     []string
	meta     map[string]string
	addr     string
	interval time.Duration
	timeout  time.Duration
	drain    time.Duration
}

// flags declares every flag; parse and usage both go through it.
func flags(cfg *config) *flag.FlagSet {
	fs := flag.NewFlagSet("demo-service", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	const agent = "`address` of the Consul agent, host:port or URL\n(default: $CONSUL_HTTP_ADDR, else 127.0.0.1:8500)"
	fs.StringVar(&cfg.consul, "consul", "", agent)
	fs.StringVar(&cfg.consul, "discovery", "", "the same as -consul")
	fs.StringVar(&cfg.listen, "http", ":3000", "`address` to listen on; with port 0 a free one is taken and registered")
	fs.StringVar(&cfg.name, "name", "web", "`name` of the service")
	fs.StringVar(&cfg.version, "version", "v1", "`version` of the service, in answers and as meta \"version\"")
	fs.Func("tags", "comma-separated `tags`; a tag may hold blanks, a comma in a tag is written \\,\n(default urlprefix-/)", func(s string) error {
		cfg.tags = append(cfg.tags, splitTags(s)...)
		return nil
	})
	fs.Func("meta", "more meta, as `k=v,k=v`", func(s string) error { return addMeta(cfg.meta, s) })
	fs.StringVar(&cfg.addr, "addr", "", "`address` to register (default: where -http listens,\nelse this machine's first usable address)")
	fs.DurationVar(&cfg.interval, "check.interval", 2*time.Second, "time between two health checks; Consul takes no less than 1s")
	fs.DurationVar(&cfg.timeout, "check.timeout", time.Second, "time after which a health check has failed")
	fs.DurationVar(&cfg.drain, "drain", 2*time.Second, "how long to serve on after deregistering")
	return fs
}

// parse reads the arguments; flag.ErrHelp means that help was asked for.
func parse(args []string) (config, error) {
	cfg := config{meta: map[string]string{}}
	fs := flags(&cfg)
	if err := fs.Parse(args); err != nil {
		return cfg, err
	}
	var errs []error
	if fs.NArg() > 0 {
		errs = append(errs, fmt.Errorf("unexpected argument %q: all options are flags", fs.Arg(0)))
	}
	if cfg.name == "" {
		errs = append(errs, errors.New("-name is empty: a service needs a name"))
	}
	if _, _, err := net.SplitHostPort(cfg.listen); err != nil {
		errs = append(errs, fmt.Errorf("-http %q: want host:port or :port", cfg.listen))
	}
	if cfg.interval <= 0 || cfg.timeout <= 0 || cfg.drain < 0 {
		errs = append(errs, errors.New("-check.interval and -check.timeout must be positive, -drain zero or more"))
	}
	tagged := false
	fs.Visit(func(f *flag.Flag) { tagged = tagged || f.Name == "tags" })
	if !tagged {
		cfg.tags = []string{"urlprefix-/"}
	}
	cfg.meta["version"] = cmp.Or(cfg.meta["version"], cfg.version)
	return cfg, errors.Join(errs...)
}

// splitTags splits at commas that no backslash precedes, and drops blanks
// around and empty tags.
func splitTags(s string) (tags []string) {
	var tag strings.Builder
	end := func() {
		if t := strings.TrimSpace(tag.String()); t != "" {
			tags = append(tags, t)
		}
		tag.Reset()
	}
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s) && s[i+1] == ',':
			i++
			tag.WriteByte(',')
		case s[i] == ',':
			end()
		default:
			tag.WriteByte(s[i])
		}
	}
	end()
	return tags
}

func addMeta(meta map[string]string, s string) error {
	for pair := range strings.SplitSeq(s, ",") {
		k, v, ok := strings.Cut(pair, "=")
		if k = strings.TrimSpace(k); !ok || k == "" {
			return fmt.Errorf("%q: want key=value", pair)
		}
		meta[k] = strings.TrimSpace(v)
	}
	return nil
}

// address returns the address to register: -addr, else the one that -http
// listens on when it is a particular one, else the first usable one.
func (cfg config) address() (string, error) {
	if cfg.addr != "" {
		return cfg.addr, nil
	}
	host, _, err := net.SplitHostPort(cfg.listen)
	if err != nil {
		return "", err
	}
	if ip := net.ParseIP(host); host != "" && (ip == nil || !ip.IsUnspecified()) {
		return host, nil
	}
	ip, err := consul.UsableAddr()
	return ip.String(), err
}

// usage is what -h prints.
func usage() string {
	var b strings.Builder
	b.WriteString(`demo-service is an instance of a service: it registers itself in Consul with an
HTTP check, answers every request with who it is, and deregisters when stopped.

Usage:
  demo-service [flags]

Examples:
  demo-service                                           web v1 on :3000, routed at /
  demo-service -http :3001 -version v2 -tags urlprefix-/,canary
                                                         a canary beside it
  demo-service -http :0 -tags "urlprefix-/api strip=/api" -meta team=blue
                                                         on a free port, with more to say

Several copies run side by side on different ports. When it is told to stop
(SIGTERM, SIGINT) it deregisters first, serves on for the time of -drain, closes
WebSockets with 1001, and exits; a second signal ends it at once.

It answers:
  /health              200, 503 while draining; POST ?status=passing|warning|critical sets it
  /fail?rate=0.1       fails with this probability; POST sets it for all other paths
  /slow?ms=500         answers late
  /stream              server-sent events; ?ms= between two, ?n= of them
  /ws                  a WebSocket that echoes
  /seen?id=            which request ids were received and completed
  everything else      JSON: service, version, instance, headers

Flags:
`)
	fs := flags(&config{meta: map[string]string{}})
	fs.SetOutput(&b)
	fs.PrintDefaults()
	return b.String()
}
