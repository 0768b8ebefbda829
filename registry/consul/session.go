package consul

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"
)

// ErrNoSession says that a session has ended, or never was: its TTL passed, it
// was ended, or Consul lost its state.
var ErrNoSession = errors.New("no such session")

// lockDelay is how long nobody can acquire a key whose session was ended with the
// key still in it. Consul's default of 15 s is for programs that write without
// CAS; 0 would mean that default.
const lockDelay = time.Second

// NewSession makes a session that holds keys ([Client.Acquire]) and that Consul
// ends, with all of them, when it is not renewed for ttl: 10 s to 24 h. Consul
// may take up to twice as long. It depends on no health check, so that an agent
// that restarts does not end it.
//
// See https://developer.hashicorp.com/consul/docs/dynamic-app-config/sessions.
func (c *Client) NewSession(ctx context.Context, name string, ttl time.Duration) (id string, err error) {
	ctx, cancel := context.WithTimeout(ctx, plainTimeout)
	defer cancel()
	id, _, err = c.api.Session().CreateNoChecks(&api.SessionEntry{
		Name: name, TTL: ttl.String(), LockDelay: lockDelay, Behavior: api.SessionBehaviorDelete,
	}, new(api.WriteOptions).WithContext(ctx))
	if err == nil && id == "" {
		err = fmt.Errorf("%w: a session without an ID", ErrDecode)
	}
	return id, c.classify(fmt.Sprintf("make the session %q", name), err)
}

// RenewSession prolongs a session by its TTL; [ErrNoSession] when it has ended.
func (c *Client) RenewSession(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, plainTimeout)
	defer cancel()
	// Session().Renew would hide the status of an error.
	var renewed []struct{ ID string }
	_, err := c.api.Raw().Write("/v1/session/renew/"+url.PathEscape(id), nil, &renewed, new(api.WriteOptions).WithContext(ctx))
	if err == nil && (len(renewed) != 1 || renewed[0].ID != id) {
		err = fmt.Errorf("%w: it is about another session", ErrDecode)
	}
	return c.classifySession(fmt.Sprintf("renew the session %s", id), id, err)
}

// EndSession ends a session and removes the keys that it holds. One that has
// ended already is no error.
func (c *Client) EndSession(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, plainTimeout)
	defer cancel()
	_, err := c.api.Session().Destroy(url.PathEscape(id), new(api.WriteOptions).WithContext(ctx))
	return c.classify(fmt.Sprintf("end the session %s", id), err)
}

// Acquire writes one key as one that the session holds and that goes with it,
// and tells whether it did: not when another session holds the key, or held it
// until a second ago. A key that the session holds already is written again.
// [ErrNoSession] when the session has ended.
func (c *Client) Acquire(ctx context.Context, key string, value []byte, session string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, plainTimeout)
	defer cancel()
	ok, _, err := c.api.KV().Acquire(&api.KVPair{Key: key, Value: value, Session: session}, new(api.WriteOptions).WithContext(ctx))
	return ok, c.classifySession(fmt.Sprintf("acquire key %q", key), session, err)
}

// classifySession is classify for what fails because a session has ended: 404
// where it is renewed, 500 and a sentence where it shall hold a key.
func (c *Client) classifySession(op, id string, err error) error {
	status, ok := errors.AsType[api.StatusError](err)
	if ok && (status.Code == http.StatusNotFound || status.Code == http.StatusInternalServerError && strings.Contains(status.Body, "invalid session")) {
		return &failure{ErrNoSession, fmt.Sprintf("%s: Consul at %s has no session %s (any more)", op, c.addr, id), err}
	}
	return c.classify(op, err)
}

// Agent returns the name of the agent's node and its datacenter. It needs
// agent:read of that node.
func (c *Client) Agent(ctx context.Context) (node, datacenter string, err error) {
	ctx, cancel := context.WithTimeout(ctx, plainTimeout)
	defer cancel()
	var self struct {
		Config struct{ NodeName, Datacenter string }
	}
	_, err = c.api.Raw().Query("/v1/agent/self", &self, new(api.QueryOptions).WithContext(ctx))
	if err == nil && self.Config.NodeName == "" {
		err = fmt.Errorf("%w: an agent without a name", ErrDecode)
	}
	return self.Config.NodeName, self.Config.Datacenter, c.classify("read who the agent is", err)
}
