package devconsul

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"net/http"
	"strconv"
	"time"
)

// agentServiceView is an instance as the agent shows it.
type agentServiceView struct {
	Kind              string `json:",omitempty"`
	ID                string
	Service           string
	Tags              []string
	Meta              map[string]string
	Port              int
	Address           string
	TaggedAddresses   map[string]serviceAddress `json:",omitempty"`
	Weights           weights
	EnableTagOverride bool
	ContentHash       string `json:",omitempty"`
	Datacenter        string
}

func (svc *service) agentView() agentServiceView {
	meta := svc.Meta
	if meta == nil {
		meta = map[string]string{}
	}
	return agentServiceView{
		Kind: svc.Kind, ID: svc.ID, Service: svc.Name, Tags: svc.Tags, Meta: meta, Port: svc.Port, Address: svc.Address,
		TaggedAddresses: svc.TaggedAddresses, Weights: *svc.Weights, EnableTagOverride: svc.EnableTagOverride, Datacenter: datacenter,
	}
}

// agentServices shows what was registered here; "consul" is the servers'.
func (c *call) agentServices() {
	wanted, err := parseFilter(c.r.URL.Query().Get("filter"))
	if err != nil {
		c.fail(http.StatusInternalServerError, "Failed to create boolean expression evaluator: %v", err)
		return
	}
	c.s.mu.Lock()
	out := map[string]agentServiceView{}
	for id, svc := range c.s.services {
		if id != "consul" && wanted(svc) {
			out[id] = svc.agentView()
		}
	}
	c.s.mu.Unlock()
	c.json(out)
}

func (c *call) agentService() {
	c.s.mu.Lock()
	svc := c.s.services[c.id]
	c.s.mu.Unlock()
	if svc == nil || c.id == "consul" {
		c.fail(http.StatusNotFound, "unknown service ID: %s", c.id)
		return
	}
	v := svc.agentView()
	b, err := json.Marshal(v)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	h := fnv.New64a()
	h.Write(b)
	v.ContentHash = fmt.Sprintf("%016x", h.Sum64())
	c.w.Header().Set("X-Consul-ContentHash", v.ContentHash)
	c.json(v)
}

func (c *call) agentChecks() {
	c.s.mu.Lock()
	out := map[string]healthCheck{}
	for id, ch := range c.s.checks {
		if id != "serfHealth" { // the servers', not the agent's
			v := ch.healthCheck
			v.CreateIndex, v.ModifyIndex = 0, 0
			out[id] = v
		}
	}
	c.s.mu.Unlock()
	c.json(out)
}

func (c *call) deregister() {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if c.s.services[c.id] == nil || c.id == "consul" {
		c.fail(http.StatusNotFound, "%s", unknownService(c.id))
		return
	}
	c.s.removeService(c.id)
	c.s.broadcast()
}

func (c *call) checkPass() { c.report(passing, c.r.URL.Query().Get("note")) }
func (c *call) checkWarn() { c.report(warning, c.r.URL.Query().Get("note")) }
func (c *call) checkFail() { c.report(critical, c.r.URL.Query().Get("note")) }

func (c *call) checkUpdate() {
	var update struct{ Status, Output string }
	if !c.decode(&update, false) {
		return
	}
	switch update.Status {
	case passing, warning, critical:
		c.report(update.Status, update.Output)
	default:
		c.fail(http.StatusBadRequest, "Invalid check status: '%s'", update.Status)
	}
}

// report takes the state of a TTL check from its owner.
func (c *call) report(status, output string) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	ch := c.s.checks[c.id]
	switch {
	case ch == nil || c.id == "serfHealth":
		c.fail(http.StatusNotFound, "Unknown check ID %q. Ensure that the check ID is passed, not the check name.", c.id)
	case ch.def.TTL == 0:
		c.fail(http.StatusInternalServerError, "CheckID %q does not have associated TTL", c.id)
	default:
		now := time.Now()
		ch.due = now.Add(time.Duration(ch.def.TTL))
		c.s.setCheck(ch, status, output, now)
		c.s.broadcast()
	}
}

func (c *call) serviceMaintenance() {
	c.s.mu.Lock()
	svc := c.s.services[c.id]
	c.s.mu.Unlock()
	enable, ok := c.enable()
	switch {
	case !ok:
	case svc == nil || c.id == "consul":
		c.fail(http.StatusNotFound, "%s", unknownService(c.id))
	default:
		c.maintenance(enable, healthCheck{
			CheckID: "_service_maintenance:" + svc.ID, Name: "Service Maintenance Mode",
			Notes:     "Maintenance mode is enabled for this service, but no reason was provided. This is a default message.",
			ServiceID: svc.ID, ServiceName: svc.Name, ServiceTags: svc.Tags,
		})
	}
}

func (c *call) nodeMaintenance() {
	if enable, ok := c.enable(); ok {
		c.maintenance(enable, healthCheck{
			CheckID: "_node_maintenance", Name: "Node Maintenance Mode",
			Notes:       "Maintenance mode is enabled for this node, but no reason was provided. This is a default message.",
			ServiceTags: []string{},
		})
	}
}

func (c *call) enable() (enable, ok bool) {
	v := c.r.URL.Query().Get("enable")
	if v == "" {
		c.fail(http.StatusBadRequest, "Missing value for enable")
		return false, false
	}
	enable, err := strconv.ParseBool(v)
	if err != nil {
		c.fail(http.StatusBadRequest, "Invalid value for enable: %q", v)
	}
	return enable, err == nil
}

// maintenance adds or removes the critical check that takes something out of service.
func (c *call) maintenance(enable bool, hc healthCheck) {
	if reason := c.r.URL.Query().Get("reason"); reason != "" {
		hc.Notes = reason
	}
	hc.Node, hc.Status, hc.Type = nodeName, critical, "maintenance"
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	switch {
	case !enable:
		c.s.removeCheck(hc.CheckID)
	case c.s.checks[hc.CheckID] == nil:
		c.s.putCheck(&check{healthCheck: hc})
	}
	c.s.broadcast()
}

func (c *call) agentSelf() {
	c.s.mu.Lock()
	id, services, checks := c.s.nodeID, len(c.s.services)-1, len(c.s.checks)-1
	c.s.mu.Unlock()
	type m = map[string]any
	c.json(m{
		"Config": m{
			"Datacenter": datacenter, "PrimaryDatacenter": datacenter, "NodeName": nodeName, "NodeID": id,
			"Revision": "devconsul", "Server": true, "Version": "1.15.4", "BuildDate": "1970-01-01T00:00:01Z",
		},
		"DebugConfig": m{"ACLsEnabled": false, "Datacenter": datacenter, "NodeName": nodeName},
		"Coord":       m{"Vec": make([]float64, 8), "Error": 1.5, "Adjustment": 0, "Height": 1e-05},
		"Member": m{
			"Name": nodeName, "Addr": nodeAddr, "Port": 8301, "Status": 1,
			"Tags":        m{"acls": "0", "build": "1.15.4:", "dc": datacenter, "id": id, "role": "consul"},
			"ProtocolMin": 1, "ProtocolMax": 5, "ProtocolCur": 2, "DelegateMin": 2, "DelegateMax": 5, "DelegateCur": 4,
		},
		"Stats": m{"agent": m{"checks": strconv.Itoa(checks), "services": strconv.Itoa(services)}},
		"Meta":  nodeMeta,
	})
}
