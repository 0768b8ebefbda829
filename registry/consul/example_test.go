package consul_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"time"

	"serin/registry/consul"
)

// A service that registers itself when it starts, stays registered while it
// runs, even when the agent loses its state, and leaves when it is told to stop.
func Example() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	client, err := consul.New() // honours CONSUL_HTTP_ADDR and its kin
	if err != nil {
		fmt.Println(err)
		return
	}
	addr, err := consul.UsableAddr()
	if err != nil {
		fmt.Println(err)
		return
	}
	id, err := client.Register(ctx, consul.Registration{
		Name:    "web",
		Address: addr.String(),
		Port:    3000,
		Tags:    []string{"urlprefix-/"},
		Meta:    map[string]string{"version": "1.2.0"},
		Check: consul.Check{
			HTTP:            fmt.Sprintf("http://%s:3000/health", addr),
			Interval:        2 * time.Second,
			DeregisterAfter: time.Minute,
		},
	})
	if err != nil {
		fmt.Println(err) // … cannot reach Consul at 127.0.0.1:8500: connection refused. …
		return
	}
	go client.Run(ctx)
	go http.ListenAndServe(":3000", nil)

	<-ctx.Done()
	// ctx has ended, so the farewell needs one of its own.
	bye, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := client.Deregister(bye, id); err != nil {
		fmt.Println(err)
	}
	time.Sleep(2 * time.Second) // balancers notice, and send nothing more
}

// UsableAddr is what Register uses where no address is given.
func ExampleUsableAddr() {
	addr, err := consul.UsableAddr()
	fmt.Println(err == nil, addr.IsValid() && !addr.IsUnspecified())
	// Output: true true
}
