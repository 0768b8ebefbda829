package control

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"serin/registry"
)

// confirmEvery bounds how often a state that only was confirmed is written.
const confirmEvery = 10 * time.Minute

// Saver keeps the last good state on disk. Set the exported fields, then call
// Run once; the Set methods and Confirm may be called from any goroutine, also
// before Run. Only what sources really said should be given to it.
type Saver struct {
	Path string // of the file; required
	// State is what Load found, so that a part that nobody sets is kept.
	State State
	// Owners is asked for State.Owners at each write; nil, and an answer of
	// nil, keep what State has.
	Owners func() map[string]string
	// Every is the least time between two writes. Zero means 3 s. Where a write
	// takes long it is at least fifty times that.
	Every time.Duration

	Log     hclog.Logger // nil is silent
	Metrics *Metrics     // nil counts nothing

	once  sync.Once
	woken chan struct{}
	mu    sync.Mutex // guards State from the first Set on; never held while writing
}

// SetCatalog replaces the catalog.
func (s *Saver) SetCatalog(c *registry.Snapshot) { s.set(func(st *State) { st.Catalog = c }) }

// SetDocuments replaces the documents; the map is the Saver's from now on.
func (s *Saver) SetDocuments(d map[string]Document) { s.set(func(st *State) { st.Documents = d }) }

// SetKeys replaces what was read at a followed path, nothing where no key is
// there. The slice is the Saver's from now on.
func (s *Saver) SetKeys(path string, keys []Document) {
	s.set(func(st *State) {
		all := make(map[string][]Document, len(st.Keys)+1) // a write under way still reads the old one
		maps.Copy(all, st.Keys)
		all[path] = keys
		st.Keys = all
	})
}

// SetSecret replaces the key of sticky assignment.
func (s *Saver) SetSecret(secret string) { s.set(func(st *State) { st.Secret = secret }) }

// SetRollouts replaces the states of rollouts; the map is the Saver's from now on.
func (s *Saver) SetRollouts(r map[string]json.RawMessage) {
	s.set(func(st *State) { st.Rollouts = r })
}

// Confirm says that the sources answer and nothing changed: the state is as
// young as now. It costs a write every ten minutes at most.
func (s *Saver) Confirm() {
	s.mu.Lock()
	due := time.Since(s.State.KnownAt) >= confirmEvery
	s.mu.Unlock()
	if due {
		s.set(func(*State) {})
	}
}

func (s *Saver) set(change func(*State)) {
	s.init()
	s.mu.Lock()
	change(&s.State)
	s.State.KnownAt = time.Now()
	s.mu.Unlock()
	select {
	case s.woken <- struct{}{}:
	default:
	}
}

func (s *Saver) init() {
	s.once.Do(func() { s.woken = make(chan struct{}, 1) })
}

// Run writes the state soon after it changed, and at the end what was not yet
// written, then returns nil. A write that fails is logged once until one
// succeeds, counted, and tried again; it stops nothing.
func (s *Saver) Run(ctx context.Context) error {
	s.init()
	every := cmp.Or(s.Every, 3*time.Second)
	var last time.Time // of the last write
	var retry <-chan time.Time
	failed := false
	write := func() {
		s.mu.Lock()
		state := s.State
		s.mu.Unlock()
		if s.Owners != nil {
			if owners := s.Owners(); owners != nil {
				state.Owners = owners
			}
		}
		start := time.Now()
		err := Save(s.Path, state)
		every = max(every, 50*time.Since(start))
		s.Metrics.saved(err)
		if err != nil && !failed {
			s.logger().Warn("state is not kept on disk; a start without Consul would find an older one or none", "error", err)
		}
		if err == nil && failed {
			s.logger().Info("state is kept on disk again", "path", s.Path)
		}
		failed, retry = err != nil, nil
		if failed {
			retry = time.After(10 * every)
		}
		last = time.Now()
	}
	for {
		select {
		case <-ctx.Done():
			select {
			case <-s.woken:
				write()
			default:
				if failed {
					write()
				}
			}
			return nil
		case <-retry:
			write()
		case <-s.woken:
			// What changes while we wait is in the same write.
			select {
			case <-ctx.Done():
			case <-time.After(time.Until(last.Add(every))):
			}
			select {
			case <-s.woken:
			default:
			}
			write()
		}
	}
}

func (s *Saver) logger() hclog.Logger {
	if s.Log == nil {
		return hclog.NewNullLogger()
	}
	return s.Log
}
