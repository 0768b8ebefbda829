package canary_test

import (
	"fmt"

	"serin/canary"
)

func ExampleParse() {
	d, err := canary.Parse("lb/canary/web", []byte(`{"ratio": "10%", "sticky": true}`))
	fmt.Println(*d.Ratio, d.Sticky.By, err)

	_, err = canary.Parse("lb/canary/web", []byte(`{"raito": 0.5}`))
	fmt.Println(err)
	// Output:
	// 0.1 [cookie ip] <nil>
	// lb/canary/web:1:2: unknown field "raito" (did you mean "ratio"?)
}
