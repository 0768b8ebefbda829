package control

import (
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

// Loop builds a table whenever one of its inputs changes, and publishes it. The
// first change after a rest counts at once; while changes go on it rests ten
// times as long as a build took, so that it never takes more than about a tenth
// of a core. Set the exported fields, then call Run once. The Set methods and
// Table may be called from any goroutine, also before Run.
type Loop struct {
	// Builder builds the tables; it belongs to Run's goroutine.
	Builder route.Builder
	// Publish is told of every new table, and what it changes, when Table
	// already returns it; from Run's goroutine. It must not block. Nil is nobody.
	Publish func(old, new *route.Table, changes route.Changes)

	Log     hclog.Logger // nil is silent
	Metrics *Metrics     // nil counts nothing

	table atomic.Pointer[route.Table]
	once  sync.Once
	woken chan struct{}

	mu     sync.Mutex // guards the fields below; never held while building
	inputs route.Inputs
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
	l.set(func(in *route.Inputs) { in.Snapshot = s })
}

// SetSplits gives the loop the splits as they are now.
func (l *Loop) SetSplits(s route.Splits) {
	l.set(func(in *route.Inputs) { in.Splits = s })
}

// SetOverrides gives the loop the route commands as they are now.
func (l *Loop) SetOverrides(o *route.Overrides) {
	l.set(func(in *route.Inputs) { in.Overrides = o })
}

// SetOwnership gives the loop the policy of who may claim what.
func (l *Loop) SetOwnership(o *route.Ownership) {
	l.set(func(in *route.Inputs) { in.Ownership = o })
}

func (l *Loop) set(change func(*route.Inputs)) {
	l.mu.Lock()
	change(&l.inputs)
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
		start := time.Now()
		l.step()
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(rest(time.Since(start))):
		}
	}
}

// Bounds of the rest between two builds: the least lets the changes of one
// deployment arrive together, the most keeps the slowest table fresh.
const (
	minRest = 5 * time.Millisecond
	maxRest = 250 * time.Millisecond
)

// rest returns how long to wait after a build that took so long.
func rest(took time.Duration) time.Duration {
	return min(max(10*took, minRest), maxRest)
}

// step builds a table of the newest state and puts it in force.
func (l *Loop) step() {
	l.mu.Lock()
	inputs := l.inputs
	l.mu.Unlock()
	if inputs.Snapshot == nil {
		return
	}
	start := time.Now()
	old := l.Table()
	table, err := l.build(inputs)
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
func (l *Loop) build(inputs route.Inputs) (t *route.Table, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v\n%s", r, debug.Stack())
			l.Builder.Reset() // what it kept between builds may be half written
		}
	}()
	return l.Builder.Build(inputs), nil
}

func (l *Loop) logger() hclog.Logger {
	if l.Log == nil {
		return hclog.NewNullLogger()
	}
	return l.Log
}
