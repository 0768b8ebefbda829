package proxy

import (
	"bytes"
	"context"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

const (
	logPending  = 4 << 20               // bytes waiting for the sink; more is dropped
	logDelay    = 50 * time.Millisecond // how long a line waits for others to be written with it
	logPatience = 2 * time.Second       // for the sink, when the log ends
	logField    = 4 << 10               // bytes of any field of the client's
)

// AccessLog writes a line per Outcome. Log never waits: lines go through a
// bounded buffer to the one goroutine of Run, and those that a slow sink leaves
// no room for are dropped and counted. Secrets are not in an Outcome, so no
// Authorization and no Cookie can be in the log.
type AccessLog struct {
	w       io.Writer
	format  LogFormat
	scratch sync.Pool // *[]byte
	wake    chan struct{}
	dropped atomic.Uint64

	mu      sync.Mutex // guards pending; held to copy a line, never to encode or write
	pending []byte
}

// NewAccessLog returns a log that writes to w once Run runs.
func NewAccessLog(w io.Writer, format LogFormat) *AccessLog {
	l := &AccessLog{w: w, format: format, wake: make(chan struct{}, 1)}
	l.scratch.New = func() any { b := make([]byte, 0, 1024); return &b }
	return l
}

// Headers returns the names of the request headers that the lines need, for
// Core.LogHeaders; none for a nil log.
func (l *AccessLog) Headers() []string {
	if l == nil {
		return nil
	}
	return l.format.Headers()
}

// Dropped returns how many lines were lost to a slow sink or one that failed.
func (l *AccessLog) Dropped() uint64 { return l.dropped.Load() }

// Log takes note of o. It is safe for concurrent use and does not keep o.
func (l *AccessLog) Log(o *Outcome) {
	b := l.scratch.Get().(*[]byte)
	*b = AppendLog((*b)[:0], l.format, o)
	l.mu.Lock()
	room := len(l.pending)+len(*b) <= logPending
	if room {
		l.pending = append(l.pending, *b...)
	}
	l.mu.Unlock()
	l.scratch.Put(b)
	if !room {
		l.dropped.Add(1)
		return
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Run writes until ctx ends and then writes what is left, for which a sink that
// hangs gets 2 s: what it does not take by then is lost. A log that loses lines
// is no failure of what it logs, so the error is always nil.
func (l *AccessLog) Run(ctx context.Context) error {
	done := make(chan struct{})
	go l.write(ctx, done)
	<-ctx.Done()
	select {
	case <-done:
	case <-time.After(logPatience):
		l.mu.Lock()
		l.dropped.Add(uint64(bytes.Count(l.pending, []byte{'\n'})))
		l.pending = nil
		l.mu.Unlock()
	}
	return nil
}

func (l *AccessLog) write(ctx context.Context, done chan<- struct{}) {
	defer close(done)
	var spare []byte
	for over := false; !over; {
		select {
		case <-ctx.Done():
		case <-l.wake:
			select {
			case <-ctx.Done():
			case <-time.After(logDelay):
			}
		}
		over = ctx.Err() != nil // before the last lines are taken, not after
		l.mu.Lock()
		lines := l.pending
		l.pending = spare[:0]
		l.mu.Unlock()
		if n, err := l.w.Write(lines); err != nil {
			l.dropped.Add(uint64(bytes.Count(lines[n:], []byte{'\n'})))
		}
		spare = lines
	}
}

// AppendLog appends o's line, with its end, to b. It allocates nothing but for
// the text of o.Err. Whatever a client sent, it is one line, and valid JSON.
func AppendLog(b []byte, f LogFormat, o *Outcome) []byte {
	if f.parts == nil {
		return appendJSONLine(b, o)
	}
	return append(f.append(b, o), '\n')
}

func appendJSONLine(b []byte, o *Outcome) []byte {
	b = append(b, `{"time":"`...)
	b = o.Start.UTC().AppendFormat(b, time.RFC3339) // which time formats fastest
	b[len(b)-1] = '.'
	b = appendThree(b, o.Start.Nanosecond()/1e6)
	b = append(b, `Z"`...)
	b = appendAddr(b, `,"client":"`, o.Client.IsValid(), o.Client.AppendTo)
	b = appendAddr(b, `,"remote":"`, o.Remote.IsValid(), o.Remote.AppendTo)
	b = appendText(b, `,"request_id":`, o.RequestID)
	b = appendText(b, `,"method":`, o.Method)
	b = appendText(b, `,"scheme":`, o.Scheme)
	b = appendText(b, `,"host":`, o.Host)
	b = appendText(b, `,"path":`, o.Path)
	b = appendText(b, `,"query":`, o.Query)
	b = appendText(b, `,"proto":`, o.HTTPVersion)
	b = strconv.AppendInt(append(b, `,"status":`...), int64(o.Status), 10)
	b = appendText(b, `,"class":`, o.Class.String())
	b = appendText(b, `,"reason":`, o.Reason.String())
	b = appendText(b, `,"service":`, o.Service)
	if o.Service != "" {
		b = appendText(b, `,"arm":`, o.Arm.String())
		b = appendText(b, `,"why":`, o.Why.String())
	}
	if o.Panic {
		b = append(b, `,"panic":true`...)
	}
	if o.Target != nil {
		b = appendText(b, `,"upstream":`, o.Target.Addr)
		b = appendText(b, `,"instance":`, o.Target.ID)
	}
	b = strconv.AppendInt(append(b, `,"attempts":`...), int64(o.Attempts), 10)
	if o.Attempts > 1 {
		b = appendText(b, `,"first_class":`, o.FirstClass.String())
	}
	b = strconv.AppendInt(append(b, `,"received":`...), o.Received, 10)
	b = strconv.AppendInt(append(b, `,"sent":`...), o.Sent, 10)
	b = appendMillis(append(b, `,"duration_ms":`...), o.Duration)
	if o.FirstByte > 0 {
		b = appendMillis(append(b, `,"first_byte_ms":`...), o.FirstByte)
	}
	b = appendText(b, `,"user_agent":`, o.UserAgent)
	b = appendText(b, `,"referer":`, o.Referer)
	if o.Err != nil {
		b = appendText(b, `,"error":`, o.Err.Error())
	}
	return append(b, "}\n"...)
}

// appendAddr appends an address that is valid.
func appendAddr(b []byte, name string, valid bool, appendTo func([]byte) []byte) []byte {
	if !valid {
		return b
	}
	return append(appendTo(append(b, name...)), '"')
}

// appendMillis appends d in milliseconds with three decimals.
func appendMillis(b []byte, d time.Duration) []byte {
	us := max(d.Microseconds(), 0)
	b = append(strconv.AppendInt(b, us/1000, 10), '.')
	return appendThree(b, int(us%1000))
}

func appendThree(b []byte, n int) []byte {
	return append(b, byte('0'+n/100), byte('0'+n/10%10), byte('0'+n%10))
}

// plainText are the bytes that stand for themselves in JSON and in a terminal.
var plainText = func() (t [256]bool) {
	for c := ' '; c < 0x7f; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

// appendText appends a field, unless it is empty.
func appendText(b []byte, name, s string) []byte {
	if s == "" {
		return b
	}
	b = append(append(b, name...), '"')
	end := min(len(s), logField)
	for i := 0; i < end; {
		from := i
		for i < end && plainText[s[i]] {
			i++
		}
		b = append(b, s[from:i]...)
		if i == end {
			break
		}
		c, n := rune(s[i]), 1
		if c >= utf8.RuneSelf {
			c, n = utf8.DecodeRuneInString(s[i:])
		}
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', byte(c))
		case c < 0xa0 || c == utf8.RuneError && n == 1: // a control, also of C1, or no UTF-8
			b = append(b, '\\', 'u', hexDigits[c>>12&15], hexDigits[c>>8&15], hexDigits[c>>4&15], hexDigits[c&15])
		default:
			b = append(b, s[i:i+n]...)
		}
		i += n
	}
	return append(b, '"')
}

// appendEscaped appends a field of a template as Apache does.
func appendEscaped(b []byte, s string) []byte {
	for i := range min(len(s), logField) {
		switch c := s[i]; {
		case plainText[c]:
			b = append(b, c)
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		default:
			b = append(b, '\\', 'x', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return b
}
