package main

import (
	"errors"

	"github.com/hashicorp/go-hclog"

	"serin/registry/consul"
)

// client returns a client of the agent that c names; what c leaves empty is
// taken from the CONSUL_* variables.
func (c Consul) client(log hclog.Logger) (*consul.Client, error) {
	client, err := consul.NewWithOptions(consul.Options{
		Addr: c.Addr, Token: c.Token, TokenFile: c.TokenFile,
		CAFile: c.TLS.CAFile, CAPath: c.TLS.CAPath, CertFile: c.TLS.CertFile, KeyFile: c.TLS.KeyFile, InsecureSkipVerify: c.TLS.SkipVerify,
	})
	if err != nil {
		return nil, fail(exitUsage, err, "see registry.consul.addr and CONSUL_HTTP_ADDR")
	}
	client.Log = log
	return client, nil
}

// consulError gives an error of a call to Consul its exit code; it says itself
// what to do.
func consulError(err error) error {
	if errors.Is(err, consul.ErrDenied) || errors.Is(err, consul.ErrDecode) {
		return fail(exitFailed, err, "")
	}
	return fail(exitUnreachable, err, "")
}
