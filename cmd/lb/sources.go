package main

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"serin/canary"
	"serin/registry/consul"
)

// kvSource delivers the documents at and below prefix: the key prefix itself is
// the one for all services, prefix/NAME that of one service.
func kvSource(c *consul.Client, prefix string) canary.Source {
	return canary.SourceFunc(func(ctx context.Context, emit func(canary.Event)) error {
		return c.WatchPrefix(ctx, prefix, func(ev consul.KVEvent) {
			docs, lost := map[string]canary.Raw{}, map[string]error{}
			for _, p := range ev.Pairs {
				service, below := strings.CutPrefix(p.Key, prefix+"/")
				switch {
				case p.Key == prefix:
					service = ""
				case !below, service == "", strings.Contains(service, "/"):
					continue // a folder, or deeper than services go
				}
				docs[service] = canary.Raw{Key: p.Key, Value: p.Value, Index: p.Index}
				if err := ev.Lost[p.Key]; err != nil {
					lost[service] = err
				}
			}
			emit(canary.Event{Docs: docs, Err: ev.Err, Lost: lost, At: ev.At})
		})
	})
}

// openConfigServer opens the source that a document's config_server names, to be
// asked every so often where it cannot tell of a change by itself. The address
// is an operator's word in KV, so none of our credentials go there.
func (b *balancer) openConfigServer(address string, every time.Duration) (canary.Source, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	switch u.Scheme {
	case "http", "https":
		return &canary.HTTPSource{URL: address, Every: every, Self: b.canaries.Self}, nil
	case "file":
		return &canary.FileSource{Path: u.Path, Every: every}, nil
	case "consul":
		return b.openConsul(address, u.Host, strings.TrimPrefix(u.Path, "/"))
	}
	return nil, fmt.Errorf("%q: want consul://host:port/key, https://host/path or file:/path", address)
}

// openConsul is the key of another Consul, which tells of a change by itself.
func (b *balancer) openConsul(address, agent, key string) (canary.Source, error) {
	if agent == "" || key == "" {
		return nil, fmt.Errorf("%q: want consul://host:port/key", address)
	}
	client, err := consul.NewAnonymous(agent)
	if err != nil {
		return nil, err
	}
	client.Log = b.log.Named("config_server")
	return canary.SourceFunc(func(ctx context.Context, emit func(canary.Event)) error {
		defer client.Close()
		return client.WatchKey(ctx, key, func(ev consul.KVEvent) {
			docs := map[string]canary.Raw{}
			for _, p := range ev.Pairs {
				docs[""] = canary.Raw{Key: address, Value: p.Value, Index: p.Index}
			}
			emit(canary.Event{Docs: docs, Err: ev.Err, At: ev.At})
		})
	}), nil
}

// secretKV is Consul's KV as canary.EnsureSecret needs it.
type secretKV struct{ c *consul.Client }

func (s secretKV) Get(ctx context.Context, key string) ([]byte, uint64, error) {
	p, _, err := s.c.Get(ctx, key)
	return p.Value, p.Index, err
}

func (s secretKV) CAS(ctx context.Context, key string, value []byte, index uint64) (bool, error) {
	return s.c.CAS(ctx, key, value, index)
}
