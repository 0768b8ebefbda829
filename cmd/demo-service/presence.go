package main

import (
	"context"

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
	id, err := p.client.RegisterRetrying(ctx, p.reg)
	if err != nil {
		return // ctx has ended
	}
	p.id = id
	p.joined(id)
	p.log.Info("registered", "service", p.reg.Name, "id", id, "consul", p.client.Addr(), "tags", p.reg.Tags)
	p.client.Run(ctx) // ends with ctx
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
