package metrics

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// wire is a connection that keeps what is written to it, each write on its own.
type wire struct {
	net.Conn
	mu       sync.Mutex
	packets  []string
	err      error         // of writes
	deadline chan struct{} // closed by SetDeadline
	once     sync.Once
}

func (w *wire) dial(context.Context, string, string) (net.Conn, error) { return w, nil }

func (w *wire) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return 0, w.err
	}
	w.packets = append(w.packets, string(p))
	return len(p), nil
}

func (w *wire) Close() error { return nil }

func (w *wire) SetDeadline(time.Time) error {
	if w.deadline != nil {
		w.once.Do(func() { close(w.deadline) })
	}
	return nil
}

var someSamples = []Sample{
	{Name: "lb_requests_total", Labels: []Label{{"arm", "stable"}, {"service", "web"}}, Value: 3},
	{Name: "lb_answers_total", Labels: []Label{{"service", ""}}, Value: 0.25},
	{Name: "lb_open", Kind: Gauge, Value: 1e21},
	{Name: "lb_age", Kind: Gauge, Value: -1},
	{Name: "lb_odd", Labels: []Label{{"service", "a|b,c #d:e\né"}}, Kind: Gauge, Value: 2},
}

func TestStatsD(t *testing.T) {
	f := func(tags bool, want string) {
		t.Helper()
		var w wire
		s := &statsD{names: names(t, "p", ""), tags: tags, dial: w.dial}
		if err := s.Send(t.Context(), someSamples); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(w.packets, "\n--\n"); got != strings.TrimSpace(want) {
			t.Errorf("%s got\n%s\nwant%s", s.Name(), got, want)
		}
	}
	f(false, `
p.lb_requests_total.stable.web:3|c
p.lb_answers_total._:0.25|c
p.lb_open:1000000000000000000000|g
p.lb_age:0|g
p.lb_age:-1|g
p.lb_odd.a_b_c__d_e__:2|g`)
	f(true, `
p.lb_requests_total:3|c|#arm:stable,service:web
p.lb_answers_total:0.25|c
p.lb_open:1000000000000000000000|g
p.lb_age:-1|g
p.lb_odd:2|g|#service:a_b_c__d:e_é`)
}

// No packet is too large, nothing is lost between them, and many are not sent
// at once.
func TestStatsDPackets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var samples []Sample
		want := map[string]bool{}
		for i := range 5000 {
			name := fmt.Sprintf("lb_%d_%s", i, strings.Repeat("x", i%200))
			samples = append(samples, Sample{Name: name, Value: 1})
			want[name+":1|c"] = true
		}
		samples = append(samples, Sample{Name: strings.Repeat("y", 2000), Labels: []Label{{"a", "b"}}, Value: 1})
		var w wire
		s := &statsD{names: names(t, "", ""), tags: true, dial: w.dial}
		start := time.Now()
		if err := s.Send(t.Context(), samples); err != nil {
			t.Fatal(err)
		}
		for _, p := range w.packets {
			if len(p) > maxPacket {
				t.Errorf("a packet of %d bytes", len(p))
			}
			for line := range strings.SplitSeq(p, "\n") {
				if !want[line] {
					t.Errorf("the line %q came twice, or from nowhere", line)
				}
				delete(want, line)
			}
		}
		if len(want) > 0 {
			t.Errorf("%d samples are missing", len(want))
		}
		if took, least := time.Since(start), time.Duration(len(w.packets)/burst)*burstPause; took != least {
			t.Errorf("%d packets in %v, want %v", len(w.packets), took, least)
		}
		if err := s.Send(t.Context(), samples[len(samples)-1:]); err == nil {
			t.Error("nothing fits, and there is no error")
		}
		w.err = errors.New("refused")
		if err := s.Send(t.Context(), samples[:1]); !errors.Is(err, w.err) {
			t.Errorf("got %v", err)
		}
	})
}

func TestStatsDLoopback(t *testing.T) {
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if err := NewStatsD(server.LocalAddr().String(), names(t, "", "")).Send(t.Context(), someSamples[:2]); err != nil {
		t.Fatal(err)
	}
	_ = server.SetReadDeadline(time.Now().Add(5 * time.Second))
	b := make([]byte, 2000)
	n, _, err := server.ReadFrom(b)
	if got := string(b[:n]); err != nil || got != "lb_requests_total.stable.web:3|c\nlb_answers_total._:0.25|c" {
		t.Errorf("got %q, %v", got, err)
	}
	if err := NewStatsD("name.invalid:1", names(t, "", "")).Send(t.Context(), nil); err == nil {
		t.Error("a name that does not resolve is no error")
	}
}

func TestGraphite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w wire
		g := &graphite{names: names(t, "p", ""), dial: w.dial}
		if err := g.Send(t.Context(), someSamples); err != nil {
			t.Fatal(err)
		}
		now := fmt.Sprint(time.Now().Unix())
		want := strings.ReplaceAll(`p.lb_requests_total.stable.web 3 NOW
p.lb_answers_total._ 0.25 NOW
p.lb_open 1000000000000000000000 NOW
p.lb_age -1 NOW
p.lb_odd.a_b_c__d_e__ 2 NOW
`, "NOW", now)
		if got := strings.Join(w.packets, ""); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
		w.err = errors.New("reset")
		if err := g.Send(t.Context(), someSamples); !errors.Is(err, w.err) {
			t.Errorf("got %v", err)
		}
	})
}

func TestGraphiteLoopback(t *testing.T) {
	f := func(name string, serve func(c net.Conn) string, want func(got string, err error) bool) {
		t.Helper()
		server, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		got := make(chan string, 1)
		go func() {
			c, err := server.Accept()
			if err != nil {
				got <- err.Error()
				return
			}
			defer c.Close()
			got <- serve(c)
		}()
		samples := slices.Repeat(someSamples, 2000) // more than the buffers hold
		err = NewGraphite(server.Addr().String(), names(t, "", "")).Send(t.Context(), samples)
		if text := <-got; !want(text, err) {
			t.Errorf("%s: %v after %d bytes", name, err, len(text))
		}
	}
	f("it reads all", func(c net.Conn) string {
		var b bytes.Buffer
		_, _ = b.ReadFrom(c)
		return b.String()
	}, func(got string, err error) bool { return err == nil && strings.Count(got, "\n") == 10000 })
	f("it closes at once", func(c net.Conn) string {
		_ = c.(*net.TCPConn).SetLinger(0)
		return ""
	}, func(_ string, err error) bool { return err != nil })
	if err := NewGraphite("127.0.0.1:1", names(t, "", "")).Send(t.Context(), nil); err == nil {
		t.Error("a port where nobody listens is no error")
	}
}
