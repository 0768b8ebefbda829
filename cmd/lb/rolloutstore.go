package main

import (
	"context"
	"errors"
	"time"

	"serin/canary/rollout"
	"serin/registry/consul"
)

// rolloutStore is Consul as a rollout.Fleet needs it.
type rolloutStore struct{ c *consul.Client }

func (s rolloutStore) Watch(ctx context.Context, prefix string, emit func([]rollout.Pair, error)) error {
	return s.c.WatchPrefix(ctx, prefix, func(ev consul.KVEvent) {
		pairs := make([]rollout.Pair, len(ev.Pairs))
		for i, p := range ev.Pairs {
			pairs[i] = rolloutPair(p)
		}
		emit(pairs, ev.Err)
	})
}

func rolloutPair(p consul.Pair) rollout.Pair {
	return rollout.Pair{Key: p.Key, Value: p.Value, Index: p.Index, Session: p.Session}
}

func (s rolloutStore) Get(ctx context.Context, key string) (rollout.Pair, error) {
	p, _, err := s.c.Get(ctx, key)
	return rolloutPair(p), err
}

func (s rolloutStore) CAS(ctx context.Context, key string, value []byte, index uint64) (bool, error) {
	return s.c.CAS(ctx, key, value, index)
}

func (s rolloutStore) Delete(ctx context.Context, key string) error { return s.c.Delete(ctx, key) }

func (s rolloutStore) NewSession(ctx context.Context, name string, ttl time.Duration) (string, error) {
	return s.c.NewSession(ctx, name, ttl)
}

func (s rolloutStore) RenewSession(ctx context.Context, id string) error {
	return ended(s.c.RenewSession(ctx, id))
}

func (s rolloutStore) EndSession(ctx context.Context, id string) error {
	return s.c.EndSession(ctx, id)
}

func (s rolloutStore) Acquire(ctx context.Context, key string, value []byte, session string) (bool, error) {
	ok, err := s.c.Acquire(ctx, key, value, session)
	return ok, ended(err)
}

// ended makes the registry's word for a session that has ended the fleet's.
func ended(err error) error {
	if errors.Is(err, consul.ErrNoSession) {
		return errors.Join(rollout.ErrNoSession, err)
	}
	return err
}
