//go:build unix

package nethttp

import "syscall"

// quiet reports whether the peer of an idle connection has sent nothing: no
// byte, no end, no reset. It takes what it finds, so a connection that is not
// quiet can only be closed. One system call, no waiting.
func quiet(raw syscall.RawConn) bool {
	var b [1]byte
	alive := false
	err := raw.Control(func(fd uintptr) {
		_, err := syscall.Read(int(fd), b[:])
		alive = err == syscall.EAGAIN || err == syscall.EINTR
	})
	return err == nil && alive
}

// waiting reports whether there are bytes to read, without taking them.
func waiting(raw syscall.RawConn) bool {
	var b [1]byte
	found := false
	_ = raw.Control(func(fd uintptr) {
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK)
		found = err == nil && n > 0
	})
	return found
}
