package devconsul

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
)

// nodeMeta and nodeAddrs are the same in every view, and never written.
var (
	nodeMeta  = map[string]string{"consul-network-segment": ""}
	nodeAddrs = map[string]string{"lan": nodeAddr, "lan_ipv4": nodeAddr, "wan": nodeAddr, "wan_ipv4": nodeAddr}
)

type nodeView struct {
	ID              string
	Node            string
	Address         string
	Datacenter      string
	TaggedAddresses map[string]string
	Meta            map[string]string
	CreateIndex     uint64
	ModifyIndex     uint64
}

func (st *state) node() nodeView {
	return nodeView{st.nodeID, nodeName, nodeAddr, datacenter, nodeAddrs, nodeMeta, firstIndex, firstIndex}
}

// proxyView and the empty objects are what Consul shows of a service without Connect.
type proxyView struct {
	Mode                string
	MeshGateway, Expose struct{}
}

// catalogServiceView is an instance in /v1/catalog/service.
type catalogServiceView struct {
	ID                       string
	Node                     string
	Address                  string
	Datacenter               string
	TaggedAddresses          map[string]string
	NodeMeta                 map[string]string
	ServiceKind              string
	ServiceID                string
	ServiceName              string
	ServiceTags              []string
	ServiceAddress           string
	ServiceTaggedAddresses   map[string]serviceAddress `json:",omitempty"`
	ServiceWeights           weights
	ServiceMeta              map[string]string
	ServicePort              int
	ServiceSocketPath        string
	ServiceEnableTagOverride bool
	ServiceProxy             proxyView
	ServiceConnect           struct{}
	CreateIndex              uint64
	ModifyIndex              uint64
}

// healthServiceView is an instance in /v1/health/service.
type healthServiceView struct {
	Kind              string `json:",omitempty"`
	ID                string
	Service           string
	Tags              []string
	Address           string
	TaggedAddresses   map[string]serviceAddress `json:",omitempty"`
	Meta              map[string]string
	Port              int
	Weights           weights
	EnableTagOverride bool
	Proxy             proxyView
	Connect           struct{}
	PeerName          string
	CreateIndex       uint64
	ModifyIndex       uint64
}

type healthView struct {
	Node    nodeView
	Service healthServiceView
	Checks  []healthCheck
}

func (c *call) catalogDatacenters() { c.json([]string{datacenter}) }

func (c *call) catalogNodes() {
	c.query(func(st *state) answer {
		return answer{index: st.tables[tableNodes], body: []nodeView{st.node()}}
	})
}

func (c *call) catalogServices() {
	c.query(func(st *state) answer {
		out := map[string][]string{}
		for _, svc := range st.services {
			tags := append(out[svc.Name], svc.Tags...)
			slices.Sort(tags)
			if tags = slices.Compact(tags); tags == nil {
				tags = []string{}
			}
			out[svc.Name] = tags
		}
		return answer{index: st.tables[tableServices], body: out}
	})
}

// tagged reports whether the instance has every tag that the request names.
func (c *call) tagged(svc *service) bool {
	for _, tag := range c.r.URL.Query()["tag"] {
		if !slices.Contains(svc.Tags, tag) {
			return false
		}
	}
	return true
}

func (c *call) catalogService() {
	c.query(func(st *state) answer {
		out := []catalogServiceView{}
		for _, svc := range st.instances(c.id) {
			if !c.tagged(svc) {
				continue
			}
			meta := svc.Meta
			if meta == nil {
				meta = map[string]string{}
			}
			out = append(out, catalogServiceView{
				ID: st.nodeID, Node: nodeName, Address: nodeAddr, Datacenter: datacenter, TaggedAddresses: nodeAddrs, NodeMeta: nodeMeta,
				ServiceKind: svc.Kind, ServiceID: svc.ID, ServiceName: svc.Name, ServiceTags: svc.Tags, ServiceAddress: svc.Address,
				ServiceTaggedAddresses: svc.TaggedAddresses, ServiceWeights: *svc.Weights, ServiceMeta: meta, ServicePort: svc.Port,
				ServiceEnableTagOverride: svc.EnableTagOverride, CreateIndex: svc.created, ModifyIndex: svc.modified,
			})
		}
		return answer{index: st.serviceIndex(c.id), body: out}
	})
}

// selectChecks returns the checks that keep wants, in Consul's order.
func (st *state) selectChecks(keep func(*check) bool) []healthCheck {
	out := []healthCheck{}
	for _, id := range slices.Sorted(maps.Keys(st.checks)) {
		if c := st.checks[id]; keep(c) {
			out = append(out, c.healthCheck)
		}
	}
	return out
}

func (c *call) healthService() {
	onlyPassing := false
	if q := c.r.URL.Query(); q.Has("passing") {
		var err error
		if v := q.Get("passing"); v == "" {
			onlyPassing = true
		} else if onlyPassing, err = strconv.ParseBool(v); err != nil {
			c.fail(http.StatusBadRequest, "Invalid value for ?passing")
			return
		}
	}
	c.query(func(st *state) answer {
		out := []healthView{}
		for _, svc := range st.instances(c.id) {
			checks := append(st.selectChecks(func(ch *check) bool { return ch.ServiceID == "" }),
				st.selectChecks(func(ch *check) bool { return ch.ServiceID == svc.ID })...)
			bad := slices.ContainsFunc(checks, func(hc healthCheck) bool { return hc.Status != passing })
			if !c.tagged(svc) || onlyPassing && bad {
				continue
			}
			out = append(out, healthView{st.node(), healthServiceView{
				Kind: svc.Kind, ID: svc.ID, Service: svc.Name, Tags: svc.Tags, Address: svc.Address, TaggedAddresses: svc.TaggedAddresses,
				Meta: svc.Meta, Port: svc.Port, Weights: *svc.Weights, EnableTagOverride: svc.EnableTagOverride,
				CreateIndex: svc.created, ModifyIndex: svc.modified,
			}, checks})
		}
		return answer{index: st.serviceIndex(c.id), body: out, streaming: true}
	})
}

func (c *call) healthChecks() {
	c.query(func(st *state) answer {
		return answer{index: st.serviceIndex(c.id), body: st.selectChecks(func(ch *check) bool { return ch.ServiceName == c.id })}
	})
}

func (c *call) healthNode() {
	c.query(func(st *state) answer {
		return answer{index: st.tables[tableChecks], body: st.selectChecks(func(*check) bool { return c.id == nodeName })}
	})
}

func (c *call) healthState() {
	c.query(func(st *state) answer {
		return answer{index: st.tables[tableChecks], body: st.selectChecks(func(ch *check) bool { return c.id == "any" || ch.Status == c.id })}
	})
}
