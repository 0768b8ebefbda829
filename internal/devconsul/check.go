package devconsul

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"reflect"
	"strings"
	"time"
)

// Consul's words for the state of a check.
const (
	passing  = "passing"
	warning  = "warning"
	critical = "critical"
)

// healthCheck is a check as the health views show it.
type healthCheck struct {
	Node        string
	CheckID     string
	Name        string
	Status      string
	Notes       string
	Output      string
	ServiceID   string
	ServiceName string
	ServiceTags []string
	Type        string
	Interval    string
	Timeout     string
	ExposedPort int
	Definition  struct{}
	CreateIndex uint64
	ModifyIndex uint64
}

// check is a check with what it takes to run it.
type check struct {
	healthCheck
	def           checkDef
	due           time.Time // the next probe, or the end of the TTL; zero: never
	probing       bool
	good, bad     int // outcomes in a row
	criticalSince time.Time
}

// same reports whether two checks look alike in the catalog.
func (c *check) same(o *check) bool {
	a, b := c.healthCheck, o.healthCheck
	a.ModifyIndex, b.ModifyIndex = 0, 0
	return reflect.DeepEqual(a, b)
}

// settle turns the outcome of one probe into the status of the check, which
// may ask for several alike in a row before it moves.
func (c *check) settle(status string) string {
	if status != critical {
		c.bad = 0
		if c.good++; c.good <= c.def.SuccessBeforePassing {
			return c.Status
		}
		return status
	}
	c.good = 0
	c.bad++
	failures := c.def.FailuresBeforeCritical
	if c.bad > failures {
		return critical
	}
	if c.bad > cmp.Or(c.def.FailuresBeforeWarning, failures) {
		return warning
	}
	return c.Status
}

// maxOutput is how much of a response a check keeps (Consul's check_output_max_size).
const maxOutput = 4096

// probe runs an HTTP or TCP check once.
func probe(ctx context.Context, d checkDef) (status, output string) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(time.Duration(d.Timeout), 10*time.Second))
	defer cancel()
	if d.TCP != "" {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", d.TCP)
		if err != nil {
			return critical, err.Error()
		}
		conn.Close()
		return passing, "TCP connect " + d.TCP + ": Success"
	}
	method := cmp.Or(d.Method, http.MethodGet)
	req, err := http.NewRequestWithContext(ctx, method, d.HTTP, strings.NewReader(d.Body))
	if err != nil {
		return critical, err.Error()
	}
	for k, v := range d.Header {
		req.Header[http.CanonicalHeaderKey(k)] = v
	}
	if host := req.Header.Get("Host"); host != "" {
		req.Host = host
	}
	if req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", "Consul Health Check")
	}
	if req.Header.Get("Accept") == "" {
		req.Header.Set("Accept", "text/plain, text/*, */*")
	}
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: d.TLSSkipVerify, ServerName: d.TLSServerName},
	}}
	if d.DisableRedirects {
		client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	}
	resp, err := client.Do(req)
	if err != nil {
		return critical, err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxOutput))
	if err != nil && !errors.Is(err, io.EOF) {
		return critical, err.Error()
	}
	output = fmt.Sprintf("HTTP %s %s: %s Output: %s", method, d.HTTP, resp.Status, body)
	switch {
	case resp.StatusCode >= 200 && resp.StatusCode <= 299:
		return passing, output
	case resp.StatusCode == http.StatusTooManyRequests:
		return warning, output
	}
	return critical, output
}
