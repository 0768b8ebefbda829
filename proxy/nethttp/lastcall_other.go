//go:build !linux

package nethttp

import "net"

// lastCall is not to be had here: what arrives between the last accept and the
// close of a listener is reset.
func lastCall(net.Listener) (waiting []net.Conn, ok bool) { return nil, false }
