package load

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// download reads one event stream after the other.
func (r *run) download(ctx context.Context) {
	client := r.client()
	defer client.CloseIdleConnections()
	for ctx.Err() == nil {
		if err := r.stream(ctx, client); err != nil && ctx.Err() == nil {
			r.wrong("download", err.Error())
			select { // a broken listener must not become a busy loop
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
}

// ticks are the events of one stream, 50 ms apart.
const ticks = 40

func (r *run) stream(ctx context.Context, client *http.Client) error {
	ctx, cancel := context.WithTimeout(ctx, ticks*50*time.Millisecond+r.cfg.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", fmt.Sprintf("http://%s/stream?ms=50&n=%d", r.cfg.Addrs[0], ticks), nil)
	if err != nil {
		return err
	}
	req.Host = r.cfg.Host
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return statusError(resp.StatusCode)
	}
	n := 0
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		id, found := strings.CutPrefix(lines.Text(), "id: ")
		if found && id != fmt.Sprint(n) {
			return fmt.Errorf("%w: event %s, want %d", errWrong, id, n)
		} else if found {
			n++
		}
	}
	switch err := lines.Err(); {
	case err != nil:
		return fmt.Errorf("cut after %d of %d events: %w", n, ticks, err)
	case n == 0 || n > ticks:
		return errors.Join(errWrong, fmt.Errorf("%d events of %d", n, ticks))
	case n < ticks:
		r.add(&r.report.Ended)
	default:
		r.add(&r.report.Downloaded)
	}
	return nil
}
