package devconsul

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"time"
)

// The one node and its datacenter.
const (
	datacenter = "dc1"
	nodeName   = "dev"
	nodeAddr   = "127.0.0.1"
	raftAddr   = "127.0.0.1:8300"
)

// firstIndex is about where a reborn agent's index stands: raft, the node and
// the service "consul" took the ones before.
const firstIndex = 11

// state is everything that an agent loses when it is reborn.
type state struct {
	nodeID   string
	index    uint64              // the last change's
	tables   map[string]uint64   // per resource: the index of its last change
	services map[string]*service // by ID
	checks   map[string]*check   // by CheckID
	keys     map[string]*entry
	graves   map[string]grave // deleted keys, which still have an index
	sessions map[string]*session
	delays   map[string]time.Time // per key: no lock before
}

// service is a registered instance. It is replaced, never written.
type service struct {
	registration
	created, modified uint64
}

// Names of tables; a service has its own, "service." and its name.
const (
	tableServices = "services"
	tableChecks   = "checks"
	tableNodes    = "nodes"
	tableExtinct  = "extinct" // the last time that a service lost its last instance
	tableKV       = "kv"
	tableSessions = "sessions"
)

func newState() state {
	st := state{
		nodeID:   newUUID(),
		index:    firstIndex,
		tables:   map[string]uint64{},
		services: map[string]*service{},
		checks:   map[string]*check{},
		keys:     map[string]*entry{},
		graves:   map[string]grave{},
		sessions: map[string]*session{},
		delays:   map[string]time.Time{},
	}
	for _, t := range []string{tableServices, tableChecks, tableNodes, "service.consul"} {
		st.tables[t] = st.index
	}
	r := registration{Name: "consul", ID: "consul", Port: 8300}
	r.normalize()
	st.services["consul"] = &service{registration: r, created: st.index, modified: st.index}
	st.checks["serfHealth"] = &check{healthCheck: healthCheck{
		Node: nodeName, CheckID: "serfHealth", Name: "Serf Health Status", Status: passing,
		Output: "Agent alive and reachable", ServiceTags: []string{}, CreateIndex: st.index, ModifyIndex: st.index,
	}}
	return st
}

// touch takes the next index for a change of the given tables.
func (st *state) touch(tables ...string) uint64 {
	st.index++
	for _, t := range tables {
		st.tables[t] = st.index
	}
	return st.index
}

// touchCheck takes the next index for a change of a check: of the node's every
// service is concerned, of a service's only that one.
func (st *state) touchCheck(c *check) uint64 {
	tables := []string{tableChecks}
	for _, svc := range st.services {
		if c.ServiceID == "" || svc.ID == c.ServiceID {
			tables = append(tables, "service."+svc.Name)
		}
	}
	return st.touch(tables...)
}

// serviceIndex is the index of the views of one service.
func (st *state) serviceIndex(name string) uint64 {
	if i, ok := st.tables["service."+name]; ok {
		return i
	}
	if i, ok := st.tables[tableExtinct]; ok {
		return i
	}
	return max(st.tables[tableServices], st.tables[tableNodes], st.tables[tableChecks])
}

// instances returns the instances of a service in Consul's order.
func (st *state) instances(name string) []*service {
	var out []*service
	for _, id := range slices.Sorted(maps.Keys(st.services)) {
		if svc := st.services[id]; svc.Name == name {
			out = append(out, svc)
		}
	}
	return out
}

// putService registers or replaces an instance.
func (st *state) putService(r registration) {
	svc := &service{registration: r}
	if old := st.services[r.ID]; old != nil {
		if old.equal(r) {
			return
		}
		if old.Name != r.Name {
			st.removeService(r.ID)
		} else {
			svc.created = old.created
		}
	}
	st.services[r.ID] = svc
	svc.modified = st.touch(tableServices, tableNodes, "service."+r.Name)
	if svc.created == 0 {
		svc.created = svc.modified
	}
}

// removeService removes an instance and its checks.
func (st *state) removeService(id string) {
	svc := st.services[id]
	if svc == nil {
		return
	}
	delete(st.services, id)
	st.touch(tableServices, tableChecks, tableNodes, "service."+svc.Name)
	maps.DeleteFunc(st.checks, func(_ string, c *check) bool { return c.ServiceID == id })
	if len(st.instances(svc.Name)) == 0 {
		delete(st.tables, "service."+svc.Name)
		st.tables[tableExtinct] = st.index
	}
}

// putCheck adds or replaces a check. What is known of its health stays, as in Consul.
func (st *state) putCheck(c *check) {
	old := st.checks[c.CheckID]
	if old != nil && old.ServiceID == c.ServiceID {
		c.Status, c.Output, c.CreateIndex, c.criticalSince = old.Status, old.Output, old.CreateIndex, old.criticalSince
	}
	st.checks[c.CheckID] = c
	if old != nil && old.same(c) {
		c.ModifyIndex = old.ModifyIndex
		return
	}
	c.ModifyIndex = st.touchCheck(c)
	if c.CreateIndex == 0 {
		c.CreateIndex = c.ModifyIndex
	}
}

func (st *state) removeCheck(id string) {
	if c := st.checks[id]; c != nil {
		delete(st.checks, id)
		st.touchCheck(c)
	}
}

// setCheck records the outcome of a check. As in Consul an output alone is no
// change that wakes anyone.
func (st *state) setCheck(c *check, status, output string, now time.Time) {
	changed := c.Status != status
	c.Status, c.Output = status, output
	switch {
	case status != critical:
		c.criticalSince = time.Time{}
	case c.criticalSince.IsZero():
		c.criticalSince = now
	}
	if !changed {
		return
	}
	c.ModifyIndex = st.touchCheck(c)
	if status == critical {
		for _, id := range slices.Sorted(maps.Keys(st.sessions)) {
			if st.sessions[id].needs(c.CheckID) {
				st.endSession(id, now)
			}
		}
	}
}

// newUUID returns a random (version 4) UUID.
func newUUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return fmt.Sprintf("%s-%s-%s-%s-%s", h[:8], h[8:12], h[12:16], h[16:20], h[20:])
}
