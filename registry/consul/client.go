package consul

import (
	"github.com/hashicorp/consul/api"
	"github.com/hashicorp/go-hclog"
)

// Client talks to one Consul agent. It is safe for concurrent use.
type Client struct {
	// Log gets what the background work has to say; nil is silence.
	Log hclog.Logger

	api *api.Client
}
