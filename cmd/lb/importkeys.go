package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"serin/internal/shell"
)

// fabioOption is one option of Fabio and what becomes of it.
type fabioOption struct {
	key string
	// to is our option that means the same; "" where there is none.
	to string
	// why there is none, or what is different.
	why string
	// value turns Fabio's value into ours; nil takes it as it is. An error says
	// why it cannot.
	value func(string) (text, note string, err error)
	// also are lines that the value asks for besides.
	also func(string) []string
	// kv is a shell's command that the value becomes.
	kv     func(string) string
	secret bool // its value is not copied
}

const (
	noTLS     = "listeners for TLS are not there yet: it needs a TLS terminator in front, or Fabio stays for that port"
	noGRPC    = "gRPC is not carried yet"
	noNeed    = "not needed"
	noUI      = "there is no web UI yet: lb routes and GET /api/v1/… tell the same"
	noBGP     = "there is no BGP: a daemon such as BIRD beside the balancer announces addresses"
	noTracing = "tracing is not there yet; proxy.header.requestid gives each request an id"
	noCustom  = "there is no custom registry: write the routes to Consul's KV (docs/OVERRIDES.md)"
	noCircle  = "Circonus is not there: it reads statsd and Prometheus"
	noWait    = "not needed: it listens at once and keeps trying"
)

// fabioOptions are all options of Fabio 1.7.3, and those of tracing, which
// earlier versions had.
var fabioOptions = []fabioOption{
	{key: "proxy.addr", to: "proxy.addr", value: httpListeners},
	{key: "proxy.strategy", to: "proxy.strategy", value: balanceWord},
	{key: "proxy.matcher", to: "proxy.matcher"},
	{key: "proxy.noroutestatus", to: "proxy.noroutestatus"},
	{key: "proxy.maxconn", to: "proxy.maxconn"},
	{key: "proxy.dialtimeout", to: "proxy.dialtimeout"},
	{key: "proxy.responseheadertimeout", to: "proxy.responseheadertimeout"},
	{key: "proxy.keepalivetimeout", why: "proxy.keepalivetimeout means something else here (how long an idle client connection stays); TCP keep-alive is always on"},
	{key: "proxy.idleconntimeout", to: "proxy.idleconntimeout"},
	{key: "proxy.readtimeout", why: "proxy.readheadertimeout (a request's head) and proxy.bodyidletimeout (silence in a body) take its place; their defaults are good"},
	{key: "proxy.writetimeout", why: "proxy.bodyidletimeout and proxy.streamidletimeout take its place: silence, not the whole response"},
	{key: "proxy.flushinterval", why: "not needed: what came is passed on at once"},
	{key: "proxy.globalflushinterval", why: "not needed: what came is passed on at once"},
	{key: "proxy.shutdownwait", to: "proxy.shutdownwait"},
	{key: "proxy.deregistergraceperiod", to: "proxy.deregistergraceperiod"},
	{key: "proxy.localip", why: "not needed: by= in Forwarded is the address that the client reached"},
	{key: "proxy.gzip.contenttype", to: "proxy.gzip.contenttype"},
	{key: "proxy.grpcmaxrxmsgsize", why: noGRPC},
	{key: "proxy.grpcmaxtxmsgsize", why: noGRPC},
	{key: "proxy.grpcshutdowntimeout", why: noGRPC},
	{key: "proxy.header.clientip", to: "proxy.header.clientip"},
	{key: "proxy.header.tls", to: "proxy.header.tls"},
	{key: "proxy.header.tls.value", to: "proxy.header.tls.value"},
	{key: "proxy.header.requestid", to: "proxy.header.requestid"},
	{key: "proxy.header.sts.maxage", why: hsts},
	{key: "proxy.header.sts.subdomains", why: hsts},
	{key: "proxy.header.sts.preload", why: hsts},
	{key: "proxy.auth", to: "proxy.auth"},
	{key: "proxy.cs", why: noTLS, secret: true},
	{key: "proxy.log.routes", why: "obsolete in Fabio too: every change of a route is logged"},
	{key: "aws.apigw.cert.cn", why: noTLS},

	{key: "registry.backend", why: "Consul is the only registry; static and file routes go to its KV"},
	{key: "registry.timeout", why: noWait},
	{key: "registry.retry", why: noWait},
	{key: "registry.consul.addr", to: "registry.consul.addr"},
	{key: "registry.consul.token", why: "a secret is not copied: set the variable CONSUL_HTTP_TOKEN, or registry.consul.token.file to a file that holds it", secret: true},
	{key: "registry.consul.namespace", why: "set the variable CONSUL_NAMESPACE, which Consul's client reads"},
	{key: "registry.consul.kvpath", to: "registry.consul.kvpath", value: bothPaths},
	{key: "registry.consul.noroutehtmlpath", to: "registry.consul.noroutehtmlpath"},
	{key: "registry.consul.tagprefix", to: "registry.consul.tagprefix"},
	{key: "registry.consul.service.status", to: "registry.consul.service.status"},
	{key: "registry.consul.checksRequired", to: "registry.consul.checksRequired"},
	{key: "registry.consul.serviceMonitors", why: noNeed + ": each service is followed on its own"},
	{key: "registry.consul.pollinterval", why: noNeed + ": changes are pushed by blocking queries"},
	{key: "registry.consul.requireConsistent", why: noNeed + ": reads are confirmed where it matters"},
	{key: "registry.consul.allowStale", why: noNeed + ": reads are confirmed where it matters"},
	{key: "registry.consul.tls.keyfile", to: "registry.consul.tls.keyfile"},
	{key: "registry.consul.tls.certfile", to: "registry.consul.tls.certfile"},
	{key: "registry.consul.tls.cafile", to: "registry.consul.tls.cafile"},
	{key: "registry.consul.tls.capath", to: "registry.consul.tls.capath"},
	{key: "registry.consul.tls.insecureskipverify", to: "registry.consul.tls.insecureskipverify"},
	{key: "registry.consul.register.enabled", to: "registry.consul.register.enabled"},
	{key: "registry.consul.register.name", to: "registry.consul.register.name"},
	{key: "registry.consul.register.addr", to: "registry.consul.register.addr"},
	{key: "registry.consul.register.tags", to: "registry.consul.register.tags"},
	{key: "registry.consul.register.checkInterval", to: "registry.consul.register.checkInterval"},
	{key: "registry.consul.register.checkTimeout", to: "registry.consul.register.checkTimeout"},
	{key: "registry.consul.register.checkTLSSkipVerify", why: noNeed + ": the admin listener speaks plain HTTP"},
	{key: "registry.consul.register.checkDeregisterCriticalServiceAfter", why: "obsolete in Fabio too: a balancer that is gone is deregistered by Consul"},
	{key: "registry.static.routes", why: "the commands are converted like those of a file", secret: true},
	{key: "registry.static.noroutehtml", why: "the page goes to Consul's KV", kv: func(v string) string { return "consul kv put lb/noroute.html " + shell.Quote(v) }},
	{key: "registry.file.path", why: "Consul's KV holds route commands here; convert the file too: lb import fabio FILE"},
	{key: "registry.file.noroutehtmlpath", why: "the page goes to Consul's KV", kv: func(v string) string { return "consul kv put lb/noroute.html " + shell.Quote("@"+v) }},
	{key: "registry.custom.host", why: noCustom},
	{key: "registry.custom.scheme", why: noCustom},
	{key: "registry.custom.path", why: noCustom},
	{key: "registry.custom.queryparams", why: noCustom, secret: true},
	{key: "registry.custom.timeout", why: noCustom},
	{key: "registry.custom.pollinterval", why: noCustom},
	{key: "registry.custom.noroutehtml", why: noCustom},
	{key: "registry.custom.checkTLSSkipVerify", why: noCustom},

	{key: "ui.addr", to: "ui.addr", value: firstListener, also: remote},
	{key: "ui.access", to: "ui.access"},
	{key: "ui.color", why: noUI},
	{key: "ui.title", why: noUI},
	{key: "ui.path", why: noUI},
	{key: "ui.routingtable.source.linkenabled", why: noUI},
	{key: "ui.routingtable.source.newtab", why: noUI},
	{key: "ui.routingtable.source.scheme", why: noUI},
	{key: "ui.routingtable.source.host", why: noUI},
	{key: "ui.routingtable.source.port", why: noUI},

	{key: "log.level", to: "log.level", value: level},
	{key: "log.access.target", to: "log.access.target"},
	{key: "log.access.format", to: "log.access.format"},
	{key: "log.routes.format", why: "every change of a route is logged as a line of its own"},

	{key: "metrics.target", to: "metrics.target", value: metricsTargets},
	{key: "metrics.prefix", to: "metrics.prefix"},
	{key: "metrics.names", to: "metrics.names"},
	{key: "metrics.interval", to: "metrics.interval"},
	{key: "metrics.timeout", why: noNeed + ": what cannot be sent is dropped and counted"},
	{key: "metrics.retry", why: noNeed + ": what cannot be sent is dropped and counted"},
	{key: "metrics.graphite.addr", to: "metrics.graphite.addr"},
	{key: "metrics.statsd.addr", to: "metrics.statsd.addr"},
	{key: "metrics.dogstatsd.addr", to: "metrics.dogstatsd.addr"},
	{key: "metrics.circonus.apikey", why: noCircle, secret: true},
	{key: "metrics.circonus.apiapp", why: noCircle},
	{key: "metrics.circonus.apiurl", why: noCircle},
	{key: "metrics.circonus.brokerid", why: noCircle},
	{key: "metrics.circonus.checkid", why: noCircle},
	{key: "metrics.circonus.submissionurl", why: noCircle, secret: true},
	{key: "metrics.prometheus.subsystem", why: "names begin with lb_; relabel them in Prometheus"},
	{key: "metrics.prometheus.path", why: "it is /metrics of ui.addr"},
	{key: "metrics.prometheus.buckets", why: "the buckets are fixed, see docs/OPERATIONS.md"},

	{key: "glob.cache.size", why: noNeed + ": globs are compiled once, with the table"},
	{key: "glob.matching.disabled", to: "glob.matching.disabled"},
	{key: "runtime.gogc", why: "set the variable GOGC"},
	{key: "runtime.gomaxprocs", why: "set the variable GOMAXPROCS; the limit of a container is seen without it"},

	{key: "bgp.enabled", why: noBGP},
	{key: "bgp.asn", why: noBGP},
	{key: "bgp.anycastaddresses", why: noBGP},
	{key: "bgp.routerid", why: noBGP},
	{key: "bgp.listenport", why: noBGP},
	{key: "bgp.listenaddresses", why: noBGP},
	{key: "bgp.peers", why: noBGP, secret: true},
	{key: "bgp.enablegrpc", why: noBGP},
	{key: "bgp.grpclistenaddress", why: noBGP},
	{key: "bgp.grpctls", why: noBGP},
	{key: "bgp.certfile", why: noBGP},
	{key: "bgp.keyfile", why: noBGP},
	{key: "bgp.nexthop", why: noBGP},
	{key: "bgp.gobgpdcfgfile", why: noBGP},

	{key: "profile.mode", why: "profiles are at /debug/pprof/ of ui.addr"},
	{key: "profile.path", why: "profiles are at /debug/pprof/ of ui.addr"},
	{key: "tracing.TracingEnabled", why: noTracing},
	{key: "tracing.CollectorType", why: noTracing},
	{key: "tracing.ConnectString", why: noTracing},
	{key: "tracing.ServiceName", why: noTracing},
	{key: "tracing.SpanName", why: noTracing},
	{key: "tracing.Topic", why: noTracing},
	{key: "tracing.SamplerRate", why: noTracing},
	{key: "tracing.SpanHost", why: noTracing},
	{key: "tracing.TraceID128Bit", why: noTracing},

	{key: "insecure", why: noNeed},
	{key: "cfg", why: "--config names the YAML file"},
	{key: "v", why: "lb version"},
}

const hsts = "a route says it: respheader.set=Strict-Transport-Security:max-age=31536000 in its tag"

// fabioKey finds the row of a key, which may be written as a variable. wrong says
// that Fabio has no such key.
func fabioKey(key string) (row *fabioOption, wrong string) {
	names := make([]string, len(fabioOptions))
	for i := range fabioOptions {
		if fabioOptions[i].key == key {
			return &fabioOptions[i], ""
		}
		names[i] = fabioOptions[i].key
	}
	variable := strings.ReplaceAll(strings.TrimPrefix(strings.ToLower(key), "fabio_"), ".", "_")
	for i := range fabioOptions {
		if strings.ReplaceAll(strings.ToLower(names[i]), ".", "_") != variable {
			continue
		}
		if strings.Contains(key, ".") {
			return &fabioOptions[i], fmt.Sprintf("%s is written %s; Fabio ignored it so, it is converted nevertheless", key, names[i])
		}
		return &fabioOptions[i], ""
	}
	return nil, fmt.Sprintf("Fabio has no option %q%s; it ignored it", key, didYouMean(key, names))
}

// convertProperties returns a configuration file with a line for every property,
// commands of a shell for what belongs into KV, and notes for people.
func convertProperties(properties []property, files []string) (yaml string, kv, notes []string) {
	var b strings.Builder
	fmt.Fprintf(&b, "# Made by lb import fabio from %s.\n# Options that are not here have their defaults: lb config reference lists them.\n", strings.Join(files, ", "))
	remark := func(format string, args ...any) {
		for line := range strings.SplitSeq(fmt.Sprintf(format, args...), "\n") {
			b.WriteString("# " + line + "\n")
		}
	}
	lines := mapped(properties)
	group := ""
	for i := range fabioOptions {
		row := &fabioOptions[i]
		n := slices.IndexFunc(properties, func(p property) bool { return p.key == row.key })
		if n < 0 {
			continue
		}
		if g, _, _ := strings.Cut(row.key, "."); g != group {
			group = g
			b.WriteString("\n")
		}
		p := properties[n]
		shown := p.value
		if row.secret && shown != "" {
			shown = redacted
		}
		if row.kv != nil && p.value != "" {
			kv = append(kv, "# "+row.key+"\n"+row.kv(p.value)+"\n")
		}
		if row.to == "" {
			remark("%s = %s: %s", row.key, oneLine(shown), row.why)
			continue
		}
		line := lines[row.to]
		switch {
		case line.err != nil:
			remark("%s = %s: %v", row.key, oneLine(shown), line.err)
			notes = append(notes, fmt.Sprintf("%s = %s is not converted: %v", row.key, oneLine(shown), line.err))
			continue
		case line.note != "":
			remark("%s = %s: %s", row.key, oneLine(shown), line.note)
		}
		b.WriteString(line.text)
	}
	for _, p := range properties {
		if row, _ := fabioKey(p.key); row == nil {
			b.WriteString("\n")
			remark("%s: Fabio has no such option", p.key)
		}
	}
	return b.String(), kv, notes
}

func oneLine(s string) string {
	if first, _, more := strings.Cut(s, "\n"); more {
		return first + " …"
	}
	return s
}

// mappedLine is what becomes of an option that we have too.
type mappedLine struct {
	text, note string // of the file; for people
	err        error  // why it is left out
}

// mapped returns the lines of the options that we have too, by our key. What lb
// would refuse, alone or beside the others, is left out with its reason.
func mapped(properties []property) map[string]mappedLine {
	lines := map[string]mappedLine{}
	for i := range fabioOptions {
		row := &fabioOptions[i]
		n := slices.IndexFunc(properties, func(p property) bool { return p.key == row.key })
		if n < 0 || row.to == "" {
			continue
		}
		line := mappedLine{text: properties[n].value}
		if row.value != nil {
			line.text, line.note, line.err = row.value(line.text)
		}
		var also []string
		if line.err == nil && row.also != nil {
			also = row.also(line.text)
		}
		line.text = strings.Join(append([]string{row.to + ": " + yamlText(line.text)}, also...), "\n") + "\n"
		lines[row.to] = line
	}
	for again := true; again; {
		again = false
		var data strings.Builder
		for _, key := range slices.Sorted(maps.Keys(lines)) {
			if lines[key].err == nil {
				data.WriteString(lines[key].text)
			}
		}
		_, err := load(given{name: "lb.yaml", file: []byte(data.String())})
		for _, e := range flatten(err) {
			first, _, _ := strings.Cut(e.Error(), "\n")
			key, why, _ := strings.Cut(first, " = ")
			line, ok := lines[key]
			if !ok || line.err != nil {
				continue
			}
			if _, after, ok := strings.Cut(why, "): "); ok {
				why = after
			}
			line.err, again = errors.New(why), true
			lines[key] = line
		}
	}
	return lines
}

// httpListeners keeps the listeners that we can be.
func httpListeners(v string) (text, note string, err error) {
	var keep, drop []string
	for _, l := range cutQuoted(v, ',') {
		addr, opts, _ := strings.Cut(strings.TrimSpace(l), ";")
		proto, others := "http", []string{}
		for _, o := range cutQuoted(opts, ';') {
			name, value, _ := strings.Cut(strings.TrimSpace(o), "=")
			switch name {
			case "":
			case "proto":
				proto = value
			case "cs":
				proto = "https"
			default:
				others = append(others, name)
			}
		}
		switch {
		case addr == "":
		case strings.Contains(addr, "{{"):
			drop = append(drop, addr+" (write the address that the template gives)")
		case proto != "http":
			drop = append(drop, addr+" (proto="+proto+" is not carried yet)")
		default:
			keep = append(keep, addr)
			if len(others) > 0 {
				drop = append(drop, strings.Join(others, ", ")+" of "+addr+" (options of a listener are those of all, see docs/OPTIONS.md)")
			}
		}
	}
	if len(drop) > 0 {
		note = "without " + strings.Join(drop, ", ")
	}
	if keep == nil {
		return "", "", fmt.Errorf("no listener is left: %s", strings.TrimPrefix(note, "without "))
	}
	return strings.Join(keep, ","), note, nil
}

func firstListener(v string) (text, note string, err error) {
	if text, note, err = httpListeners(v); err == nil && strings.Contains(text, ",") {
		return "", "", fmt.Errorf("one address is served")
	}
	return text, note, err
}

// cutQuoted cuts at sep where that is not inside quotes.
func cutQuoted(s string, sep rune) []string {
	quoted := false
	return strings.FieldsFunc(s, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return r == sep && !quoted
	})
}

// remote is what an admin listener needs that others reach, as Fabio's could be.
func remote(addr string) []string {
	if loopback(addr) {
		return nil
	}
	return []string{
		"# The admin listener asks nobody who they are. Better: ui.addr 127.0.0.1:9998, without the next line.",
		"ui.allow.remote: true",
	}
}

func balanceWord(v string) (text, note string, err error) {
	switch v {
	case "rr":
		return "round_robin", "", nil
	case "rnd":
		return "random", "the default here, p2c, takes the less busy of two instances", nil
	}
	return v, "", nil
}

func bothPaths(v string) (text, note string, err error) {
	path := strings.Trim(v, "/")
	return "lb/routes," + path, "Fabio's commands count too; take " + path + " out once they are imported, or they count twice", nil
}

func level(v string) (text, note string, err error) {
	if text = strings.ToLower(v); text == "fatal" {
		return "error", "there is no fatal", nil
	}
	return text, "", nil
}

func metricsTargets(v string) (text, note string, err error) {
	var keep, drop []string
	for _, t := range fields(v) {
		switch t {
		case "prometheus", "dogstatsd", "graphite":
			keep = append(keep, t)
		case "statsd_raw", "statsd":
			keep = append(keep, "statsd")
		default:
			drop = append(drop, t)
		}
	}
	if drop != nil {
		note = "without " + strings.Join(drop, ", ") + ", which are not there"
	}
	if keep == nil {
		return "", "", fmt.Errorf("no target is left: %s; /metrics is there without it", note)
	}
	return strings.Join(keep, ","), note, nil
}
