package daemon

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// counts is a Meter for tests.
type counts struct {
	mu sync.Mutex
	n  map[string]int
}

func (c *counts) Answered(_ string, a Answer, _ time.Duration) {
	c.add(string(a.Asked) + " " + string(a.Arm))
}
func (c *counts) Failed(_ string, why Failure) { c.add(string(why)) }

func (c *counts) add(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = map[string]int{}
	}
	c.n[what]++
}

func (c *counts) all() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[string]int{}
	for k, v := range c.n {
		out[k] = v
	}
	return out
}

func always(ratio float64) Shares {
	return SharesFunc(func(string) (float64, bool) { return ratio, true })
}

// serve runs s on a socket until the test ends, and returns where that is.
func serve(t *testing.T, s *Server, text string) net.Addr {
	t.Helper()
	l, err := ParseListener(text)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := l.Open()
	if err != nil {
		t.Fatal(err)
	}
	s.Service = l.Service
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return ln.Addr()
}

func dial(t *testing.T, a net.Addr) net.Conn {
	t.Helper()
	c, err := net.Dial(a.Network(), a.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// twoLines is a client that reads two lines and goes, as the nginx example of
// maxwells-daemon does.
func twoLines(c net.Conn, assignment string) (string, string, error) {
	if _, err := io.WriteString(c, assignment+"\n"); err != nil {
		return "", "", err
	}
	r := bufio.NewReader(c)
	first, err := r.ReadString('\n')
	if err != nil {
		return "", "", err
	}
	second, err := r.ReadString('\n')
	return strings.TrimSuffix(first, "\n"), strings.TrimSuffix(second, "\n"), errors.Join(err, c.Close())
}

// toTheEnd is a client that reads until the connection is closed.
func toTheEnd(c net.Conn, assignment string) (string, error) {
	if _, err := io.WriteString(c, assignment+"\n"); err != nil {
		return "", err
	}
	b, err := io.ReadAll(c)
	return string(b), errors.Join(err, c.Close())
}

// Both kinds of clients are served, over both kinds of sockets, many at once:
// one holds its assignment, and finds the same arm again.
func TestClients(t *testing.T) {
	for _, text := range []string{"service=web;addr=" + filepath.Join(t.TempDir(), "s"), "service=web;addr=tcp://127.0.0.1:0"} {
		meter := &counts{}
		const clients = 200
		t.Run(text, func(t *testing.T) {
			addr := serve(t, &Server{Shares: always(0.5), Meter: meter}, text)
			var wg sync.WaitGroup
			var canary atomic.Int32
			for range clients {
				wg.Go(func() {
					c, err := net.Dial(addr.Network(), addr.String())
					if err != nil {
						t.Error(err)
						return
					}
					assignment, arm, err := twoLines(c, "")
					if at, ok := parse(assignment); err != nil || !ok || (arm == "canary") != (at < 0.5) {
						t.Errorf("told %q, %q, %v", assignment, arm, err)
					}
					if arm == "canary" {
						canary.Add(1)
					}
					if c, err = net.Dial(addr.Network(), addr.String()); err != nil {
						t.Error(err)
						return
					}
					whole, err := toTheEnd(c, assignment)
					if want := assignment + "\n" + arm + "\n\n"; err != nil || whole != want {
						t.Errorf("the second time: %q, %v, want %q", whole, err, want)
					}
				})
			}
			wg.Wait()
			if n := canary.Load(); n < 50 || n > 150 { // 7 standard deviations
				t.Errorf("%d of %d clients go to the canary at a share of 0.5", n, clients)
			}
		})
		n := meter.all() // the server has ended: all are counted
		if n["first canary"]+n["first master"] != clients || n["held canary"] != n["first canary"] || n["held master"] != n["first master"] {
			t.Errorf("counted %v", n)
		}
	}
}

// What is sent byte by byte, or too much of, is answered like any other; what
// follows the line is ignored.
func TestRequestsInPieces(t *testing.T) {
	addr := serve(t, &Server{Shares: always(1), Random: func() float64 { return 0.25 }}, "service=web;addr=tcp://127.0.0.1:0")
	f := func(want string, pieces ...string) {
		t.Helper()
		c := dial(t, addr)
		for _, p := range pieces {
			if _, err := io.WriteString(c, p); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := io.ReadAll(c); err != nil || string(got) != want {
			t.Errorf("answer %q, %v, want %q", got, err, want)
		}
	}
	f("0.5\ncanary\n\n", "0", ".", "5", "\n")
	f("0.5\ncanary\n\n", "0.5\nmore")
	f("0.5\ncanary\n\n", "0.5\n\n")
	f("0.25\ncanary\n\n", "\n0.5\n")
	f("0\ncanary\n\n", strings.Repeat("0", maxLine-1)+"\n")
	f("0.25\nmaster\n\n", strings.Repeat("0", maxLine)+"\n")
	f("0.25\nmaster\n\n", "0."+strings.Repeat("5", maxLine))
	f("0.25\nmaster\n\n", "0."+strings.Repeat("5", 20*maxLine), "\n")
}

// A client has one second, whatever it does with it.
func TestDeadline(t *testing.T) {
	f := func(want string, client func(c net.Conn)) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			ln := newPipes()
			meter := &counts{}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() { done <- (&Server{Service: "web", Shares: always(1), Meter: meter}).Run(ctx, ln) }()
			began := time.Now()
			c := ln.dial()
			client(c)
			_, _ = io.ReadAll(c)
			took := time.Since(began)
			c.Close()
			synctest.Wait()
			if got := fmt.Sprint(meter.all(), " ", took); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	f("map[late:1] 1s", func(net.Conn) {})
	f("map[late:1] 1s", func(c net.Conn) { _, _ = io.WriteString(c, "0.5") })
	f("map[late:1] 1s", func(c net.Conn) {
		for range 2 {
			_, _ = io.WriteString(c, "0")
			time.Sleep(400 * time.Millisecond)
		}
	})
	f("map[late:1] 1.5s", func(c net.Conn) { // does not read its answer
		_, _ = io.WriteString(c, "0.5\n")
		time.Sleep(1500 * time.Millisecond)
	})
	f("map[half:1] 0s", func(c net.Conn) { _, _ = io.WriteString(c, "0.5"); c.Close() })
	f("map[held canary:1] 600ms", func(c net.Conn) {
		_, _ = io.WriteString(c, "0.")
		time.Sleep(600 * time.Millisecond)
		_, _ = io.WriteString(c, "5\n")
	})
}

// However many connections never ask, who asks is answered, and no more than
// MaxConns are open.
func TestCrowd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipes()
		meter := &counts{}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			done <- (&Server{Service: "web", Shares: always(0), Meter: meter, MaxConns: 8}).Run(ctx, ln)
		}()
		for i := range 5000 {
			idle := ln.dial()
			defer idle.Close()
			if i%100 == 0 {
				if _, arm, err := twoLines(ln.dial(), "0.5"); arm != "master" || err != nil {
					t.Fatalf("after %d idle connections: %q, %v", i, arm, err)
				}
			}
		}
		synctest.Wait()
		if n := meter.all(); n["held master"] != 50 || n["crowded"] != 4992 {
			t.Errorf("counted %v", n)
		}
		time.Sleep(2 * time.Second)
		if n := meter.all(); n["late"] != 8 {
			t.Errorf("a second later: counted %v", n)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// At the end who has not asked is closed at once, and Run waits for nobody.
func TestEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipes()
		meter := &counts{}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- (&Server{Service: "web", Shares: always(0), Meter: meter}).Run(ctx, ln) }()
		c := ln.dial()
		synctest.Wait()
		began := time.Now()
		cancel()
		if err := <-done; err != nil || time.Since(began) != 0 {
			t.Errorf("Run: %v after %s", err, time.Since(began))
		}
		if b, err := io.ReadAll(c); len(b) > 0 || err != nil {
			t.Errorf("the client got %q, %v", b, err)
		}
		if diff := cmp.Diff(map[string]int{}, meter.all()); diff != "" {
			t.Errorf("counted (-want +got)\n%s", diff)
		}
	})
}

// A listener that cannot accept for a while is tried on; one that has ended is
// an error.
func TestAcceptErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipes()
		ln.fail <- syscall.EMFILE
		ln.fail <- syscall.EMFILE
		done := make(chan error)
		go func() { done <- (&Server{Service: "web", Shares: always(0)}).Run(t.Context(), ln) }()
		if _, arm, err := twoLines(ln.dial(), "0.5"); arm != "master" || err != nil {
			t.Fatalf("%q, %v", arm, err)
		}
		ln.fail <- net.ErrClosed
		if err := <-done; !errors.Is(err, net.ErrClosed) || !strings.Contains(err.Error(), "web") {
			t.Errorf("Run: %v", err)
		}
	})
}

// pipes is a listener whose connections are in memory, with deadlines that
// synctest's clock rules.
type pipes struct {
	conns  chan net.Conn
	fail   chan error
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes {
	return &pipes{conns: make(chan net.Conn), fail: make(chan error, 2), closed: make(chan struct{})}
}

func (p *pipes) dial() net.Conn {
	client, server := net.Pipe()
	p.conns <- server
	return client
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case err := <-p.fail:
		return nil, err
	default:
	}
	select {
	case c := <-p.conns:
		return c, nil
	case err := <-p.fail:
		return nil, err
	case <-p.closed:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// conversation is a connection in memory: what the client sends, in pieces of
// at most step bytes, and what it gets.
type conversation struct {
	in   []byte
	step int
	out  []byte
}

func (c *conversation) Read(p []byte) (int, error) {
	if len(c.in) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), c.step)], c.in)
	c.in = c.in[n:]
	return n, nil
}

func (c *conversation) Write(p []byte) (int, error) { c.out = append(c.out, p...); return len(p), nil }

// Whatever bytes come, in whatever pieces: one well-formed answer to a line, and
// none without one.
func FuzzMaxwell(f *testing.F) {
	for _, s := range []string{"\n", "0.25\n", "0.25", "", "0.25\n\n", "\x00\xff\n", strings.Repeat("9", 2000), strings.Repeat("0", 1024) + "\n", "\r\n", "NaN\n"} {
		f.Add([]byte(s), 1)
		f.Add([]byte(s), 1500)
	}
	f.Fuzz(func(t *testing.T, sent []byte, step int) {
		c := &conversation{in: sent, step: max(step, 1)}
		asked := 0
		err := Maxwell{}.Serve(c, func(s string) Answer {
			asked++
			if len(s) > maxLine || strings.Contains(s, "\n") {
				t.Fatalf("asked %q", s)
			}
			return Decide(s, 0.5, true, 0.75)
		})
		line, _, ended := strings.Cut(string(sent), "\n")
		if answered := ended || len(sent) >= maxLine; answered != (asked == 1) || answered != (err == nil) || !answered && len(c.out) > 0 {
			t.Fatalf("%q: asked %d times, error %v, answer %q", sent, asked, err, c.out)
		}
		if err != nil {
			return
		}
		if ended && len(line) >= maxLine || !ended {
			line = "too long"
		}
		want := Decide(line, 0.5, true, 0.75)
		if got := string(c.out); got != want.Assignment+"\n"+string(want.Arm)+"\n\n" {
			t.Fatalf("%q: answer %q, want %+v", sent, got, want)
		}
	})
}
