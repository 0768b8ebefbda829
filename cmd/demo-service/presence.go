package main

import (
	"context"
	"time"

	"github.com/hashicorp/go-hclog"

	"serin/registry/consul"
)

// presence is the instance's place in Consul.
type presence struct {
	client *consul.Client
	log    hclog.Logger
	reg    consul.Registration
	joined func(id string) // called when the instance has its ID

	id string // empty until registered
}

// keep registers the instance, trying until Consul takes it, and keeps it
// registered until ctx ends.
func (p *presence) keep(ctx context.Context) {
	for wait := 250 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		// A request that has been sent is not taken back, or nobody would know
		// whether there is something to deregister.
		id, err := p.client.Register(context.WithoutCancel(ctx), p.reg)
		if err == nil {
			p.id = id
			p.joined(id)
			p.log.Info("registered", "service", p.reg.Name, "id", id, "consul", p.client.Addr(), "tags", p.reg.Tags)
			p.client.Run(ctx) //nolint:errcheck // ends with ctx
			return
		}
		p.log.Warn("not registered yet, serving all the same", "again_in", wait, "error", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// leave takes the instance out of the catalog. It is called after keep has returned.
func (p *presence) leave() {
	if p.id == "" {
		return
	}
	if err := p.client.Deregister(context.Background(), p.id); err != nil {
		p.log.Warn("not deregistered: Consul does it when the check has failed for long enough", "id", p.id, "after", deregisterAfter, "error", err)
		return
	}
	p.log.Info("deregistered", "id", p.id)
}
