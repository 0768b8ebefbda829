package main

import (
	"context"
	"errors"
	"io"

	"github.com/hashicorp/go-hclog"
)

// run is the balancer: it serves until ctx ends, then drains.
func run(ctx context.Context, cfg Config, out io.Writer, log hclog.Logger) error {
	return errors.New("lb run: to be written")
}
