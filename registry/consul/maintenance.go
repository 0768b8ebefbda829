package consul

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/hashicorp/consul/api"

	"serin/registry"
)

// Member is an instance, and the address of the node whose agent it registered at.
type Member struct {
	registry.Instance
	NodeAddr string `json:"node_addr"` // without port
}

// Members reads the instances of a service, in the order of their IDs, with
// their health judged by p. A service that nobody knows has none.
func (c *Client) Members(ctx context.Context, service string, p registry.Policy) ([]Member, error) {
	op := fmt.Sprintf("read service %q", service)
	ctx, cancel := context.WithTimeout(ctx, plainTimeout)
	defer cancel()
	entries, _, err := c.api.Health().Service(service, "", false, new(api.QueryOptions).WithContext(ctx))
	if err != nil {
		return nil, c.classify(op, err)
	}
	r, err := toService(service, entries, p)
	if err != nil {
		return nil, c.classify(op, err)
	}
	out := make([]Member, len(r.svc.Instances))
	for i, in := range r.svc.Instances {
		out[i].Instance = in
		for _, e := range entries {
			if e.Node.Node != in.Node || e.Service.ID != in.ID {
				continue
			}
			out[i].NodeAddr = e.Node.Address
			for _, c := range e.Checks { // what a person said stands in the notes
				if in.Health == registry.Maintenance && strings.Contains(c.CheckID, "_maintenance") && strings.HasSuffix(out[i].Reason, ": ") {
					out[i].Reason += c.Notes
				}
			}
		}
	}
	return out, nil
}

// Own returns the service and the port of an instance that registered at this
// agent; ok is false where the agent has none of that ID.
func (c *Client) Own(ctx context.Context, id string) (service string, port int, ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, plainTimeout)
	defer cancel()
	s, _, err := c.api.Agent().Service(id, new(api.QueryOptions).WithContext(ctx))
	if status, is := errors.AsType[api.StatusError](err); is && status.Code == http.StatusNotFound {
		return "", 0, false, nil
	}
	if err != nil {
		return "", 0, false, c.classify(fmt.Sprintf("read instance %q of the agent", id), err)
	}
	return s.Service, s.Port, true, nil
}

// Has tells whether an instance registered at this agent. IDs are unique only on
// their node, so service and port are compared as well.
func (c *Client) Has(ctx context.Context, in registry.Instance) (bool, error) {
	service, port, ok, err := c.Own(ctx, in.ID)
	_, want, _ := net.SplitHostPort(in.Addr)
	return ok && service == in.Service && strconv.Itoa(port) == want, err
}

// Maintenance puts an instance that registered at this agent into Consul's
// maintenance mode, with a reason for people, or takes it out of it.
func (c *Client) Maintenance(ctx context.Context, id string, on bool, reason string) error {
	ctx, cancel := context.WithTimeout(ctx, plainTimeout)
	defer cancel()
	q := new(api.QueryOptions).WithContext(ctx)
	if on {
		return c.classify(fmt.Sprintf("put %q into maintenance", id), c.api.Agent().EnableServiceMaintenanceOpts(id, reason, q))
	}
	return c.classify(fmt.Sprintf("take %q out of maintenance", id), c.api.Agent().DisableServiceMaintenanceOpts(id, q))
}
