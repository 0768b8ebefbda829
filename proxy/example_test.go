package proxy_test

import (
	"fmt"
	"net/netip"
	"time"

	"serin/proxy"
	"serin/registry"
	"serin/route"
)

// A request, as an engine would show it to a decision.
type get struct{ host, path string }

func (get) Method() string               { return "GET" }
func (g get) Host() string               { return g.host }
func (g get) Path() string               { return g.path }
func (get) RawQuery() string             { return "" }
func (get) Header(string) (string, bool) { return "", false }
func (get) Cookie(string) (string, bool) { return "", false }
func (get) Client() netip.Addr           { return netip.MustParseAddr("192.0.2.1") }
func (get) TLS() bool                    { return false }
func (get) Secure() bool                 { return false }
func (g get) Chain(buf []netip.Addr) []netip.Addr {
	return append(buf, g.Client())
}

func ExampleCore() {
	web := &registry.Service{Name: "web", Instances: []registry.Instance{
		{Service: "web", ID: "web-1", Addr: "10.0.0.1:80", Tags: []string{"urlprefix-/"}, Health: registry.Passing, Ready: true},
		{Service: "web", ID: "web-2", Addr: "10.0.0.2:80", Tags: []string{"urlprefix-/", "canary"}, Health: registry.Passing, Ready: true},
	}}
	table := new(route.Builder).Build(route.Inputs{Snapshot: registry.New(web), Splits: route.Splits{Default: &route.Split{Explicit: true, Ratio: 0.5}}})
	draws := []uint64{0, 0, 0, 0, 0, 1 << 63, 0, 0} // part, arm, instance and copy of two requests
	core := &proxy.Core{
		Table:     func() *route.Table { return table },
		Upstreams: proxy.NewUpstreams(proxy.UpstreamsConfig{}),
		Budget:    new(proxy.Budget),
		Now:       time.Now,
		Rand:      func() uint64 { d := draws[0]; draws = draws[1:]; return d },
	}
	core.Upstreams.Swap(table)
	for range 2 {
		d := core.Decide(get{"a.test", "/"})
		up := core.Upstreams.Claim(d.Target)
		fmt.Println(d.Target.ID, d.Arm, d.Why)
		up.Release(proxy.OK)
	}
	// Output:
	// web-2 canary chance
	// web-1 stable chance
}
