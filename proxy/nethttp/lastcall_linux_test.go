package nethttp

import (
	"net"
	"sync"
	"testing"
	"time"
)

// The last call finds all that waits, whole, and nothing comes after it.
func TestLastCall(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	want := map[string]bool{}
	for range 3 {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		want[c.LocalAddr().String()] = true
	}
	waiting, ok := lastCall(ln)
	if !ok || len(waiting) != len(want) {
		t.Fatalf("%d connections, %t, want %d", len(waiting), ok, len(want))
	}
	for _, c := range waiting {
		defer c.Close()
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		if n, err := c.Read(make([]byte, 2)); n != 1 || err != nil || !want[c.RemoteAddr().String()] {
			t.Errorf("from %v: %d bytes, %v", c.RemoteAddr(), n, err)
		}
	}
	if late, err := net.DialTimeout("tcp", ln.Addr().String(), time.Second); err == nil {
		late.Close()
		t.Error("a connection was accepted after the last call")
	}
	if _, ok := lastCall(notASocket{ln}); ok {
		t.Error("the last call worked on what is no socket")
	}
}

type notASocket struct{ net.Listener }

// New connections that go on coming do not keep the listener open.
func TestStopAcceptingUnderLoad(t *testing.T) {
	l := lb(t, "", nil, answering(t, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", nil))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if c, err := net.DialTimeout("tcp", l.addr, 100*time.Millisecond); err == nil {
					c.Close()
				}
			}
		})
	}
	<-time.After(50 * time.Millisecond)
	began := time.Now()
	l.StopAccepting(within(t, 10*time.Second))
	took := time.Since(began)
	close(stop)
	wg.Wait()
	if took > 2*time.Second {
		t.Errorf("the listener stayed open for %s", took)
	}
}
