package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/errgroup"

	"serin/internal/demo"
	"serin/internal/devconsul"
	"serin/registry/consul"
)

// devConsulAddr is where people expect an agent.
const devConsulAddr = "127.0.0.1:8500"

// dev is run with a Consul, demo instances and a light load of its own: all in
// this process, all on 127.0.0.1.
func dev(ctx context.Context, cfg Config, service string, out io.Writer, log hclog.Logger) error {
	stand, err := listenNear(devConsulAddr)
	if err != nil {
		return fail(exitFailed, err, "")
	}
	addr := stand.Addr().String()
	cfg.Registry.Consul.Addr, cfg.Registry.Consul.Token, cfg.Registry.Consul.TokenFile = addr, "", ""
	open, err := devListeners(&cfg, "127.0.0.1:9999", cfg.UI.Addr)
	if err != nil {
		stand.Close()
		return err
	}
	if _, given := cfg.sources["proxy.deregistergraceperiod"]; !given {
		cfg.Proxy.LameDuck = 500 * time.Millisecond // nobody else to be told
	}
	b, err := assembleOn(open, cfg, out, log)
	if err != nil {
		stand.Close()
		return err
	}

	// Consul and the instances outlive the balancer, as they would.
	plane, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	g, plane := errgroup.WithContext(plane)
	dc := devconsul.New()
	g.Go(func() error { return dc.Run(plane) })
	g.Go(func() error { return serveHTTP(plane, stand, dc) })
	for i, version := range []string{"v1", "v1", "v2"} {
		tags := []string{"urlprefix-/"}
		if version == "v2" {
			tags = append(tags, "canary")
		}
		g.Go(func() error { return devInstance(plane, addr, service, version, tags, i, log) })
	}
	load, stopLoad := context.WithCancel(ctx)
	defer stopLoad()
	g.Go(func() error {
		if !b.becomesReady(load) {
			return nil
		}
		devHelp(out, b, addr, service)
		return (&demo.Load{URL: "http://" + cfg.Proxy.Addr[0] + "/"}).Run(load)
	})
	err = b.serve(ctx)
	stopLoad()
	end()
	if err2 := g.Wait(); err == nil && !errors.Is(err2, context.Canceled) {
		err = err2
	}
	return err
}

// becomesReady waits until the balancer serves all three instances.
func (b *balancer) becomesReady(ctx context.Context) bool {
	for {
		n := 0
		for r := range b.loop.Table().Routes() {
			for _, p := range r.Parts {
				n += len(p.Arms[0].Ready) + len(p.Arms[1].Ready)
			}
		}
		if n == 3 && len(b.readiness().NotReady) == 0 {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// devInstance is one demo instance, which registers over HTTP as a real one does.
func devInstance(ctx context.Context, agent, name, version string, tags []string, n int, log hclog.Logger) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	svc := &demo.Service{Name: name, Version: version}
	svc.SetInstance(fmt.Sprintf("%s-%s-%d", name, version, n+1))
	client, err := consul.NewAt(agent)
	if err != nil {
		return err
	}
	defer client.Close()
	client.Log = log.Named(svc.Instance())
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return serveHTTP(ctx, ln, svc) })
	g.Go(func() error {
		_, port, _ := net.SplitHostPort(ln.Addr().String())
		portNumber, _ := strconv.Atoi(port)
		id, err := client.RegisterRetrying(ctx, consul.Registration{
			Name: name, Address: "127.0.0.1", Port: portNumber, Tags: tags, Meta: map[string]string{"version": version},
			Check: consul.Check{HTTP: "http://" + ln.Addr().String() + "/health", Interval: time.Second, Timeout: time.Second, DeregisterAfter: time.Minute},
		})
		if err != nil {
			return nil // ctx ended
		}
		svc.SetInstance(id)
		return client.Run(ctx)
	})
	return g.Wait()
}

// serveHTTP serves h until ctx ends.
func serveHTTP(ctx context.Context, ln net.Listener, h http.Handler) error {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// listenNear listens on addr, or on the next port that is free.
func listenNear(addr string) (ln net.Listener, err error) {
	host, portText, _ := net.SplitHostPort(addr)
	port, _ := strconv.Atoi(portText)
	for i := range 50 {
		if ln, err = net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port+i))); err == nil {
			return ln, nil
		}
	}
	return nil, fmt.Errorf("no free port from %s on: %w", addr, err)
}

// devListeners opens the listeners: those that were chosen, and then, near the
// given addresses, those that were not, whose addresses it puts into cfg.
func devListeners(cfg *Config, traffic, looking string) (open listeners, err error) {
	defer func() {
		if err != nil {
			open.close()
		}
	}()
	_, trafficChosen := cfg.sources["proxy.addr"]
	_, lookingChosen := cfg.sources["ui.addr"]
	if trafficChosen {
		if err := open.listenTraffic(cfg.Proxy.Addr); err != nil {
			return open, err
		}
	}
	if lookingChosen {
		if err := open.listenAdmin(cfg.UI.Addr); err != nil {
			return open, err
		}
	}
	if !trafficChosen {
		ln, err := listenNear(traffic)
		if err != nil {
			return open, fail(exitFailed, err, "")
		}
		open.traffic, cfg.Proxy.Addr = []net.Listener{ln}, []string{ln.Addr().String()}
	}
	if !lookingChosen {
		if open.looking, err = listenNear(looking); err != nil {
			return open, fail(exitFailed, err, "")
		}
		cfg.UI.Addr = open.looking.Addr().String()
	}
	return open, nil
}

// devHelp says what there is, and what to try.
func devHelp(out io.Writer, b *balancer, agent, service string) {
	traffic := "http://" + b.traffic[0].Addr().String()
	var canary string // the address of v2
	for r := range b.loop.Table().Routes() {
		for _, p := range r.Parts {
			for _, t := range slices.Concat(p.Arms[0].Ready, p.Arms[1].Ready) {
				if slices.Contains(t.Tags, "canary") {
					canary = t.Addr
				}
			}
		}
	}
	fmt.Fprintf(out, `
Serin is running: service %[1]q with two stable instances (v1) and one canary (v2).

  traffic   %[2]s/
  admin     http://%[3]s/
  Consul    http://%[4]s/   (a stand-in inside this process)

Try, in another terminal:

  export LB_ADDR=%[3]s CONSUL_HTTP_ADDR=%[4]s       # for %[5]s and consul
  curl -s %[2]s/                                     # who answers?

  # a first canary: a tenth of the requests
  consul kv put lb/canary/%[1]s '{"ratio":0.1}'
  curl -X PUT http://%[4]s/v1/kv/lb/canary/%[1]s -d '{"ratio":0.1}'      # the same without the consul command

  # half of them, and everyone keeps the version they got
  curl -X PUT http://%[4]s/v1/kv/lb/canary/%[1]s -d '{"ratio":0.5,"sticky":true}'

  # what is in force, and all back to stable
  %[5]s canary status %[1]s
  curl -X DELETE http://%[4]s/v1/kv/lb/canary/%[1]s

  # a rollout: half, then 90 %%, then everyone, 10 s each and as long as it takes to see that v2 is no worse
  curl -X PUT http://%[4]s/v1/kv/lb/canary/%[1]s -d '{"id":"v2",
    "steps":[{"ratio":0.5,"for":"10s"},{"ratio":0.9,"for":"10s"}],
    "analysis":{"max_error_rate":"10%%","min_requests":20,"warmup":"0s"}}'
  %[5]s canary status %[1]s                           # which step, and what it waits for
  %[5]s canary status %[1]s --until promoted

  # the same with a v2 that fails: it is rolled back within seconds
  curl -X POST 'http://%[6]s/fail?rate=1'
  %[5]s canary retry %[1]s
  %[5]s canary status %[1]s --until promoted
  %[5]s canary history %[1]s
  curl -X POST 'http://%[6]s/fail?rate=0'

  # a route that no tag makes, and why a request goes where it goes
  curl -X PUT http://%[4]s/v1/kv/lb/routes/docs -d 'route add docs /docs https://docs.example.com/ opts "redirect=302"'
  %[5]s explain 127.0.0.1/docs

Ctrl-C stops everything.
`, service, traffic, b.looking.Addr(), agent, os.Args[0], canary)
}
