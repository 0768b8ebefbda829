package daemon

import (
	"bytes"
	"errors"
	"io"
)

// Ask answers a client that sent an assignment; "" is none.
type Ask func(assignment string) Answer

// Protocol is how clients ask over a connection. Serve reads one request, calls
// ask once, and writes the answer; the caller sets the deadline before and closes
// the connection after it. An error says that no answer was given. Serve is
// called from many goroutines.
type Protocol interface {
	Serve(conn io.ReadWriter, ask Ask) error
}

// maxLine is how long a request may be, in bytes with its end: an assignment has
// 25 at most.
const maxLine = 1024

// Maxwell is the protocol of maxwells-daemon:
//
//	request  <assignment>\n    or \n the first time
//	answer   <assignment>\n<master|canary>\n\n
//
// One request per connection. Clients that read two lines and clients that read
// to the end are both served. What follows the request's line is ignored; a
// line of more than 1,024 bytes is an assignment that cannot be read.
type Maxwell struct{}

// errHalf is a request whose line has no end.
var errHalf = errors.New("the client closed before the end of its line")

// Serve implements Protocol.
func (Maxwell) Serve(conn io.ReadWriter, ask Ask) error {
	var buf [maxLine]byte
	n, end := 0, -1
	for end < 0 && n < len(buf) {
		m, err := conn.Read(buf[n:])
		if i := bytes.IndexByte(buf[n:n+m], '\n'); i >= 0 {
			end = n + i
		}
		n += m
		switch {
		case end >= 0:
		case errors.Is(err, io.EOF):
			return errHalf
		case err != nil:
			return err
		}
	}
	line := "too long"
	if end >= 0 {
		line = string(buf[:end])
	}
	a := ask(line)
	answer := append(buf[:0], a.Assignment...)
	answer = append(answer, '\n')
	answer = append(answer, a.Arm...)
	answer = append(answer, "\n\n"...)
	if _, err := conn.Write(answer); err != nil {
		return err
	}
	if c, ok := conn.(interface{ CloseWrite() error }); ok && end < 0 {
		// Closed with bytes unread, TCP would take the answer back.
		_ = c.CloseWrite()
		_, _ = io.CopyN(io.Discard, conn, 64<<10)
	}
	return nil
}
