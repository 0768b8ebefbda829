package consul

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/consul/api"
)

// A query whose answers are in doubt reads without waiting, once a second; when
// the doubt is gone it waits again.
func TestDoubtfulQueryDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		doubt := true
		var sent []uint64
		var at []time.Duration
		began := time.Now()
		q := &query[int]{
			fetch: func(ctx context.Context, o *api.QueryOptions) (int, *api.QueryMeta, error) {
				if !o.AllowStale || o.RequireConsistent {
					t.Error("a blocking query must be one that any of Consul's servers may answer")
				}
				sent, at = append(sent, o.WaitIndex), append(at, time.Since(began))
				switch len(sent) {
				case 3:
					doubt = false
				case 4: // waits until the test ends
					cancel()
				}
				return 7, &api.QueryMeta{LastIndex: uint64(10 + len(sent))}, nil
			},
			same:     func(a, b int) bool { return a == b },
			good:     func(int, *api.QueryMeta, bool) {},
			bad:      func(err error) { t.Error(err) },
			wait:     func() time.Duration { return maxWait },
			woken:    new(signal),
			doubtful: func() bool { return doubt },
		}
		q.run(ctx)
		wantSent, wantAt := []uint64{0, 0, 0, 13}, []time.Duration{0, time.Second, 2 * time.Second, 2 * time.Second}
		for i := range wantSent {
			if sent[i] != wantSent[i] || at[i] != wantAt[i] {
				t.Errorf("read %d: index %d at %s, want %d at %s", i, sent[i], at[i], wantSent[i], wantAt[i])
			}
		}
	})
}
