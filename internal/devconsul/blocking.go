package devconsul

import (
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

// answer is what a read endpoint found.
type answer struct {
	index     uint64
	body      any
	raw       []byte // sent instead of body when rawType is set
	rawType   string
	missing   bool // 404, which has an index too
	quiet     bool // nothing is there: that it still is so wakes nobody
	streaming bool // Consul answers this one from its streaming backend when it blocks
}

// Consul's bounds of a blocking query.
// See https://developer.hashicorp.com/consul/api-docs/features/blocking.
const (
	defaultWait = 5 * time.Minute
	maxWait     = 10 * time.Minute
)

// query answers a read: at once without ?index, else when the resource's index
// has passed it or ?wait has run out. find is called with the state locked,
// and what it returns must not be written afterwards.
//
// As in Consul an index from another life, higher than any the resource will
// have for a while, blocks for the whole wait; and a key that was missing and
// is missing still wakes nobody.
func (c *call) query(find func(st *state) answer) {
	minIndex, wait, ok := c.blockingParams()
	if !ok {
		return
	}
	var timeout <-chan time.Time
	if minIndex > 0 {
		timeout = time.After(wait + rand.N(wait/16+1))
	}
	var waited, wasQuiet, expired bool
	var epoch int
	for {
		c.s.mu.Lock()
		changed, now := c.s.changed, c.s.epoch
		a := find(&c.s.state)
		c.s.mu.Unlock()

		if waited && now != epoch {
			c.fail(http.StatusInternalServerError, "rpc error: code = Canceled desc = grpc: the client connection is closing")
			return
		}
		if wasQuiet && a.quiet {
			minIndex = max(minIndex, a.index)
		}
		if minIndex == 0 || a.index > minIndex || expired || c.broke == NoBlock {
			c.answer(a, minIndex > 0)
			return
		}
		waited, wasQuiet, epoch = true, a.quiet, now
		select {
		case <-changed:
			if c.faulted() {
				return
			}
		case <-timeout:
			expired = true
		case <-c.r.Context().Done():
			return
		}
	}
}

func (c *call) answer(a answer, blocking bool) {
	h := c.w.Header()
	leader, from := "true", "blocking-query"
	if blocking && a.streaming {
		leader, from = "false", "streaming" // measured with 1.15.4
	}
	index := max(a.index, 1)
	if c.broke == IndexZero {
		index = 0
	}
	h.Set("X-Consul-Index", strconv.FormatUint(index, 10))
	h.Set("X-Consul-KnownLeader", leader)
	h.Set("X-Consul-LastContact", "0")
	h.Set("X-Consul-Query-Backend", from)
	switch {
	case a.missing:
		c.w.WriteHeader(http.StatusNotFound)
	case a.rawType != "":
		c.write(a.rawType, a.raw)
	default:
		c.json(a.body)
	}
}

func (c *call) blockingParams() (index uint64, wait time.Duration, ok bool) {
	q := c.r.URL.Query()
	if q.Has("stale") && q.Has("consistent") {
		c.fail(http.StatusBadRequest, "Cannot specify ?stale with ?consistent, conflicting semantics.")
		return 0, 0, false
	}
	var err error
	if v := q.Get("wait"); v != "" {
		if wait, err = time.ParseDuration(v); err != nil {
			c.fail(http.StatusBadRequest, "Invalid wait time")
			return 0, 0, false
		}
	}
	if wait <= 0 {
		wait = defaultWait
	}
	if v := q.Get("index"); v != "" {
		if index, err = strconv.ParseUint(v, 10, 64); err != nil {
			c.fail(http.StatusBadRequest, "Invalid index")
			return 0, 0, false
		}
	}
	return index, min(wait, maxWait), true
}
