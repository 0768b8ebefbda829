package daemon

import (
	"cmp"
	"container/list"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
)

const (
	// Deadline is how long a connection may be open.
	Deadline = time.Second
	// DefaultMaxConns is how many connections of one listener are open at once.
	DefaultMaxConns = 1024
)

// Server answers for one service. Set the fields, then call Run.
type Server struct {
	Service  string
	Shares   Shares         // required
	Protocol Protocol       // nil is Maxwell
	Meter    Meter          // nil counts nothing
	Random   func() float64 // uniform in [0, 1); nil is math/rand/v2's
	Log      hclog.Logger   // nil is silent
	// MaxConns is how many connections are open at once, 0 is DefaultMaxConns.
	// Where one more comes, that which has been open for longest is closed: it is
	// most likely one that never asks, and who asks at once is always served.
	MaxConns int
}

// Run answers until ctx ends, closes the listener and what has not asked by
// then, and returns nil. It returns an error when the listener fails before.
func (s *Server) Run(ctx context.Context, ln net.Listener) error {
	r := &serving{
		Server: s, protocol: s.Protocol, meter: s.Meter, random: s.Random, log: s.Log,
		slots: make(chan struct{}, cmp.Or(s.MaxConns, DefaultMaxConns)),
	}
	if r.protocol == nil {
		r.protocol = Maxwell{}
	}
	if r.meter == nil {
		r.meter = nobody{}
	}
	if r.random == nil {
		r.random = rand.Float64
	}
	if r.log == nil {
		r.log = hclog.NewNullLogger()
	}
	stop := context.AfterFunc(ctx, func() { _ = ln.Close(); r.closeAll() })
	defer r.wg.Wait()
	defer stop()
	return r.accept(ctx, ln)
}

// serving is the state of one Run.
type serving struct {
	*Server
	protocol Protocol
	meter    Meter
	random   func() float64
	log      hclog.Logger
	wg       sync.WaitGroup
	slots    chan struct{} // one for each open connection

	mu   sync.Mutex
	over bool
	open list.List // of *conn, the one that is open for longest first
}

// conn is an open connection.
type conn struct {
	net.Conn
	at      time.Time
	asked   atomic.Bool // its answer is on the way
	evicted atomic.Bool
}

func (r *serving) accept(ctx context.Context, ln net.Listener) error {
	var pause time.Duration
	for {
		c, err := ln.Accept()
		if err != nil {
			switch {
			case ctx.Err() != nil:
				return nil
			case errors.Is(err, net.ErrClosed):
				return fmt.Errorf("daemon: the listener of %s ended although it was not asked to: %w", r.Service, err)
			case pause == 0:
				r.log.Warn("connections cannot be accepted, trying on", "service", r.Service, "error", err)
			}
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
			continue
		}
		if pause > 0 {
			r.log.Info("connections are accepted again", "service", r.Service)
			pause = 0
		}
		r.take(&conn{Conn: c, at: time.Now()})
	}
}

// take serves a connection, in place of the oldest where there is no room.
func (r *serving) take(c *conn) {
	select {
	case r.slots <- struct{}{}:
	default:
		r.evict()
		r.slots <- struct{}{}
	}
	_ = c.SetDeadline(c.at.Add(Deadline))
	r.mu.Lock()
	e := r.open.PushBack(c)
	over := r.over
	r.mu.Unlock()
	if over {
		_ = c.Close()
	}
	r.wg.Go(func() {
		var a Answer
		err := r.protocol.Serve(c.Conn, func(assignment string) Answer {
			c.asked.Store(true)
			ratio, ok := r.Shares.Share(r.Service)
			a = Decide(assignment, ratio, ok, r.random())
			return a
		})
		_ = c.Close()
		r.mu.Lock()
		r.open.Remove(e)
		r.mu.Unlock()
		<-r.slots
		switch {
		case err == nil:
			r.meter.Answered(r.Service, a, time.Since(c.at))
		case !r.ended():
			r.meter.Failed(r.Service, r.failure(c, err))
		}
	})
}

// evict closes the connection that has been open for longest.
func (r *serving) evict() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for e := r.open.Front(); e != nil; e = e.Next() {
		if c := e.Value.(*conn); !c.evicted.Load() {
			c.evicted.Store(true)
			_ = c.Close()
			return
		}
	}
}

// closeAll closes what has not asked, and what is yet to come.
func (r *serving) closeAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
	for e := r.open.Front(); e != nil; e = e.Next() {
		if c := e.Value.(*conn); !c.asked.Load() {
			_ = c.Close()
		}
	}
}

func (r *serving) ended() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.over
}

func (r *serving) failure(c *conn, err error) Failure {
	switch {
	case c.evicted.Load():
		return Crowded
	case errors.Is(err, os.ErrDeadlineExceeded):
		return Late
	case errors.Is(err, errHalf):
		return Half
	}
	return Broken
}
