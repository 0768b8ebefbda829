package nethttp

import (
	"bufio"
	"io"
	"net"
	"testing"

	"serin/proxy"
	"serin/route"
)

// always makes every draw v.
func always(v uint64) func(*Server) {
	return func(s *Server) { s.Core.Rand = func() uint64 { return v } }
}

// TestFailureBelongsToTheArmFirstChosen: also when a retry saved the request in
// the other arm, whose answer says nothing of the first.
func TestFailureBelongsToTheArmFirstChosen(t *testing.T) {
	resets := origin(t, func(c net.Conn, br *bufio.Reader) {
		readRequest(br)
		c.(*net.TCPConn).SetLinger(0)
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := ln.Addr().String()
	ln.Close()
	answers := answering(t, "HTTP/1.1 200 OK\r\nGrpc-Status: 0\r\nContent-Length: 2\r\n\r\nok", nil)
	for addr, class := range map[string]proxy.Class{resets: proxy.Reset, gone: proxy.ConnectError} {
		table := tableOf("", &route.Split{Ratio: 0.5}, []string{answers}, []string{addr})
		l := start(t, table, always(0)) // of the canary
		if r, body := l.ask(get("/")); r.StatusCode != 200 || body != "ok" {
			t.Fatalf("got %d %q", r.StatusCode, body)
		}
		o := l.outcome()
		if o.Arm != route.Canary || o.FirstClass != class || o.FirstAddr != addr || o.FirstTook <= 0 || o.FirstTook > o.Duration {
			t.Errorf("first %v at %q after %v, charged to %v", o.FirstClass, o.FirstAddr, o.FirstTook, o.Arm)
		}
		if o.Class != proxy.OK || o.Attempts != 2 || o.Target.Addr != answers || o.GRPC != -1 {
			t.Errorf("%v after %d attempts from %s, grpc-status %d", o.Class, o.Attempts, o.Target.Addr, o.GRPC)
		}
		if !o.Randomised || o.Split != table.Match("", "/", false).Parts[0].Split {
			t.Errorf("randomised: %v, split %+v", o.Randomised, o.Split)
		}
	}
}

// TestOutcomeWithoutAnAttempt: what no instance was asked for has no first
// attempt.
func TestOutcomeWithoutAnAttempt(t *testing.T) {
	l := lb(t, "allow=ip:10.0.0.0/8", nil, answering(t, ok, nil))
	l.ask(get("/"))
	if o := l.outcome(); o.FirstAddr != "" || o.FirstTook != 0 || o.GRPC != -1 || o.Randomised || o.Split == nil {
		t.Errorf("outcome %+v", o)
	}
	l.ask("GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n")
	if o := l.outcome(); o.FirstAddr != "" || o.GRPC != -1 || o.Split != nil {
		t.Errorf("outcome %+v", o)
	}
}

func TestOutcomeHasTheStatusOfGRPC(t *testing.T) {
	f := func(response string, want int) {
		t.Helper()
		l := lb(t, "", nil, answering(t, response, nil))
		l.ask(get("/"))
		if o := l.outcome(); o.GRPC != want || o.Class != proxy.OK {
			t.Errorf("%q: grpc-status %d, want %d", response, o.GRPC, want)
		}
	}
	const chunked = "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nTransfer-Encoding: chunked\r\n"
	f(ok, -1)
	f("HTTP/1.1 200 OK\r\ngrpc-status: 14\r\nContent-Length: 0\r\n\r\n", 14)
	f(chunked+"\r\n1\r\na\r\n0\r\nGrpc-Status: 0\r\n\r\n", 0)
	f(chunked+"Trailer: Grpc-Status\r\n\r\n1\r\na\r\n0\r\ngrpc-status: 13\r\nGrpc-Message: no\r\n\r\n", 13)
	f(chunked+"\r\n1\r\na\r\n0\r\nGrpc-Message: no\r\n\r\n", -1)
	f(chunked+"\r\n1\r\na\r\n0\r\nGrpc-Status: bad\r\n\r\n", 2)
}

// TestTruncatedIsAFailureOfTheFirstAttempt: a response that is cut after its
// head is charged like one that never came.
func TestTruncatedIsAFailureOfTheFirstAttempt(t *testing.T) {
	for _, response := range []string{"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"} {
		addr := origin(t, func(c net.Conn, br *bufio.Reader) {
			readRequest(br)
			io.WriteString(c, response)
		})
		l := start(t, tableOf("", &route.Split{Ratio: 0.5}, []string{answering(t, ok, nil)}, []string{addr}), always(0))
		c := l.dial()
		c.send("%s", get("/"))
		io.ReadAll(c)
		c.Close()
		o := l.outcome()
		if o.Class != proxy.Truncated || o.FirstClass != proxy.Truncated || o.Arm != route.Canary || o.Attempts != 1 || o.FirstAddr != addr || o.Status != 200 {
			t.Errorf("%s, first %s at %s, charged to %v", o.Class, o.FirstClass, o.FirstAddr, o.Arm)
		}
	}
}
