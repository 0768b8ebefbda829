package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"

	"serin/admin"
	"serin/canary"
	"serin/registry/consul"
	"serin/route"
)

// catalog is Consul for the commands that look at, or drain, instances.
type catalog struct {
	cfg    Config
	client *consul.Client
}

func (a *app) catalogFlags(cmd *cobra.Command) func() (*catalog, error) {
	load := a.flags(cmd, "registry.consul.addr", "registry.consul.token", "registry.consul.tls.", "canary.prefix")
	return func() (*catalog, error) {
		cfg, err := load()
		if err != nil {
			return nil, err
		}
		client, err := cfg.Registry.Consul.client(hclog.NewNullLogger())
		return &catalog{cfg, client}, err
	}
}

func (c *catalog) members(ctx context.Context, service string) ([]consul.Member, error) {
	m, err := c.client.Members(ctx, service, c.cfg.Registry.Consul.Policy)
	if err != nil {
		return nil, consulError(err)
	}
	return m, nil
}

// find returns the instance that a person means: the ID of one of this agent, or
// SERVICE/ADDRESS or SERVICE/ID of any; and all instances of its service.
func (c *catalog) find(ctx context.Context, arg string) (consul.Member, []consul.Member, error) {
	service, _, own, err := c.client.Own(ctx, arg)
	if err != nil {
		return consul.Member{}, nil, consulError(err)
	}
	name, among := arg, ""
	if !own {
		var ok bool
		if service, name, ok = strings.Cut(arg, "/"); !ok {
			return consul.Member{}, nil, fail(exitNotFound, fmt.Errorf("the agent at %s has no instance %q", c.client.Addr(), arg),
				"name it with its service, as web/10.0.0.7:8080: lb instances web lists them")
		}
	} else {
		among = arg
	}
	all, err := c.members(ctx, service)
	if err != nil {
		return consul.Member{}, nil, err
	}
	var found []consul.Member
	for _, m := range all {
		if m.ID != name && m.Addr != name {
			continue
		}
		if among != "" { // the one of this agent, of those with that ID
			if has, err := c.client.Has(ctx, m.Instance); err != nil || !has {
				continue
			}
		}
		found = append(found, m)
	}
	switch {
	case len(all) == 0:
		return consul.Member{}, nil, fail(exitNotFound, fmt.Errorf("no service %q in Consul at %s", service, c.client.Addr()), "")
	case len(found) == 0:
		return consul.Member{}, nil, fail(exitNotFound, fmt.Errorf("service %s has no instance %q", service, name), "lb instances "+service+" lists them")
	case len(found) > 1:
		return consul.Member{}, nil, fail(exitUsage, fmt.Errorf("%d instances of %s are %q: the first two are on the nodes %s and %s", len(found), service, name, found[0].Node, found[1].Node), "name one by its address, as "+service+"/"+found[0].Addr)
	}
	return found[0], all, nil
}

// maintenance switches the maintenance mode at the agent that has the instance.
func (c *catalog) maintenance(ctx context.Context, m consul.Member, on bool, reason string) error {
	client := c.client
	if here, err := client.Has(ctx, m.Instance); err != nil {
		return consulError(err)
	} else if !here {
		there := c.cfg.Registry.Consul
		there.Addr = agentAt(client.Addr(), m.NodeAddr)
		if client, err = there.client(hclog.NewNullLogger()); err != nil {
			return err
		}
		defer client.Close()
	}
	if err := client.Maintenance(ctx, m.ID, on, reason); err != nil {
		if client == c.client {
			return consulError(err)
		}
		return fail(exitUnreachable, fmt.Errorf("instance %s is registered at the agent of node %s: %w", m.ID, m.Node, err),
			"run this on that node, or name its agent: --registry.consul.addr "+net.JoinHostPort(m.NodeAddr, "8500"))
	}
	return nil
}

// agentAt is the address of the agent of a node: reached as the one at addr is.
func agentAt(addr, node string) string {
	scheme, rest, ok := strings.Cut(addr, "://")
	if !ok {
		scheme, rest = "http", addr
	}
	port := "8500"
	if _, p, err := net.SplitHostPort(strings.TrimSuffix(rest, "/")); err == nil && scheme != "unix" {
		port = p
	}
	if scheme == "unix" {
		scheme = "http"
	}
	return scheme + "://" + net.JoinHostPort(node, port)
}

// others are the services whose instances join as arms of a service's document,
// and the selectors of the arms that its own are divided into.
func (c *catalog) arms(ctx context.Context, service string) (doc *canary.Document, others []string, err error) {
	for _, key := range []string{canary.KeyOf(c.cfg.Canary.Prefix, service), c.cfg.Canary.Prefix} {
		pair, found, err := c.client.Get(ctx, key)
		if err != nil {
			return nil, nil, consulError(err)
		}
		if !found {
			continue
		}
		doc, err := canary.Parse(key, pair.Value)
		if err != nil {
			return nil, nil, fail(exitUsage, fmt.Errorf("which arms the instances belong to is not known: %w", err), "mend it, or use --force")
		}
		for _, sel := range []*canary.Selector{doc.Canary, doc.Stable, doc.Backup} {
			if sel != nil && sel.Service != "" && sel.Service != service && !slices.Contains(others, sel.Service) {
				others = append(others, sel.Service)
			}
		}
		return doc, others, nil
	}
	return &canary.Document{}, nil, nil
}

// remaining counts the instances that could serve once one is drained: those
// that are ready, of the service and of others that join as its arms. The backup
// counts, since it takes everything then. Canaries count only where the drained
// one is a canary too, or where they have everything anyway: nobody means to send
// everyone to a canary by maintaining stable. It is pure.
func remaining(service string, doc *canary.Document, members []consul.Member, drained consul.Member) (n int) {
	canaries := armOf(service, doc, drained) == route.Canary.String() || doc.Control == "promote" ||
		(doc.Control == "" || doc.Control == "run") && doc.Ratio != nil && *doc.Ratio == 1
	for _, m := range members {
		if !m.Ready || m.ID == drained.ID && m.Node == drained.Node && m.Service == drained.Service {
			continue
		}
		if arm := armOf(service, doc, m); arm != "" && (canaries || arm != route.Canary.String()) {
			n++
		}
	}
	return n
}

// armOf is the arm of an instance, "" where no request goes to it.
func armOf(service string, doc *canary.Document, m consul.Member) string {
	is := func(s *canary.Selector) bool {
		if s == nil || cmp.Or(s.Service, service) != m.Service || s.Tag != "" && !slices.Contains(m.Tags, s.Tag) {
			return false
		}
		for k, v := range s.Meta {
			if got, ok := m.Meta[k]; !ok || got != v {
				return false
			}
		}
		return true
	}
	switch {
	case is(doc.Backup):
		return route.Backup.String()
	case is(cmp.Or(doc.Canary, &canary.Selector{Tag: "canary"})):
		return route.Canary.String()
	case is(doc.Stable), doc.Stable == nil && m.Service == service: // the rest
		return route.Stable.String()
	}
	return ""
}

func (a *app) drainCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "drain INSTANCE | SERVICE/ADDRESS",
		GroupID: "operate",
		Short:   "Take an instance out of service, and wait until nobody uses it",
		Long: "Put one instance into Consul's maintenance mode: no balancer sends it new requests,\nand those in flight finish. It waits until the balancer at --addr has none left.\n\n" +
			"INSTANCE is the ID of an instance of this agent; one of any agent is\nSERVICE/ADDRESS or SERVICE/ID. It is refused where fewer than --floor instances\nwould stay ready: of stable and the backup, and of the canary where that has\neverything or is what is drained.\n\n" +
			"With --for the command stays that long, then restores the instance. When it is\ninterrupted before, the instance stays drained.",
		Example: "  lb drain web-1 --reason 'new disks'\n  lb drain web/10.0.0.7:8080 --for 10m\n  lb drain web/10.0.0.7:8080 --floor 3",
		Args:    usage(cobra.ExactArgs(1)),
	}
	cmd.Flags().SortFlags = false
	reason := cmd.Flags().String("reason", "lb drain", "`text` that people find in Consul")
	floor := cmd.Flags().Int("floor", 1, "`number` of instances that must stay ready")
	force := cmd.Flags().Bool("force", false, "drain although fewer stay")
	span := cmd.Flags().Duration("for", 0, "`duration` after which it is restored; without it, lb restore does that")
	wait := cmd.Flags().Duration("wait", 30*time.Second, "`duration` to wait at most until no request is in flight; 0s does not wait")
	lb := a.apiFlag(cmd)
	connect := a.catalogFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *floor < 0 {
			return fail(exitUsage, fmt.Errorf("--floor: want 0 or more, not %d", *floor), "--floor 0 may leave nobody")
		}
		c, err := connect()
		if err != nil {
			return err
		}
		defer c.client.Close()
		ctx := cmd.Context()
		m, members, err := c.find(ctx, args[0])
		if err != nil {
			return err
		}
		if !*force {
			if err := c.floor(ctx, m, members, *floor); err != nil {
				return err
			}
		}
		if err := c.maintenance(ctx, m, true, *reason); err != nil {
			return err
		}
		fmt.Fprintf(a.out, "%s of %s at %s is in maintenance: new requests go elsewhere\n", m.ID, m.Service, m.Addr)
		began := time.Now()
		if *wait > 0 {
			if err := a.drained(ctx, lb(), m, *wait); err != nil {
				return err
			}
		}
		if *span == 0 {
			fmt.Fprintf(a.out, "lb restore %s puts it back\n", m.Service+"/"+m.Addr)
			return nil
		}
		return a.restoreAfter(ctx, c, m, *span-time.Since(began))
	}
	return cmd
}

// floor refuses a drain that leaves too few instances.
func (c *catalog) floor(ctx context.Context, m consul.Member, members []consul.Member, floor int) error {
	doc, others, err := c.arms(ctx, m.Service)
	if err != nil {
		return err
	}
	for _, other := range others {
		more, err := c.members(ctx, other)
		if err != nil {
			return err
		}
		members = append(members, more...)
	}
	if n := remaining(m.Service, doc, members, m); n < floor {
		return fail(exitFailed, fmt.Errorf("%d instances of %s would stay ready, fewer than %d; nothing was changed", n, m.Service, floor),
			"lb instances "+m.Service+" lists them; --floor or --force, where it is meant")
	}
	return nil
}

// restoreAfter stays until it is time, then restores the instance. A signal
// before leaves it drained.
func (a *app) restoreAfter(ctx context.Context, c *catalog, m consul.Member, span time.Duration) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	span = max(0, span)
	fmt.Fprintf(a.out, "it is restored in %s, while this command runs\n", span.Round(time.Second))
	select {
	case <-time.After(span):
	case <-ctx.Done():
		return fail(exitInterrupted, fmt.Errorf("%s stays drained", m.ID), "lb restore "+m.Service+"/"+m.Addr+" puts it back")
	}
	if err := c.maintenance(ctx, m, false, ""); err != nil {
		return err
	}
	fmt.Fprintf(a.out, "%s is out of maintenance\n", m.ID)
	return nil
}

// drained waits until the balancer at lb neither sends requests to the instance
// nor has any in flight.
func (a *app) drained(ctx context.Context, lb *adminAPI, m consul.Member, wait time.Duration) error {
	start := time.Now()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		var s admin.ServiceDetail
		err := lb.get(ctx, "/api/v1/services/"+url.PathEscape(m.Service), &s)
		e, _ := errors.AsType[*exitError](err)
		inFlight, sends := usesOf(s, m)
		switch {
		case e != nil && e.code == exitUnreachable:
			fmt.Fprintf(a.err, "note: no balancer answers at %s to say whether requests are in flight\n", lb.addr)
			return nil
		case e != nil && e.code == exitNotFound:
			sends = false // it has no route
		case err != nil:
			return err
		}
		if !sends && inFlight == 0 {
			fmt.Fprintf(a.out, "the balancer at %s has no request in flight to it after %d ms\n", lb.addr, time.Since(start).Milliseconds())
			return nil
		}
		if time.Since(start) >= wait {
			return fail(exitTimeout, fmt.Errorf("the balancer at %s still has %d requests in flight to %s after %s; it stays drained", lb.addr, inFlight, m.ID, wait), "lb drain again waits longer (--wait)")
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// usesOf tells what a balancer has in flight to an instance, and whether it
// sends it more. It is pure.
func usesOf(s admin.ServiceDetail, m consul.Member) (inFlight int, sends bool) {
	for _, i := range s.Members {
		sends = sends || i.ID == m.ID && i.Node == m.Node && i.Ready
	}
	for _, u := range s.Upstreams {
		if u.Addr == m.Addr {
			inFlight += int(u.InFlight)
		}
	}
	return inFlight, sends
}

func (a *app) restoreCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "restore INSTANCE | SERVICE/ADDRESS",
		GroupID: "operate",
		Short:   "Put an instance back that was drained",
		Long:    "Take one instance out of Consul's maintenance mode. It gets traffic as soon as its\nchecks pass.",
		Example: "  lb restore web-1\n  lb restore web/10.0.0.7:8080",
		Args:    usage(cobra.ExactArgs(1)),
	}
	connect := a.catalogFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		defer c.client.Close()
		m, _, err := c.find(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		if err := c.maintenance(cmd.Context(), m, false, ""); err != nil {
			return err
		}
		fmt.Fprintf(a.out, "%s of %s at %s is out of maintenance\n", m.ID, m.Service, m.Addr)
		return nil
	}
	return cmd
}

func (a *app) instancesCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:               "instances SERVICE",
		GroupID:           "operate",
		Short:             "List the instances of a service as Consul has them",
		Example:           "  lb instances web\n  lb instances web --json",
		Args:              usage(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeService,
	}
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	connect := a.catalogFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		defer c.client.Close()
		members, err := c.members(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		if len(members) == 0 {
			return fail(exitNotFound, fmt.Errorf("no service %q in Consul at %s", args[0], c.client.Addr()), "")
		}
		if *asJSON {
			return a.json(members)
		}
		w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "INSTANCE\tADDRESS\tNODE\tTAGS\tSTATE")
		for _, m := range members {
			state := "ready"
			if !m.Ready {
				state = m.Reason
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", safe(m.ID), m.Addr, m.Node, safe(strings.Join(m.Tags, ", ")), safe(state))
		}
		return w.Flush()
	}
	return cmd
}
