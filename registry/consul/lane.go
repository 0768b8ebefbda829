package consul

import (
	"net/http"
	"net/http/httptrace"
	"sync"
	"time"
)

const (
	// laneStreams is how many open queries one connection carries. An agent
	// allows 250 (https://pkg.go.dev/golang.org/x/net/http2#Server).
	laneStreams = 200
	// maxLanes bounds the connections of open queries: with those of everything
	// else they stay below the agent's http_max_conns_per_client, 200.
	maxLanes = 120
	// maxMultiplexed is how many services can be followed by an open query each
	// over HTTP/2; with more a Watcher listens for the bells.
	maxMultiplexed = laneStreams * maxLanes
	// pingAfter is the silence after which a connection is tried.
	pingAfter = 15 * time.Second
)

// lane is one connection to the agent that speaks HTTP/2 and carries open
// queries only, so that what else there is to ask never waits behind them. It
// is safe for concurrent use.
type lane struct {
	via http.RoundTripper
	// door lets one request at a time look for the connection: a transport dials
	// for every request that finds none.
	door    chan struct{}
	streams int // guarded by lanes.mu
}

// RoundTrip sends req on the lane's connection.
func (l *lane) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	select {
	case l.door <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	leave := sync.OnceFunc(func() { <-l.door })
	defer leave()
	trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { leave() }}
	return l.via.RoundTrip(req.WithContext(httptrace.WithClientTrace(ctx, trace)))
}

// lanes are all lanes of a Client; nil where there can be none.
type lanes struct {
	open func() http.RoundTripper

	mu  sync.Mutex // guards what follows
	all []*lane
}

// take returns a lane with room for one more stream: the first one, so that few
// connections are open.
func (l *lanes) take() *lane {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, lane := range l.all {
		if lane.streams < laneStreams {
			lane.streams++
			return lane
		}
	}
	lane := &lane{via: l.open(), door: make(chan struct{}, 1), streams: 1}
	l.all = append(l.all, lane)
	return lane
}

// give returns a lane whose stream ended while it may have been waiting for so
// long: the agent goes on with a query that is cancelled until its wait is over,
// and lets new ones stand in line when it has 250 of a connection in hand.
func (l *lanes) give(lane *lane, waiting time.Duration) {
	time.AfterFunc(waiting+waiting/16, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if lane.streams--; lane.streams == 0 {
			closeIdle(lane.via)
		}
	})
}

// used counts the lanes that carry a stream.
func (l *lanes) used() (n int) {
	if l == nil {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, lane := range l.all {
		if lane.streams > 0 {
			n++
		}
	}
	return n
}

func (l *lanes) closeIdle() {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, lane := range l.all {
		closeIdle(lane.via)
	}
}

func closeIdle(rt http.RoundTripper) {
	if c, ok := rt.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// newLanes returns lanes whose connections are like those of t, but speak
// nothing else than HTTP/2.
func newLanes(t *http.Transport) *lanes {
	return &lanes{open: func() http.RoundTripper {
		t := t.Clone()
		t.MaxConnsPerHost, t.MaxIdleConnsPerHost, t.MaxIdleConns = 0, 0, 0
		t.Protocols = new(http.Protocols)
		t.Protocols.SetHTTP2(true)
		return t
	}}
}
