package main

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"serin/canary"
	"serin/control"
	"serin/registry"
)

// restore takes the last good state from disk, for a start without Consul. What
// cannot be used is said and left alone.
func (b *balancer) restore() {
	path := b.cfg.Registry.SnapshotPath
	if path == "" {
		return
	}
	b.saver = &control.Saver{Path: path, Log: b.log.Named("state"), Metrics: b.counted}
	b.saver.Owners = b.ownership.owners
	for _, f := range b.keys {
		f.save = b.saver.SetKeys
	}
	s, err := control.Load(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return
	case err != nil:
		b.log.Warn("the last good state on disk cannot be used", "path", path, "error", err)
		return
	}
	b.saver.State = s
	if secret, err := canary.ParseSecret(path, s.Secret); err == nil {
		b.canaries.SetSecret(secret)
	}
	if age := s.Age(time.Now()); age > b.cfg.Registry.SnapshotMaxAge {
		b.log.Warn("the last good state on disk is too old", "path", path, "age", age.Round(time.Second), "registry.snapshot.maxage", b.cfg.Registry.SnapshotMaxAge)
		return
	}
	b.canaries.Restored = map[string]canary.Raw{}
	for service, d := range s.Documents {
		b.canaries.Restored[service] = canary.Raw{Key: d.Key, Value: d.Value, Index: d.Index}
	}
	for _, f := range b.keys {
		f.Restore(s.Keys[f.path])
	}
	b.ownership.restore(s.Owners)
	b.restoreRollouts(s.Rollouts)
	b.watcher.Resume(s.Catalog)
	b.loop.SetSnapshot(s.Catalog)
	b.restored = true
	b.log.Info("the last good state on disk is in use until Consul answers", "path", path, "known", s.KnownAt.Format(time.RFC3339), "services", s.Catalog.Len())
}

// saveCatalog and saveDocuments keep on disk what the sources really said.
func (b *balancer) saveCatalog(s *registry.Snapshot) {
	if b.saver != nil {
		b.saver.SetCatalog(s)
	}
}

func (b *balancer) saveDocuments() {
	if b.saver == nil || !b.canaries.Status().Answered {
		return
	}
	docs := map[string]control.Document{}
	for service, raw := range b.canaries.Documents() {
		docs[service] = control.Document{Key: raw.Key, Value: raw.Value, Index: raw.Index}
	}
	b.saver.SetDocuments(docs)
}

// confirm keeps the age of the state on disk true while nothing changes.
func (b *balancer) confirm(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Minute):
		}
		if b.watcher.Ready() && !b.watcher.Status().Stale {
			b.saver.Confirm()
		}
	}
}

// shareSecret reads, or makes, the key of sticky assignment that all balancers
// share, trying until Consul gives it; until then the one on disk holds, or a
// random one.
func (b *balancer) shareSecret(ctx context.Context) error {
	said := false
	again(ctx, func() bool {
		secret, err := canary.EnsureSecret(ctx, secretKV{b.client}, canary.SecretKey)
		if err == nil {
			b.canaries.SetSecret(secret)
			b.keyed.Store(true)
			if said {
				b.log.Info("the secret of sticky assignment is shared now: all balancers assign clients alike")
			}
			if b.saver != nil {
				b.saver.SetSecret(canary.FormatSecret(secret))
			}
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		b.keyed.Store(true) // known to be out of reach: no reason not to serve
		if !said {
			said = true
			b.log.Warn("the secret of sticky assignment cannot be shared yet: balancers may assign clients differently", "error", err)
		}
		return false
	})
	return nil
}
