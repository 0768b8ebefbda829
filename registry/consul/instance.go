package consul

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	"serin/registry"

	"github.com/hashicorp/consul/api"
)

const maxOutput = 512 // bytes kept of what a check printed

// reading is one service as one answer of Consul shows it.
type reading struct {
	svc *registry.Service
	// untested: no instance is ready, and that is only because no check of any
	// of them has run since it was registered (Consul calls that critical).
	untested bool
	fresh    []place // the instances of which that is so, whatever the others are
	sums     sums    // of its checks and those of its nodes
	acl      bool    // Consul says that ACLs are on
	// indices are those of Consul at which something in it was written. What was
	// removed leaves none.
	indices []uint64
}

// place is an instance at its address.
type place struct{ id, node, addr string }

// toService turns Consul's answer about one service into ours. Connect proxies
// and gateways are left out. An answer with holes in it is an error as a whole.
func toService(name string, entries []*api.ServiceEntry, p registry.Policy) (reading, error) {
	svc := &registry.Service{Name: name, Instances: make([]registry.Instance, 0, len(entries))}
	var fresh []place
	var indices []uint64
	for i, e := range entries {
		if e == nil || e.Node == nil || e.Service == nil || slices.Contains(e.Checks, nil) {
			return reading{}, fmt.Errorf("%w: instance %d of service %q is incomplete", ErrDecode, i, name)
		}
		if e.Service.Kind != api.ServiceKindTypical {
			continue
		}
		if e.Service.ID == "" || e.Node.Node == "" {
			return reading{}, fmt.Errorf("%w: instance %d of service %q has no ID or no node", ErrDecode, i, name)
		}
		indices = append(indices, e.Service.ModifyIndex)
		for _, c := range e.Checks {
			indices = append(indices, c.ModifyIndex)
		}
		in := toInstance(name, e, p)
		svc.Instances = append(svc.Instances, in)
		if !in.Ready && neverRun(e.Checks) {
			fresh = append(fresh, place{in.ID, in.Node, in.Addr})
		}
	}
	svc.Normalize()
	return reading{
		svc:      svc,
		untested: len(fresh) > 0 && len(fresh) == len(svc.Instances),
		fresh:    fresh,
		sums:     sumEntries(name, entries),
		indices:  indices,
	}, nil
}

func toInstance(name string, e *api.ServiceEntry, p registry.Policy) registry.Instance {
	in := registry.Instance{
		Service:    name,
		ID:         e.Service.ID,
		Node:       e.Node.Node,
		Datacenter: e.Node.Datacenter,
		Addr:       net.JoinHostPort(cmp.Or(e.Service.Address, e.Node.Address), strconv.Itoa(e.Service.Port)),
		Tags:       e.Service.Tags,
		Meta:       e.Service.Meta,
		Created:    e.Service.CreateIndex,
	}
	for _, c := range e.Checks {
		check := registry.Check{ID: c.CheckID, Name: c.Name, Output: cut(c.Output, maxOutput), Node: c.ServiceID == ""}
		// A status that is not known is Critical, the zero value.
		_ = check.Status.UnmarshalText([]byte(c.Status))
		in.Checks = append(in.Checks, check)
	}
	slices.SortFunc(in.Checks, func(a, b registry.Check) int {
		return cmp.Or(strings.Compare(a.ID, b.ID), strings.Compare(a.Name, b.Name))
	})
	in.Health, in.Ready, in.Reason = registry.Judge(in.Checks, p)
	if e.Service.Port == 0 {
		in.Ready, in.Reason = false, "is registered without a port"
	}
	in.Weight = e.Service.Weights.Passing
	if in.Health == registry.Warning {
		in.Weight = e.Service.Weights.Warning
	}
	if e.Service.Weights == (api.AgentWeights{}) {
		in.Weight = 1
	}
	return in
}

// neverRun tells that every check of the service itself still has the state that
// Consul gave it at registration.
func neverRun(checks api.HealthChecks) bool {
	n := 0
	for _, c := range checks {
		if c.ServiceID == "" {
			continue
		}
		if c.Status != api.HealthCritical || c.Output != "" || c.CreateIndex == 0 || c.CreateIndex != c.ModifyIndex {
			return false
		}
		n++
	}
	return n > 0
}

// sameService tells whether a and b say the same. ReadAt does not count.
func sameService(a, b *registry.Service) bool {
	return a != nil && b != nil && a.Name == b.Name && a.Hold == b.Hold && slices.EqualFunc(a.Instances, b.Instances, sameInstance)
}

func sameInstance(a, b registry.Instance) bool {
	return a.Service == b.Service && a.ID == b.ID && a.Node == b.Node && a.Datacenter == b.Datacenter &&
		a.Addr == b.Addr && a.Weight == b.Weight && a.Health == b.Health && a.Ready == b.Ready && a.Reason == b.Reason && a.Created == b.Created &&
		slices.Equal(a.Tags, b.Tags) && maps.Equal(a.Meta, b.Meta) && slices.Equal(a.Checks, b.Checks)
}

// tagged tells whether any instance carries a tag with the prefix.
func tagged(svc *registry.Service, prefix string) bool {
	return svc != nil && slices.ContainsFunc(svc.Instances, func(in registry.Instance) bool { return hasPrefix(in.Tags, prefix) })
}

func hasPrefix(tags []string, prefix string) bool {
	return slices.ContainsFunc(tags, func(t string) bool { return strings.HasPrefix(t, prefix) })
}
