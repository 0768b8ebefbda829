package registry

import (
	"cmp"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"
)

// Instance is one running copy of a service. Nothing in it is written after it
// became part of a Snapshot.
type Instance struct {
	Service    string            `json:"service"`
	ID         string            `json:"id"` // unique on its node
	Node       string            `json:"node"`
	Datacenter string            `json:"datacenter,omitempty"`
	Addr       string            `json:"addr"` // host:port, ready to dial; the node's address where the service has none
	Tags       []string          `json:"tags,omitempty"`
	Meta       map[string]string `json:"meta,omitempty"`
	Weight     int               `json:"weight"` // Consul's weight for the present status; 1 is usual
	Health     Health            `json:"health"`
	Ready      bool              `json:"ready"`            // may get traffic, see Judge
	Reason     string            `json:"reason,omitempty"` // why it may not
	Checks     []Check           `json:"checks,omitempty"`
	// Created is Consul's index at the instance's registration: of two the
	// lower one was there first. 0 is unknown.
	Created uint64 `json:"created,omitempty"`
}

// Service is everything known of one service: one element of a Snapshot.
type Service struct {
	Name      string     `json:"name"`
	Instances []Instance `json:"instances"` // ordered by ID, then node
	// ReadAt is when Consul last confirmed this state; it is informational and
	// not part of equality.
	ReadAt time.Time `json:"read_at"`
	// Hold says why an older state is kept although Consul now answers
	// otherwise (see package registry/consul); empty when this is what Consul says.
	Hold string `json:"hold,omitempty"`
}

// Normalize orders the instances, as every Service in a Snapshot must be.
func (s *Service) Normalize() {
	slices.SortFunc(s.Instances, func(a, b Instance) int {
		return cmp.Or(strings.Compare(a.ID, b.ID), strings.Compare(a.Node, b.Node))
	})
}

// Snapshot is the whole catalog at one moment: the followed services, ordered
// by name. It is immutable and safe for concurrent use; nil is an empty one.
type Snapshot struct {
	services []*Service
}

// New returns a Snapshot of the given services, which it owns from now on.
func New(services ...*Service) *Snapshot {
	s := &Snapshot{services: slices.Clone(services)}
	slices.SortFunc(s.services, func(a, b *Service) int { return strings.Compare(a.Name, b.Name) })
	return s
}

func (s *Snapshot) find(name string) (int, bool) {
	if s == nil {
		return 0, false
	}
	return slices.BinarySearchFunc(s.services, name, func(svc *Service, n string) int { return strings.Compare(svc.Name, n) })
}

// Service returns the named service, or nil.
func (s *Snapshot) Service(name string) *Service {
	if i, ok := s.find(name); ok {
		return s.services[i]
	}
	return nil
}

// All yields the services in order of their names.
func (s *Snapshot) All() iter.Seq[*Service] {
	return func(yield func(*Service) bool) {
		if s == nil {
			return
		}
		for _, svc := range s.services {
			if !yield(svc) {
				return
			}
		}
	}
}

// Len returns the number of services.
func (s *Snapshot) Len() int {
	if s == nil {
		return 0
	}
	return len(s.services)
}

// Instances returns the number of instances of all services.
func (s *Snapshot) Instances() (n int) {
	for svc := range s.All() {
		n += len(svc.Instances)
	}
	return n
}

// With returns a Snapshot in which svc stands in place of the service of the
// same name. Everything else is shared with s.
func (s *Snapshot) With(svc *Service) *Snapshot {
	i, ok := s.find(svc.Name)
	var old []*Service
	if s != nil {
		old = s.services
	}
	out := make([]*Service, 0, len(old)+1)
	out = append(out, old[:i]...)
	out = append(out, svc)
	if ok {
		i++
	}
	return &Snapshot{services: append(out, old[i:]...)}
}

// Without returns a Snapshot that lacks the named service.
func (s *Snapshot) Without(name string) *Snapshot {
	i, ok := s.find(name)
	if !ok {
		return s
	}
	return &Snapshot{services: slices.Delete(slices.Clone(s.services), i, i+1)}
}

// Changed yields the services that are not the same in old and new, by name:
// both forms, of which one is nil where the service came or left. Services are
// the same when they are one value in memory, as With and Without leave them,
// so that a comparison costs a few nanoseconds per service.
func Changed(old, new *Snapshot) iter.Seq2[*Service, *Service] {
	return func(yield func(was, is *Service) bool) {
		var a, b []*Service
		if old != nil {
			a = old.services
		}
		if new != nil {
			b = new.services
		}
		for len(a) > 0 || len(b) > 0 {
			switch {
			case len(b) == 0 || len(a) > 0 && a[0] != b[0] && a[0].Name < b[0].Name:
				if !yield(a[0], nil) {
					return
				}
				a = a[1:]
			case len(a) == 0 || a[0] != b[0] && b[0].Name < a[0].Name:
				if !yield(nil, b[0]) {
					return
				}
				b = b[1:]
			default:
				if a[0] != b[0] && !yield(a[0], b[0]) {
					return
				}
				a, b = a[1:], b[1:]
			}
		}
	}
}

type snapshotJSON struct {
	Services []*Service `json:"services"`
}

// MarshalJSON writes {"services": […]}.
func (s *Snapshot) MarshalJSON() ([]byte, error) {
	j := snapshotJSON{Services: []*Service{}}
	if s != nil && s.services != nil {
		j.Services = s.services
	}
	return json.Marshal(j)
}

// UnmarshalJSON reads what MarshalJSON wrote. Services without a name and
// services named twice are errors.
func (s *Snapshot) UnmarshalJSON(b []byte) error {
	var j snapshotJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	seen := make(map[string]bool, len(j.Services))
	for i, svc := range j.Services {
		if svc == nil || svc.Name == "" {
			return fmt.Errorf("snapshot: services[%d] has no name", i)
		}
		if seen[svc.Name] {
			return fmt.Errorf("snapshot: services[%d]: %q is there twice", i, svc.Name)
		}
		seen[svc.Name] = true
		svc.Normalize()
	}
	*s = *New(j.Services...)
	return nil
}
