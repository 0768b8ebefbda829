package main

import (
	"context"
	"errors"
	"io"

	"github.com/hashicorp/go-hclog"
)

// dev is run with a Consul, demo instances and a light load of its own.
func dev(ctx context.Context, cfg Config, service string, out io.Writer, log hclog.Logger) error {
	return errors.New("lb dev: to be written")
}
