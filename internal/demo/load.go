package demo

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Load is a light load: so many requests a second, whether or not the earlier
// ones were answered. Its fields are set before Run.
type Load struct {
	URL  string
	Rate int // requests a second; zero means 10
	// InFlight bounds the requests that wait for an answer; one that would
	// exceed it is skipped. Zero means 64.
	InFlight int
	// Observe, if set, is told every answer; status is 0 when there was none.
	// It is called by many goroutines at once.
	Observe func(status int, took time.Duration)

	sent, failed, skipped atomic.Int64
}

// Stats returns how many requests were sent, how many of them failed (no
// answer, or 5xx), and how many were skipped.
func (l *Load) Stats() (sent, failed, skipped int64) {
	return l.sent.Load(), l.failed.Load(), l.skipped.Load()
}

// users is how many people the load pretends to be, in the header X-User.
const users = 1000

// Run sends requests until ctx ends; then it waits for the last answers and
// returns nil. It fails only when URL makes no request.
func (l *Load) Run(ctx context.Context) error {
	if _, err := http.NewRequest(http.MethodGet, l.URL, nil); err != nil {
		return fmt.Errorf("demo load: %w", err)
	}
	rate, room := l.Rate, l.InFlight
	if rate <= 0 {
		rate = 10
	}
	if room <= 0 {
		room = 64
	}
	transport := &http.Transport{MaxIdleConnsPerHost: room}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 10 * time.Second}
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, room)
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		select {
		case slots <- struct{}{}:
			wg.Go(func() {
				l.once(ctx, client)
				<-slots
			})
		default:
			l.skipped.Add(1)
		}
	}
}

func (l *Load) once(ctx context.Context, client *http.Client) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, l.URL, nil)
	if err != nil {
		panic("BUG: " + err.Error()) // Run has tried it
	}
	req.Header.Set("User-Agent", "serin-demo-load")
	req.Header.Set("X-User", fmt.Sprintf("user-%d", rand.IntN(users)))
	start, status := time.Now(), 0
	resp, err := client.Do(req)
	if err == nil {
		status = resp.StatusCode
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	if ctx.Err() != nil {
		return // cut off by us: no failure
	}
	l.sent.Add(1)
	if err != nil || status >= 500 {
		l.failed.Add(1)
	}
	if l.Observe != nil {
		l.Observe(status, time.Since(start))
	}
}
