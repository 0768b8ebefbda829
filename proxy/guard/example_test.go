package guard_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"serin/proxy/guard"
)

// A server behind the guard: the handler answers what was refused.
func Example() {
	type key struct{}
	srv := &http.Server{
		ReadHeaderTimeout:            11 * time.Second,
		DisableGeneralOptionsHandler: true,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, key{}, c)
		},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c := r.Context().Value(key{}).(*guard.Conn)
			defer c.Release()
			if bad, ok := c.Rejection(r.RequestURI); ok {
				fmt.Println("refused:", bad.Reason)
				w.Header().Set("Connection", "close")
				w.WriteHeader(bad.Status)
			}
		}),
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	done := make(chan error)
	go func() { done <- srv.Serve(guard.Listener(ln, guard.Options{})) }()

	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		panic(err)
	}
	io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		panic(err)
	}
	fmt.Println(resp.Status)
	c.Close()
	srv.Close()
	<-done
	// Output:
	// refused: Transfer-Encoding beside Content-Length
	// 400 Bad Request
}
