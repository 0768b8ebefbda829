package load

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/coder/websocket"
)

// client returns a client for one session at a time.
func (r *run) client() *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		conn, _, err := r.dial()
		return conn, err
	}}}
}

// echo keeps one WebSocket session open and exchanges a message every 100 ms;
// a session that the other side ends properly is opened again.
func (r *run) echo(ctx context.Context) {
	dialer := r.client()
	defer dialer.CloseIdleConnections()
	for ctx.Err() == nil {
		if err := r.session(ctx, dialer); err != nil && ctx.Err() == nil {
			r.wrong("WebSocket", err.Error())
			select { // a broken listener must not become a busy loop
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
}

func (r *run) session(ctx context.Context, dialer *http.Client) error {
	dialCtx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	conn, _, err := websocket.Dial(dialCtx, "ws://"+r.cfg.Addrs[0]+"/ws", &websocket.DialOptions{HTTPClient: dialer, Host: r.cfg.Host})
	if err != nil {
		return fmt.Errorf("dial: %w", err)
	}
	defer conn.CloseNow()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return conn.Close(websocket.StatusNormalClosure, "")
		case <-time.After(100 * time.Millisecond):
		}
		want := fmt.Sprintf("message %d", n)
		err := func() error {
			mctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.cfg.Timeout)
			defer cancel()
			if err := conn.Write(mctx, websocket.MessageText, []byte(want)); err != nil {
				// The close frame may have come while we wrote.
				_, _, readErr := conn.Read(mctx)
				return errors.Join(readErr, err)
			}
			_, got, err := conn.Read(mctx)
			if err == nil && string(got) != want {
				err = fmt.Errorf("echo of %q is %q", want, got)
			}
			return err
		}()
		switch websocket.CloseStatus(err) {
		case websocket.StatusNormalClosure, websocket.StatusGoingAway, websocket.StatusServiceRestart:
			r.add(&r.report.Closed)
			return nil
		}
		if err != nil {
			return err
		}
		r.add(&r.report.Echoes)
	}
}
