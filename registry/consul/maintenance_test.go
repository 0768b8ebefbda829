package consul

import (
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"serin/registry"
)

func TestMaintenance(t *testing.T) {
	t.Parallel()
	for name, client := range sessionsAt(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, ctx := client(t), t.Context()
			for i := range 2 {
				err := c.api.Agent().ServiceRegister(&api.AgentServiceRegistration{
					ID: fmt.Sprintf("web-%d", i), Name: "web", Address: "10.0.0.1", Port: 80 + i,
					Check: &api.AgentServiceCheck{TTL: "1h", Status: "passing"},
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			// state waits until the catalog has what the agent has, and tells it.
			state := func(want string) {
				t.Helper()
				got := ""
				for began := time.Now(); time.Since(began) < 10*time.Second; {
					members, err := c.Members(ctx, "web", registry.Policy{})
					if err != nil {
						t.Fatal(err)
					}
					got = ""
					for _, m := range members {
						got += fmt.Sprintf("%s %s %t %s;", m.ID, m.Addr, m.Ready, m.Reason)
						if m.NodeAddr == "" {
							t.Fatalf("no address of the node of %s", m.ID)
						}
					}
					if got == want {
						return
					}
				}
				t.Fatalf("members\n got %s\nwant %s", got, want)
			}
			state("web-0 10.0.0.1:80 true ;web-1 10.0.0.1:81 true ;")
			if err := c.Maintenance(ctx, "web-1", true, "new disks"); err != nil {
				t.Fatal(err)
			}
			state("web-0 10.0.0.1:80 true ;web-1 10.0.0.1:81 false service is in maintenance: new disks;")
			if err := c.Maintenance(ctx, "web-1", false, ""); err != nil {
				t.Fatal(err)
			}
			state("web-0 10.0.0.1:80 true ;web-1 10.0.0.1:81 true ;")
			if err := c.Maintenance(ctx, "web-7", true, ""); err == nil {
				t.Error("an instance that is not there can be put into maintenance")
			}
			has := func(in registry.Instance, want bool) {
				t.Helper()
				if got, err := c.Has(ctx, in); got != want || err != nil {
					t.Errorf("Has(%+v) = %t, %v", in, got, err)
				}
			}
			has(registry.Instance{Service: "web", ID: "web-1", Addr: "10.0.0.1:81"}, true)
			has(registry.Instance{Service: "web", ID: "web-1", Addr: "10.0.0.1:80"}, false) // one of another node
			has(registry.Instance{Service: "shop", ID: "web-1", Addr: "10.0.0.1:81"}, false)
			has(registry.Instance{Service: "web", ID: "web-7", Addr: "10.0.0.1:81"}, false)
			if members, err := c.Members(ctx, "none", registry.Policy{}); len(members) != 0 || err != nil {
				t.Errorf("members of a service that nobody knows: %v, %v", members, err)
			}
		})
	}
}
