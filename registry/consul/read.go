package consul

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"
)

// bodies are buffers for answers: a query that waits holds none.
var bodies = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// keptBody is the largest buffer that is kept for the next answer. Answers about
// one service are far below it, and lists of thousands above.
const keptBody = 64 << 10

// read reads path, which is escaped, as q says, and gives use the body of a 200,
// which is valid only while use runs. It is Consul's client without its decoding,
// for the answers that are read often or are large. A lane is for queries that
// stay open; nil is the Client's own transport.
func (c *Client) read(ctx context.Context, lane *lane, path string, q *api.QueryOptions, use func(body []byte) error) (*api.QueryMeta, error) {
	req, err := c.request(ctx, path, q)
	if err != nil {
		return nil, err
	}
	next := c.wire.next
	if lane != nil {
		next = lane
	}
	c.wire.authorize(req)
	resp, err := next.RoundTrip(req)
	if err != nil {
		return nil, &url.Error{Op: "Get", URL: path, Err: err}
	}
	defer resp.Body.Close()
	if lane == nil {
		c.http2.Store(c.lanes != nil && resp.ProtoMajor == 2)
	}
	body := bodies.Get().(*bytes.Buffer)
	body.Reset()
	defer func() {
		if body.Cap() <= keptBody {
			bodies.Put(body)
		}
	}()
	n, err := body.ReadFrom(io.LimitReader(resp.Body, maxBody+1))
	switch {
	case err != nil:
		return nil, &url.Error{Op: "Get", URL: path, Err: err}
	case n > maxBody:
		return nil, tooLong(path)
	case resp.StatusCode != http.StatusOK:
		return nil, api.StatusError{Code: resp.StatusCode, Body: body.String()}
	}
	return toMeta(resp.Header), use(body.Bytes())
}

// request builds the request that Consul's client would send.
func (c *Client) request(ctx context.Context, path string, q *api.QueryOptions) (*http.Request, error) {
	v := url.Values{}
	set := func(key, value string) {
		if value != "" {
			v.Set(key, value)
		}
	}
	set("ns", c.namespace)
	set("partition", c.partition)
	set("dc", q.Datacenter)
	if q.AllowStale {
		v.Set("stale", "")
	}
	if q.RequireConsistent {
		v.Set("consistent", "")
	}
	if q.WaitIndex != 0 {
		v.Set("index", strconv.FormatUint(q.WaitIndex, 10))
		v.Set("wait", strconv.FormatInt(q.WaitTime.Milliseconds(), 10)+"ms")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path+"?"+v.Encode(), nil)
	if err == nil && c.auth != nil {
		req.SetBasicAuth(c.auth.Username, c.auth.Password)
	}
	return req, err
}

// baseURL is where the API of cfg's agent is, after Consul's client has read cfg.
func baseURL(cfg *api.Config) string {
	host := cfg.Address
	if strings.HasPrefix(host, "/") { // a socket
		host = "localhost"
	}
	return cfg.Scheme + "://" + host + strings.TrimSuffix(cfg.PathPrefix, "/")
}

// toMeta reads what Consul says of an answer. What cannot be parsed is zero: the
// rules of blocking queries know what to make of an index of 0.
func toMeta(h http.Header) *api.QueryMeta {
	number := func(name string) uint64 {
		n, _ := strconv.ParseUint(h.Get(name), 10, 64)
		return n
	}
	m := &api.QueryMeta{
		LastIndex:             number("X-Consul-Index"),
		LastContact:           time.Duration(min(number("X-Consul-LastContact"), 1<<40)) * time.Millisecond,
		KnownLeader:           h.Get("X-Consul-KnownLeader") == "true",
		ResultsFilteredByACLs: h.Get("X-Consul-Results-Filtered-By-ACLs") == "true",
	}
	if p := h.Get("X-Consul-Default-ACL-Policy"); p == "allow" || p == "deny" {
		m.DefaultACLPolicy = p
	}
	return m
}

// servicePath is where the health of a service is read. A service may have any
// name, also one that would be another path.
func servicePath(name string) string {
	return serviceRead + strings.ReplaceAll(url.PathEscape(name), ".", "%2E")
}
