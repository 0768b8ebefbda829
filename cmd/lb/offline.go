package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"

	"serin/canary"
	"serin/proxy"
	"serin/registry"
	"serin/registry/consul"
	"serin/route"
)

// offline makes a table of files, without Consul or a balancer.
type offline struct {
	catalog string
	routes  []string
	canary  []string // SERVICE=FILE
	load    func() (Config, error)
	in      io.Reader
	err     io.Writer
}

// offlineFlags adds the flags of files, and every option as lb run takes it.
// Those that mean nothing to a table are taken but not shown.
func (a *app) offlineFlags(cmd *cobra.Command) *offline {
	o := &offline{in: a.in, err: a.err}
	cmd.Flags().StringVar(&o.catalog, "catalog", "", "JSON `file` of a catalog, as /v1/health/service/NAME answers it, one array for all services (- is standard input)")
	cmd.Flags().StringArrayVar(&o.routes, "routes", nil, "`file` of route commands, applied to the catalog; without --catalog the only routes (repeatable)")
	cmd.Flags().StringArrayVar(&o.canary, "canary", nil, "canary document, as `SERVICE=FILE` (repeatable)")
	o.load = a.flags(cmd, "")
	for _, row := range options {
		if !routing(row.key) {
			cmd.Flags().Lookup(row.key).Hidden = true
		}
	}
	return o
}

// routing reports whether the option decides what becomes of a request.
func routing(key string) bool {
	for _, prefix := range []string{
		"proxy.strategy", "proxy.matcher", "glob.", "proxy.auth", "proxy.noroutestatus", "proxy.trusted", "proxy.panic.", "proxy.retries",
		"registry.consul.tagprefix", "registry.consul.service.status", "registry.consul.checksRequired",
		"registry.ownership.mode", "registry.ownership.file", "registry.targets.",
	} {
		if strings.HasPrefix(key, prefix) {
			return true
		}
	}
	return false
}

// given reports whether files are to be read, and refuses options that would
// say nothing where none are.
func (o *offline) given(cmd *cobra.Command) (bool, error) {
	if o.catalog != "" || o.routes != nil {
		return true, nil
	}
	for _, row := range options {
		if cmd.Flags().Changed(row.key) {
			return false, fail(exitUsage, errors.New("--"+row.key+" would do nothing: the running balancer has options of its own"),
				"--catalog FILE or --routes FILE asks without it")
		}
	}
	if o.canary != nil {
		return false, fail(exitUsage, errors.New("--canary would do nothing: the running balancer has its own documents"), "--catalog FILE asks without it")
	}
	return false, nil
}

// table builds the table of the files, and what decides with it.
func (o *offline) table() (*route.Table, Config, *proxy.Core, error) {
	bad := func(err error) (*route.Table, Config, *proxy.Core, error) { return nil, Config{}, nil, err }
	cfg, err := o.load()
	if err == nil {
		err = o.check()
	}
	if err != nil {
		return bad(err)
	}
	core := &proxy.Core{Settings: cfg.Proxy.settings(), Trusted: cfg.Proxy.Trusted, Headers: proxy.Headers{Trusted: cfg.Proxy.Headers.Trusted}}
	schemes, err := proxy.ParseAuthSchemes(cfg.Proxy.Auth)
	if err != nil {
		return bad(fail(exitUsage, fmt.Errorf("proxy.auth: %w", err), ""))
	}
	if len(schemes) > 0 {
		core.Auth = proxy.NewAuthenticator(schemes, hclog.NewNullLogger())
	}
	in := route.Inputs{Snapshot: registry.New()}
	if o.catalog != "" {
		if in.Snapshot, err = o.readCatalog(cfg.Registry.Consul.Policy); err != nil {
			return bad(err)
		}
	}
	var texts []route.CommandText
	for _, name := range o.routes {
		text, err := o.readFile(name)
		if err != nil {
			return bad(err)
		}
		texts = append(texts, route.CommandText{Source: sourceName(name), Text: string(text)})
	}
	if texts != nil {
		in.Overrides = route.ParseOverrides(texts...)
	}
	if in.Splits, err = o.splits(); err != nil {
		return bad(err)
	}
	if _, err = newOwnership(cfg.Registry.Ownership, func(p *route.Ownership) { in.Ownership = p }, hclog.NewNullLogger()); err != nil {
		return bad(fail(exitUsage, err, ""))
	}
	b, err := cfg.builder()
	if err != nil {
		return bad(fail(exitUsage, err, ""))
	}
	return b.Build(in), cfg, core, nil
}

func (o *offline) readCatalog(p registry.Policy) (*registry.Snapshot, error) {
	text, err := o.readFile(o.catalog)
	if err != nil {
		return nil, err
	}
	s, err := consul.ReadCatalog(strings.NewReader(string(text)), p)
	if err != nil {
		err = fail(exitUsage, fmt.Errorf("%s:%w", sourceName(o.catalog), err), "curl $CONSUL_HTTP_ADDR/v1/health/service/NAME shows the form")
	}
	return s, err
}

// splits reads the canary documents.
func (o *offline) splits() (route.Splits, error) {
	out := route.Splits{ByService: map[string]*route.Split{}}
	for _, arg := range o.canary {
		service, name, ok := strings.Cut(arg, "=")
		if !ok || service == "" || name == "" {
			return out, fail(exitUsage, fmt.Errorf("--canary %q: want SERVICE=FILE", arg), "")
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return out, fail(exitUsage, err, "")
		}
		doc, err := canary.Parse(name, text)
		if err != nil {
			return out, fail(exitUsage, err, "")
		}
		ratio := 0.0
		if doc.Ratio != nil {
			ratio = *doc.Ratio
		}
		out.ByService[service] = canary.Compile(doc, canary.Applied{Service: service, Ratio: ratio})
	}
	return out, nil
}

// check refuses two files that both are standard input.
func (o *offline) check() error {
	n := 0
	for _, name := range append([]string{o.catalog}, o.routes...) {
		if name == "-" {
			n++
		}
	}
	if n > 1 {
		return fail(exitUsage, errors.New("standard input can be read only once"), "")
	}
	return nil
}

// readFile reads a file, or standard input for "-".
func (o *offline) readFile(name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(o.in)
	}
	text, err := os.ReadFile(name)
	return text, fail(exitUsage, err, "")
}

// sourceName names a file as errors and routes do.
func sourceName(name string) string {
	if name == "-" {
		return standardInput
	}
	return name
}
