package demo

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/coder/websocket"
)

// stream sends server-sent events until n were sent, the client leaves or the
// service closes.
func (s *Service) stream(w http.ResponseWriter, r *http.Request) {
	ms, ok := s.number(w, r, "ms", 1000)
	if !ok {
		return
	}
	n, ok := s.number(w, r, "n", -1)
	if !ok {
		return
	}
	s.mu.Lock()
	done := s.end()
	s.mu.Unlock()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	tick := time.NewTicker(time.Duration(max(ms, 1)) * time.Millisecond)
	defer tick.Stop()
	out := http.NewResponseController(w)
	for i := 0; n < 0 || i < n; i++ {
		if i > 0 {
			select {
			case <-tick.C:
			case <-done:
				return
			case <-r.Context().Done():
				return
			}
		}
		fmt.Fprintf(w, "id: %d\nevent: tick\ndata: {\"tick\":%d,\"instance\":%q}\n\n", i, i, s.Instance())
		if out.Flush() != nil {
			return
		}
	}
}

// maxMessage is the largest WebSocket message that is echoed.
const maxMessage = 1 << 20

// echoSocket sends every message back as it came.
func (s *Service) echoSocket(w http.ResponseWriter, r *http.Request) {
	// Any page may talk to it: it tells nothing that the page did not send.
	c, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return // Accept has answered
	}
	defer c.CloseNow()
	c.SetReadLimit(maxMessage)
	s.mu.Lock()
	if s.sockets == nil {
		s.sockets = map[*websocket.Conn]struct{}{}
	}
	closed := s.closed
	s.sockets[c] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.sockets, c)
		s.mu.Unlock()
	}()
	if closed {
		c.Close(websocket.StatusGoingAway, "instance is stopping")
		return
	}
	// Not the request's context: when it ends, the library would drop the
	// connection without the closing handshake.
	ctx := context.WithoutCancel(r.Context())
	for {
		kind, message, err := c.Read(ctx)
		if err != nil || c.Write(ctx, kind, message) != nil {
			return
		}
	}
}
