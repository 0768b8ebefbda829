package main

import (
	"github.com/hashicorp/go-hclog"

	"serin/registry/consul"
)

// client returns a client of the agent that c names; what c leaves empty is
// taken from the CONSUL_* variables.
func (c Consul) client(log hclog.Logger) (*consul.Client, error) {
	cfg := zeroOf(consul.NewWithConfig)
	cfg.Address, cfg.Token, cfg.TokenFile = c.Addr, c.Token, c.TokenFile
	client, err := consul.NewWithConfig(cfg)
	if err != nil {
		return nil, fail(exitUsage, err, "see registry.consul.addr and CONSUL_HTTP_ADDR")
	}
	client.Log = log
	return client, nil
}

// zeroOf returns a zero argument for f, whose type this package must not name:
// only registry/consul knows Consul's own client.
func zeroOf[T, R any](f func(*T) (R, error)) *T { return new(T) }
