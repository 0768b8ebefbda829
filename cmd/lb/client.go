package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/spf13/cobra"

	"serin/admin"
	"serin/canary"
)

// adminAPI is the admin API of a running balancer.
type adminAPI struct {
	addr  string
	token string
}

// apiFlag adds --addr to cmd; the returned function resolves it.
func (a *app) apiFlag(cmd *cobra.Command) func() *adminAPI {
	addr := cmd.Flags().String("addr", "", "admin address `host:port` of the balancer (env LB_ADDR; else ui.addr as lb run here would take it)")
	return func() *adminAPI { return a.api(*addr) }
}

func (a *app) api(addr string) *adminAPI {
	return &adminAPI{addr: dialable(cmp.Or(addr, a.getenv("LB_ADDR"), a.uiAddr())), token: a.getenv("LB_TOKEN")}
}

// uiAddr is ui.addr as the variables and LB_CONFIG have it, so that a health
// check in the balancer's container needs no flags.
func (a *app) uiAddr() string {
	g := given{environ: a.environ, name: a.getenv("LB_CONFIG")}
	if g.name != "" {
		g.file, _ = os.ReadFile(g.name) // lb run complains about it, not we
	}
	cfg, _ := load(g)
	return cfg.UI.Addr
}

// dialable makes of an address to listen on one to connect to.
func dialable(addr string) string {
	name, port, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(name); err == nil && (name == "" || ip != nil && ip.IsUnspecified()) {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return addr
}

// do sends a GET and returns the status and the body.
func (b *adminAPI) do(ctx context.Context, path string) (int, []byte, error) {
	return b.send(ctx, http.MethodGet, path, nil)
}

// send sends a request, with a body of JSON unless that is nil, and returns the
// status and the body of the answer.
func (b *adminAPI) send(ctx context.Context, method, path string, json []byte) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+b.addr+path, bytes.NewReader(json))
	if err != nil {
		return 0, nil, fail(exitUsage, fmt.Errorf("%q is no address: %w", b.addr, err), "--addr wants host:port")
	}
	if json != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Accept", "application/json, text/plain;q=0.5")
	if b.token != "" {
		req.Header.Set("Authorization", "Bearer "+b.token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err
		}
		return 0, nil, fail(exitUnreachable, fmt.Errorf("cannot reach the balancer at %s: %w", b.addr, err),
			"is lb running? --addr or LB_ADDR name its admin listener (ui.addr)")
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 256<<20))
	if err != nil {
		return 0, nil, fail(exitUnreachable, fmt.Errorf("read %s from the balancer at %s: %w", path, b.addr, err), "")
	}
	return resp.StatusCode, body, nil
}

// get reads path into v.
func (b *adminAPI) get(ctx context.Context, path string, v any) error {
	status, body, err := b.do(ctx, path)
	if err == nil {
		err = b.refusal(path, status, body)
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fail(exitFailed, fmt.Errorf("%s at %s: %w", path, b.addr, err), "is that the admin listener of lb, and of this version?")
	}
	return nil
}

// refusal returns what an answer other than 200 says; nil for 200.
func (b *adminAPI) refusal(path string, status int, body []byte) error {
	if status == http.StatusOK {
		return nil
	}
	var p admin.Problem
	if json.Unmarshal(body, &p) != nil || p.Detail == "" {
		return fail(exitFailed, fmt.Errorf("%s at %s answers %d", path, b.addr, status), "is that the admin listener of lb, and of this version?")
	}
	code := exitFailed
	switch status {
	case http.StatusNotFound:
		code = exitNotFound
	case http.StatusBadRequest:
		code = exitUsage
	}
	return fail(code, errors.New(p.Detail), p.Hint)
}

// canary returns what is in force for a service, or for all others ("").
func (b *adminAPI) canary(ctx context.Context, service string) (st admin.CanaryStatus, err error) {
	err = b.get(ctx, canaryPath(service)+"/status", &st)
	return st, err
}

// canaryPath is where the API has the document of a service, or that for all
// others ("").
func canaryPath(service string) string {
	return "/api/v1/canary/" + url.PathEscape(canary.Label(service))
}

// services returns the names of the services that the balancer knows.
func (b *adminAPI) services(ctx context.Context) ([]string, error) {
	var services []admin.Service
	err := b.get(ctx, "/api/v1/services", &services)
	names := make([]string, len(services))
	for i, s := range services {
		names[i] = s.Name
	}
	return names, err
}

// completeService completes names of services that the balancer knows.
func (a *app) completeService(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	addr, _ := cmd.Flags().GetString("addr")
	ctx, cancel := context.WithTimeout(cmd.Context(), time.Second)
	defer cancel()
	names, _ := a.api(addr).services(ctx) // no balancer, no names
	return names, cobra.ShellCompDirectiveNoFileComp
}

func percent(share float64) string { return fmt.Sprintf("%.4g %%", share*100) }
