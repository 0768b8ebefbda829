package devconsul

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"time"
)

// registration is what PUT /v1/agent/service/register takes: the fields of
// Consul's ServiceDefinition that mean something here.
type registration struct {
	Kind              string
	ID                string
	Name              string
	Tags              []string
	Address           string
	Port              int
	TaggedAddresses   map[string]serviceAddress
	Meta              map[string]string
	Weights           *weights
	EnableTagOverride bool
	Check             *checkDef   `json:",omitempty"`
	Checks            []*checkDef `json:",omitempty"`

	// Taken and ignored: the official client sends them for sidecars.
	Proxy, Connect                        json.RawMessage `json:",omitempty"`
	Namespace, Partition, Token, PeerName string          `json:",omitempty"`
}

type serviceAddress struct {
	Address string
	Port    int
}

type weights struct {
	Passing int
	Warning int
}

// duration reads "10s" as well as a number of nanoseconds.
type duration time.Duration

func (d *duration) UnmarshalJSON(b []byte) error {
	var s string
	if json.Unmarshal(b, &s) != nil {
		return json.Unmarshal(b, (*time.Duration)(d))
	}
	if s == "" {
		return nil
	}
	v, err := time.ParseDuration(s)
	*d = duration(v)
	return err
}

func (d duration) String() string {
	if d == 0 {
		return ""
	}
	return time.Duration(d).String()
}

// checkDef is a check as it is registered.
type checkDef struct {
	CheckID, ID   string
	Name          string
	Status        string
	Notes         string
	HTTP          string
	Method        string
	Header        map[string][]string
	Body          string
	TCP           string
	TTL           duration
	Interval      duration
	Timeout       duration
	TLSSkipVerify bool
	TLSServerName string

	SuccessBeforePassing   int
	FailuresBeforeWarning  int
	FailuresBeforeCritical int

	DisableRedirects               bool
	DeregisterCriticalServiceAfter duration

	// Taken and ignored, as above.
	Namespace, Partition, Token string
}

// validate says what Consul says of a definition that it refuses.
func (d *checkDef) validate() error {
	switch {
	case d.Interval > 0 && d.TTL > 0:
		return errors.New("Invalid check: Interval and TTL cannot both be specified")
	case d.HTTP == "" && d.TCP == "" && d.TTL <= 0:
		return errors.New("Invalid check: TTL must be > 0 for TTL checks")
	case d.HTTP != "" && d.TCP != "":
		return errors.New("Invalid check: devconsul takes one of HTTP, TCP and TTL")
	case (d.HTTP != "" || d.TCP != "") && d.Interval <= 0:
		return errors.New("Invalid check: Interval must be > 0 for Script, HTTP, H2PING, TCP, UDP or OSService checks")
	case d.Status != "" && !slices.Contains([]string{passing, warning, critical}, d.Status):
		return errors.New("Status for checks must 'passing', 'warning', 'critical'")
	}
	return nil
}

func (d *checkDef) kind() string {
	switch {
	case d.HTTP != "":
		return "http"
	case d.TCP != "":
		return "tcp"
	}
	return "ttl"
}

// normalize fills what was left out.
func (r *registration) normalize() {
	r.ID = cmp.Or(r.ID, r.Name)
	if r.Weights == nil {
		r.Weights = &weights{1, 1}
	}
	if r.Tags == nil {
		r.Tags = []string{}
	}
	if r.Address != "" && r.TaggedAddresses == nil {
		a := serviceAddress{r.Address, r.Port}
		family := "ipv4"
		if ip := net.ParseIP(r.Address); ip != nil && ip.To4() == nil {
			family = "ipv6"
		} else if ip == nil {
			return // a name is not an address of either family
		}
		r.TaggedAddresses = map[string]serviceAddress{"lan_" + family: a, "wan_" + family: a}
	}
}

func (r registration) equal(o registration) bool {
	r.Check, r.Checks, o.Check, o.Checks = nil, nil, nil, nil
	return reflect.DeepEqual(r, o)
}

// newChecks makes the checks of a registration, named as Consul names them.
func (r *registration) newChecks() []*check {
	defs := slices.Clone(r.Checks)
	if r.Check != nil {
		defs = append([]*checkDef{r.Check}, defs...)
	}
	var out []*check
	for i, d := range defs {
		id := "service:" + r.ID
		if len(defs) > 1 {
			id += ":" + strconv.Itoa(i+1)
		}
		out = append(out, &check{def: *d, healthCheck: healthCheck{
			Node: nodeName, CheckID: cmp.Or(d.CheckID, d.ID, id), Name: cmp.Or(d.Name, "Service '"+r.Name+"' check"),
			Status: cmp.Or(d.Status, critical), Notes: d.Notes, ServiceID: r.ID, ServiceName: r.Name, ServiceTags: r.Tags,
			Type: d.kind(), Interval: d.Interval.String(), Timeout: d.Timeout.String(),
		}})
	}
	return out
}

// validate says what Consul says of a registration that it refuses.
func (r *registration) validate() error {
	switch {
	case r.Name == "":
		return errors.New("Missing service name")
	case r.Address == "0.0.0.0" || r.Address == "::" || r.Address == "[::]":
		return errors.New("Invalid service address")
	case r.Weights != nil && r.Weights.Passing < 1:
		return errors.New("Invalid Weights: Passing must be greater than 0")
	case r.Weights != nil && r.Weights.Warning < 0:
		return errors.New("Invalid Weights: Warning must be greater or equal than 0")
	case len(r.Connect) > 0 && string(r.Connect) != "null":
		return errors.New("devconsul: Connect is not part of this subset of Consul; run a real agent for it")
	}
	for _, d := range r.Checks {
		if d == nil {
			return errors.New("Invalid check: TTL must be > 0 for TTL checks")
		}
		if err := d.validate(); err != nil {
			return err
		}
	}
	if r.Check != nil {
		return r.Check.validate()
	}
	return nil
}

func (c *call) register() {
	var r registration
	if !c.decode(&r, false) {
		return
	}
	if err := r.validate(); err != nil {
		c.fail(http.StatusBadRequest, "%v", err)
		return
	}
	r.normalize()
	s := c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.broadcast()
	keep := map[string]bool{}
	s.putService(r)
	for _, ch := range r.newChecks() {
		ch.due = time.Now()
		if ch.def.TTL > 0 {
			ch.due = ch.due.Add(time.Duration(ch.def.TTL))
		}
		if ch.Status == critical {
			ch.criticalSince = time.Now()
		}
		s.putCheck(ch)
		keep[ch.CheckID] = true
	}
	if c.r.URL.Query().Has("replace-existing-checks") {
		for id, ch := range s.checks {
			if ch.ServiceID == r.ID && !keep[id] {
				s.removeCheck(id)
			}
		}
	}
}

func unknownService(id string) string {
	return fmt.Sprintf("Unknown service ID %q. Ensure that the service ID is passed, not the service name.", id)
}
