package consul

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"go.uber.org/goleak"

	"serin/internal/agent"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// realAgent is a real Consul agent, and clients of it.
type realAgent struct {
	*agent.Agent
	t *testing.T
}

func startAgent(t *testing.T, cfg agent.Config) *realAgent {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a real Consul: not with -short")
	}
	return &realAgent{agent.Start(t, cfg), t}
}

func (a *realAgent) api(token string) *api.Client {
	a.t.Helper()
	c, err := api.NewClient(&api.Config{Address: a.Addr(), Token: token})
	if err != nil {
		a.t.Fatal(err)
	}
	return c
}

func (a *realAgent) client(token string) *Client {
	a.t.Helper()
	c, err := NewWithConfig(&api.Config{Address: a.Addr(), Token: token})
	if err != nil {
		a.t.Fatal(err)
	}
	c.kvWait = 300 * time.Millisecond
	a.t.Cleanup(c.Close)
	return c
}

// eventually waits until ok, and fails the test when it takes longer than limit.
// It returns how long it took.
func eventually(t testing.TB, limit time.Duration, what string, ok func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Since(start) > limit {
			t.Fatalf("not within %v: %s", limit, what)
		}
		<-tick.C
	}
	return time.Since(start)
}

// running runs f until the test ends, and waits for it.
func running(t *testing.T, f func(context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { f(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
}
