package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"serin/admin"
)

// Two programs want the same ports, and those of traffic and admin are
// neighbours: each gets its own.
func TestDevListenersOfManyPrograms(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	var all []string
	for range 3 {
		cfg := Default()
		open, err := devListeners(&cfg, ln.Addr().String(), ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer open.close()
		if got := open.traffic[0].Addr().String(); cfg.Proxy.Addr[0] != got {
			t.Errorf("proxy.addr\n got %s\nwant %s", cfg.Proxy.Addr[0], got)
		}
		if got := open.looking.Addr().String(); cfg.UI.Addr != got {
			t.Errorf("ui.addr\n got %s\nwant %s", cfg.UI.Addr, got)
		}
		all = append(all, cfg.Proxy.Addr[0], cfg.UI.Addr)
	}
	slices.Sort(all)
	if len(slices.Compact(all)) != 6 {
		t.Errorf("want six addresses, got %v", all)
	}
}

// A chosen address is not given away, and one that is taken is an error.
func TestDevListenersThatWereChosen(t *testing.T) {
	probe, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := probe.Addr().String()
	chosen := func() Config { return must(t, given{flags: map[string]string{"proxy.addr": addr}}) }
	cfg := chosen()
	if _, err := devListeners(&cfg, addr, addr); err == nil || !strings.Contains(err.Error(), "proxy.addr") {
		t.Errorf("proxy.addr is taken\n got %v\nwant an error", err)
	}
	probe.Close()
	cfg = chosen()
	open, err := devListeners(&cfg, addr, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer open.close()
	if got := open.traffic[0].Addr().String(); got != addr || cfg.UI.Addr == addr {
		t.Errorf("traffic at %s, admin at %s; want traffic at %s", got, cfg.UI.Addr, addr)
	}
}

// assembleOn uses the listeners it is given, and those only.
func TestAssembleTakesOpenListeners(t *testing.T) {
	cfg := Default()
	open, err := devListeners(&cfg, "127.0.0.1:0", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	want := open.traffic[0].Addr().String()
	b, err := assembleOn(open, cfg, io.Discard, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	defer b.closeFiles()
	if len(b.traffic) != 1 || b.traffic[0].Addr().String() != want || b.looking != open.looking {
		t.Errorf("listeners\n got %v %v\nwant those given", b.traffic, b.looking)
	}
}

func TestRoutesBeforeTheCatalogIsKnown(t *testing.T) {
	server := httptest.NewServer((&admin.Server{
		Ready: func() admin.State {
			return admin.State{NotReady: []string{"the catalog is not known yet: waiting for Consul"}}
		},
	}).Handler())
	defer server.Close()
	defer http.DefaultClient.CloseIdleConnections()
	f := func(wantCode int, want string, args ...string) {
		t.Helper()
		var talk bytes.Buffer
		a := &app{environ: []string{"LB_ADDR=" + server.Listener.Addr().String()}, in: strings.NewReader(""), out: io.Discard, err: &talk}
		if code := a.main(context.Background(), append([]string{"routes"}, args...)); code != wantCode || talk.String() != want {
			t.Errorf("lb routes %v\n got %d %s\nwant %d %s", args, code, talk.String(), wantCode, want)
		}
	}
	f(0, "no routes: the balancer is not ready: the catalog is not known yet: waiting for Consul\n")
	f(exitNotFound, "error: no route leads to a service \"web\": the balancer is not ready: the catalog is not known yet: waiting for Consul\n", "--service", "web")
}
