package consul

import (
	"context"
	"time"
)

// RegisterRetrying is Register, repeated until Consul takes the registration or
// ctx ends, which is the only error it returns. A failure is logged when it
// begins and when it changes, not at every try.
func (c *Client) RegisterRetrying(ctx context.Context, r Registration) (id string, err error) {
	said := ""
	for wait := 250 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		// A request that was sent is not taken back, or nobody would know
		// whether there is something to deregister.
		id, err := c.Register(context.WithoutCancel(ctx), r)
		if err == nil {
			return id, nil
		}
		if err.Error() != said {
			said = err.Error()
			c.log().Warn("not registered yet, trying again", "service", r.Name, "error", err)
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(wait):
		}
	}
}
