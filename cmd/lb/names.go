package main

import (
	"context"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/errgroup"

	"serin/canary"
	"serin/registry"
)

const (
	lookUpEvery   = 30 * time.Second
	lookUpTimeout = 5 * time.Second
	lookUps       = 32          // at once
	tellEvery     = time.Second // what was found while others are still looked up
)

// names tells what the names in environments stand for: DNS names, which it
// looks up every 30 s, and Consul services, whose addresses the catalog has. A
// name that cannot be looked up keeps the addresses that it had last. Its methods
// may be called from any goroutine.
type names struct {
	lookUp func(ctx context.Context, host string) ([]netip.Addr, error) // of the system, when nil
	tell   func(canary.Addresses)                                       // gets everything at every change, one call at a time
	log    hclog.Logger

	woken chan struct{} // other hosts are asked for

	telling sync.Mutex // held while tell is called, so that the newest comes last

	mu       sync.Mutex // guards the fields below; never held across a call out
	hosts    map[string]*host
	services map[string][]netip.Addr
	catalog  *registry.Snapshot
}

// host is what is known of a DNS name.
type host struct {
	asked bool // it was looked up
	addrs []netip.Addr
	err   string // why the last look failed
}

func newNames(tell func(canary.Addresses), log hclog.Logger) *names {
	return &names{tell: tell, log: log, woken: make(chan struct{}, 1)}
}

// want replaces the names that are asked for.
func (n *names) want(hosts, services []string) {
	n.mu.Lock()
	was := n.hosts
	n.hosts = make(map[string]*host, len(hosts))
	for _, name := range hosts {
		if n.hosts[name] = was[name]; was[name] == nil {
			n.hosts[name] = &host{}
		}
	}
	n.services = make(map[string][]netip.Addr, len(services))
	for _, name := range services {
		n.services[name] = nil
	}
	n.readServices()
	n.mu.Unlock()
	n.told()
	select {
	case n.woken <- struct{}{}:
	default:
	}
}

// snapshot takes in the catalog.
func (n *names) snapshot(s *registry.Snapshot) {
	n.mu.Lock()
	n.catalog = s
	changed := n.readServices()
	n.mu.Unlock()
	if changed {
		n.told()
	}
}

// readServices finds the addresses of the services, whatever their health: a
// client is one also while its own check fails.
func (n *names) readServices() (changed bool) {
	for name, was := range n.services {
		is := addressesOf(n.catalog.Service(name))
		if !slices.Equal(was, is) {
			n.services[name], changed = is, true
		}
	}
	return changed
}

// addressesOf lists the addresses of a service's instances, in order. Names among
// them stand for nothing here.
func addressesOf(s *registry.Service) (out []netip.Addr) {
	if s == nil {
		return nil
	}
	for _, i := range s.Instances {
		text, _, err := net.SplitHostPort(i.Addr)
		if err != nil {
			continue
		}
		if a, err := netip.ParseAddr(text); err == nil {
			out = append(out, a.Unmap().WithZone(""))
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}

// told tells everything that is known. A host that was not looked up yet is left
// out, as is every service before there is a catalog.
func (n *names) told() {
	n.telling.Lock()
	defer n.telling.Unlock()
	n.mu.Lock()
	a := canary.Addresses{Hosts: map[string][]netip.Addr{}}
	for name, h := range n.hosts {
		if h.asked {
			a.Hosts[name] = h.addrs
		}
	}
	if n.catalog != nil {
		a.Services = maps.Clone(n.services)
	}
	n.mu.Unlock()
	n.tell(a)
}

// Run looks names up until ctx ends, then returns nil.
func (n *names) Run(ctx context.Context) error {
	every := time.NewTicker(lookUpEvery)
	defer every.Stop()
	for {
		all := false
		select {
		case <-ctx.Done():
			return nil
		case <-n.woken:
		case <-every.C:
			all = true
		}
		n.look(ctx, all)
	}
}

// look looks up all names again, or those that never were, and tells what that
// changes, once a second at most while it takes longer.
func (n *names) look(ctx context.Context, again bool) {
	n.mu.Lock()
	var ask []string
	for name, h := range n.hosts {
		if again || !h.asked {
			ask = append(ask, name)
		}
	}
	n.mu.Unlock()
	lookUp := n.lookUp
	if lookUp == nil {
		lookUp = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	var g errgroup.Group
	g.SetLimit(lookUps)
	var mu sync.Mutex
	changed := false
	tell := func() {
		mu.Lock()
		is := changed
		changed = false
		mu.Unlock()
		if is {
			n.told()
		}
	}
	all := make(chan struct{})
	var telling sync.WaitGroup
	telling.Go(func() {
		every := time.NewTicker(tellEvery)
		defer every.Stop()
		for {
			select {
			case <-all:
				return
			case <-every.C: // a name that does not answer delays no other
				tell()
			}
		}
	})
	for _, name := range ask {
		g.Go(func() error {
			limited, end := context.WithTimeout(ctx, lookUpTimeout)
			defer end()
			addrs, err := lookUp(limited, name)
			if ctx.Err() == nil && n.found(name, addrs, err) {
				mu.Lock()
				changed = true
				mu.Unlock()
			}
			return nil
		})
	}
	_ = g.Wait()
	close(all)
	telling.Wait()
	tell()
}

// found takes in what a name stands for, and reports whether that changed.
func (n *names) found(name string, addrs []netip.Addr, err error) (changed bool) {
	for i, a := range addrs {
		addrs[i] = a.Unmap().WithZone("")
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	addrs = slices.Compact(addrs)
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.hosts[name]
	if h == nil {
		return false // nobody asks for it any more
	}
	first := !h.asked
	h.asked = true
	was := h.err
	if err != nil {
		if h.err = err.Error(); was == "" {
			n.log.Warn("a name in an environment cannot be looked up, keeping what is known", "host", name, "addresses", len(h.addrs), "error", err)
		}
		return first
	}
	if h.err = ""; was != "" {
		n.log.Info("a name in an environment can be looked up again", "host", name, "addresses", len(addrs))
	}
	if slices.Equal(h.addrs, addrs) {
		return first
	}
	h.addrs = addrs
	return true
}
