package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"serin/canary/daemon"
	"serin/route"
)

// daemonPrefixes are the options that lb daemon has.
var daemonPrefixes = []string{"daemon.", "canary.", "ui.", "registry.", "log.level", "log.format", "metrics."}

func (a *app) daemonCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "daemon [SERVICE|LISTENER]…",
		GroupID: "run",
		Short:   "Tell other proxies who goes to the canary, and balance nothing",
		Long: "Answer other proxies (nginx, HAProxy) on a socket, in the protocol of\nmaxwells-daemon: for each client whether it goes to the canary of a service, as\nthe document in Consul says. It is lb run without its listeners of traffic.\n\n" +
			"A LISTENER is service=NAME;addr=PATH;mode=0666, or addr=HOST:PORT; a SERVICE\nalone is asked for at " + daemon.DefaultPath + ". docs/DAEMON.md tells more.",
		Example: "  lb daemon web\n  lb daemon 'service=web;addr=/run/lb-daemon/web.sock'\n  lb daemon 'service=web;addr=127.0.0.1:9997' --registry.consul.addr 10.0.0.5:8500",
	}
	load := a.flagsOver(DefaultDaemon, cmd, daemonPrefixes...)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		cfg, err := load()
		if err != nil {
			return err
		}
		if cfg, err = cfg.withoutTraffic(args); err != nil {
			return err
		}
		log := a.logger(cfg.Log)
		return untilSignal(cmd.Context(), log, func(ctx context.Context) error { return run(ctx, cfg, a.out, log) })
	}
	return cmd
}

// withoutTraffic returns c for lb daemon, with more listeners of the daemon.
// What c was told of traffic, by variables that a balancer shares, does not count.
func (c Config) withoutTraffic(more []string) (Config, error) {
	c.alone, c.Proxy.Addr, c.Proxy.LameDuck, c.Log.AccessTarget = true, nil, 0, ""
	c.Daemon.Listen = append(c.Daemon.Listen[:len(c.Daemon.Listen):len(c.Daemon.Listen)], more...)
	all, err := c.Daemon.listeners()
	if err == nil && len(all) == 0 {
		err = errors.New("no service is named, and the protocol names none")
	}
	return c, fail(exitUsage, err, "lb daemon web answers for web at "+daemon.DefaultPath)
}

// listeners are what Listen says.
func (d Daemon) listeners() (all []daemon.Listener, err error) {
	for _, text := range d.Listen {
		l, err := daemon.ParseListener(text)
		if err != nil {
			return nil, err
		}
		all = append(all, l)
	}
	return all, daemon.CheckListeners(all)
}

// listenDaemon opens the listeners of the daemon.
func (l *listeners) listenDaemon(d Daemon) error {
	all, err := d.listeners()
	if err != nil {
		return fail(exitUsage, fmt.Errorf("daemon.listen: %w", err), "")
	}
	for _, one := range all {
		ln, err := one.Open()
		if err != nil {
			return fail(exitFailed, fmt.Errorf("daemon.listen: %w", err), "")
		}
		l.asking = append(l.asking, ln)
	}
	return nil
}

// answering makes what answers on the listeners of the daemon.
func (b *balancer) answering(reg prometheus.Registerer) {
	all, _ := b.cfg.Daemon.listeners() // checked when they were opened
	if len(all) == 0 {
		return
	}
	meter := daemon.NewMetrics(reg)
	for _, l := range all {
		b.daemons = append(b.daemons, &daemon.Server{
			Service: l.Service, Shares: b.shares, Meter: meter, Log: b.log.Named("daemon"),
			MaxConns: daemonConns(openFiles(), len(all)),
		})
	}
}

// daemonConns is how many connections each of n listeners of the daemon may
// have open with so many file descriptors: an eighth of them in all.
func daemonConns(openFiles uint64, n int) int {
	if openFiles == 0 { // no limit known
		return daemon.DefaultMaxConns
	}
	return int(min(daemon.DefaultMaxConns, max(16, openFiles/8/uint64(n))))
}

// shares are the canary's shares as other proxies are told them.
type shares struct {
	table   func() *route.Table
	splits  atomic.Pointer[route.Splits]       // published last; nil before
	effects map[string]*atomic.Pointer[effect] // by service, of the table that was asked last
}

// effect is what a table makes of one service's split.
type effect struct {
	table *route.Table
	route.Effect
}

// newShares returns the shares of the services of d.
func newShares(d Daemon, table func() *route.Table) *shares {
	s := &shares{table: table, effects: map[string]*atomic.Pointer[effect]{}}
	all, _ := d.listeners()
	for _, l := range all {
		s.effects[l.Service] = &atomic.Pointer[effect]{}
	}
	return s
}

// Share implements daemon.Shares.
func (s *shares) Share(service string) (ratio float64, ok bool) {
	splits, last := s.splits.Load(), s.effects[service]
	if splits == nil || last == nil {
		return 0, false
	}
	split := splits.ByService[service]
	if split == nil {
		split = splits.Default
	}
	t, e := s.table(), last.Load()
	if e == nil || e.table != t { // computed twice at worst
		e = &effect{t, t.Effect(service)}
		last.Store(e)
	}
	return shareOf(split, e.Effect)
}

// shareOf is the share that other proxies are told of a service: what the table
// in force makes of its document, guards included, where the service has a route
// here; and what the document comes to, without guards, where others alone route
// it and its instances' health is theirs to know. Without a valid document there
// is none.
func shareOf(split *route.Split, e route.Effect) (ratio float64, ok bool) {
	switch {
	case split == nil || split.DocHash == "":
		return 0, false
	case e.Routed:
		return e.Ratio, true
	}
	return split.Ratio, true
}
