package nethttp

import (
	"net"
	"os"
	"syscall"
)

// lastCall accepts all that waits in ln's backlog and, with nothing in between,
// makes the kernel refuse what comes after: closing a listener resets every
// connection that arrived since the last accept, and this leaves about a
// microsecond for one to do so. It reports false where ln is no socket; then
// nothing has happened. The caller closes ln.
func lastCall(ln net.Listener) (waiting []net.Conn, ok bool) {
	sc, ok := ln.(syscall.Conn)
	if !ok {
		return nil, false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil, false
	}
	var fds []int
	err = raw.Control(func(listener uintptr) {
		for {
			fd, _, err := syscall.Accept4(int(listener), syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
			switch err {
			case nil:
				fds = append(fds, fd)
			case syscall.EINTR, syscall.ECONNABORTED:
			default: // EAGAIN: the backlog is empty
				_ = syscall.Shutdown(int(listener), syscall.SHUT_RDWR) // the caller closes it anyway
				return
			}
		}
	})
	for _, fd := range fds {
		f := os.NewFile(uintptr(fd), "accepted")
		if c, err := net.FileConn(f); err == nil {
			waiting = append(waiting, c)
		}
		f.Close() // FileConn has a descriptor of its own
	}
	return waiting, err == nil
}
