// Package load is an open-loop load generator for end-to-end tests: requests
// start at a constant rate whatever the answers do, latency counts from the
// moment a request was meant to start, and every request is accounted for with
// what became of it.
//
// HTTP/1.1 runs on bare connections, not on net/http's client, because the tests
// must know what a real client cannot tell: whether a request was written on an
// accepted connection and stayed without its complete right answer.
package load

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Kind is what a request is.
type Kind uint8

const (
	GET  Kind = iota // HTTP/1.1, keep-alive
	POST             // HTTP/1.1, keep-alive, a unique id; never sent twice
	H2C              // HTTP/2 without TLS, GET
)

// String returns the word used in Report.Failed.
func (k Kind) String() string {
	return [...]string{"GET", "POST", "H2C"}[k]
}

// Config says what to send. All loops are bounded by Count and by ctx.
type Config struct {
	// Addrs are tried in order for every new connection; the next one is
	// taken when a connection is refused.
	Addrs []string
	Rate  float64 // requests a second
	Count int     // requests in all; 0 is until ctx ends, at most MaxCount
	// Kinds are taken in turn; empty is GET only.
	Kinds []Kind
	// Clients are the keep-alive connections that share the HTTP/1.1 load; 0 is 32.
	Clients int
	// WebSockets are sessions that echo a message every 100 ms beside the load.
	WebSockets int
	// Downloads are event streams of the demo service, read to their end
	// (2 s) and begun again, beside the load.
	Downloads int
	Host      string // "" is the address
	Path      string // "" is "/"
	// Header gives the header lines of request i, each ending in CRLF; nil is none.
	Header func(i int) string
	// Timeout is of one request; a request that could not even start in that
	// time, because all clients waited, fails. 0 is 5 s.
	Timeout time.Duration
	// Posts, if set, counts the POSTs that are written and not yet answered.
	Posts *atomic.Int64
	// Answer is called with each right answer, from any goroutine; nil is nobody.
	Answer func(i int, a Answer)
}

// MaxCount bounds a run that has no Count.
const MaxCount = 1_000_000

// Answer is the demo service's answer to one request.
type Answer struct {
	Service  string         `json:"service"`
	Version  string         `json:"version"`
	Instance string         `json:"instance"`
	ID       string         `json:"id"`   // the unique id that was sent with it
	Size     int            `json:"size"` // of the request's body
	Cookies  []*http.Cookie `json:"-"`    // what the response set
}

// Report is what became of the requests.
type Report struct {
	Sent, OK int
	// Failed counts by cause; Samples are the first causes in full.
	Failed  map[string]int
	Samples []string
	// Versions counts right answers by the version that gave them.
	Versions map[string]int
	// Stale counts GETs sent again because the reused connection turned out
	// to be closed before any byte of an answer, as every client does.
	Stale int
	// Unwritten counts requests of any kind that were written to another
	// connection because theirs refused the write: nobody can have seen them.
	Unwritten int
	// Refused counts connections refused (the next address was taken).
	Refused int
	// IDs are the ids of POSTs that were answered right.
	IDs []string
	// Echoes and Closed are WebSocket messages echoed and sessions that the
	// other side ended properly (1000, 1001, 1012).
	Echoes, Closed int
	// Downloaded are streams read to their end, Ended those that were ended
	// properly before it, as by an instance that stops.
	Downloaded, Ended int

	latency []time.Duration
}

// Failures is the number of requests and sessions that failed.
func (r *Report) Failures() (n int) {
	for _, c := range r.Failed {
		n += c
	}
	return n
}

// Latency returns a quantile of the time from the intended start to the whole answer.
func (r *Report) Latency(q float64) time.Duration {
	if len(r.latency) == 0 {
		return 0
	}
	slices.Sort(r.latency)
	return r.latency[min(len(r.latency)-1, int(q*float64(len(r.latency))))]
}

// String is one line for a test's log.
func (r *Report) String() string {
	const unit = 10 * time.Microsecond
	return fmt.Sprintf("sent %d, right %d, failed %d %v, stale retries %d, unwritten %d, refused %d, echoes %d, downloads %d, versions %v, p50 %s p99 %s p999 %s max %s",
		r.Sent, r.OK, r.Failures(), r.Failed, r.Stale, r.Unwritten, r.Refused, r.Echoes, r.Downloaded, r.Versions,
		r.Latency(0.5).Round(unit), r.Latency(0.99).Round(unit), r.Latency(0.999).Round(unit), r.Latency(1).Round(unit))
}

type run struct {
	cfg    Config
	mu     sync.Mutex // guards report
	report Report
}

// Run sends the load and returns when all of it is answered or has failed.
func Run(ctx context.Context, cfg Config) *Report {
	r := &run{cfg: cfg, report: Report{Failed: map[string]int{}, Versions: map[string]int{}}}
	if r.cfg.Timeout == 0 {
		r.cfg.Timeout = 5 * time.Second
	}
	if r.cfg.Path == "" {
		r.cfg.Path = "/"
	}
	if len(r.cfg.Kinds) == 0 {
		r.cfg.Kinds = []Kind{GET}
	}
	count := cmp.Or(cfg.Count, MaxCount)

	type job struct {
		i    int
		kind Kind
		due  time.Time
	}
	jobs := make(chan job, 1<<16) // open loop: the schedule never waits for the workers
	var workers, sockets sync.WaitGroup
	h2 := newH2C(r)
	for range cmp.Or(cfg.Clients, 32) {
		workers.Go(func() {
			c := &h1{run: r}
			defer c.hangUp()
			for j := range jobs {
				switch late := time.Since(j.due); {
				case late > r.cfg.Timeout:
					r.wrong(j.kind.String()+" not started in time", fmt.Sprintf("request %d: all clients waited, it is %v late", j.i, late))
				case j.kind == H2C:
					h2.do(j.i, j.due)
				default:
					c.do(j.i, j.kind, j.due)
				}
			}
		})
	}
	socketCtx, stopSockets := context.WithCancel(ctx)
	for range cfg.WebSockets {
		sockets.Go(func() { r.echo(socketCtx) })
	}
	for range cfg.Downloads {
		sockets.Go(func() { r.download(socketCtx) })
	}

	began := time.Now()
	gap := float64(time.Second) / cfg.Rate
	for i := 0; i < count && ctx.Err() == nil; {
		due := int(math.Floor(float64(time.Since(began))/gap)) + 1
		for ; i < min(due, count); i++ {
			jobs <- job{i, r.cfg.Kinds[i%len(r.cfg.Kinds)], began.Add(time.Duration(float64(i) * gap))}
			r.report.Sent++ // read after the workers are done
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Millisecond):
		}
	}
	close(jobs)
	workers.Wait()
	stopSockets()
	sockets.Wait()
	h2.close()
	return &r.report
}

func (r *run) right(i int, a Answer, id string, kind Kind, due time.Time) {
	took := time.Since(due)
	r.mu.Lock()
	r.report.OK++
	r.report.Versions[a.Version]++
	r.report.latency = append(r.report.latency, took)
	if kind == POST {
		r.report.IDs = append(r.report.IDs, id)
	}
	r.mu.Unlock()
	if r.cfg.Answer != nil {
		r.cfg.Answer(i, a)
	}
}

func (r *run) wrong(cause, detail string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.Failed[cause]++
	if len(r.report.Samples) < 20 {
		r.report.Samples = append(r.report.Samples, time.Now().Format("15:04:05.000 ")+cause+": "+detail)
	}
}

func (r *run) add(n *int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*n++
}

// dial connects to the first address that accepts.
func (r *run) dial() (conn net.Conn, addr string, err error) {
	for _, addr = range r.cfg.Addrs {
		if conn, err = net.DialTimeout("tcp", addr, r.cfg.Timeout); err == nil {
			return conn, addr, nil
		}
		r.add(&r.report.Refused)
	}
	return nil, "", fmt.Errorf("%w: %w", errNoConnection, err)
}
