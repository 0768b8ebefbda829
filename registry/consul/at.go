package consul

import "github.com/hashicorp/consul/api"

// NewAt returns a Client of the agent at addr, "host:port" or a URL; the rest
// comes from the CONSUL_* variables, and so does addr when it is empty.
func NewAt(addr string) (*Client, error) { return NewWithConfig(&api.Config{Address: addr}) }
