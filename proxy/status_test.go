package proxy

import "testing"

func TestClassStatus(t *testing.T) {
	want := map[Class]int{
		OK: 500, ServerError: 500, Unavailable: 500, ConnectError: 502, Timeout: 504, Reset: 502, Truncated: 502,
		ClientGone: 499, ClientError: 400, NoTarget: 503, Answered: 500,
	}
	for c := range Class(len(classNames)) {
		if got := c.Status(); got != want[c] {
			t.Errorf("%v: got %d, want %d", c, got, want[c])
		}
		if got, failed := c.Failed(), c == ServerError || c == Unavailable || c == ConnectError || c == Timeout || c == Reset || c == Truncated; got != failed {
			t.Errorf("%v counts against the instance: %v, want %v", c, got, failed)
		}
	}
}

func TestStatusClass(t *testing.T) {
	for status, want := range map[int]Class{101: OK, 200: OK, 404: OK, 499: OK, 500: ServerError, 501: ServerError, 502: Unavailable, 503: Unavailable, 504: Unavailable, 505: ServerError, 599: ServerError} {
		if got := StatusClass(status); got != want {
			t.Errorf("%d: got %v, want %v", status, got, want)
		}
	}
}
