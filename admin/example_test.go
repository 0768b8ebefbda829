package admin_test

import (
	"fmt"
	"net/http/httptest"

	"serin/admin"
)

// A balancer that leaves says so to whoever asks /ready.
func ExampleServer() {
	s := &admin.Server{Ready: func() admin.State { return admin.State{NotReady: []string{"draining"}} }}
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, httptest.NewRequest("GET", "http://localhost/ready", nil))
	fmt.Print(w.Code, " ", w.Body)
	// Output:
	// 503 not ready
	// draining
}
