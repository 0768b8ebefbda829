package consul

import (
	"context"
	"strings"
	"testing"
	"time"
)

func TestRegisterWithRealAgent(t *testing.T) {
	a := startAgent(t, "")
	a.up()
	c := a.client("")
	running(t, func(ctx context.Context) { c.Run(ctx) })
	ctx := t.Context()

	id, err := c.Register(ctx, Registration{Name: "web", ID: "web-1", Port: 3000, Check: Check{TTL: 10 * time.Second}})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(id, "web-1-") || len(id) != len("web-1-")+36 {
		t.Errorf("id %q: want web-1- and a UUID", id)
	}
	passing := func() bool {
		got, _, err := a.api("").Health().Service("web", "", true, nil)
		return err == nil && len(got) == 1 && got[0].Service.ID == id && got[0].Service.Address != ""
	}
	eventually(t, 2*time.Second, "the TTL check passes", passing)
	if _, lost := c.Registered(); !lost.IsZero() {
		t.Error("nothing was lost yet")
	}

	a.kill()
	a.up()
	took := eventually(t, 2*time.Second, "registered again after the agent lost its state", passing)
	t.Logf("registered again %v after the agent was ready", took)
	if _, lost := c.Registered(); lost.IsZero() {
		t.Error("the loss was not noted")
	}

	for range 2 { // the second time the agent does not know the ID
		if err := c.Deregister(ctx, id); err != nil {
			t.Fatal(err)
		}
	}
	if got, _, err := a.api("").Health().Service("web", "", false, nil); err != nil || len(got) != 0 {
		t.Errorf("after Deregister: %v, %v", got, err)
	}
}
