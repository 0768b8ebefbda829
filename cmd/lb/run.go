package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"serin/admin"
	"serin/canary"
	"serin/canary/daemon"
	"serin/control"
	"serin/metrics"
	"serin/proxy"
	"serin/proxy/nethttp"
	"serin/registry"
	"serin/registry/consul"
	"serin/route"
)

// balancer is the running program: its actors, and what they share. The data
// flows are those of docs/ARCHITECTURE.md:
//
//	watcher → loop.SetSnapshot ─┐
//	canaries → loop.SetSplits ──┴→ loop → published → upstreams, engine, metrics
//	engine → core.Decide(loop.Table) → Outcome → observe
type balancer struct {
	cfg     Config
	log     hclog.Logger
	started time.Time

	client    *consul.Client
	watcher   *consul.Watcher
	canaries  *canary.Controller
	names     *names // of environments
	shares    *shares
	loop      *control.Loop
	overrides *overrides
	ownership *ownership
	keys      []*follower    // everything else that is followed in KV
	saver     *control.Saver // nil without registry.snapshot.path
	counted   *control.Metrics

	core   *proxy.Core
	auth   *proxy.Authenticator
	page   atomic.Pointer[[]byte] // see noRoute
	engine *nethttp.Server
	// checkResolved judges what the names of instances stand for.
	checkResolved func(name string, addr netip.AddrPort) error
	metrics       *proxy.Metrics
	flusher       *metrics.Flusher
	access        *proxy.AccessLog // nil without log.access.target
	logFile       *logFile         // nil unless log.access.target is a file
	daemons       []*daemon.Server // one for each of listeners.asking
	admin         *admin.Server

	listeners
	rollouts

	latest   atomic.Pointer[registry.Snapshot] // what the watcher published last
	keyed    atomic.Bool                       // the shared secret was read, or cannot be
	seed     []seedDocument                    // of canary.seed
	restored bool                              // the state on disk is in use
	ready    atomic.Bool                       // was ready once; stays so until draining
	draining atomic.Bool
}

// run is the balancer: it serves until ctx ends, then drains.
func run(ctx context.Context, cfg Config, out io.Writer, log hclog.Logger) error {
	b, err := assemble(cfg, out, log)
	if err != nil {
		return err
	}
	return b.serve(ctx)
}

// listeners are those of the balancer: of traffic, of admin, and of the daemon.
type listeners struct {
	traffic []net.Listener
	looking net.Listener
	asking  []net.Listener // in the order of daemon.listen
}

// listenTraffic opens the listeners of traffic, unless they are open.
func (l *listeners) listenTraffic(addrs []string) error {
	if l.traffic != nil {
		return nil
	}
	for _, addr := range addrs {
		ln, err := net.Listen("tcp", addr)
		if err != nil {
			return fail(exitFailed, fmt.Errorf("proxy.addr: %w", err), "another program may have this port: set proxy.addr")
		}
		l.traffic = append(l.traffic, ln)
	}
	return nil
}

// listenAdmin opens the listener of admin, unless it is open.
func (l *listeners) listenAdmin(addr string) (err error) {
	if l.looking != nil {
		return nil
	}
	if l.looking, err = net.Listen("tcp", addr); err != nil {
		return fail(exitFailed, fmt.Errorf("ui.addr: %w", err), "another program may have this port: set ui.addr")
	}
	return nil
}

func (l *listeners) close() {
	for _, ln := range slices.Concat(l.traffic, l.asking, []net.Listener{l.looking}) {
		if ln != nil {
			ln.Close()
		}
	}
}

// assemble makes all parts and starts none. The listeners are open when it
// returns, so that a port that is taken is known before anything runs.
func assemble(cfg Config, out io.Writer, log hclog.Logger) (*balancer, error) {
	return assembleOn(listeners{}, cfg, out, log)
}

// assembleOn is assemble with listeners that are open already: they are used in
// place of the addresses of cfg, and closed when it fails.
func assembleOn(open listeners, cfg Config, out io.Writer, log hclog.Logger) (_ *balancer, err error) {
	b := &balancer{cfg: cfg, log: log, started: time.Now(), listeners: open}
	defer func() {
		if err != nil {
			b.closeFiles()
		}
	}()
	if b.seed, err = readSeed(cfg.Canary.Seed); err != nil {
		return nil, err
	}
	if err := b.listenTraffic(cfg.Proxy.Addr); err != nil {
		return nil, err
	}
	if err := b.listenAdmin(cfg.UI.Addr); err != nil {
		return nil, err
	}
	if b.client, err = cfg.Registry.Consul.client(log.Named("consul")); err != nil {
		return nil, err
	}
	if err := b.listenDaemon(cfg.Daemon); err != nil {
		return nil, err
	}
	reg := prometheus.NewRegistry()
	b.counted = control.NewMetrics(reg)
	if err := b.follow(reg); err != nil {
		return nil, err
	}
	if err := b.dataPlane(reg, out); err != nil {
		return nil, err
	}
	sinks, err := cfg.Metrics.sinks()
	if err != nil {
		return nil, fail(exitUsage, err, "")
	}
	b.flusher = metrics.NewFlusher(reg, sinks, cfg.Metrics.Interval, log.Named("metrics"))
	b.answering(reg)
	b.restore()
	b.admin = b.adminServer(reg)
	return b, nil
}

// follow makes what follows Consul: catalog, documents, and the loop they meet in.
func (b *balancer) follow(reg prometheus.Registerer) error {
	c := b.cfg.Registry.Consul
	builder, err := b.cfg.builder()
	if err != nil {
		return fail(exitUsage, err, "")
	}
	builder.Denied = append(builder.Denied, b.denied()...)
	b.checkResolved = func(name string, addr netip.AddrPort) error {
		return route.CheckResolved(name, addr, builder.Denied, builder.Allowed)
	}
	b.watcher = consul.NewWatcher(b.client, consul.WatchConfig{TagPrefix: c.TagPrefix, Policy: c.Policy}, b.log.Named("registry"))
	b.loop = &control.Loop{
		Builder: builder,
		Publish: b.published,
		Log:     b.log.Named("control"),
		Metrics: b.counted,
	}
	b.shares = newShares(b.cfg.Daemon, b.loop.Table)
	b.canaries = &canary.Controller{
		Source:  kvSource(b.client, b.cfg.Canary.Prefix),
		Open:    b.openConfigServer,
		Publish: b.split,
		Log:     b.log.Named("canary"),
		Metrics: canary.NewMetrics(reg),

		StaleAfter: b.cfg.Canary.StaleAfter,
	}
	b.names = newNames(b.canaries.SetAddresses, b.log.Named("names"))
	b.canaries.Names = b.names.want
	b.overrides = newOverrides(b.client, c.KVPath, b.loop.SetOverrides, b.log.Named("overrides"))
	b.keys = append(b.keys, b.overrides.followers...)
	if key := c.NoRouteHTMLPath; key != "" {
		b.keys = append(b.keys, followPage(b.client, key, func(page []byte) { b.page.Store(&page) }, b.log.Named("noroute")))
	}
	if b.ownership, err = newOwnership(b.cfg.Registry.Ownership, b.loop.SetOwnership, b.log.Named("ownership")); err != nil {
		return fail(exitUsage, err, "")
	}
	if f := b.ownership.follow(b.client, b.cfg.Registry.Ownership); f != nil {
		b.keys = append(b.keys, f)
	}
	// Until the shared secret is known nobody may be able to compute an arm.
	var random [16]byte
	rand.Read(random[:])
	b.canaries.SetSecret([2]uint64{binary.LittleEndian.Uint64(random[:]), binary.LittleEndian.Uint64(random[8:])})
	b.joinFleet(reg)
	reg.MustRegister(b.ownMetrics()...)
	return nil
}

// dataPlane makes what moves the bytes.
func (b *balancer) dataPlane(reg prometheus.Registerer, out io.Writer) error {
	p := b.cfg.Proxy
	if err := b.openAccessLog(out); err != nil {
		return err
	}
	schemes, err := proxy.ParseAuthSchemes(p.Auth)
	if err != nil {
		return fail(exitUsage, fmt.Errorf("proxy.auth: %w", err), "")
	}
	compress, err := p.Gzip.compression()
	if err != nil {
		return fail(exitUsage, err, "")
	}
	b.auth = proxy.NewAuthenticator(schemes, b.log.Named("auth"))
	drain := &proxy.Drain{}
	upstreams := proxy.NewUpstreams(proxy.UpstreamsConfig{Limits: p.Limits, Ejected: b.ejected})
	b.metrics = proxy.NewMetrics(reg, upstreams, drain, b.access)
	b.core = &proxy.Core{
		Table:      b.loop.Table,
		Upstreams:  upstreams,
		Budget:     &proxy.Budget{},
		Auth:       b.auth,
		NoRoute:    b.noRoute,
		Settings:   p.settings(),
		Timeouts:   p.Timeouts,
		Limits:     p.Limits,
		Headers:    p.Headers,
		Trusted:    p.Trusted,
		Drain:      drain,
		LogHeaders: b.access.Headers(),
		Observe:    b.observe,
		Mirrored:   b.metrics.Mirrored,
		Now:        time.Now,
		Rand:       mathrand.Uint64,
	}
	b.core.Settings.Self = strconv.FormatUint(mathrand.Uint64(), 16)
	b.engine = &nethttp.Server{Core: b.core, Log: b.log.Named("http"), AllowSkipVerify: p.TLSSkipVerify, Compress: compress, CheckResolved: b.checkResolved, MaxConns: maxConns(openFiles())}
	return nil
}

// openAccessLog opens log.access.target.
func (b *balancer) openAccessLog(out io.Writer) error {
	var format proxy.LogFormat
	if err := format.UnmarshalText([]byte(b.cfg.Log.AccessFormat)); err != nil {
		return fail(exitUsage, err, "see log.access.format")
	}
	switch target := b.cfg.Log.AccessTarget; target {
	case "":
		return nil
	case "stdout":
		b.access = proxy.NewAccessLog(out, format)
	case "stderr":
		b.access = proxy.NewAccessLog(os.Stderr, format)
	default:
		f := &logFile{path: target}
		if err := f.reopen(); err != nil {
			return fail(exitFailed, fmt.Errorf("log.access.target: %w", err), "")
		}
		b.access, b.logFile = proxy.NewAccessLog(f, format), f
	}
	return nil
}

// noRoute is the page for requests that no route serves, nil where KV has none.
func (b *balancer) noRoute() []byte {
	if page := b.page.Load(); page != nil {
		return *page
	}
	return nil
}

// published is told every new table, after it is in use.
func (b *balancer) published(old, table *route.Table, _ route.Changes) {
	for _, addr := range b.core.Upstreams.Swap(table) {
		b.engine.Forget(addr)
	}
	for was, is := range registry.Changed(old.Snapshot(), table.Snapshot()) {
		if is == nil {
			b.metrics.Forget(was.Name)
			b.core.Budget.Forget(was.Name)
		}
	}
	b.canaries.Metrics.InForce(sharesInForce(table))
	b.warmups.published(old.Snapshot(), table.Snapshot(), time.Now())
	b.warm(time.Now())
	b.tellFleet()
	b.ownership.published(table)
}

// observe is told every request's outcome.
func (b *balancer) observe(o *proxy.Outcome) {
	b.metrics.Observe(o)
	b.witness.observe(o)
	if b.access != nil {
		b.access.Log(o)
	}
}

func (b *balancer) ejected(service, addr string, d time.Duration, because proxy.Class) {
	if d == 0 {
		b.log.Info("instance is taken back", "service", service, "addr", addr)
		return
	}
	b.metrics.Ejected(service, because)
	b.log.Warn("instance is left out for what was seen of it", "service", service, "addr", addr, "for", d.Round(time.Millisecond), "because", because.String())
}

// serve runs all actors until ctx ends or one of them fails, then stops in
// order: the data plane outlives the control plane.
func (b *balancer) serve(ctx context.Context) error {
	defer b.closeFiles()
	plane, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	g, plane := errgroup.WithContext(plane)
	g.Go(func() error { return b.build(plane) })
	g.Go(func() error { return b.canaries.Run(plane) })
	g.Go(func() error { return b.names.Run(plane) })
	for _, f := range b.keys {
		g.Go(func() error { return f.Run(plane) })
	}
	g.Go(func() error { return b.watcher.Run(plane, b.snapshot) })
	g.Go(func() error { return b.engine.Run(plane, b.traffic...) })
	g.Go(func() error { return b.admin.Run(plane, b.looking) })
	g.Go(func() error { return b.fleet.Run(plane) })
	g.Go(func() error { return b.notifier.Run(plane) })
	g.Go(func() error { return b.attend(plane) })
	g.Go(func() error { return b.introduce(plane) })
	g.Go(func() error { return b.shareSecret(plane) })
	g.Go(func() error { return b.sow(plane) })
	g.Go(func() error { return b.hangups(plane) })
	g.Go(func() error { return b.auth.Run(plane) })
	g.Go(func() error { return b.flusher.Run(plane) })
	g.Go(func() error { return b.ownership.Run(plane) })
	for i, s := range b.daemons {
		g.Go(func() error { return s.Run(plane, b.asking[i]) })
	}
	if b.access != nil {
		g.Go(func() error { return b.access.Run(plane) })
	}
	if b.saver != nil {
		g.Go(func() error { return b.saver.Run(plane) })
		g.Go(func() error { return b.confirm(plane) })
	}
	registered := b.register(ctx, g, plane)
	for _, ln := range b.traffic {
		b.log.Info("serving", "addr", ln.Addr().String(), "admin", b.looking.Addr().String(), "consul", b.client.Addr(), "version", buildVersion().Version)
	}
	for i, s := range b.daemons {
		b.log.Info("answering other proxies", "service", s.Service, "addr", b.asking[i].Addr().String(), "admin", b.looking.Addr().String(), "consul", b.client.Addr())
	}

	select {
	case <-ctx.Done():
	case <-plane.Done(): // an actor failed
	}
	cut := b.stop(registered)
	end()
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return fail(exitFailed, err, "")
	}
	if cut > 0 {
		b.log.Warn("stopped, requests were cut", "cut", cut)
		return errDrainExceeded
	}
	b.log.Info("stopped")
	return nil
}

// build runs the loop. The first table waits a moment for the documents and the
// other keys, or clients would meet one that splits nothing and lacks routes.
func (b *balancer) build(ctx context.Context) error {
	wait, end := context.WithTimeout(ctx, 2*time.Second)
	first := []<-chan struct{}{b.canaries.First(), b.fleet.First()}
	for _, f := range b.keys {
		first = append(first, f.First())
	}
	for _, c := range first {
		select {
		case <-c:
		case <-wait.Done():
		}
	}
	end()
	return b.loop.Run(ctx)
}

// snapshot takes in the catalog.
func (b *balancer) snapshot(s *registry.Snapshot) {
	b.latest.Store(s)
	b.loop.SetSnapshot(s)
	b.names.snapshot(s)
	b.saveCatalog(s)
}

// split takes in what the documents say.
func (b *balancer) split(splits route.Splits, followed []string) {
	b.watcher.Follow(followed)
	b.shares.splits.Store(&splits)
	b.loop.SetSplits(splits)
	b.saveDocuments()
}

func (b *balancer) closeFiles() {
	b.listeners.close()
	if b.logFile != nil {
		b.logFile.close()
	}
	if b.client != nil {
		b.client.Close()
	}
}
