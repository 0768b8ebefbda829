package main

import (
	"context"
	"net"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"serin/registry/consul"
)

// register puts the balancer itself into Consul, trying until Consul takes it
// or ctx ends, and keeps it there until alive ends. The returned function takes
// it out again.
func (b *balancer) register(ctx context.Context, g *errgroup.Group, alive context.Context) (deregister func(context.Context)) {
	r := b.cfg.Registry.Consul.Register
	if !r.Enabled {
		return func(context.Context) {}
	}
	joined := make(chan string, 1)
	stop := make(chan struct{})
	ctx, giveUp := context.WithCancel(ctx)
	g.Go(func() error {
		defer close(joined)
		defer giveUp()
		id, err := b.client.RegisterRetrying(ctx, b.registration())
		if err != nil {
			return nil // asked to stop before Consul took it
		}
		joined <- id
		b.log.Info("registered", "service", r.Name, "id", id)
		keep, cancel := context.WithCancel(alive)
		defer cancel()
		go func() { <-stop; cancel() }()
		return b.client.Run(keep)
	})
	return func(ctx context.Context) {
		giveUp()
		close(stop) // or it would be registered again
		select {
		case id, ok := <-joined:
			if !ok {
				return
			}
			if err := b.client.Deregister(ctx, id); err != nil {
				b.log.Warn("not deregistered: Consul does it when the check has failed for long enough", "id", id, "error", err)
			}
		case <-ctx.Done():
		}
	}
}

// registration is what Consul is told of the balancer: its admin listener, as
// in Fabio, checked by HTTP.
func (b *balancer) registration() consul.Registration {
	r := b.cfg.Registry.Consul.Register
	addr := r.Addr
	if addr == "" {
		addr = b.looking.Addr().String()
	}
	host, portText, _ := net.SplitHostPort(addr) // checked with the options
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = ""
		if usable, err := consul.UsableAddr(); err == nil {
			host = usable.String()
		}
	}
	port, _ := strconv.Atoi(portText)
	return consul.Registration{
		Name: r.Name, Address: host, Port: port, Tags: r.Tags,
		Meta: map[string]string{"version": buildVersion().Version},
		Check: consul.Check{
			HTTP:            "http://" + net.JoinHostPort(host, portText) + "/ready?consul",
			Interval:        r.CheckInterval,
			Timeout:         r.CheckTimeout,
			DeregisterAfter: time.Minute, // Consul's minimum
		},
	}
}
