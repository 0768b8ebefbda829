package consul

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/hashicorp/consul/api"
)

// What an error of this package is, for errors.Is. Exactly one applies, except
// for errors of arguments, which are none of them.
var (
	// ErrDenied: Consul answered 403: the ACL token is missing, unknown or not
	// allowed to do this.
	ErrDenied = errors.New("permission denied")
	// ErrUnreachable: no answer: refused, reset, timed out, no such address.
	ErrUnreachable = errors.New("cannot reach Consul")
	// ErrBusy: Consul answered 429: more connections than it allows per client,
	// or its rate limit.
	ErrBusy = errors.New("Consul is busy")
	// ErrServer: Consul answered 5xx, for instance because it has no leader.
	ErrServer = errors.New("Consul failed")
	// ErrDecode: the answer is not what Consul sends: truncated, HTML, of a wrong
	// type, or an unexpected status.
	ErrDecode = errors.New("unexpected answer")
)

// failure is one classified error: kind is what errors.Is finds, text is for a
// person.
type failure struct {
	kind  error
	text  string
	cause error
}

func (f *failure) Error() string   { return f.text }
func (f *failure) Unwrap() []error { return []error{f.kind, f.cause} }

// classify says what err means for a person and for errors.Is. op is what was
// tried, such as `read service "web"`. nil stays nil, and what is classified
// already is returned as it is.
func (c *Client) classify(op string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*failure](err); ok {
		return err
	}
	status, ok := errors.AsType[api.StatusError](err)
	body := cut(status.Body, 200)
	switch {
	case ok && status.Code == http.StatusForbidden:
		hint := "Give the token the permission it lacks, or set CONSUL_HTTP_TOKEN"
		return &failure{ErrDenied, fmt.Sprintf("%s: Consul at %s answered 403: %s. %s", op, c.addr, body, hint), err}
	case ok && status.Code == http.StatusTooManyRequests:
		return &failure{ErrBusy, fmt.Sprintf("%s: Consul at %s answered 429: %s. Raise limits.http_max_conns_per_client of the agent if this lasts", op, c.addr, body), err}
	case ok && status.Code >= 500:
		return &failure{ErrServer, fmt.Sprintf("%s: Consul at %s answered %d: %s", op, c.addr, status.Code, body), err}
	case ok:
		return &failure{ErrDecode, fmt.Sprintf("%s: Consul at %s answered %d: %s", op, c.addr, status.Code, body), err}
	case errors.Is(err, ErrDecode) || !isTransport(err):
		return &failure{ErrDecode, fmt.Sprintf("%s: Consul at %s sent an unexpected answer: %v. Is this a Consul agent?", op, c.addr, err), err}
	}
	return &failure{ErrUnreachable, fmt.Sprintf("%s: cannot reach Consul at %s: %s", op, c.addr, reason(err)), err}
}

func isTransport(err error) bool {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return true
	}
	// http.Client wraps whatever the transport said in a *url.Error, which is one.
	_, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](err)
	return ok
}

func reason(err error) string {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused. Is the agent running? Try: consul agent -dev, or set CONSUL_HTTP_ADDR"
	case errors.Is(err, context.DeadlineExceeded) || os.IsTimeout(err):
		return "no answer in time"
	case isEOF(err):
		return "the connection was closed before an answer came"
	}
	s := err.Error()
	if i := strings.LastIndex(s, ": "); i >= 0 && strings.HasPrefix(s, "Get ") {
		s = s[i+2:]
	}
	return s
}

// isEOF tells a connection that ended while a request waited, which is how a
// stopped agent or an idle timeout in between looks.
func isEOF(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) ||
		err != nil && slices.ContainsFunc(http2Ends, func(s string) bool { return strings.Contains(err.Error(), s) })
}

// http2Ends is how net/http says that an HTTP/2 connection or stream ended; the
// errors have no exported type.
var http2Ends = []string{
	"http2: server sent GOAWAY and closed the connection",
	"http2: Transport received GOAWAY from server",
	"http2: client connection lost",
	"http2: client connection force closed",
	"http2: client conn is closed",
	"http2: client conn not usable",
	"stream error: stream ID ",
}

func cut(s string, n int) string {
	if len(s) > n {
		return strings.ToValidUTF8(s[:n], "") + "…"
	}
	return s
}
