// Command demo-service is an instance of a service that registers itself in
// Consul, serves, fails and slows down on request, and leaves cleanly.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"serin/internal/demo"
	"serin/registry/consul"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// Exit codes: 0 stopped when told, 1 could not serve, 2 wrong usage.
const (
	exitOK = iota
	exitFailed
	exitUsage
)

// run serves until ctx ends, and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	cfg, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stdout, usage())
		return exitOK
	}
	if err != nil {
		fmt.Fprintf(stderr, "demo-service: %v\nRun demo-service -h for help.\n", err)
		return exitUsage
	}
	log := hclog.New(&hclog.LoggerOptions{Name: "demo-service", Output: stderr, Level: hclog.Info})
	if err := serve(ctx, cfg, log); err != nil {
		log.Error("stopped", "error", err)
		return exitFailed
	}
	return exitOK
}

// serve is the life of the instance: listen, register, serve, deregister,
// drain. It returns nil when it ended because ctx did.
func serve(ctx context.Context, cfg config, log hclog.Logger) error {
	ln, err := net.Listen("tcp", cfg.listen)
	if err != nil {
		return fmt.Errorf("listen on %q: %w", cfg.listen, err)
	}
	defer ln.Close()
	port := ln.Addr().(*net.TCPAddr).Port
	address, err := cfg.address()
	if err != nil {
		return err
	}
	client, err := consul.NewAt(cfg.consul)
	if err != nil {
		return err
	}
	defer client.Close()
	client.Log = log
	at := net.JoinHostPort(address, strconv.Itoa(port))

	svc := &demo.Service{Name: cfg.name, Version: cfg.version}
	svc.SetInstance(cfg.name + "@" + at)
	server := newServer(svc, log)
	defer server.Close()
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(ln) }()
	log.Info("serving", "listen", ln.Addr(), "address", at, "version", cfg.version)

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	in := presence{client: client, log: log, joined: svc.SetInstance, reg: consul.Registration{
		Name: cfg.name, Address: address, Port: port, Tags: cfg.tags, Meta: cfg.meta,
		Check: consul.Check{
			HTTP: "http://" + at + "/health", Interval: cfg.interval, Timeout: cfg.timeout,
			DeregisterAfter: deregisterAfter,
		},
	}}
	var keeper sync.WaitGroup
	keeper.Go(func() { in.keep(ctx) })
	select {
	case <-ctx.Done():
	case err = <-failed:
		cancel()
	}
	// First out of the catalog, then a time in which balancers notice, while
	// everything is still served.
	keeper.Wait()
	in.leave()
	svc.Drain()
	if err == nil {
		log.Info("draining", "for", cfg.drain)
		select {
		case <-time.After(cfg.drain):
		case err = <-failed:
		}
	}
	stop(server, svc, log)
	if err != nil {
		return fmt.Errorf("serve on %s: %w", ln.Addr(), err)
	}
	return nil
}

// deregisterAfter is Consul's least: an instance that was killed is gone from
// the catalog a minute after its check began to fail.
const deregisterAfter = time.Minute

func newServer(h http.Handler, log hclog.Logger) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler: h, Protocols: protocols, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		ErrorLog: log.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug}),
	}
}

// stopTimeout bounds the end: what is not finished by then is cut off.
const stopTimeout = 5 * time.Second

func stop(server *http.Server, svc *demo.Service, log hclog.Logger) {
	svc.Close()
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		log.Warn("requests cut off", "after", stopTimeout)
		server.Close()
	}
	log.Info("stopped")
}
