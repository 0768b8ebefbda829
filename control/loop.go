package control

import (
	"cmp"
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"serin/registry"
	"serin/route"
)

// Loop builds a table whenever the catalog or the splits change, and publishes
// it. Set the exported fields, then call Run once. SetSnapshot, SetSplits and
// Table may be called from any goroutine, also before Run.
type Loop struct {
	// Builder builds the tables; it belongs to Run's goroutine.
	Builder route.Builder
	// Coalesce is the least time between two builds. Zero means 100 ms; more
	// delays changes, less costs CPU while many services flap.
	Coalesce time.Duration
	// Publish is told of every new table, and what it changes, when Table
	// already returns it; from Run's goroutine. It must not block. Nil is nobody.
	Publish func(old, new *route.Table, changes route.Changes)

	Log     hclog.Logger // nil is silent
	Metrics *Metrics     // nil counts nothing

	table atomic.Pointer[route.Table]
	once  sync.Once
	woken chan struct{}

	mu       sync.Mutex // guards the fields below; never held while building
	snapshot *registry.Snapshot
	splits   route.Splits
}

func (l *Loop) init() {
	l.once.Do(func() { l.woken = make(chan struct{}, 1) })
}

// Table returns the table in force: the one load of a request. It is never nil;
// before the first build it has no routes.
func (l *Loop) Table() *route.Table {
	if t := l.table.Load(); t != nil {
		return t
	}
	l.table.CompareAndSwap(nil, &route.Table{})
	return l.table.Load()
}

// SetSnapshot gives the loop the catalog as it is now. Before the first one
// nothing is built.
func (l *Loop) SetSnapshot(s *registry.Snapshot) {
	l.mu.Lock()
	l.snapshot = s
	l.mu.Unlock()
	l.wake()
}

// SetSplits gives the loop the splits as they are now.
func (l *Loop) SetSplits(s route.Splits) {
	l.mu.Lock()
	l.splits = s
	l.mu.Unlock()
	l.wake()
}

func (l *Loop) wake() {
	l.init()
	select {
	case l.woken <- struct{}{}:
	default: // a build that is yet to start reads the newest state
	}
}

// Run builds and publishes until ctx ends, then returns nil.
func (l *Loop) Run(ctx context.Context) error {
	l.init()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-l.woken:
		}
		l.step()
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(cmp.Or(l.Coalesce, 100*time.Millisecond)):
		}
	}
}

// step builds a table of the newest state and puts it in force.
func (l *Loop) step() {
	l.mu.Lock()
	snapshot, splits := l.snapshot, l.splits
	l.mu.Unlock()
	if snapshot == nil {
		return
	}
	start := time.Now()
	old := l.Table()
	table, err := l.build(snapshot, splits)
	if err != nil {
		l.Metrics.panicked()
		l.logger().Error("BUG: the routing table cannot be built, the last one stays", "error", err)
		return
	}
	l.table.Store(table)
	l.Metrics.built(table, time.Since(start))
	changes := route.Diff(old, table)
	report(l.logger(), &changes)
	if l.Publish != nil {
		l.Publish(old, table, changes)
	}
}

// build is Build, which should never panic: if it does, the last table is worth
// more than the process.
func (l *Loop) build(snapshot *registry.Snapshot, splits route.Splits) (t *route.Table, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v\n%s", r, debug.Stack())
			// What the builder kept between builds may be half written.
			l.Builder = route.Builder{TagPrefix: l.Builder.TagPrefix, Datacenter: l.Builder.Datacenter}
		}
	}()
	return l.Builder.Build(snapshot, splits), nil
}

func (l *Loop) logger() hclog.Logger {
	if l.Log == nil {
		return hclog.NewNullLogger()
	}
	return l.Log
}
