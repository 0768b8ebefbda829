package rollout

import (
	"context"
	"errors"
	"time"
)

// Where balancers keep what they share.
const (
	StateKeys = "lb/state"           // below it, by service, the states
	NodeKeys  = StateKeys + "/nodes" // by balancer, and below each by service, what it publishes; and the lock
	RingKeys  = "lb/log"             // by service, the audit rings
)

// LeaderKey is the lock of the balancer that leads.
const LeaderKey = NodeKeys + "/" + leaderName

// Store is Consul's KV and sessions as a Fleet needs them.
type Store interface {
	// Watch calls emit with all pairs at and below prefix whenever they change,
	// and with an error when they are lost, until ctx ends. It never calls emit
	// concurrently.
	Watch(ctx context.Context, prefix string, emit func(pairs []Pair, err error)) error
	// Get reads one key; index 0: there is none.
	Get(ctx context.Context, key string) (Pair, error)
	// CAS writes a key whose index still is index (0: absent), and tells whether it did.
	CAS(ctx context.Context, key string, value []byte, index uint64) (bool, error)
	// Delete removes a key.
	Delete(ctx context.Context, key string) error
	// NewSession makes a session that ends when it is not renewed within ttl,
	// with the keys that it holds.
	NewSession(ctx context.Context, name string, ttl time.Duration) (id string, err error)
	// RenewSession prolongs it; [ErrNoSession] when it has ended.
	RenewSession(ctx context.Context, id string) error
	// EndSession ends it and removes what it holds.
	EndSession(ctx context.Context, id string) error
	// Acquire writes a key as one that the session holds, and tells whether it
	// does; a key that it holds already is written again.
	Acquire(ctx context.Context, key string, value []byte, session string) (bool, error)
}

// ErrNoSession says that a session has ended.
var ErrNoSession = errors.New("the session has ended")

// Pair is one key of a Store.
type Pair struct {
	Key     string
	Value   []byte
	Index   uint64
	Session string // that holds it
}
