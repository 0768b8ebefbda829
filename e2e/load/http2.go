package load

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/google/uuid"
)

// h2c is the HTTP/2 client without TLS that all workers share.
type h2c struct {
	run       *run
	transport *http.Transport
}

func newH2C(r *run) *h2c {
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	return &h2c{run: r, transport: &http.Transport{
		Protocols: &protocols,
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			conn, _, err := r.dial()
			return conn, err
		},
	}}
}

func (c *h2c) close() { c.transport.CloseIdleConnections() }

func (c *h2c) do(i int, due time.Time) {
	id := uuid.NewString()
	ctx, cancel := context.WithTimeout(context.Background(), c.run.cfg.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", "http://"+c.run.cfg.Addrs[0]+c.run.cfg.Path, nil)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	req.Host = c.run.cfg.Host
	req.Header.Set("X-Request-Id", id)
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		c.run.wrong(cause(H2C, err), fmt.Sprintf("request %d (%s): %v", i, id, err))
		return
	}
	defer resp.Body.Close()
	a, err := read(resp, id, 0)
	if err != nil {
		c.run.wrong(cause(H2C, err), fmt.Sprintf("request %d (%s): %v", i, id, err))
		return
	}
	c.run.right(i, a, id, H2C, due)
}
