package registry

import (
	"fmt"
	"slices"
	"strings"
)

// Health is the state of an instance as Consul's checks tell it, worst first.
// The zero value is Critical: what nothing is known of gets no traffic.
type Health uint8

const (
	Critical    Health = iota // a check fails
	Maintenance               // the operator took the instance or its node out
	Warning                   // a check warns and none fails
	Passing                   // every check passes
)

var healthNames = [...]string{"critical", "maintenance", "warning", "passing"}

// String returns Consul's word for h.
func (h Health) String() string { return healthNames[h] }

// MarshalText writes Consul's word for h.
func (h Health) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads Consul's word for a status.
func (h *Health) UnmarshalText(b []byte) error {
	i := slices.Index(healthNames[:], string(b))
	if i < 0 {
		return fmt.Errorf("health %q: want one of %s", b, strings.Join(healthNames[:], ", "))
	}
	*h = Health(i)
	return nil
}

// Check is one health check of an instance or of its node.
type Check struct {
	ID     string `json:"id"`
	Name   string `json:"name,omitempty"`
	Status Health `json:"status"`
	Output string `json:"output,omitempty"` // what the check printed, cut by the adapter to 512 bytes
	Node   bool   `json:"node,omitempty"`   // belongs to the node, not to the service
}

// Names of the checks that Consul itself makes.
// See https://developer.hashicorp.com/consul/api-docs/agent#enable-maintenance-mode
// and https://developer.hashicorp.com/consul/docs/architecture/gossip.
const (
	serfCheck          = "serfHealth"
	nodeMaintenance    = "_node_maintenance"
	serviceMaintenance = "_service_maintenance:"
)

// Required says how many of an instance's service checks must have a status
// that the [Policy] allows.
type Required uint8

const (
	One Required = iota // at least one (Fabio's default)
	All                 // every one
)

// Policy is the operator's rule for which instances may get traffic. The zero
// value is Fabio's default: at least one service check, and it passes.
type Policy struct {
	// Status lists the statuses that count as good (service.status).
	// Empty means passing only.
	Status []Health
	// Required is checksRequired.
	Required Required
}

func (p Policy) allows(h Health) bool {
	if len(p.Status) == 0 {
		return h == Passing
	}
	return slices.Contains(p.Status, h)
}

// Judge tells the health of an instance from its checks, and whether it may get
// traffic under p; when it may not, reason says why in words for a person.
//
// The rules are Fabio's: the node's serf check critical, node maintenance in
// any status, or service maintenance take an instance out whatever p says;
// other node checks are shown but do not count; and an instance without a
// service check gets nothing. It is a pure function.
func Judge(checks []Check, p Policy) (h Health, ready bool, reason string) {
	h = Passing
	var service, good int
	var bad *Check
	for i := range checks {
		c := &checks[i]
		switch {
		case c.ID == nodeMaintenance:
			return Maintenance, false, "node is in maintenance: " + c.Output
		case strings.HasPrefix(c.ID, serviceMaintenance) && c.Status == Critical:
			return Maintenance, false, "service is in maintenance: " + c.Output
		case strings.HasPrefix(c.ID, serviceMaintenance):
			continue
		case c.ID == serfCheck && c.Status == Critical:
			h, bad = Critical, c
			service = -len(checks) - 1 // nothing can outvote a dead node
		case c.Node:
			continue
		default:
			service++
			h = min(h, c.Status)
			if p.allows(c.Status) {
				good++
			} else if bad == nil {
				bad = c
			}
		}
	}
	switch {
	case service < 0:
		return Critical, false, "node does not answer Consul's gossip (serfHealth is critical)"
	case service == 0:
		return h, false, "has no health check: register one, or no traffic is sent"
	case p.Required == All && good < service, good == 0:
		return h, false, fmt.Sprintf("check %q is %s", cmpName(bad), bad.Status)
	}
	return h, true, ""
}

func cmpName(c *Check) string {
	if c.Name != "" {
		return c.Name
	}
	return c.ID
}
