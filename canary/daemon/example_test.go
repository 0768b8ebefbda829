package daemon_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"serin/canary/daemon"
)

// A proxy that asks over TCP: where its first client goes, and where it goes
// the next time.
func ExampleServer() {
	l, _ := daemon.ParseListener("service=web;addr=tcp://127.0.0.1:0")
	ln, err := l.Open()
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	server := &daemon.Server{
		Service: l.Service,
		Shares:  daemon.SharesFunc(func(string) (float64, bool) { return 0.1, true }),
		Random:  func() float64 { return 0.0625 },
	}
	done := make(chan error)
	go func() { done <- server.Run(ctx, ln) }()

	for _, request := range []string{"\n", "0.0625\n", "0.75\n"} {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			fmt.Println(err)
			return
		}
		_, _ = io.WriteString(c, request)
		answer, _ := io.ReadAll(c)
		c.Close()
		fmt.Printf("%q %q\n", request, answer)
	}
	stop()
	<-done
	// Output:
	// "\n" "0.0625\ncanary\n\n"
	// "0.0625\n" "0.0625\ncanary\n\n"
	// "0.75\n" "0.75\nmaster\n\n"
}

// words is a protocol of one's own: "go <assignment>", answered in one line.
type words struct{}

func (words) Serve(conn io.ReadWriter, ask daemon.Ask) error {
	line, err := bufio.NewReaderSize(io.LimitReader(conn, 64), 64).ReadString('\n')
	if err != nil {
		return err
	}
	a := ask(strings.TrimSpace(strings.TrimPrefix(line, "go")))
	_, err = fmt.Fprintf(conn, "%s is for %s\n", a.Assignment, a.Arm)
	return err
}

func ExampleProtocol() {
	server := &daemon.Server{
		Protocol: words{},
		Shares:   daemon.SharesFunc(func(string) (float64, bool) { return 0.5, true }),
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	done := make(chan error)
	go func() { done <- server.Run(ctx, ln) }()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		fmt.Println(err)
		return
	}
	_, _ = io.WriteString(c, "go 0.25\n")
	answer, _ := io.ReadAll(c)
	c.Close()
	fmt.Printf("%s", answer)
	stop()
	<-done
	// Output: 0.25 is for canary
}

// A share that is the same for every service but one.
func ExampleShares() {
	shares := daemon.SharesFunc(func(service string) (ratio float64, ok bool) {
		if service == "payments" {
			return 0, false // nothing is known of it
		}
		return 0.2, true
	})
	for _, service := range []string{"web", "payments"} {
		ratio, ok := shares.Share(service)
		fmt.Println(service, daemon.Decide("0.125", ratio, ok, 0).Arm)
	}
	// Output:
	// web canary
	// payments master
}

// printer is a meter of one's own.
type printer struct{}

func (printer) Answered(service string, a daemon.Answer, _ time.Duration) {
	fmt.Println(service, a.Asked, a.Arm)
}
func (printer) Failed(service string, why daemon.Failure) { fmt.Println(service, why) }

func ExampleMeter() {
	var m daemon.Meter = printer{}
	m.Answered("web", daemon.Decide("0.25", 0.5, true, 0), time.Millisecond)
	m.Failed("web", daemon.Late)
	// Output:
	// web held canary
	// web late
}
