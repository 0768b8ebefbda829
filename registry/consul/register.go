package consul

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/consul/api"
)

// Registration describes one instance of a service, as its author wants it.
type Registration struct {
	Name    string // of the service; required
	ID      string // start of the instance's ID; empty means Name
	Address string // where the instance listens; empty means [UsableAddr]
	Port    int    // 1 to 65535
	Tags    []string
	Meta    map[string]string
	Check   Check
}

// Check says how Consul finds out whether the instance is well: exactly one of
// HTTP, TCP and TTL is set. The zero value is no check; a balancer that follows
// Consul's advice sends nothing to an instance that has none.
type Check struct {
	HTTP string        // URL that Consul asks: 2xx passes, 429 warns, the rest is critical
	TCP  string        // host:port that Consul connects to
	TTL  time.Duration // [Client.Run] reports "passing" three times in each TTL

	Interval time.Duration // between two checks of HTTP or TCP; zero means 10 s
	Timeout  time.Duration // of one check; zero means Consul's default, 10 s
	// DeregisterAfter removes an instance that has been critical for so long,
	// at least one minute in Consul; zero means never.
	DeregisterAfter time.Duration
	TLSSkipVerify   bool // do not verify the certificate of an https URL
}

// kept is one registration that Run keeps alive.
type kept struct {
	reg    *api.AgentServiceRegistration
	ttl    time.Duration
	passed time.Time // when the TTL check was last refreshed
}

// Register registers an instance with the agent and returns the ID under which
// it is known from now on: r.ID, or r.Name, made unique by a UUID. [Client.Run]
// keeps it registered until [Client.Deregister].
//
// Consul calls a new instance critical until its first check has passed.
func (c *Client) Register(ctx context.Context, r Registration) (id string, err error) {
	k, err := prepare(r)
	if err != nil {
		return "", err
	}
	if err := c.enrol(ctx, k); err != nil {
		return "", err
	}
	return k.reg.ID, nil
}

// enrol registers k and has Run keep it.
func (c *Client) enrol(ctx context.Context, k *kept) error {
	if err := c.put(ctx, k); err != nil {
		return err
	}
	c.mu.Lock()
	c.kept[k.reg.ID] = k
	c.mu.Unlock()
	c.added.fire()
	return nil
}

// prepare turns r into what Consul takes, or says what is wrong with it.
func prepare(r Registration) (*kept, error) {
	var errs []error
	if r.Name == "" {
		errs = append(errs, errors.New("a service needs a name"))
	}
	if r.Port < 1 || r.Port > 65535 {
		errs = append(errs, fmt.Errorf("port %d: must be 1 to 65535", r.Port))
	}
	check, err := r.Check.api()
	if err != nil {
		errs = append(errs, err)
	}
	if r.Address == "" {
		a, err := UsableAddr()
		if err != nil {
			errs = append(errs, err)
		}
		r.Address = a.String()
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("register service %q: %w", r.Name, err)
	}
	return &kept{
		reg: &api.AgentServiceRegistration{
			ID:      cmp.Or(r.ID, r.Name) + "-" + uuid.NewString(),
			Name:    r.Name,
			Address: r.Address,
			Port:    r.Port,
			Tags:    slices.Clone(r.Tags),
			Meta:    maps.Clone(r.Meta),
			Check:   check,
		},
		ttl: r.Check.TTL,
	}, nil
}

func (c Check) api() (*api.AgentServiceCheck, error) {
	out := &api.AgentServiceCheck{HTTP: c.HTTP, TCP: c.TCP, TLSSkipVerify: c.TLSSkipVerify}
	kinds := 0
	for _, set := range []bool{c.HTTP != "", c.TCP != "", c.TTL > 0} {
		if set {
			kinds++
		}
	}
	switch {
	case kinds == 0:
		return nil, nil
	case kinds > 1:
		return nil, errors.New("check: set only one of HTTP, TCP and TTL")
	case c.TTL > 0:
		out.TTL = c.TTL.String()
	default:
		out.Interval = cmp.Or(c.Interval, 10*time.Second).String()
		if c.Timeout > 0 {
			out.Timeout = c.Timeout.String()
		}
	}
	if c.DeregisterAfter > 0 {
		out.DeregisterCriticalServiceAfter = c.DeregisterAfter.String()
	}
	return out, nil
}

func (c *Client) put(ctx context.Context, k *kept) error {
	ctx, cancel := context.WithTimeout(ctx, plainTimeout)
	defer cancel()
	opts := api.ServiceRegisterOpts{ReplaceExistingChecks: true}.WithContext(ctx)
	if err := c.api.Agent().ServiceRegisterOpts(k.reg, opts); err != nil {
		return c.classify(fmt.Sprintf("register service %q", k.reg.Name), err)
	}
	c.mu.Lock()
	k.passed = time.Time{}
	c.mu.Unlock()
	return nil
}

// Deregister removes an instance that Register registered. From its call on, Run
// does not bring it back, even when Consul cannot be told, which is the error
// returned. An ID that the agent does not know is removed already: no error.
func (c *Client) Deregister(ctx context.Context, id string) error {
	c.mu.Lock()
	delete(c.kept, id)
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, plainTimeout)
	defer cancel()
	err := c.api.Agent().ServiceDeregisterOpts(id, new(api.QueryOptions).WithContext(ctx))
	if status, ok := errors.AsType[api.StatusError](err); ok && status.Code == http.StatusNotFound {
		return nil
	}
	return c.classify(fmt.Sprintf("deregister %q", id), err)
}

// Registered returns the IDs that Register registered, with their service names,
// and when the agent was last found to have lost one of them (zero: never): then
// it has likely lost everything else too.
func (c *Client) Registered() (names map[string]string, lost time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	names = make(map[string]string, len(c.kept))
	for id, k := range c.kept {
		names[id] = k.reg.Name
	}
	return names, c.lost
}

// keepPeriod is the time between two looks at what the agent knows of us, so
// that an instance is back about a second after an agent restarted empty.
const keepPeriod = time.Second

// Run keeps alive what Register registered, until ctx ends; then it returns nil
// and leaves everything registered (see Deregister). One request a second asks
// the agent for all IDs together; those that it has lost are registered again
// under the same ID; TTL checks are refreshed.
func (c *Client) Run(ctx context.Context) error {
	var last error
	for {
		added := c.added.wait()
		err := c.keep(ctx)
		if (err == nil) != (last == nil) && ctx.Err() == nil {
			if err != nil {
				c.log().Warn("registration is not being kept", "error", err)
			} else {
				c.log().Info("registration is being kept again")
			}
		}
		last = err
		select {
		case <-ctx.Done():
			return nil
		case <-added:
		case <-time.After(c.period()):
		}
	}
}

// period is keepPeriod, or less where a TTL check needs it.
func (c *Client) period() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := keepPeriod
	for _, k := range c.kept {
		if k.ttl > 0 {
			d = min(d, k.ttl/3)
		}
	}
	return max(d, 10*time.Millisecond)
}

// keep looks once at what the agent knows of us and repairs it.
func (c *Client) keep(ctx context.Context) error {
	c.mu.Lock()
	mine := maps.Clone(c.kept)
	c.mu.Unlock()
	if len(mine) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, plainTimeout)
	defer cancel()
	known, err := c.api.Agent().ServicesWithFilterOpts(idFilter(mine), new(api.QueryOptions).WithContext(ctx))
	if err != nil {
		return c.classify("ask the agent for our services", err)
	}
	var errs []error
	for id, k := range mine {
		if known[id] == nil {
			errs = append(errs, c.restore(ctx, id, k))
		}
		errs = append(errs, c.refresh(ctx, k))
	}
	return errors.Join(errs...)
}

// restore registers k again, unless it was deregistered meanwhile.
func (c *Client) restore(ctx context.Context, id string, k *kept) error {
	c.mu.Lock()
	wanted := c.kept[id] == k
	c.mu.Unlock()
	if !wanted {
		return nil
	}
	if err := c.put(ctx, k); err != nil {
		return err
	}
	c.mu.Lock()
	c.lost = time.Now()
	wanted = c.kept[id] == k
	c.mu.Unlock()
	c.woken.fire()
	if !wanted { // Deregister ran between the two looks, and Consul must not keep it
		return c.Deregister(ctx, id)
	}
	c.log().Warn("agent had lost this instance: registered it again", "service", k.reg.Name, "id", id)
	return nil
}

// refresh reports "passing" for a TTL check when a third of its time has passed.
func (c *Client) refresh(ctx context.Context, k *kept) error {
	now := time.Now()
	c.mu.Lock()
	due := k.ttl > 0 && now.Sub(k.passed) >= k.ttl/3
	c.mu.Unlock()
	if !due {
		return nil
	}
	err := c.api.Agent().UpdateTTLOpts("service:"+k.reg.ID, "", api.HealthPassing, new(api.QueryOptions).WithContext(ctx))
	if err != nil {
		return c.classify(fmt.Sprintf("refresh the TTL check of %q", k.reg.ID), err)
	}
	c.mu.Lock()
	k.passed = now
	c.mu.Unlock()
	return nil
}

// idFilter asks for these IDs only, in Consul's filter language, so that a full
// agent does not list a thousand other services every second.
func idFilter(mine map[string]*kept) string {
	terms := make([]string, 0, len(mine))
	for _, id := range slices.Sorted(maps.Keys(mine)) {
		terms = append(terms, fmt.Sprintf("ID == %q", id))
	}
	return strings.Join(terms, " or ")
}
