package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"serin/internal/agent"
)

// With more services than plain HTTP can have an open query for each, Consul is
// followed by bells, and over HTTPS by a stream each; every kind of change
// reaches the traffic in both, and lb health tells which it is.
func TestManyServicesAreFollowed(t *testing.T) {
	const services = 60
	for _, mode := range []string{"bell", "streams"} {
		t.Run(mode, func(t *testing.T) {
			a := agent.Start(t, agent.Config{TLS: mode == "streams"})
			l := &lab{t: t, consul: a.Addr()}
			for i := range services {
				l.stub(fmt.Sprintf("s%d", i), fmt.Sprintf("s%d-1", i), fmt.Sprintf("urlprefix-s%d.test/", i), "passing")
			}
			var opts []string
			if mode == "streams" {
				opts = []string{"-registry.consul.addr", a.URL(), "-registry.consul.tls.cafile", a.CAFile()}
			}
			b := l.lb(opts...)
			eventually(t, 10*time.Second, "all are routed", func() error {
				for i := range services {
					if err := want(b, fmt.Sprintf("s%d.test", i), 200, fmt.Sprintf("s%d-1", i)); err != nil {
						return err
					}
				}
				return nil
			})
			var status struct {
				Registry struct {
					Following struct {
						Mode              string
						Services, Streams int
					}
				}
			}
			if err := getJSON("http://"+b.admin+"/api/v1/status", &status); err != nil {
				t.Fatal(err)
			}
			if f := status.Registry.Following; f.Mode != mode || f.Services < services || (f.Streams >= services) != (mode == "streams") {
				t.Errorf("followed as %+v", f)
			}
			if out, code := l.cli("health", "--ready", "--addr", b.admin); code != 0 || !strings.Contains(out, mode) {
				t.Errorf("lb health: exit code %d:\n%s", code, out)
			}

			// Each change, many times over.
			for round := range 5 {
				id := fmt.Sprintf("new%d", round)
				s := l.stub(id, id, "urlprefix-"+id+".test/", "passing")
				eventually(t, 2*time.Second, "a new service", func() error { return want(b, id+".test", 200, id) })
				s.check("critical")
				eventually(t, 2*time.Second, "critical", func() error { return want(b, id+".test", -1, "") })
				s.check("passing")
				eventually(t, 2*time.Second, "passing again", func() error { return want(b, id+".test", 200, id) })
				more := l.stub("s7", "s7-more", "urlprefix-s7.test/", "passing")
				eventually(t, 2*time.Second, "one more instance", func() error { return inTable(b, more.addr) })
				more.deregister()
				eventually(t, 2*time.Second, "it left", func() error {
					if inTable(b, more.addr) == nil {
						return fmt.Errorf("%s is still in the table", more.addr)
					}
					return nil
				})
				s.deregister()
				eventually(t, 5*time.Second, "the service left", func() error { return want(b, id+".test", -1, "") })
			}
		})
	}
}
