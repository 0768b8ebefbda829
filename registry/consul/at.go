package consul

import "github.com/hashicorp/consul/api"

// NewAt returns a Client of the agent at addr, "host:port" or a URL; the rest
// comes from the CONSUL_* variables, and so does addr when it is empty.
func NewAt(addr string) (*Client, error) { return NewWithConfig(&api.Config{Address: addr}) }

// NewAnonymous returns a Client of the agent at addr that sends no token and
// takes nothing from the environment: for agents that are not the program's own.
func NewAnonymous(addr string) (*Client, error) {
	c, err := NewWithConfig(&api.Config{Address: addr, Scheme: "http", Transport: newTransport()})
	if err != nil {
		return nil, err
	}
	c.api.SetHeaders(nil)
	return c, nil
}
