package webhook

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"serin/canary/rollout"
)

// Bounds of what is sent, and of what waits to be.
const (
	Tries       = 3
	Timeout     = 5 * time.Second // of one try, from dialing to the end of the answer
	Addresses   = 64              // that have something to be sent at the same time
	Waiting     = 100             // events that wait for one address
	incoming    = 256             // events that Run has not looked at yet
	maxResponse = 4 << 10         // bytes of an answer's body that are read
)

// pauses are between the tries.
var pauses = [Tries - 1]time.Duration{time.Second, 5 * time.Second}

// Notifier sends events to the addresses of plans: a POST of the event in JSON,
// with the same Idempotency-Key at each try. An answer of 2xx is success; 4xx
// other than 408 and 429, and redirects, which are not followed, are failures
// that no other try follows. Events of one address are sent one after the other,
// in their order, and no address waits for another. Set the fields, then call Run
// once; Notify may be called from any goroutine, also before.
type Notifier struct {
	// Transport sends one request; nil is a plain one with the proxies of the
	// environment and no connections kept, which connects to no link-local,
	// multicast or unspecified address.
	Transport http.RoundTripper
	// Private lists references that no document may use, such as the file with
	// the balancer's own token.
	Private []string

	Log     hclog.Logger // nil is silent
	Metrics *Metrics     // nil counts nothing

	once  sync.Once
	queue chan job
}

// job is one event for one address.
type job struct {
	to   rollout.Notify
	kind string
	key  string // the same for each try
	body []byte
}

func (n *Notifier) init() { n.once.Do(func() { n.queue = make(chan job, incoming) }) }

// Notify sends the event to those addresses of the plan that ask for its kind. It
// never blocks; what finds no room is dropped and counted. A nil plan, and a nil
// Notifier, tell nobody.
func (n *Notifier) Notify(e rollout.Event, p *rollout.Plan) {
	if n == nil || p == nil || len(p.Notify) == 0 {
		return
	}
	n.init()
	body, err := json.Marshal(e)
	if err != nil {
		n.log().Error("an event cannot be written", "service", e.Service, "kind", e.Kind, "error", err)
		n.Metrics.count(failed)
		return
	}
	sum := sha256.Sum256(body)
	for _, to := range p.Notify {
		if len(to.On) > 0 && !slices.Contains(to.On, e.Kind) {
			continue
		}
		select {
		case n.queue <- job{to: to, kind: e.Kind, key: hex.EncodeToString(sum[:16]), body: body}:
		default:
			n.drop(to, "too many events wait")
		}
	}
}

// Run sends until ctx ends, then drops what is left and returns nil.
func (n *Notifier) Run(ctx context.Context) error {
	n.init()
	client := &http.Client{
		Transport:     n.transport(),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	waiting := map[string][]job{} // by address, while something is sent there
	done := make(chan string, Addresses)
	var wg sync.WaitGroup
	defer wg.Wait()
	start := func(j job) {
		wg.Go(func() {
			n.deliver(ctx, client, j)
			done <- j.to.URL
		})
	}
	for {
		select {
		case <-ctx.Done():
			for _, jobs := range waiting {
				for _, j := range jobs {
					n.drop(j.to, "the balancer stops")
				}
			}
			for {
				select {
				case j := <-n.queue:
					n.drop(j.to, "the balancer stops")
				default:
					return nil
				}
			}
		case j := <-n.queue:
			jobs, busy := waiting[j.to.URL]
			switch {
			case !busy && len(waiting) >= Addresses:
				n.drop(j.to, "too many addresses have something to be sent")
			case !busy:
				waiting[j.to.URL] = nil
				start(j)
			case len(jobs) >= Waiting:
				n.drop(j.to, "too many events wait for it")
			default:
				waiting[j.to.URL] = append(jobs, j)
			}
		case address := <-done:
			jobs := waiting[address]
			if len(jobs) == 0 {
				delete(waiting, address)
				continue
			}
			waiting[address] = jobs[1:]
			start(jobs[0])
		}
	}
}

func (n *Notifier) transport() http.RoundTripper {
	if n.Transport != nil {
		return n.Transport
	}
	plain := http.DefaultTransport.(*http.Transport).Clone()
	plain.DisableKeepAlives = true // events are rare
	plain.DialContext = (&net.Dialer{Timeout: Timeout, Control: usable}).DialContext
	plain.MaxResponseHeaderBytes = 64 << 10
	return plain
}

// deliver tries until the event is told, or is not.
func (n *Notifier) deliver(ctx context.Context, client *http.Client, j job) {
	for try := range Tries {
		why, again := n.send(ctx, client, j)
		switch {
		case why == "":
			n.Metrics.count(sent)
			return
		case ctx.Err() != nil:
			n.drop(j.to, "the balancer stops")
			return
		case !again || try == Tries-1:
			n.log().Warn("webhook was not told", "address", shown(j.to.URL), "event", j.kind, "tries", try+1, "error", why)
			n.Metrics.count(failed)
			return
		}
		timer := time.NewTimer(pauses[try])
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			n.drop(j.to, "the balancer stops")
			return
		}
	}
}

// send is one try. why is "" when it was told; again says whether another try
// may help. No secret is in why.
func (n *Notifier) send(ctx context.Context, client *http.Client, j job) (why string, again bool) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	address, err := n.resolve(j.to.URL)
	if err != nil {
		return err.Error(), true
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return "what " + shown(j.to.URL) + " holds is not an address like https://host/path", true
	}
	req := (&http.Request{
		Method: http.MethodPost, URL: u, Host: u.Host, Header: http.Header{},
		Body: io.NopCloser(bytes.NewReader(j.body)), ContentLength: int64(len(j.body)),
	}).WithContext(ctx)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", j.key)
	req.Header.Set("User-Agent", "Serin")
	for name, value := range j.to.Headers {
		value, err := n.resolve(value)
		if err != nil {
			return "header " + name + ": " + err.Error(), true
		}
		if strings.ContainsAny(value, "\r\n\x00") {
			return "header " + name + ": the value is more than one line", true
		}
		if strings.EqualFold(name, "Host") {
			req.Host = value
			continue
		}
		req.Header.Set(name, value)
	}
	res, err := client.Do(req)
	if err != nil {
		return plain(err), true
	}
	io.CopyN(io.Discard, res.Body, maxResponse)
	res.Body.Close()
	switch code := res.StatusCode; {
	case code >= 200 && code < 300:
		return "", false
	case code >= 300 && code < 400:
		return "it answers with a redirect, " + res.Status[:3] + ", which is not followed: write the address that it leads to", false
	default:
		return "it answers " + res.Status[:3], code >= 500 || code == http.StatusRequestTimeout || code == http.StatusTooManyRequests
	}
}

func (n *Notifier) drop(to rollout.Notify, why string) {
	n.log().Warn("webhook is not told", "address", shown(to.URL), "error", why)
	n.Metrics.count(dropped)
}

func (n *Notifier) log() hclog.Logger {
	if n.Log == nil {
		return hclog.NewNullLogger()
	}
	return n.Log
}
