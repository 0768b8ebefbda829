package main

import (
	"bytes"
	"context"
	"encoding/json"

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

func (b *balancer) editor() *canary.Editor {
	e := editorOf(b.client, b.cfg.Canary.Prefix)
	e.InForce = func(_ context.Context, service string, _ uint64) []byte {
		st, _ := b.canaries.ServiceStatus(service)
		return st.Document
	}
	return e
}

// textInForce is canary.Editor's, by the balancer at lb: nil where it does not
// answer, or follows another Consul, which has another text at the key.
func textInForce(lb *adminAPI) func(ctx context.Context, service string, index uint64) []byte {
	return func(ctx context.Context, service string, index uint64) []byte {
		st, err := lb.canary(ctx, service)
		if err != nil || st.Index != index && st.Source == st.Key {
			return nil
		}
		var text bytes.Buffer // without the indentation of the answer
		if json.Compact(&text, st.Document) != nil {
			return nil
		}
		return text.Bytes()
	}
}
