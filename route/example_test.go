package route_test

import (
	"fmt"
	"os"

	"serin/registry"
	"serin/route"
)

func Example() {
	catalog := registry.New(&registry.Service{Name: "web", Instances: []registry.Instance{
		{Service: "web", ID: "web-1", Addr: "10.0.0.1:80", Ready: true, Tags: []string{"urlprefix-shop.example/api strip=/api"}},
		{Service: "web", ID: "web-2", Addr: "10.0.0.2:80", Ready: true, Tags: []string{"urlprefix-shop.example/api strip=/api", "canary"}},
	}})
	splits := route.Splits{ByService: map[string]*route.Split{"web": {Service: "web", Ratio: 0.1}}}

	table := new(route.Builder).Build(route.Inputs{Snapshot: catalog, Splits: splits})
	if err := table.Print(os.Stdout); err != nil {
		fmt.Println(err)
	}
	r := table.Match("shop.example", "/api/things", false)
	part := r.Parts[0]
	fmt.Println(part.Split.Arm(0), part.Split.Arm(1<<63), part.Arms[route.Stable].Ready[0].Options.Rewrite("/api/things"))
	// Output:
	// ROUTE             SERVICE  INSTANCE  ADDRESS      ARM     WEIGHT  SHARE  TAGS    OPTIONS
	// shop.example/api  web      web-1     10.0.0.1:80  stable  -       90.00  -       strip=/api
	// shop.example/api  web      web-2     10.0.0.2:80  canary  -       10.00  canary  strip=/api
	// canary stable /things
}

func ExampleParseTag() {
	rule, err := route.ParseTag("urlprefix-", "urlprefix-Shop.example/api  weight=0.2 strip=/api")
	fmt.Println(rule, err)
	_, err = route.ParseTag("urlprefix-", "urlprefix-/api weight=1o")
	fmt.Println(err)
	// Output:
	// shop.example/api strip=/api weight=0.2 <nil>
	// at offset 22: weight "1o" is not a number
}
