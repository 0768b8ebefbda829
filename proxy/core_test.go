package proxy

import (
	"testing"
	"time"
)

// The defaults are a promise: docs/OPERATIONS.md states each of them.
func TestDefaults(t *testing.T) {
	timeouts := Timeouts{
		Dial: time.Second, TLSHandshake: 2 * time.Second, ResponseHeader: 30 * time.Second, ReadHeader: 10 * time.Second,
		BodyIdle: time.Minute, StreamIdle: time.Hour, ClientIdle: 75 * time.Second, UpstreamIdle: 4 * time.Second,
	}
	if got := (Timeouts{}).WithDefaults(); got != timeouts {
		t.Errorf("timeouts\n got %+v\nwant %+v", got, timeouts)
	}
	none := Timeouts{Dial: -1, TLSHandshake: -1, ResponseHeader: -1, ReadHeader: -1, BodyIdle: -1, StreamIdle: -1, ClientIdle: -1, UpstreamIdle: -1}
	if got := none.WithDefaults(); got != (Timeouts{}) {
		t.Errorf("negative timeouts are no limit, which net/http writes as 0\n got %+v", got)
	}
	own := Timeouts{Dial: 1, TLSHandshake: 2, ResponseHeader: 3, ReadHeader: 4, BodyIdle: 5, StreamIdle: 6, ClientIdle: 7, UpstreamIdle: 8}
	if got := own.WithDefaults(); got != own {
		t.Errorf("timeouts that are set\n got %+v\nwant %+v", got, own)
	}

	limits := Limits{
		RequestLine: 8 << 10, HeaderLine: 16 << 10, HeaderTotal: 64 << 10, HeaderCount: 100, ResponseHead: 256 << 10, MaxStreams: 100,
		IdlePerTarget: 64, InFlightTarget: 1024, InFlightTotal: 10_000, ReplayBody: 64 << 10, Informational: 10,
	}
	if got := (Limits{}).WithDefaults(); got != limits {
		t.Errorf("limits\n got %+v\nwant %+v", got, limits)
	}
	if got := limits.WithDefaults(); got != limits {
		t.Errorf("limits that are set\n got %+v\nwant %+v", got, limits)
	}
}
