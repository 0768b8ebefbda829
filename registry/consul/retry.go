package consul

import (
	"context"
	"time"
)

// RegisterRetrying is Register, repeated until Consul takes the registration or
// ctx ends, whose error it returns then. All tries are for one ID, so that a try
// whose answer was lost leaves no second instance behind. A failure is logged
// when it begins and when it changes, not at every try. What is wrong with r
// itself is an error at once.
func (c *Client) RegisterRetrying(ctx context.Context, r Registration) (id string, err error) {
	k, err := prepare(r)
	if err != nil {
		return "", err
	}
	said := ""
	for wait := 250 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		// A request that was sent is given a second when ctx ends: it may well
		// arrive, and then there is something to deregister.
		try, cancel := context.WithCancel(context.WithoutCancel(ctx))
		stop := context.AfterFunc(ctx, func() { time.AfterFunc(time.Second, cancel) })
		err := c.enrol(try, k)
		stop()
		cancel()
		if err == nil {
			return k.reg.ID, nil
		}
		if err.Error() != said {
			said = err.Error()
			c.log().Warn("not registered yet, trying again", "service", r.Name, "error", err)
		}
		select {
		case <-ctx.Done():
			// The last try may have arrived without our knowing.
			gone, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			_ = c.Deregister(gone, k.reg.ID)
			return "", ctx.Err()
		case <-time.After(wait):
		}
	}
}
