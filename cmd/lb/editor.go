package main

import (
	"context"

	"serin/canary"
	"serin/registry/consul"
)

// documentKV is Consul's KV as canary.Editor needs it.
type documentKV struct{ secretKV }

func (d documentKV) DeleteCAS(ctx context.Context, key string, index uint64) (bool, error) {
	return d.c.DeleteCAS(ctx, key, index)
}

// editorOf makes edits of the documents at prefix.
func editorOf(c *consul.Client, prefix string) *canary.Editor {
	return &canary.Editor{KV: documentKV{secretKV{c}}, Prefix: prefix}
}

func (b *balancer) editor() *canary.Editor { return editorOf(b.client, b.cfg.Canary.Prefix) }
