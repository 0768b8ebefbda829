package metrics

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

const (
	maxPacket  = 1432 // octets: fits an Ethernet frame, also over IPv6
	burst      = 32   // packets that are sent without a pause
	burstPause = time.Millisecond
)

// dialer is net.Dialer's DialContext, or a test's.
type dialer func(ctx context.Context, network, addr string) (net.Conn, error)

// statsD sends samples over UDP: raw ones, counters as what was added; with
// tags it speaks Datadog's dialect.
type statsD struct {
	addr  string
	names *Names
	tags  bool
	dial  dialer
}

// NewStatsD returns the sink of a statsd server, whose names hold the labels.
func NewStatsD(addr string, names *Names) Sink {
	return &statsD{addr: addr, names: names, dial: new(net.Dialer).DialContext}
}

// NewDogStatsD returns the sink of a Datadog agent, which gets labels as tags.
func NewDogStatsD(addr string, names *Names) Sink {
	return &statsD{addr: addr, names: names, tags: true, dial: new(net.Dialer).DialContext}
}

// Name implements Sink.
func (s *statsD) Name() string {
	if s.tags {
		return "dogstatsd"
	}
	return "statsd"
}

// Send implements Sink. UDP does not say whether anything arrives; an error is
// that of an address that does not resolve, or of a port that is closed. The
// name is resolved anew each time.
func (s *statsD) Send(ctx context.Context, samples []Sample) (err error) {
	if !s.tags {
		defer s.names.round()
	}
	c, err := s.dial(ctx, "udp", s.addr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	defer context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })()
	packet, line := make([]byte, 0, maxPacket), make([]byte, 0, maxPacket)
	packets, tooLong := 0, 0
	flush := func() error {
		if len(packet) == 0 {
			return nil
		}
		if packets++; packets%burst == 0 {
			select {
			case <-time.After(burstPause):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		_, err := c.Write(packet)
		packet = packet[:0]
		return err
	}
	for i := range samples {
		if line = s.appendLine(line[:0], samples[i]); len(line) > maxPacket {
			tooLong++
			continue
		}
		if len(packet)+1+len(line) > maxPacket {
			if err := flush(); err != nil {
				return err
			}
		}
		if len(packet) > 0 {
			packet = append(packet, '\n')
		}
		packet = append(packet, line...)
	}
	if err := flush(); err != nil {
		return err
	}
	if tooLong == len(samples) && tooLong > 0 {
		return fmt.Errorf("no sample fits into a packet of %d bytes", maxPacket)
	}
	return nil
}

// appendLine appends a sample as statsd reads it. A gauge below 0 takes two
// lines, since "-1" alone would be taken off what it was.
func (s *statsD) appendLine(b []byte, m Sample) []byte {
	if s.tags {
		b = appendValue(append(append(b, s.names.Name(m)...), ':'), m.Value)
		return appendTags(appendType(b, m.Kind), m.Labels)
	}
	name := s.names.Path(m)
	if m.Kind == Gauge && m.Value < 0 {
		b = append(append(b, name...), ":0|g\n"...)
	}
	return appendType(appendValue(append(append(b, name...), ':'), m.Value), m.Kind)
}

func appendType(b []byte, k Kind) []byte {
	if k == Gauge {
		return append(b, "|g"...)
	}
	return append(b, "|c"...)
}

// appendTags appends the labels that have a value.
func appendTags(b []byte, labels []Label) []byte {
	next := "|#"
	for _, l := range labels {
		if l.Value == "" {
			continue
		}
		b = append(append(append(b, next...), l.Name...), ':')
		for i := range min(len(l.Value), 200) {
			c := l.Value[i]
			if c <= ' ' || c == '|' || c == ',' || c == '#' || c == 0x7f {
				c = '_'
			}
			b = append(b, c)
		}
		next = ","
	}
	return b
}
