package devconsul

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"time"
)

// session is what locks belong to. It is replaced, never written, but for its deadline.
type session struct {
	ID            string
	Name          string
	Node          string
	LockDelay     time.Duration
	Behavior      string
	TTL           string
	NodeChecks    []string
	ServiceChecks []serviceCheck
	CreateIndex   uint64
	ModifyIndex   uint64

	deadline time.Time // zero: none
}

type serviceCheck struct{ ID, Namespace string }

// needs reports whether the session ends when the check turns critical.
func (s *session) needs(checkID string) bool {
	return slices.Contains(s.NodeChecks, checkID) ||
		slices.ContainsFunc(s.ServiceChecks, func(c serviceCheck) bool { return c.ID == checkID })
}

// ttl returns the session's time to live. Consul ends a session after at least
// one TTL and at most two; like Consul's own timer, this takes two.
func (s *session) ttl() time.Duration {
	d, _ := time.ParseDuration(s.TTL)
	return 2 * d
}

// endSession removes a session; its locks are released, or their keys deleted,
// and cannot be taken again before the lock delay is over.
func (st *state) endSession(id string, now time.Time) {
	ses := st.sessions[id]
	if ses == nil {
		return
	}
	delete(st.sessions, id)
	st.touch(tableSessions)
	var held []*entry
	for _, k := range slices.Sorted(maps.Keys(st.keys)) {
		if e := st.keys[k]; e.Session == id {
			held = append(held, e)
			if ses.LockDelay > 0 {
				st.delays[k] = now.Add(ses.LockDelay)
			}
		}
	}
	if ses.Behavior == "delete" {
		st.deleteKeys(held)
		return
	}
	for _, old := range held {
		e := *old
		e.Session = ""
		st.setKey(old, &e)
	}
}

func (c *call) sessionCreate() {
	req := struct {
		ID, Name, Node, Behavior, TTL string
		LockDelay                     duration
		Checks, NodeChecks            []string
		ServiceChecks                 []serviceCheck
		Namespace, Partition          string
	}{LockDelay: duration(15 * time.Second), NodeChecks: []string{"serfHealth"}}
	if !c.decode(&req, true) {
		return
	}
	// A bare small number is a count of seconds: https://developer.hashicorp.com/consul/api-docs/session
	if req.LockDelay > 0 && req.LockDelay < duration(time.Millisecond) {
		req.LockDelay *= duration(time.Second)
	}
	ses := &session{
		ID: newUUID(), Name: req.Name, Node: cmp.Or(req.Node, nodeName), LockDelay: min(time.Duration(req.LockDelay), time.Minute),
		Behavior: cmp.Or(req.Behavior, "release"), TTL: req.TTL, NodeChecks: req.NodeChecks, ServiceChecks: req.ServiceChecks,
	}
	if req.Checks != nil {
		ses.NodeChecks = req.Checks
	}
	if ses.Behavior != "release" && ses.Behavior != "delete" {
		c.fail(http.StatusInternalServerError, "Invalid Behavior setting '%s'", ses.Behavior)
		return
	}
	if ses.TTL != "" {
		d, err := time.ParseDuration(ses.TTL)
		if err != nil {
			c.fail(http.StatusInternalServerError, "Session TTL '%s' invalid: %v", ses.TTL, err)
			return
		}
		if d != 0 && (d < 10*time.Second || d > 24*time.Hour) {
			c.fail(http.StatusInternalServerError, "Invalid Session TTL '%d', must be between [10s=24h0m0s]", d)
			return
		}
	}
	s := c.s
	s.mu.Lock()
	reason := ""
	if ses.Node != nodeName {
		reason = "apply failed: Missing node registration"
	}
	needed := slices.Clone(ses.NodeChecks)
	for _, sc := range ses.ServiceChecks {
		needed = append(needed, sc.ID)
	}
	for _, id := range needed {
		switch ch := s.checks[id]; {
		case reason != "":
		case ch == nil:
			reason = "apply failed: Missing check '" + id + "' registration"
		case ch.Status == critical:
			reason = "apply failed: Check '" + id + "' is in critical state"
		}
	}
	if reason == "" {
		ses.CreateIndex = s.touch(tableSessions)
		ses.ModifyIndex = ses.CreateIndex
		s.renew(ses)
		s.sessions[ses.ID] = ses
		s.broadcast()
	}
	s.mu.Unlock()
	if reason != "" {
		c.fail(http.StatusInternalServerError, "%s", reason)
		return
	}
	c.json(struct{ ID string }{ses.ID})
}

func (st *state) renew(ses *session) {
	if d := ses.ttl(); d > 0 {
		ses.deadline = time.Now().Add(d)
	}
}

func (c *call) sessionDestroy() {
	c.s.mu.Lock()
	c.s.endSession(c.id, time.Now())
	c.s.broadcast()
	c.s.mu.Unlock()
	c.json(true)
}

func (c *call) sessionRenew() {
	c.s.mu.Lock()
	ses := c.s.sessions[c.id]
	if ses != nil {
		c.s.renew(ses)
	}
	c.s.mu.Unlock()
	if ses == nil {
		c.fail(http.StatusNotFound, "Session id '%s' not found", c.id)
		return
	}
	c.json([]*session{ses})
}

func (c *call) sessionInfo() {
	c.query(func(st *state) answer {
		a := answer{index: max(st.tables[tableSessions], 1), body: []*session{}, quiet: true}
		if ses := st.sessions[c.id]; ses != nil {
			a.index, a.body, a.quiet = ses.ModifyIndex, []*session{ses}, false
		}
		return a
	})
}

func (c *call) sessionList() {
	c.query(func(st *state) answer {
		out := []*session{}
		for _, id := range slices.Sorted(maps.Keys(st.sessions)) {
			out = append(out, st.sessions[id])
		}
		return answer{index: max(st.tables[tableSessions], 1), body: out}
	})
}
